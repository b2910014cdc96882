/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads that are more than one child request to the data file: of several
 * extents, from the backing file, of zeroes, of compressed clusters, and all
 * whose mapping has to be read first.
 *
 * How it works: a coroutine goes from extent to extent and starts a part for
 * each that needs I/O; parts run beside each other, up to PARTS_MAX of them.
 * When the last one has been started it waits for all. A request that covers
 * three clusters, the second one compressed, with one more in the backing
 * file, which is shorter than the image:
 *
 *     request   |-------|-----------|-------|-----|.....|
 *     extents    normal  compressed  normal  unallocated
 *     parts      child   coroutine   child   child zeroes
 */
#include "qcow2.h"

#include <errno.h>

#include "block/debug.h"
#include "block/iov.h"

#define PARTS_MAX 32

typedef struct ReadJob {
    BlockDriverState *bs;
    int64_t offset, end;       /* of what is left */
    const struct iovec *iov;   /* the same: from iov_done of the first on */
    unsigned niov;
    size_t iov_done;
    Coroutine *co;
    bool waiting;              /* for a part to end */
    unsigned parts;            /* under way */
    int ret;
} ReadJob;

typedef struct ReadPart {
    ReadJob *job;
    BlockRequest child;
    uint64_t entry;            /* of a compressed cluster */
    int64_t from;              /* byte of it */
    unsigned niov;
    struct iovec iov[];
} ReadPart;

/* --- parts --- */

/* Elements that the next @bytes of the job's buffers are in. */
static unsigned count_elements(const ReadJob *job, size_t bytes)
{
    size_t covered = 0;
    unsigned n = 0;

    while (covered < bytes) {
        covered += job->iov[n].iov_len - (n ? 0 : job->iov_done);
        n++;
    }
    return n;
}

static void skip(ReadJob *job, size_t bytes)
{
    job->offset += bytes;
    job->iov_done += bytes;
    while (job->niov && job->iov_done >= job->iov->iov_len) {
        job->iov_done -= job->iov->iov_len;
        job->iov++;
        job->niov--;
    }
}

/* Takes the next @bytes of the job. */
static ReadPart *part_new(ReadJob *job, int64_t bytes)
{
    unsigned niov = count_elements(job, bytes);
    ReadPart *part = g_malloc(sizeof(*part) + niov * sizeof(*part->iov));

    part->job = job;
    part->niov = iov_slice(part->iov, job->iov, niov, job->iov_done, bytes);
    skip(job, bytes);
    job->parts++;
    return part;
}

static void part_done(ReadPart *part, int ret)
{
    ReadJob *job = part->job;

    g_free(part);
    job->parts--;
    if (ret < 0 && job->ret == 0) {
        job->ret = ret;
    }
    if (job->waiting) {
        job->waiting = false;
        coroutine_enter(job->co);
    }
}

static void child_cb(BlockRequest *child, void *opaque, int ret)
{
    part_done(opaque, ret);
}

static void start_child(ReadJob *job, BlockDriverState *file, int64_t offset,
                        int64_t bytes)
{
    ReadPart *part = part_new(job, bytes);
    BlockRequest *child = &part->child;

    block_request_init(child);
    child->op = BLOCK_READ;
    child->offset = offset;
    child->bytes = bytes;
    child->iov = part->iov;
    child->niov = part->niov;
    child->channel = NULL;
    child->ctx = job->bs->home;
    child->start_ns = 0;
    child->engine.stats = &job->bs->stats;
    block_request_push(child, child_cb, part);
    bdrv_submit(file, child);
}

static void coroutine_fn compressed_entry(void *opaque)
{
    ReadPart *part = opaque;

    part_done(part, qcow2_co_read_compressed(part->job->bs, part->entry,
                                             part->from, part->iov,
                                             part->niov));
}

static void start_compressed(ReadJob *job, uint64_t entry, int64_t bytes)
{
    const Qcow2State *s = job->bs->opaque;
    int64_t from = qcow2_offset_in_cluster(s, job->offset);
    ReadPart *part = part_new(job, bytes);

    part->entry = entry;
    part->from = from;
    coroutine_enter(coroutine_new(compressed_entry, part));
}

static void fill_zeroes(ReadJob *job, int64_t bytes)
{
    iov_memset(job->iov, job->niov, job->iov_done, 0, bytes);
    skip(job, bytes);
}

