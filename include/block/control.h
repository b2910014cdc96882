/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the main thread gets I/O done that it has to wait for: opening an
 * image that has metadata, creating, checking, snapshots, and all that the
 * image tools do.
 *
 * The main thread runs no loop while it waits. A thread of its own, started
 * when first needed, does the work in coroutines.
 */
#ifndef BLOCK_CONTROL_H
#define BLOCK_CONTROL_H

#include "block/coroutine.h"

typedef struct BlockDriverState BlockDriverState;

/* The control thread's context. Context: main */
AioContext *control_context(void);

/* Runs @fn as a coroutine of that thread and waits until it has returned.
 * Context: main */
void control_run_co(CoroutineFn *fn, void *opaque);

/*
 * The same where @bs is at home: in the thread that owns it if it serves a
 * device now, else in the control thread, attached for the time being.
 * Context: main
 */
void bdrv_run_co(BlockDriverState *bs, CoroutineFn *fn, void *opaque);

/* Ends the thread, if there is one; it may start again. Context: main */
void control_stop(void);

#endif
