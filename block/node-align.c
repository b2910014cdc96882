/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns a request that a driver cannot take into ones that it can: bounces
 * misaligned memory, widens reads, reads and rewrites around unaligned
 * writes, splits what is too long. Called by node.c.
 *
 * How it works: a coroutine goes through the request in chunks. A chunk that
 * fits as it is goes down as a slice of the caller's buffers; any other goes
 * through one aligned bounce buffer of bounded size:
 *
 *     blocks     |--------|--------|--------|
 *     request         |=================|
 *     1. read    |--------|        |--------|   head and tail block
 *     2. copy         |=================|       into the bounce buffer
 *     3. write   |--------------------------|
 *
 * From 1 to 3 the blocks are locked against every other write. Reads need no
 * lock: what is rewritten around the request is what was there.
 */
#include "node-align.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/coroutine.h"
#include "block/debug.h"
#include "block/iov.h"
#include "range-lock.h"

/* Bounds what a guest can make us allocate with one long request. */
#define BOUNCE_MAX (1024 * 1024)

typedef struct NodeJob {
    BlockDriverState *bs;
    BlockRequest *req;      /* of the layer above */
    BlockRequest child;     /* what we send down, one at a time */
    Coroutine *co;
    int ret;                /* of the child */
    bool exclusive;         /* some block is written in part */
    RangeHolder holder;
    struct iovec *slice;    /* room for req->niov */
    char *bounce;           /* or NULL */
} NodeJob;

static void child_cb(BlockRequest *child, void *opaque, int ret)
{
    NodeJob *job = opaque;

    job->ret = ret;
    coroutine_enter(job->co);
}

/* Sends job->child down, whose op, range and buffers are set. */
static int coroutine_fn job_run(NodeJob *job)
{
    BlockRequest *child = &job->child;

    child->flags = job->req->flags;
    child->channel = job->req->channel;
    child->ctx = job->req->ctx;
    child->start_ns = job->req->start_ns;
    child->engine.stats = job->req->engine.stats;
    block_request_push(child, child_cb, job);
    job->bs->drv->submit(job->bs, child);
    coroutine_yield();
    return job->ret;
}

/* Between the bounce buffer at @buf and the medium. */
static int coroutine_fn job_transfer(NodeJob *job, BlockOp op, int64_t offset,
                                     char *buf, int64_t bytes)
{
    struct iovec iov = { .iov_base = buf, .iov_len = bytes };

    job->child.op = op;
    job->child.offset = offset;
    job->child.bytes = bytes;
    job->child.iov = &iov;
    job->child.niov = 1;
    return job_run(job);
}

static bool job_need_bounce(NodeJob *job)
{
    const BlockLimits *limits = &job->bs->limits;
    size_t alignment = MAX(limits->memory_alignment,
                           MAX(limits->request_alignment, sizeof(void *)));
    int64_t cover = align_up(job->req->offset + job->req->bytes,
                             limits->request_alignment) -
                    align_down(job->req->offset, limits->request_alignment);

    return job->bounce ||
           posix_memalign((void **)&job->bounce, alignment,
                          MIN(cover, MAX(BOUNCE_MAX,
                                         2 * limits->request_alignment))) == 0;
}

/* Sends [done, done + bytes) of the request down in the caller's buffers if
 * that is possible; else returns 1. */
static int coroutine_fn job_pass(NodeJob *job, int64_t done, int64_t bytes)
{
    BlockRequest *child = &job->child;

    child->op = job->req->op;
    child->offset = job->req->offset + done;
    child->bytes = bytes;
    child->iov = job->slice;
    child->niov = iov_slice(job->slice, job->req->iov, job->req->niov, done,
                            bytes);
    return node_request_fits(job->bs, child) ? job_run(job) : 1;
}

static int coroutine_fn job_bounce_read(NodeJob *job, int64_t done,
                                        int64_t bytes)
{
    uint32_t alignment = job->bs->limits.request_alignment;
    int64_t offset = job->req->offset + done;
    int64_t start = align_down(offset, alignment);
    int64_t end = align_up(offset + bytes, alignment);
    int ret = job_transfer(job, BLOCK_READ, start, job->bounce, end - start);

    if (ret == 0) {
        iov_from_buf(job->req->iov, job->req->niov, done,
                     job->bounce + (offset - start), bytes);
    }
    return ret;
}

#define EDGE_HEAD 0x1
#define EDGE_TAIL 0x2

static void coroutine_fn edge_event(NodeJob *job, unsigned edges,
                                    BlkdebugEvent head, BlkdebugEvent tail)
{
    if (edges & EDGE_HEAD) {
        bdrv_co_debug_event(job->bs, head);
    }
    if (edges & EDGE_TAIL) {
        bdrv_co_debug_event(job->bs, tail);
    }
}

/* One block, in which the request begins (HEAD), ends (TAIL), or both. */
static int coroutine_fn job_read_edge(NodeJob *job, unsigned edges,
                                      int64_t start, char *buf)
{
    int ret;

    edge_event(job, edges, BLKDBG_PWRITEV_RMW_HEAD, BLKDBG_PWRITEV_RMW_TAIL);
    ret = job_transfer(job, BLOCK_READ, start, buf,
                       job->bs->limits.request_alignment);
    edge_event(job, edges, BLKDBG_PWRITEV_RMW_AFTER_HEAD,
               BLKDBG_PWRITEV_RMW_AFTER_TAIL);
    return ret;
}

