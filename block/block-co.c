/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes a request of a call and waits for it in a coroutine; and has a
 * coroutine work on a driver's request.
 *
 * Called by format drivers and by the tools; hands the request to node.c or
 * to block-backend.c. The request lives on the coroutine's stack: it is back
 * before the call returns.
 */
#include "block/block-co.h"

#include "block/driver.h"
#include "block/plug.h"

/* Of a call for many, so many requests are in flight. */
#define SIDE_BY_SIDE 64

typedef struct CoRequest {
    BlockRequest req;
    Coroutine *co;
    int ret;
} CoRequest;

static void co_request_cb(BlockRequest *req, void *opaque, int ret)
{
    CoRequest *call = opaque;

    call->ret = ret;
    coroutine_enter(call->co);
}

static void request_init(BlockRequest *req, const BlockIo *io)
{
    block_request_init(req);
    req->op = io->op;
    req->flags = io->flags;
    req->offset = io->offset;
    req->bytes = io->bytes;
    req->iov = io->iov;
    req->niov = io->niov;
}

static void co_request_init(CoRequest *call, const BlockIo *io)
{
    request_init(&call->req, io);
    call->co = coroutine_self();
    block_request_push(&call->req, co_request_cb, call);
}

/* What a device would set, and blk_submit(). */
static void address_to_node(BlockRequest *req, BlockDriverState *bs)
{
    req->ctx = aio_context_current();
    req->channel = NULL;
    req->start_ns = 0;
    req->engine.stats = &bs->stats;
}

int coroutine_fn bdrv_co_io(BlockDriverState *bs, const BlockIo *io)
{
    CoRequest call;

    if (io->bytes == 0 && io->op != BLOCK_FLUSH) {
        return 0;
    }
    co_request_init(&call, io);
    address_to_node(&call.req, bs);
    bdrv_submit(bs, &call.req);
    coroutine_yield();
    return call.ret;
}

/* --- several --- */

typedef struct CoGroup {
    Coroutine *co;
    unsigned pending;
} CoGroup;

typedef struct CoMember {
    BlockRequest req;
    CoGroup *group;
    int ret;
} CoMember;

static void member_cb(BlockRequest *req, void *opaque, int ret)
{
    CoMember *member = opaque;

    member->ret = ret;
    if (--member->group->pending == 0) {
        coroutine_enter(member->group->co);
    }
}

static int coroutine_fn io_group(BlockDriverState *bs, CoMember *members,
                                 const BlockIo *ios, unsigned count)
{
    CoGroup group = { coroutine_self(), count };
    int ret = 0;

    blk_io_plug(aio_context_current());
    for (unsigned i = 0; i < count; i++) {
        members[i].group = &group;
        request_init(&members[i].req, &ios[i]);
        address_to_node(&members[i].req, bs);
        block_request_push(&members[i].req, member_cb, &members[i]);
        bdrv_submit(bs, &members[i].req);
    }
    blk_io_unplug(aio_context_current());
    coroutine_yield();
    for (unsigned i = 0; i < count && ret == 0; i++) {
        ret = members[i].ret;
    }
    return ret;
}

int coroutine_fn bdrv_co_io_all(BlockDriverState *bs, const BlockIo *ios,
                                unsigned count)
{
    g_autofree CoMember *members = NULL;
    int ret = 0;

    if (count == 1) {
        return bdrv_co_io(bs, ios);
    }
    members = g_new0(CoMember, MIN(count, SIDE_BY_SIDE));
    for (unsigned i = 0; i < count && ret == 0; i += SIDE_BY_SIDE) {
        ret = io_group(bs, members, &ios[i], MIN(count - i, SIDE_BY_SIDE));
    }
    return ret;
}

int coroutine_fn blk_co_io(BlkChannel *channel, const BlockIo *io)
{
    CoRequest call;

    co_request_init(&call, io);
    blk_submit(channel, &call.req);
    coroutine_yield();
    return call.ret;
}

/* Either is told by which of the two is set. */
typedef struct CoTarget {
    BlockDriverState *bs;
    BlkChannel *channel;
} CoTarget;

