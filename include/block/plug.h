/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plugged sections: collect work for a context, do it once at the end.
 *
 *     blk_io_plug(ctx);
 *     blk_submit(...);       engine queues, asks for one flush
 *     blk_submit(...);       engine queues, flush is already asked for
 *     blk_io_unplug(ctx);    one io_submit() for both
 *
 * Sections nest; the outermost unplug runs what was asked for. A section
 * never spans a return to the loop, a yield or a drain.
 */
#ifndef BLOCK_PLUG_H
#define BLOCK_PLUG_H

#include "block/aio.h"

/* What to do at the end of a section; embedded in whoever defers. Set fn and
 * opaque once; the rest is private to plug.c. */
typedef struct BlkPlugCall {
    AioFn *fn;
    void *opaque;
    struct BlkPlugCall *next;
    bool queued;
} BlkPlugCall;

void blk_io_plug(AioContext *ctx);   /* Context: home */
void blk_io_unplug(AioContext *ctx); /* Context: home */

/*
 * Runs call->fn at the outermost unplug, once however often asked; at once
 * when no section is open. Calls run in the order they were first asked for;
 * one asked for while they run goes to the end of the same list.
 * Context: home
 */
void blk_io_plug_call(AioContext *ctx, BlkPlugCall *call);

/* Forgets a call asked for, before its owner goes away. Context: home */
void blk_io_plug_cancel(AioContext *ctx, BlkPlugCall *call);

#endif
