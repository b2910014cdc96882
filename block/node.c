/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens to every request before its driver sees it: zeroes are
 * detected, unwanted discards dropped, what does not fit goes the slow way.
 *
 * Called by block-backend.c and by format drivers for their children; calls
 * the driver. A request that fits passes without lock or allocation.
 */
#include "block/driver.h"

#include <errno.h>
#include <limits.h>

#include "block/debug.h"
#include "block/iov.h"
#include "node-align.h"
#include "node-home.h"
#include "range-lock.h"

/* Addresses have an alignment of their own; each element's length needs that
 * of the medium, as if it were a request. */
static bool memory_fits(const BlockLimits *limits, const struct iovec *iov,
                        unsigned niov)
{
    uintptr_t bases = 0;
    size_t lengths = 0;

    for (unsigned i = 0; i < niov; i++) {
        bases |= (uintptr_t)iov[i].iov_base;
        lengths |= iov[i].iov_len;
    }
    return ((bases & (limits->memory_alignment - 1)) |
            (lengths & (limits->request_alignment - 1))) == 0;
}

bool node_request_fits(const BlockDriverState *bs, const BlockRequest *req)
{
    const BlockLimits *limits = &bs->limits;

    if ((req->offset | req->bytes) & (limits->request_alignment - 1)) {
        return false;
    }
    if (req->op != BLOCK_READ && req->op != BLOCK_WRITE) {
        return true;
    }
    if (req->bytes > limits->max_transfer || req->niov > limits->max_iov) {
        return false;
    }
    return (limits->memory_alignment | limits->request_alignment) == 1 ||
           memory_fits(limits, req->iov, req->niov);
}

/* A write of whole blocks while read-modify-write may go on beside it. */
typedef struct TrackedWrite {
    BlockDriverState *bs;
    BlockRequest *req;
    RangeHolder holder;
} TrackedWrite;

static void tracked_cb(BlockRequest *req, void *opaque, int ret)
{
    TrackedWrite *write = opaque;

    range_lock_release(write->bs->range_lock, &write->holder);
    g_free(write);
    block_request_complete(req, ret);
}

static void tracked_granted(void *opaque)
{
    TrackedWrite *write = opaque;

    write->bs->drv->submit(write->bs, write->req);
}

static void submit_tracked(BlockDriverState *bs, BlockRequest *req)
{
    TrackedWrite *write = g_new0(TrackedWrite, 1);

    write->bs = bs;
    write->req = req;
    write->holder.start = req->offset;
    write->holder.end = req->offset + req->bytes;
    write->holder.ctx = req->ctx;
    write->holder.granted = tracked_granted;
    write->holder.opaque = write;
    block_request_push(req, tracked_cb, write);
    if (range_lock_acquire(bs->range_lock, &write->holder)) {
        bs->drv->submit(bs, req);
    }
}

static void submit_modifying(BlockDriverState *bs, BlockRequest *req)
{
    if (G_UNLIKELY(!node_request_fits(bs, req))) {
        node_align_submit(bs, req);
    } else if (G_UNLIKELY(bs->range_lock)) {
        submit_tracked(bs, req);
    } else {
        bs->drv->submit(bs, req);
    }
}

static void submit_write(BlockDriverState *bs, BlockRequest *req)
{
    if (G_UNLIKELY(bs->detect_zeroes != DETECT_ZEROES_OFF) &&
        iov_is_zero(req->iov, req->niov)) {
        req->op = BLOCK_WRITE_ZEROES;
        if (bs->detect_zeroes == DETECT_ZEROES_UNMAP) {
            req->flags |= BLOCK_REQ_MAY_UNMAP;
        }
    }
    submit_modifying(bs, req);
}

static void submit_write_zeroes(BlockDriverState *bs, BlockRequest *req)
{
    if (!bs->discard_unmap) {
        req->flags &= ~BLOCK_REQ_MAY_UNMAP;
    }
    submit_modifying(bs, req);
}

/* Advisory: of a discard that is not aligned the inner part is enough. */
static void submit_discard(BlockDriverState *bs, BlockRequest *req)
{
    uint32_t alignment = bs->limits.request_alignment;
    int64_t start = align_up(req->offset, alignment);
    int64_t end = align_down(req->offset + req->bytes, alignment);

    if (!bs->discard_unmap || start >= end) {
        block_request_complete_later(req, 0);
        return;
    }
    req->offset = start;
    req->bytes = end - start;
    submit_modifying(bs, req);
}

