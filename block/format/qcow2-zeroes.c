/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Write-zeroes: whole clusters get an entry that says so, what is left over
 * at either end is written.
 *
 * With BLOCK_REQ_MAY_UNMAP host clusters are given up, else they stay for
 * the next write. An image of version 2 has no zero clusters: where there is
 * a backing file, zeroes are written.
 */
#include "qcow2-discard.h"

#include <errno.h>

#include "qcow2-write.h"

#define ZERO_BYTES (64 * 1024)
#define ZERO_IOV   64

static char zeroes[ZERO_BYTES] __attribute__((aligned(4096)));

/* --- writing them --- */

static int coroutine_fn write_zero_bytes(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes)
{
    struct iovec iov[ZERO_IOV];
    int ret = 0;

    while (ret == 0 && bytes > 0) {
        BlockIo io = { .op = BLOCK_WRITE, .offset = offset, .iov = iov };

        for (; io.niov < ZERO_IOV && io.bytes < bytes; io.niov++) {
            iov[io.niov].iov_base = zeroes;
            iov[io.niov].iov_len = MIN(bytes - io.bytes, ZERO_BYTES);
            io.bytes += iov[io.niov].iov_len;
        }
        ret = qcow2_co_write(bs, &io);
        offset += io.bytes;
        bytes -= io.bytes;
    }
    return ret;
}

/* Whether [offset, offset + bytes), within a cluster, reads as zeroes by what
 * the tables say. */
static int coroutine_fn is_zero(BlockDriverState *bs, int64_t offset,
                                int64_t bytes, bool *zero)
{
    Qcow2State *s = bs->opaque;
    int64_t end = offset + bytes;
    Qcow2Extent extent;
    int ret = 0;

    *zero = true;
    co_mutex_lock(&s->lock);
    qcow2_co_wait_claims(bs, offset, end);
    while (ret == 0 && *zero && offset < end) {
        ret = qcow2_co_map(bs, offset, end - offset, &extent);
        if (ret == 0) {
            *zero = extent.kind == QCOW2_ZERO_PLAIN ||
                    extent.kind == QCOW2_ZERO_ALLOC ||
                    (extent.kind == QCOW2_UNALLOCATED &&
                     (!bs->backing || offset >= bs->backing->total_bytes));
            offset += extent.bytes;
        }
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* A part of a cluster. */
static int coroutine_fn zero_part(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes)
{
    bool zero;
    int ret;

    if (bytes <= 0) {
        return 0;
    }
    ret = is_zero(bs, offset, bytes, &zero);
    if (ret < 0 || zero) {
        return ret;
    }
    return write_zero_bytes(bs, offset, bytes);
}

/* --- whole clusters --- */

/* Who reads the data file without us has to see them, too. */
static int coroutine_fn zero_data_file(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, unsigned flags)
{
    Qcow2State *s = bs->opaque;

    return bdrv_co_pwrite_zeroes(s->data_file, offset,
                                 MIN(bytes, bs->total_bytes - offset), flags);
}

static int coroutine_fn zero_clusters(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, unsigned flags)
{
    Qcow2State *s = bs->opaque;
    bool raw = qcow2_has_data_file(s) && qcow2_data_file_is_raw(s);
    Qcow2Clearing how = {
        .type = QCOW2_DISCARD_REQUEST,
        .zero = true,
        .keep_host = raw || s->discard_no_unref ||
                     !(flags & BLOCK_REQ_MAY_UNMAP),
        .keep_data = raw || !(flags & BLOCK_REQ_MAY_UNMAP),
        .prepare = raw ? zero_data_file : NULL,
        .flags = flags & BLOCK_REQ_MAY_UNMAP,
    };

    if (bytes <= 0) {
        return 0;
    }
    if (s->version < 3) {
        if (bs->backing) {
            return write_zero_bytes(bs, offset,
                                    MIN(bytes, bs->total_bytes - offset));
        }
        how.zero = false;
        how.keep_host = false;
    }
    return qcow2_co_clear_clusters(bs, offset, bytes, &how);
}

/* --- a request --- */

static int coroutine_fn zero_range(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes, unsigned flags)
{
    const Qcow2State *s = bs->opaque;
    int64_t end = offset + bytes;
    int64_t first = qcow2_cluster_start(s, offset + s->cluster_size - 1);
    int64_t last = end == bs->total_bytes ? end : qcow2_cluster_start(s, end);
    int ret;

    if (first > last) {
        return zero_part(bs, offset, bytes);
    }
    ret = zero_part(bs, offset, first - offset);
    if (ret == 0) {
        ret = zero_clusters(bs, first, last - first, flags);
    }
    return ret < 0 ? ret : zero_part(bs, last, end - last);
}

typedef struct ZeroesJob {
    BlockDriverState *bs;
    BlockRequest *req;
} ZeroesJob;

static int coroutine_fn zeroes_request(BlockDriverState *bs,
                                       const BlockRequest *req)
{
    int ret = qcow2_co_prepare_write(bs);

    if (ret == 0) {
        ret = zero_range(bs, req->offset, req->bytes, req->flags);
    }
    if (ret == 0 && (req->flags & BLOCK_REQ_FUA)) {
        ret = qcow2_co_flush_metadata(bs);
    }
    return ret;
}

static void coroutine_fn zeroes_entry(void *opaque)
{
    ZeroesJob *job = opaque;
    BlockRequest *req = job->req;
    int ret = zeroes_request(job->bs, req);

    g_free(job);
    block_request_complete_later(req, ret);
}

void qcow2_write_zeroes_submit(BlockDriverState *bs, BlockRequest *req)
{
    ZeroesJob *job = g_new(ZeroesJob, 1);

    job->bs = bs;
    job->req = req;
    coroutine_enter(coroutine_new(zeroes_entry, job));
}