/* Reads what the request leaves of the first and of the last block. */
static int coroutine_fn job_read_edges(NodeJob *job, int64_t offset,
                                       int64_t bytes)
{
    uint32_t alignment = job->bs->limits.request_alignment;
    int64_t start = align_down(offset, alignment);
    int64_t end = align_up(offset + bytes, alignment);
    int64_t last = end - alignment;
    unsigned head = start < offset ? EDGE_HEAD : 0;
    unsigned tail = offset + bytes < end ? EDGE_TAIL : 0;
    int ret = 0;

    if (start == last && (head | tail)) {
        return job_read_edge(job, head | tail, start, job->bounce);
    }
    if (head) {
        ret = job_read_edge(job, head, start, job->bounce);
    }
    if (ret == 0 && tail) {
        ret = job_read_edge(job, tail, last, job->bounce + (last - start));
    }
    return ret;
}

/* Writes the request's data, or zeroes if that is what it is for. */
static int coroutine_fn job_bounce_write(NodeJob *job, int64_t done,
                                         int64_t bytes)
{
    uint32_t alignment = job->bs->limits.request_alignment;
    int64_t offset = job->req->offset + done;
    int64_t start = align_down(offset, alignment);
    int64_t end = align_up(offset + bytes, alignment);
    char *data = job->bounce + (offset - start);
    int ret = job_read_edges(job, offset, bytes);

    if (ret < 0) {
        return ret;
    }
    if (job->req->op == BLOCK_WRITE) {
        iov_to_buf(job->req->iov, job->req->niov, done, data, bytes);
    } else {
        memset(data, 0, bytes);
    }
    return job_transfer(job, BLOCK_WRITE, start, job->bounce, end - start);
}

/* Up to the end of a block, so that no block is written twice. */
static int64_t bounce_bytes(NodeJob *job, int64_t done)
{
    const BlockLimits *limits = &job->bs->limits;
    int64_t most = MAX(MIN(BOUNCE_MAX, limits->max_transfer),
                       limits->request_alignment);
    int64_t offset = job->req->offset + done;
    int64_t end = align_down(offset, limits->request_alignment) + most;

    return MIN(job->req->bytes - done, end - offset);
}

static int coroutine_fn job_read_write(NodeJob *job)
{
    int64_t done = 0, bytes = 0;

    for (; done < job->req->bytes; done += bytes) {
        int ret;

        bytes = MIN(job->req->bytes - done, job->bs->limits.max_transfer);
        ret = job_pass(job, done, bytes);
        if (ret > 0) {
            if (!job_need_bounce(job)) {
                return -ENOMEM;
            }
            bytes = bounce_bytes(job, done);
            ret = job->req->op == BLOCK_READ
                      ? job_bounce_read(job, done, bytes)
                      : job_bounce_write(job, done, bytes);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* The part of the zeroes from @from to @to, which ends in two blocks. */
static int coroutine_fn job_zero_edge(NodeJob *job, int64_t from, int64_t to)
{
    if (from >= to) {
        return 0;
    }
    if (!job_need_bounce(job)) {
        return -ENOMEM;
    }
    return job_bounce_write(job, from - job->req->offset, to - from);
}

static int coroutine_fn job_write_zeroes(NodeJob *job)
{
    uint32_t alignment = job->bs->limits.request_alignment;
    int64_t start = job->req->offset;
    int64_t end = start + job->req->bytes;
    int64_t first = align_up(start, alignment);
    int64_t last = align_down(end, alignment);
    int ret;

    if (first >= last) {
        return job_zero_edge(job, start, end);
    }
    ret = job_zero_edge(job, start, first);
    if (ret == 0) {
        job->child.op = BLOCK_WRITE_ZEROES;
        job->child.offset = first;
        job->child.bytes = last - first;
        ret = job_run(job);
    }
    return ret < 0 ? ret : job_zero_edge(job, last, end);
}

static void job_granted(void *opaque)
{
    NodeJob *job = opaque;

    coroutine_enter(job->co);
}

static void coroutine_fn job_lock(NodeJob *job)
{
    uint32_t alignment = job->bs->limits.request_alignment;
    RangeHolder *holder = &job->holder;

    holder->start = align_down(job->req->offset, alignment);
    holder->end = align_up(job->req->offset + job->req->bytes, alignment);
    holder->exclusive = job->exclusive;
    holder->ctx = job->req->ctx;
    holder->granted = job_granted;
    holder->opaque = job;
    if (!range_lock_acquire(job->bs->range_lock, holder)) {
        coroutine_yield();
    }
}

/* It may get here without having waited, inside of submit: hence "later". */
static void coroutine_fn job_entry(void *opaque)
{
    NodeJob *job = opaque;
    BlockRequest *req = job->req;
    bool lock = req->op != BLOCK_READ && job->bs->range_lock;
    int ret;

    if (lock) {
        job_lock(job);
    }
    ret = req->op == BLOCK_WRITE_ZEROES ? job_write_zeroes(job)
                                        : job_read_write(job);
    if (lock) {
        range_lock_release(job->bs->range_lock, &job->holder);
    }
    free(job->bounce);
    g_free(job->slice);
    g_free(job);
    block_request_complete_later(req, ret);
}

void node_align_submit(BlockDriverState *bs, BlockRequest *req)
{
    uint32_t alignment = bs->limits.request_alignment;
    bool partial = (req->offset | req->bytes) & (alignment - 1);
    NodeJob *job;

    if (partial && req->op != BLOCK_READ && !bs->range_lock) {
        block_request_complete_later(req, -EINVAL);
        return;
    }
    job = g_new0(NodeJob, 1);
    job->bs = bs;
    job->req = req;
    job->exclusive = partial;
    job->slice = g_new(struct iovec, MAX(req->niov, 1));
    block_request_init(&job->child);
    job->co = coroutine_new(job_entry, job);
    coroutine_enter(job->co);
}