/* What @file has of it, and zeroes for what lies behind its end. */
static void start_file(ReadJob *job, BlockDriverState *file, int64_t offset,
                       int64_t bytes)
{
    int64_t there = CLAMP(file->total_bytes - offset, 0, bytes);

    if (there) {
        start_child(job, file, offset, there);
    }
    if (there < bytes) {
        fill_zeroes(job, bytes - there);
    }
}

/* --- extents --- */

static void coroutine_fn start_extent(ReadJob *job,
                                      const Qcow2Extent *extent)
{
    const Qcow2State *s = job->bs->opaque;

    switch (extent->kind) {
    case QCOW2_NORMAL:
        bdrv_co_debug_event(job->bs->file, BLKDBG_READ_AIO);
        start_file(job, s->data_file, extent->host, extent->bytes);
        break;
    case QCOW2_COMPRESSED_DATA:
        start_compressed(job, extent->host, extent->bytes);
        break;
    case QCOW2_UNALLOCATED:
        if (job->bs->backing) {
            bdrv_co_debug_event(job->bs->file, BLKDBG_READ_BACKING_AIO);
            start_file(job, job->bs->backing, job->offset, extent->bytes);
            break;
        }
        /* fall through */
    case QCOW2_ZERO_PLAIN:
    case QCOW2_ZERO_ALLOC:
        fill_zeroes(job, extent->bytes);
        break;
    }
}

static int coroutine_fn find_extent(ReadJob *job, Qcow2Extent *extent)
{
    Qcow2State *s = job->bs->opaque;
    int64_t bytes = job->end - job->offset;
    int ret;

    if (qcow2_map_cached(job->bs, job->offset, bytes, extent) == 1) {
        return 0;
    }
    co_mutex_lock(&s->lock);
    ret = qcow2_co_map(job->bs, job->offset, bytes, extent);
    co_mutex_unlock(&s->lock);
    return ret;
}

/* Until no more than @parts are under way. */
static void coroutine_fn wait_for_parts(ReadJob *job, unsigned parts)
{
    while (job->parts > parts) {
        job->waiting = true;
        coroutine_yield();
    }
}

static void coroutine_fn run_job(ReadJob *job)
{
    while (job->offset < job->end && job->ret == 0) {
        Qcow2Extent extent;
        int ret = find_extent(job, &extent);

        if (ret < 0) {
            job->ret = ret;
            break;
        }
        start_extent(job, &extent);
        wait_for_parts(job, PARTS_MAX - 1);
    }
    wait_for_parts(job, 0);
}

int coroutine_fn qcow2_co_pread(BlockDriverState *bs, int64_t offset,
                                int64_t bytes, const struct iovec *iov,
                                unsigned niov)
{
    Qcow2State *s = bs->opaque;
    Qcow2Epoch *epoch = s->epoch ? qcow2_epoch_enter(s) : NULL;
    ReadJob job = {
        .bs = bs,
        .offset = offset,
        .end = offset + bytes,
        .iov = iov,
        .niov = niov,
        .co = coroutine_self(),
    };

    run_job(&job);
    if (epoch) {
        qcow2_epoch_leave(epoch);
    }
    return job.ret;
}

/* --- requests --- */

static int coroutine_fn read_request(BlockDriverState *bs,
                                     const BlockRequest *req)
{
    return qcow2_co_pread(bs, req->offset, req->bytes, req->iov, req->niov);
}

static bool is_zero(const BlockDriverState *bs, const Qcow2Extent *extent,
                    int64_t offset)
{
    return extent->kind == QCOW2_ZERO_PLAIN ||
           extent->kind == QCOW2_ZERO_ALLOC ||
           (extent->kind == QCOW2_UNALLOCATED &&
            (!bs->backing || offset >= bs->backing->total_bytes));
}

/* What needs neither tables nor parts. */
static bool submit_simple(BlockDriverState *bs, BlockRequest *req)
{
    Qcow2Extent extent;

    if (qcow2_map_cached(bs, req->offset, req->bytes, &extent) != 1 ||
        extent.bytes < req->bytes) {
        return false;
    }
    if (is_zero(bs, &extent, req->offset)) {
        iov_memset(req->iov, req->niov, 0, 0, req->bytes);
        block_request_complete_later(req, 0);
        return true;
    }
    if (extent.kind == QCOW2_UNALLOCATED && !bs->file->debugged &&
        req->bytes <= bs->backing->total_bytes - req->offset) {
        bdrv_submit(bs->backing, req);
        return true;
    }
    return false;
}

void qcow2_read_submit(BlockDriverState *bs, BlockRequest *req)
{
    if (!submit_simple(bs, req)) {
        bdrv_submit_co(bs, req, read_request);
    }
}