void bdrv_submit(BlockDriverState *bs, BlockRequest *req)
{
    if (G_UNLIKELY(bs->home && bs->home != req->ctx)) {
        node_home_forward(bs, req);
        return;
    }
    switch (req->op) {
    case BLOCK_READ:
        if (G_LIKELY(node_request_fits(bs, req))) {
            bs->drv->submit(bs, req);
        } else {
            node_align_submit(bs, req);
        }
        break;
    case BLOCK_WRITE:
        submit_write(bs, req);
        break;
    case BLOCK_FLUSH:
        if (bs->file) {
            bdrv_debug_event(bs->file, BLKDBG_FLUSH_TO_OS);
        }
        bs->drv->submit(bs, req);
        break;
    case BLOCK_DISCARD:
        submit_discard(bs, req);
        break;
    case BLOCK_WRITE_ZEROES:
        submit_write_zeroes(bs, req);
        break;
    default:
        g_assert_not_reached();
    }
}

void bdrv_finish_limits(BlockDriverState *bs)
{
    BlockLimits *limits = &bs->limits;
    int64_t max = ENGINE_MAX_BYTES;

    if (limits->max_transfer > 0 && limits->max_transfer < max) {
        max = limits->max_transfer;
    }
    limits->max_transfer = MAX(align_down(max, limits->request_alignment),
                               limits->request_alignment);
    if (limits->max_iov == 0 || limits->max_iov > IOV_MAX) {
        limits->max_iov = IOV_MAX;
    }
}

bool bdrv_set_block_size(BlockDriverState *bs, uint32_t block_size,
                         GError **error)
{
    if (block_size < bs->limits.request_alignment && !bs->range_lock) {
        if (bs->attached) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "node '%s' is in use with blocks of %u bytes or more "
                        "and cannot get a user with blocks of %u as well",
                        bs->node_name, bs->limits.request_alignment,
                        block_size);
            return false;
        }
        bs->range_lock = range_lock_new();
    }
    for (unsigned i = 0; i < bs->children->len; i++) {
        BlockDriverState *child = bs->children->pdata[i];

        if (!child->read_only &&
            !bdrv_set_block_size(child, block_size, error)) {
            return false;
        }
    }
    return true;
}

void bdrv_add_outlived(BlockDriverState *bs, int users)
{
    __atomic_store_n(&bs->outlived, bs->outlived + users, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < bs->children->len; i++) {
        bdrv_add_outlived(bs->children->pdata[i], users);
    }
}

/* A bottom half, and so before any that detaches the node from its home. */
static void cancel_waiting_bh(void *opaque)
{
    BlockDriverState *bs = opaque;

    bdrv_cancel_waiting(bs, bs->home);
}

void bdrv_cancel_waiting(BlockDriverState *bs, AioContext *ctx)
{
    if (bs->home && bs->home != ctx) {
        aio_bh_once(bs->home, cancel_waiting_bh, bs);
        return;
    }
    if (bs->drv->cancel_waiting) {
        bs->drv->cancel_waiting(bs);
    }
    for (unsigned i = 0; i < bs->children->len; i++) {
        bdrv_cancel_waiting(bs->children->pdata[i], ctx);
    }
}

void bdrv_attach_context(BlockDriverState *bs, AioContext *ctx)
{
    if (bs->drv->one_home) {
        node_home_attach(bs, ctx);
        return;
    }
    for (unsigned i = 0; i < bs->children->len; i++) {
        bdrv_attach_context(bs->children->pdata[i], ctx);
    }
    if (bs->drv->attach_context) {
        bs->drv->attach_context(bs, ctx);
    }
    bs->attached++;
}

void bdrv_detach_context(BlockDriverState *bs, AioContext *ctx)
{
    if (bs->drv->one_home) {
        node_home_detach(bs, ctx);
        return;
    }
    bs->attached--;
    if (bs->drv->detach_context) {
        bs->drv->detach_context(bs, ctx);
    }
    for (unsigned i = bs->children->len; i > 0; i--) {
        bdrv_detach_context(bs->children->pdata[i - 1], ctx);
    }
}
