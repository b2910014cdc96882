/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The coroutine as coroutine.c and coroutine-lock.c see it.
 */
#ifndef BLOCK_LOOP_COROUTINE_PRIVATE_H
#define BLOCK_LOOP_COROUTINE_PRIVATE_H

#include <setjmp.h>

#include "block/coroutine.h"
#include "coroutine-sanitizer.h"

typedef struct CoThread CoThread;

/* Lies at the upper end of its own stack. All fields belong to the thread. */
struct Coroutine {
    CoroutineFn *fn;
    void *opaque;
    Coroutine *caller; /* who entered it; NULL: it does not run */
    Coroutine *next;   /* in a CoQueue or in the pool */
    CoThread *thread;  /* the one that created it */
    bool queued;       /* waits in a CoQueue, which alone may enter it */
    bool started;      /* env is valid: it has run before, as itself or as a
                        * former user of the stack */
    sigjmp_buf env;    /* where it goes on */
    CoFiber fiber;
};

#endif
