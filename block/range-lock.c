/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serialises overlapping writes of one node across threads. Used by node.c
 * for devices whose blocks are smaller than what the file can write.
 *
 * How it works: holders and waiters are in one list in order of arrival. A
 * newcomer looks back from the end for the first that it conflicts with and
 * waits for that one; when that one leaves, it looks again from its own place
 * for one that is still there. So each is woken by few others and nobody is
 * overtaken by a conflicting newcomer.
 *
 *     A [0,4k) rmw      held
 *     B [0,4k) rmw      waits for A
 *     C [4k,8k) whole   held
 *     D [0,8k) rmw      waits for C; when C leaves, for B
 *
 * Whole-block writes do not conflict with each other, so as long as there is
 * no read-modify-write nothing is searched.
 */
#include "range-lock.h"

#include <pthread.h>

struct RangeLock {
    pthread_mutex_t mutex; /* one that TSan knows */
    RangeHolder *first, *last; /* GUARDED_BY mutex, like all below */
    unsigned exclusive;        /* how many in the list are */
};

RangeLock *range_lock_new(void)
{
    RangeLock *lock = g_new0(RangeLock, 1);

    pthread_mutex_init(&lock->mutex, NULL);
    return lock;
}

void range_lock_free(RangeLock *lock)
{
    if (!lock) {
        return;
    }
    g_assert(!lock->first);
    pthread_mutex_destroy(&lock->mutex);
    g_free(lock);
}

static bool conflicts(const RangeHolder *a, const RangeHolder *b)
{
    return (a->exclusive || b->exclusive) && a->start < b->end &&
           b->start < a->end;
}

/* Puts @holder behind the last earlier one it conflicts with. Returns false
 * when there is none. */
static bool wait_for_earlier(RangeLock *lock, RangeHolder *holder)
{
    RangeHolder *other;

    if (lock->exclusive == 0) {
        return false;
    }
    for (other = holder->prev; other; other = other->prev) {
        if (conflicts(holder, other)) {
            holder->next_waiter = other->waiters;
            other->waiters = holder;
            return true;
        }
    }
    return false;
}

bool range_lock_acquire(RangeLock *lock, RangeHolder *holder)
{
    bool waits;

    holder->waiters = NULL;
    holder->next = NULL;
    pthread_mutex_lock(&lock->mutex);
    holder->prev = lock->last;
    *(lock->last ? &lock->last->next : &lock->first) = holder;
    lock->last = holder;
    lock->exclusive += holder->exclusive;
    waits = wait_for_earlier(lock, holder);
    pthread_mutex_unlock(&lock->mutex);
    return !waits;
}

static void unlink_holder(RangeLock *lock, RangeHolder *holder)
{
    *(holder->prev ? &holder->prev->next : &lock->first) = holder->next;
    *(holder->next ? &holder->next->prev : &lock->last) = holder->prev;
    lock->exclusive -= holder->exclusive;
}

/*
 * A holder that was granted may leave and be freed in its own thread as soon
 * as its bottom half is scheduled: nothing of it is touched after that.
 */
void range_lock_release(RangeLock *lock, RangeHolder *holder)
{
    RangeHolder *waiter, *next;

    pthread_mutex_lock(&lock->mutex);
    unlink_holder(lock, holder);
    for (waiter = holder->waiters; waiter; waiter = next) {
        next = waiter->next_waiter;
        if (!wait_for_earlier(lock, waiter)) {
            aio_bh_once(waiter->ctx, waiter->granted, waiter->opaque);
        }
    }
    pthread_mutex_unlock(&lock->mutex);
}
