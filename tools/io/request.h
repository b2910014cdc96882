/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to the open image: made in the control thread, waited for or
 * reported in the main thread. Context: main
 */
#ifndef TOOLS_IO_REQUEST_H
#define TOOLS_IO_REQUEST_H

#include "io.h"

#include "block/block-co.h"

typedef struct IoResult {
    int ret;            /* 0 or a negative errno */
    int64_t elapsed_ns;
} IoResult;

/* Runs @fn as a coroutine of the control thread; shows meanwhile what else
 * completes. */
void io_run_co(CoroutineFn *fn, void *opaque);

/* Sends a request and waits for it. */
IoResult io_request(Io *io, const BlockIo *request);

/*
 * Sends a request and returns; @done is called in the main thread when a
 * command waits and the request has completed. What the request points to
 * stays the caller's until then.
 */
typedef void IoDoneFn(Io *io, void *opaque, const IoResult *result);
void io_request_start(Io *io, const BlockIo *request, IoDoneFn *done,
                      void *opaque);

/* Lets requests that were told to go on do so, up to where they have to wait
 * for something else, and shows what they say of it. */
void io_request_settle(void);

/* Waits for all requests that were started. */
void io_request_wait_all(Io *io);

#endif
