/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drivers with state that all requests share, such as the tables of an image
 * format, live in one thread and need no lock. This brings them the requests
 * of devices whose queues run in several threads.
 *
 * How it works: the first context that is attached is home. A request that
 * comes from another one travels as a child request of ours:
 *
 *     its thread   submit --> forward                    finish --> complete
 *                                \ bottom half          / bottom half
 *     home                        submit --> driver --> done
 *
 * The request stays where it is meanwhile; only its description is read. What a
 * coroutine asks a driver for without a request, what is where and the like,
 * is a coroutine at home that the asking one waits for: it goes the same way.
 *
 * The home goes when the last context is detached, be that the home itself or
 * not: then the main thread sees to it, for no IOThread waits for another.
 */
#include "node-home.h"

typedef struct NodeHop {
    BlockDriverState *bs;
    BlockRequest *req;  /* of the other thread */
    BlockRequest child; /* the same, at home */
    int ret;
} NodeHop;

static void finish_bh(void *opaque)
{
    NodeHop *hop = opaque;
    BlockRequest *req = hop->req;
    int ret = hop->ret;

    g_free(hop);
    block_request_complete(req, ret);
}

static void child_cb(BlockRequest *child, void *opaque, int ret)
{
    NodeHop *hop = opaque;

    hop->ret = ret;
    aio_bh_once(hop->req->ctx, finish_bh, hop);
}

static void submit_bh(void *opaque)
{
    NodeHop *hop = opaque;

    block_request_push(&hop->child, child_cb, hop);
    bdrv_submit(hop->bs, &hop->child);
}

void node_home_forward(BlockDriverState *bs, BlockRequest *req)
{
    NodeHop *hop = g_new0(NodeHop, 1);
    BlockRequest *child = &hop->child;

    hop->bs = bs;
    hop->req = req;
    block_request_init(child);
    child->op = req->op;
    child->flags = req->flags;
    child->offset = req->offset;
    child->bytes = req->bytes;
    child->iov = req->iov;
    child->niov = req->niov;
    child->channel = req->channel;
    child->ctx = bs->home;
    child->start_ns = req->start_ns;
    child->engine.stats = &bs->stats;
    aio_bh_once(bs->home, submit_bh, hop);
}

/* --- what is no request --- */

bool node_home_is_elsewhere(const BlockDriverState *bs)
{
    return bs->home && bs->home != aio_context_current();
}

typedef struct NodeVisit {
    CoroutineFn *fn;
    void *opaque;
    Coroutine *visitor;
    AioContext *ctx; /* the visitor's */
} NodeVisit;

static void visit_over_bh(void *opaque)
{
    NodeVisit *visit = opaque;

    coroutine_enter(visit->visitor);
}

static void coroutine_fn visit_entry(void *opaque)
{
    NodeVisit *visit = opaque;

    visit->fn(visit->opaque);
    aio_bh_once(visit->ctx, visit_over_bh, visit);
}

static void visit_bh(void *opaque)
{
    coroutine_enter(coroutine_new(visit_entry, opaque));
}

void coroutine_fn node_home_co_run(BlockDriverState *bs, CoroutineFn *fn,
                                   void *opaque)
{
    NodeVisit visit = {
        .fn = fn,
        .opaque = opaque,
        .visitor = coroutine_self(),
        .ctx = aio_context_current(),
    };

    g_assert(visit.visitor && visit.ctx != bs->home);
    aio_bh_once(bs->home, visit_bh, &visit);
    coroutine_yield();
}

/* --- coming and going --- */

void node_home_attach(BlockDriverState *bs, AioContext *ctx)
{
    if (bs->attached++ > 0) {
        return;
    }
    bs->home = ctx;
    for (unsigned i = 0; i < bs->children->len; i++) {
        bdrv_attach_context(bs->children->pdata[i], ctx);
    }
    if (bs->drv->attach_context) {
        bs->drv->attach_context(bs, ctx);
    }
}

/* Nodes that nobody uses any more and whose home is another thread than that
 * of the last user. One thread at a time: main has called it and waits. */
static GSList *leaving;

static void leave_home(void *opaque)
{
    BlockDriverState *bs = opaque;

    if (bs->drv->detach_context) {
        bs->drv->detach_context(bs, bs->home);
    }
    for (unsigned i = bs->children->len; i > 0; i--) {
        bdrv_detach_context(bs->children->pdata[i - 1], bs->home);
    }
    bs->home = NULL;
}

void node_home_detach(BlockDriverState *bs, AioContext *ctx)
{
    if (--bs->attached > 0) {
        return;
    }
    if (bs->home == ctx) {
        leave_home(bs);
    } else {
        leaving = g_slist_prepend(leaving, bs);
    }
}

/* A node that leaves may be the last user of another. */
void bdrv_detach_finish(void)
{
    while (leaving) {
        BlockDriverState *bs = leaving->data;

        leaving = g_slist_delete_link(leaving, leaving);
        aio_bh_run_sync(bs->home, leave_home, bs);
    }
}
