/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines for slow paths that have to wait in the middle: metadata
 * updates, read-modify-write of unaligned writes. The fast path has none.
 *
 * A coroutine belongs to the thread that created it and never moves.
 */
#ifndef BLOCK_COROUTINE_H
#define BLOCK_COROUTINE_H

#include "block/aio.h"

/* Marks a function that may yield: call it only inside a coroutine. */
#define coroutine_fn

typedef struct Coroutine Coroutine;
typedef void coroutine_fn CoroutineFn(void *opaque);

/* Made, not yet running; frees itself when @fn returns. Context: any */
Coroutine *coroutine_new(CoroutineFn *fn, void *opaque);

/* Runs @co until it yields or ends. May be called from another coroutine.
 * Context: the creating thread */
void coroutine_enter(Coroutine *co);

/* Back to whoever entered; returns at the next coroutine_enter(). */
void coroutine_fn coroutine_yield(void);

/* Lets this thread's loop go round once, so that others get their turn: for
 * work whose length somebody else decides. Context: any, in a coroutine */
void coroutine_fn coroutine_give_way(void);

/* The running coroutine, or NULL outside of any. */
Coroutine *coroutine_self(void);

/* A FIFO of waiting coroutines. Same-thread use only. */
typedef struct CoQueue {
    Coroutine *head, *tail;
} CoQueue;

void co_queue_init(CoQueue *queue);
void coroutine_fn co_queue_wait(CoQueue *queue);
/* Enters the longest waiting one. Returns whether there was any. */
bool co_queue_restart_next(CoQueue *queue);

/* Mutual exclusion between coroutines of one thread; FIFO. */
typedef struct CoMutex {
    bool locked;
    CoQueue waiters;
} CoMutex;

void co_mutex_init(CoMutex *mutex);
void coroutine_fn co_mutex_lock(CoMutex *mutex);
void co_mutex_unlock(CoMutex *mutex);

#endif
