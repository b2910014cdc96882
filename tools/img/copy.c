/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies images. Called by convert and commit; asks copy-plan.c what to do
 * with each piece.
 *
 * How it works: the plan is made once to know how much there is to do, and
 * again while it is done. Workers, coroutines of the control thread with a
 * buffer each, take the next piece, read it and write it. Writes in order
 * pass a baton: who has written the piece up to an offset wakes the worker
 * whose piece begins there. So reads run ahead as far as there are workers.
 *
 * After a failure no piece is begun, but those that are under way take their
 * turns without writing: the baton always arrives.
 */
#include "copy.h"

#include "block/control.h"
#include "tools/common/message.h"
#include "tools/common/progress.h"

#include <errno.h>
#include <string.h>

typedef struct CopyWorker {
    CopyJob *job;
    uint8_t *buf;
    Coroutine *waiting; /* for its turn, which comes at turn */
    int64_t turn;
} CopyWorker;

static void fail(CopyJob *job, CopyStep step, int64_t offset, int ret)
{
    if (job->failed) {
        job->failed(job->report_opaque, step, offset, ret);
    }
    if (job->ret == 0) {
        job->ret = ret;
    }
}

/* --- reading --- */

/* Block by block, for those that can be read. @offset is the source's. */
static void coroutine_fn salvage(CopyJob *job, const CopySource *source,
                                 int64_t offset, int64_t bytes, uint8_t *buf)
{
    int64_t n;

    for (; bytes > 0; offset += n, buf += n, bytes -= n) {
        int ret;

        n = MIN(bytes, SPARSE_BLOCK);
        ret = blk_co_pread(source->disk->channel, offset, n, buf);
        if (ret == 0) {
            continue;
        }
        memset(buf, 0, n);
        if (job->salvaged) {
            job->salvaged(job->report_opaque, COPY_READ, offset, ret);
        }
    }
}

/* A piece may begin in one source and end in another. */
static int coroutine_fn read_sources(CopyJob *job, int64_t offset,
                                     int64_t bytes, uint8_t *buf)
{
    while (bytes > 0) {
        const CopySource *source = copy_source_at(job, offset);
        int64_t at = offset - source->start;
        int64_t n = MIN(bytes, img_disk_length(source->disk) - at);
        int ret = blk_co_pread(source->disk->channel, at, n, buf);

        if (ret < 0 && !job->salvage) {
            return ret;
        }
        if (ret < 0) {
            salvage(job, source, at, n, buf);
        }
        offset += n;
        buf += n;
        bytes -= n;
    }
    return 0;
}

static void coroutine_fn read_piece(CopyWorker *worker, CopyPiece *piece)
{
    CopyJob *job = worker->job;
    int ret;

    if (piece->kind == COPY_ZERO && job->zeroes_as_data) {
        memset(worker->buf, 0, piece->bytes);
        piece->kind = COPY_DATA;
    } else if (piece->kind == COPY_DATA) {
        ret = read_sources(job, piece->offset, piece->bytes, worker->buf);
        if (ret < 0) {
            fail(job, COPY_READ, piece->offset, ret);
        }
    }
}

/* --- writing --- */

static int coroutine_fn write_data(CopyJob *job, int64_t offset,
                                   int64_t bytes, const uint8_t *buf)
{
    BlockDriverState *bs = job->target->bs;

    rate_limit_co_wait(&job->rate, bytes);
    if (job->compress_bytes) {
        return bs->drv->image->co_pwrite_compressed(bs, offset, bytes, buf);
    }
    return blk_co_pwrite(job->target->channel, offset, bytes, buf, 0);
}

static int coroutine_fn write_zeroes(CopyJob *job, int64_t offset,
                                     int64_t bytes)
{
    if (job->target_is_zero) {
        return 0;
    }
    rate_limit_co_wait(&job->rate, bytes);
    return blk_co_pwrite_zeroes(job->target->channel, offset, bytes,
                                BLOCK_REQ_MAY_UNMAP);
}

/* How much of the start of what was read is zero, or is not. */
static int64_t next_run(const CopyJob *job, int64_t offset, int64_t bytes,
                        const uint8_t *buf, bool *zero)
{
    *zero = false;
    if (!job->sparse.min_bytes) {
        return bytes;
    }
    if (job->compress_bytes) {
        *zero = sparse_is_zero(buf, bytes);
        return bytes;
    }
    return sparse_run(&job->sparse, buf, offset, bytes, zero);
}

static int coroutine_fn write_runs(CopyJob *job, int64_t offset,
                                   int64_t bytes, const uint8_t *buf)
{
    int ret = 0;

    while (bytes > 0 && ret == 0) {
        bool zero;
        int64_t n = next_run(job, offset, bytes, buf, &zero);

        ret = zero ? write_zeroes(job, offset, n)
                   : write_data(job, offset, n, buf);
        offset += n;
        buf += n;
        bytes -= n;
    }
    return ret;
}

static void coroutine_fn write_piece(CopyWorker *worker,
                                     const CopyPiece *piece)
{
    CopyJob *job = worker->job;
    int ret = 0;

    if (piece->kind == COPY_DATA) {
        ret = write_runs(job, piece->offset, piece->bytes, worker->buf);
    } else if (piece->kind == COPY_ZERO) {
        ret = write_zeroes(job, piece->offset, piece->bytes);
    }
    if (ret < 0) {
        fail(job, COPY_WRITE, piece->offset, ret);
    }
}

/* --- one after the other --- */

