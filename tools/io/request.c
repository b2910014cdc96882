/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends requests to the image from coroutines of the control thread.
 *
 * Of a request that is not waited for, the first part, up to where it has to
 * wait for something itself, is done before the command returns: what blkdebug
 * says of it comes before the next command's output, as with QEMU.
 */
#include "request.h"

#include <errno.h>

#include "block/control.h"
#include "events.h"
#include "image.h"

/* --- anything --- */

typedef struct Run {
    CoroutineFn *fn;
    void *opaque;
    bool done; /* main */
} Run;

static void run_done(void *opaque)
{
    Run *run = opaque;

    run->done = true;
}

static void run_done_bh(void *opaque)
{
    events_push(run_done, opaque);
}

/* The back end that completed the last request is still at work above us on
 * the stack: the main thread may take it down only after that. */
static void coroutine_fn run_entry(void *opaque)
{
    Run *run = opaque;

    run->fn(run->opaque);
    aio_bh_once(aio_context_current(), run_done_bh, run);
}

static void run_bh(void *opaque)
{
    coroutine_enter(coroutine_new(run_entry, opaque));
}

void io_run_co(CoroutineFn *fn, void *opaque)
{
    Run run = { .fn = fn, .opaque = opaque };

    aio_bh_once(control_context(), run_bh, &run);
    events_wait(&run.done);
}

/* --- one request --- */

typedef struct Call {
    IoImage *image;
    BlockIo request;
    IoResult result;
    /* of one that is not waited for */
    Io *io;
    IoDoneFn *done;
    void *opaque;
    GPtrArray *lines; /* that it caused before it had to wait */
} Call;

static void coroutine_fn call_co(void *opaque)
{
    Call *call = opaque;
    int64_t start_ns = aio_clock_ns();

    call->result.ret = io_image_co_request(call->image, &call->request);
    /* 0 would make rates infinite */
    call->result.elapsed_ns = MAX(aio_clock_ns() - start_ns, 1);
}

IoResult io_request(Io *io, const BlockIo *request)
{
    Call call = { .image = io->image, .request = *request };

    io_run_co(call_co, &call);
    return call.result;
}

static void call_done(void *opaque)
{
    Call *call = opaque;

    call->io->in_flight--;
    call->done(call->io, call->opaque, &call->result);
    g_free(call);
}

static void call_done_bh(void *opaque)
{
    events_push(call_done, opaque);
}

static void coroutine_fn call_entry(void *opaque)
{
    call_co(opaque);
    aio_bh_once(aio_context_current(), call_done_bh, opaque);
}

static void start_bh(void *opaque)
{
    Call *call = opaque;

    coroutine_enter(coroutine_new(call_entry, call));
    call->lines = events_take_lines();
}

void io_request_start(Io *io, const BlockIo *request, IoDoneFn *done,
                      void *opaque)
{
    Call *call = g_new0(Call, 1);

    call->image = io->image;
    call->request = *request;
    call->io = io;
    call->done = done;
    call->opaque = opaque;
    io->in_flight++;
    aio_bh_run_sync(control_context(), start_bh, call);
    events_show_lines(call->lines);
}

static void settle_bh(void *opaque)
{
    GPtrArray **lines = opaque;

    *lines = events_take_lines();
}

void io_request_settle(void)
{
    GPtrArray *lines;

    aio_bh_run_sync(control_context(), settle_bh, &lines);
    events_show_lines(lines);
}

void io_request_wait_all(Io *io)
{
    while (io->in_flight > 0) {
        events_wait_one();
    }
}
