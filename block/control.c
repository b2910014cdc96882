/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control thread: runs coroutines for the main thread, which waits.
 *
 * Used by drivers that read metadata when they open, and by the tools. A
 * nested loop in the main thread would do the same and let anything happen
 * in the middle of an open.
 */
#include "block/control.h"

#include <errno.h>
#include <semaphore.h>

#include "block/driver.h"
#include "block/iothread.h"
#include "block/log.h"

static IOThread *thread;

typedef struct ControlCall {
    CoroutineFn *fn;
    void *opaque;
    BlockDriverState *bs; /* attached while it runs, or NULL */
    AioContext *ctx;
    sem_t done;
} ControlCall;

/* A process that cannot start one thread cannot do anything with an image. */
AioContext *control_context(void)
{
    g_autoptr(GError) error = NULL;

    if (!thread) {
        thread = iothread_new("control", NULL, &error);
        if (!thread) {
            log_error("%s", error->message);
            g_error("no thread to work on images with");
        }
    }
    return iothread_context(thread);
}

void control_stop(void)
{
    g_clear_pointer(&thread, iothread_free);
}

static void detach_bh(void *opaque)
{
    ControlCall *call = opaque;

    if (call->bs) {
        bdrv_detach_context(call->bs, call->ctx);
    }
    sem_post(&call->done);
}

/* The engine that completed the last request may still be at work above us on
 * the stack: it is let go of from the loop. */
static void coroutine_fn call_entry(void *opaque)
{
    ControlCall *call = opaque;

    call->fn(call->opaque);
    aio_bh_once(call->ctx, detach_bh, call);
}

static void call_bh(void *opaque)
{
    ControlCall *call = opaque;

    if (call->bs) {
        bdrv_attach_context(call->bs, call->ctx);
    }
    coroutine_enter(coroutine_new(call_entry, call));
}

static void run(ControlCall *call)
{
    sem_init(&call->done, 0, 0);
    aio_bh_once(call->ctx, call_bh, call);
    while (sem_wait(&call->done) < 0) {
        g_assert(errno == EINTR);
    }
    sem_destroy(&call->done);
    bdrv_detach_finish();
}

void control_run_co(CoroutineFn *fn, void *opaque)
{
    run(&(ControlCall){ .fn = fn, .opaque = opaque,
                        .ctx = control_context() });
}

void bdrv_run_co(BlockDriverState *bs, CoroutineFn *fn, void *opaque)
{
    run(&(ControlCall){ .fn = fn, .opaque = opaque, .bs = bs,
                        .ctx = bs->home ? bs->home : control_context() });
}
