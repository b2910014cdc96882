/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stack of completion frames in a request, and completion of what was
 * already decided when it was submitted.
 *
 * Used by every layer of block/. The one rule: a completion is called from
 * the loop, so that nobody finds himself called back inside his own submit.
 */
#include "block/request.h"

#include "block/plug.h"

/* Per context: requests that wait for the next round, in order. */
typedef struct CompletionList {
    AioContext *ctx;
    AioBH *bh;
    EngineRequest *head;
    EngineRequest **tail;
} CompletionList;

void block_request_init(BlockRequest *req)
{
    req->depth = 0;
    req->flags = 0;
    req->protocol = NULL;
}

void block_request_push(BlockRequest *req, BlockCompletionFunc *cb,
                        void *opaque)
{
    g_assert(req->depth < BLOCK_REQUEST_MAX_FRAMES);
    req->frames[req->depth].cb = cb;
    req->frames[req->depth].opaque = opaque;
    req->depth++;
}

void block_request_complete(BlockRequest *req, int ret)
{
    BlockFrame *frame;

    g_assert(req->depth > 0 && ret <= 0);
    frame = &req->frames[--req->depth];
    frame->cb(req, frame->opaque, ret);
}

/* What is added while this runs waits for the next round: a device that
 * resubmits from its completion cannot keep the loop here. */
static void completions_bh(void *opaque)
{
    CompletionList *list = opaque;
    EngineRequest *engine_req = list->head;

    list->head = NULL;
    list->tail = &list->head;
    blk_io_plug(list->ctx);
    while (engine_req) {
        EngineRequest *next = engine_req->next;

        block_request_complete(block_request_of_engine(engine_req),
                               engine_req->work.ret);
        engine_req = next;
    }
    blk_io_unplug(list->ctx);
}

static void completions_free(void *opaque)
{
    CompletionList *list = opaque;

    g_assert(!list->head);
    aio_bh_free(list->bh);
    g_free(list);
}

static CompletionList *completions_new(AioContext *ctx)
{
    CompletionList *list = g_new0(CompletionList, 1);

    list->ctx = ctx;
    list->bh = aio_bh_new(ctx, completions_bh, list);
    list->tail = &list->head;
    aio_context_set_slot(ctx, AIO_SLOT_COMPLETIONS, list, completions_free);
    return list;
}

/* No engine has the request: its link and the pool's result are free. */
void block_request_complete_later(BlockRequest *req, int ret)
{
    CompletionList *list = aio_context_slot(req->ctx, AIO_SLOT_COMPLETIONS);
    EngineRequest *engine_req = &req->engine;

    if (!list) {
        list = completions_new(req->ctx);
    }
    engine_req->work.ret = ret;
    engine_req->next = NULL;
    if (!list->head) {
        aio_bh_schedule(list->bh);
    }
    *list->tail = engine_req;
    list->tail = &engine_req->next;
}