static int coroutine_fn co_io(CoTarget to, const BlockIo *io)
{
    return to.bs ? bdrv_co_io(to.bs, io) : blk_co_io(to.channel, io);
}

static int coroutine_fn co_transfer(CoTarget to, BlockIo io, const void *buf)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = io.bytes };

    io.iov = &iov;
    io.niov = 1;
    return co_io(to, &io);
}

static int coroutine_fn co_range(CoTarget to, BlockOp op, int64_t offset,
                                 int64_t bytes, unsigned flags)
{
    return co_io(to, &(BlockIo){ .op = op, .offset = offset, .bytes = bytes,
                                 .flags = flags });
}

static BlockIo transfer(BlockOp op, int64_t offset, int64_t bytes,
                        unsigned flags)
{
    return (BlockIo){ .op = op, .offset = offset, .bytes = bytes,
                      .flags = flags };
}

int coroutine_fn bdrv_co_pread(BlockDriverState *bs, int64_t offset,
                               int64_t bytes, void *buf)
{
    return co_transfer((CoTarget){ .bs = bs },
                       transfer(BLOCK_READ, offset, bytes, 0), buf);
}

int coroutine_fn bdrv_co_pwrite(BlockDriverState *bs, int64_t offset,
                                int64_t bytes, const void *buf,
                                unsigned flags)
{
    return co_transfer((CoTarget){ .bs = bs },
                       transfer(BLOCK_WRITE, offset, bytes, flags), buf);
}

int coroutine_fn bdrv_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, unsigned flags)
{
    return co_range((CoTarget){ .bs = bs }, BLOCK_WRITE_ZEROES, offset, bytes,
                    flags);
}

int coroutine_fn bdrv_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes)
{
    return co_range((CoTarget){ .bs = bs }, BLOCK_DISCARD, offset, bytes, 0);
}

int coroutine_fn bdrv_co_flush(BlockDriverState *bs)
{
    return co_range((CoTarget){ .bs = bs }, BLOCK_FLUSH, 0, 0, 0);
}

int coroutine_fn blk_co_pread(BlkChannel *channel, int64_t offset,
                              int64_t bytes, void *buf)
{
    return co_transfer((CoTarget){ .channel = channel },
                       transfer(BLOCK_READ, offset, bytes, 0), buf);
}

int coroutine_fn blk_co_pwrite(BlkChannel *channel, int64_t offset,
                               int64_t bytes, const void *buf,
                               unsigned flags)
{
    return co_transfer((CoTarget){ .channel = channel },
                       transfer(BLOCK_WRITE, offset, bytes, flags), buf);
}

int coroutine_fn blk_co_pwrite_zeroes(BlkChannel *channel, int64_t offset,
                                      int64_t bytes, unsigned flags)
{
    return co_range((CoTarget){ .channel = channel }, BLOCK_WRITE_ZEROES,
                    offset, bytes, flags);
}

int coroutine_fn blk_co_pdiscard(BlkChannel *channel, int64_t offset,
                                 int64_t bytes)
{
    return co_range((CoTarget){ .channel = channel }, BLOCK_DISCARD, offset,
                    bytes, 0);
}

int coroutine_fn blk_co_flush(BlkChannel *channel)
{
    return co_range((CoTarget){ .channel = channel }, BLOCK_FLUSH, 0, 0, 0);
}

/* --- A driver's request --- */

typedef struct CoJob {
    BlockDriverState *bs;
    BlockRequest *req;
    BdrvRequestFn *fn;
} CoJob;

/* It may end without having waited, inside of submit: hence "later". */
static void coroutine_fn job_entry(void *opaque)
{
    CoJob *job = opaque;
    BlockRequest *req = job->req;
    int ret = job->fn(job->bs, req);

    g_free(job);
    block_request_complete_later(req, ret);
}

void bdrv_submit_co(BlockDriverState *bs, BlockRequest *req,
                    BdrvRequestFn *fn)
{
    CoJob *job = g_new(CoJob, 1);

    *job = (CoJob){ bs, req, fn };
    coroutine_enter(coroutine_new(job_entry, job));
}
