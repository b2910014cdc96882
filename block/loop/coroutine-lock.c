/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queue and mutex for the coroutines of one thread.
 *
 * Used by image formats around metadata. The rule to know: unlocking hands
 * the mutex to the one that waited longest and enters it at once, so nobody
 * can overtake it; the unlocker goes on when that one yields or ends.
 */
#include "coroutine-private.h"

void co_queue_init(CoQueue *queue)
{
    *queue = (CoQueue){ 0 };
}

void coroutine_fn co_queue_wait(CoQueue *queue)
{
    Coroutine *self = coroutine_self();

    g_assert(self);
    self->next = NULL;
    self->queued = true;
    if (queue->tail) {
        queue->tail->next = self;
    } else {
        queue->head = self;
    }
    queue->tail = self;
    coroutine_yield();
}

bool co_queue_restart_next(CoQueue *queue)
{
    Coroutine *co = queue->head;

    if (!co) {
        return false;
    }
    queue->head = co->next;
    if (!queue->head) {
        queue->tail = NULL;
    }
    co->next = NULL;
    co->queued = false;
    coroutine_enter(co);
    return true;
}

void co_mutex_init(CoMutex *mutex)
{
    mutex->locked = false;
    co_queue_init(&mutex->waiters);
}

void coroutine_fn co_mutex_lock(CoMutex *mutex)
{
    g_assert(coroutine_self());
    if (!mutex->locked) {
        mutex->locked = true;
        return;
    }
    co_queue_wait(&mutex->waiters);
    g_assert(mutex->locked); /* it was handed to us as it was */
}

void co_mutex_unlock(CoMutex *mutex)
{
    g_assert(mutex->locked);
    if (!mutex->waiters.head) {
        mutex->locked = false;
        return;
    }
    co_queue_restart_next(&mutex->waiters);
}