static void coroutine_fn take_turn(CopyWorker *worker, int64_t offset)
{
    if (worker->job->turn != offset) {
        worker->turn = offset;
        worker->waiting = coroutine_self();
        coroutine_yield();
        g_assert(worker->job->turn == offset);
    }
}

static void pass_turn(CopyJob *job, int64_t offset)
{
    job->turn = offset;
    for (unsigned i = 0; i < job->workers; i++) {
        CopyWorker *worker = &job->worker[i];
        Coroutine *co = worker->waiting;

        if (co && worker->turn == offset) {
            worker->waiting = NULL;
            coroutine_enter(co);
            return;
        }
    }
}

static bool takes_writing(const CopyJob *job, CopyKind kind)
{
    return kind == COPY_DATA || (kind == COPY_ZERO && job->zeroes_as_data);
}

static void count_written(CopyJob *job, int64_t bytes)
{
    job->written += bytes;
    progress_set(MIN(100.0 * job->written / MAX(job->to_write, 1), 100));
}

static void coroutine_fn copy_piece(CopyWorker *worker, CopyPiece *piece)
{
    CopyJob *job = worker->job;
    bool counts = takes_writing(job, piece->kind);

    read_piece(worker, piece);
    if (job->in_order) {
        take_turn(worker, piece->offset);
    }
    if (job->ret == 0) {
        write_piece(worker, piece);
    }
    if (counts && job->ret == 0) {
        count_written(job, piece->bytes);
    }
    if (job->in_order) {
        pass_turn(job, piece->offset + piece->bytes);
    }
}

/* False when there is no more, or something failed. */
static bool coroutine_fn take_piece(CopyJob *job, CopyPiece *piece)
{
    bool taken = false;

    co_mutex_lock(&job->plan_lock);
    if (job->ret == 0 && job->offset < job->bytes) {
        int ret = copy_plan_next(job, job->offset, piece);

        if (ret < 0) {
            job->ret = ret; /* reported */
        } else {
            job->offset += piece->bytes;
            taken = true;
        }
    }
    co_mutex_unlock(&job->plan_lock);
    return taken;
}

static void coroutine_fn worker_entry(void *opaque)
{
    CopyWorker *worker = opaque;
    CopyJob *job = worker->job;
    CopyPiece piece;

    while (take_piece(job, &piece)) {
        copy_piece(worker, &piece);
    }
    if (--job->running == 0 && job->waiting) {
        coroutine_enter(job->waiting);
    }
}

/* --- the whole --- */

static int coroutine_fn measure(CopyJob *job)
{
    CopyPiece piece;

    for (int64_t offset = 0; offset < job->bytes; offset += piece.bytes) {
        int ret = copy_plan_next(job, offset, &piece);

        if (ret < 0) {
            return ret;
        }
        if (takes_writing(job, piece.kind)) {
            job->to_write += piece.bytes;
        }
    }
    job->plan.end = 0;
    return 0;
}

static void coroutine_fn run_workers(CopyJob *job)
{
    job->running = job->workers;
    for (unsigned i = 0; i < job->workers; i++) {
        coroutine_enter(coroutine_new(worker_entry, &job->worker[i]));
    }
    if (job->running > 0) {
        job->waiting = coroutine_self();
        coroutine_yield();
    }
}

/* The target may still be gathering compressed clusters. */
static int coroutine_fn end_compressed(CopyJob *job)
{
    BlockDriverState *bs = job->target->bs;

    return bs->drv->image->co_pwrite_compressed(bs, 0, 0, NULL);
}

static void coroutine_fn job_entry(void *opaque)
{
    CopyJob *job = opaque;

    job->ret = measure(job);
    if (job->ret < 0) {
        return;
    }
    run_workers(job);
    if (job->ret == 0 && job->compress_bytes) {
        int ret = end_compressed(job);

        if (ret < 0) {
            fail(job, COPY_WRITE, job->bytes, ret);
        }
    }
}

static void prepare(CopyJob *job)
{
    job->bytes = 0;
    for (unsigned i = 0; i < job->n_sources; i++) {
        CopySource *source = &job->sources[i];
        BlockDriverState *bs = source->disk->bs;

        source->start = job->bytes;
        source->alignment = MAX(bs->limits.request_alignment, SPARSE_BLOCK);
        source->alignment = MAX(source->alignment, img_cluster_bytes(bs));
        job->bytes += img_disk_length(source->disk);
    }
    job->offset = job->turn = 0;
    job->to_write = job->written = 0;
    job->plan.end = 0;
    job->waiting = NULL;
    co_mutex_init(&job->plan_lock);
}

static bool new_workers(CopyJob *job)
{
    job->worker = g_new0(CopyWorker, job->workers);
    for (unsigned i = 0; i < job->workers; i++) {
        job->worker[i].job = job;
        job->worker[i].buf = img_buffer_new(job->buffer_bytes);
        if (!job->worker[i].buf) {
            return false;
        }
    }
    return true;
}

static void free_workers(CopyJob *job)
{
    for (unsigned i = 0; i < job->workers; i++) {
        img_buffer_free(job->worker[i].buf);
    }
    g_clear_pointer(&job->worker, g_free);
}

int copy_run(CopyJob *job)
{
    g_assert(job->workers > 0 && job->workers <= COPY_MAX_WORKERS);
    prepare(job);
    if (new_workers(job)) {
        control_run_co(job_entry, job);
    } else {
        error_report("Out of memory");
        job->ret = -ENOMEM;
    }
    free_workers(job);
    return job->ret;
}
