/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plugged sections: what is asked for inside one runs once, at its end.
 * Devices open them around a pass over a ring, engines around the reaping of
 * completions; engines and devices ask for their flush or notification.
 *
 * How it works: a context has a depth and a FIFO of calls. While the calls
 * run, the depth stays above zero, so that a call asked for meanwhile, also
 * from a section nested in a call, goes to the end of the same FIFO. Example:
 * a reaping section's calls are [notify guest, submit]; if the submit finds a
 * request to hand to the thread pool, the pool's wake-up becomes the third.
 */
#include "block/plug.h"

typedef struct BlkPlug {
    unsigned depth; /* open sections; 1 while the last one runs its calls */
    BlkPlugCall *head, **tail;
} BlkPlug;

static BlkPlug *plug_new(AioContext *ctx)
{
    BlkPlug *plug = g_new0(BlkPlug, 1);

    plug->tail = &plug->head;
    aio_context_set_slot(ctx, AIO_SLOT_PLUG, plug, g_free);
    return plug;
}

static inline BlkPlug *plug_get(AioContext *ctx)
{
    BlkPlug *plug = aio_context_slot(ctx, AIO_SLOT_PLUG);

    return G_LIKELY(plug) ? plug : plug_new(ctx);
}

static BlkPlugCall *plug_pop(BlkPlug *plug)
{
    BlkPlugCall *call = plug->head;

    if (call) {
        plug->head = call->next;
        if (!plug->head) {
            plug->tail = &plug->head;
        }
        call->next = NULL;
        call->queued = false;
    }
    return call;
}

void blk_io_plug(AioContext *ctx)
{
    plug_get(ctx)->depth++;
}

void blk_io_unplug(AioContext *ctx)
{
    BlkPlug *plug = plug_get(ctx);
    BlkPlugCall *call;

    g_assert(plug->depth > 0);
    if (plug->depth == 1) {
        while ((call = plug_pop(plug))) {
            call->fn(call->opaque);
        }
    }
    plug->depth--;
}

void blk_io_plug_call(AioContext *ctx, BlkPlugCall *call)
{
    BlkPlug *plug = plug_get(ctx);

    if (!plug->depth) {
        call->fn(call->opaque);
        return;
    }
    if (!call->queued) {
        call->queued = true;
        call->next = NULL;
        *plug->tail = call;
        plug->tail = &call->next;
    }
}

void blk_io_plug_cancel(AioContext *ctx, BlkPlugCall *call)
{
    BlkPlug *plug = plug_get(ctx);
    BlkPlugCall **link = &plug->head;

    if (!call->queued) {
        return;
    }
    while (*link != call) {
        link = &(*link)->next;
    }
    *link = call->next;
    if (!call->next) {
        plug->tail = link;
    }
    call->next = NULL;
    call->queued = false;
}
