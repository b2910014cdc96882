/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serialises overlapping writes of one node across threads. Used by node.c
 * for devices whose blocks are smaller than what the file can write.
 *
 * How it works: holders are in a list. A newcomer that conflicts with one of
 * them waits for that one; when that one leaves, those that wait for it look
 * again, in order of arrival. So each is woken by few others.
 *
 *     A [0,4k) rmw      held
 *     B [0,4k) rmw      waits for A
 *     C [0,8k) rmw      waits for A
 *     D [4k,8k) rmw     held: that C wants it, too, is no reason to wait
 *     A leaves          B is held; C waits for D, then for B
 *
 * When one leaves and the next covers all that the leaver did, it is in the way
 * of all the others as well, and gets them as they are: a long queue for one
 * block costs each of them the same as a short one.
 *
 * Nobody waits for a waiter: who overlaps with more must not hold up those who
 * do not overlap with each other, as QEMU has it as well.
 *
 * Whole-block writes do not conflict with each other, so as long as there is
 * no read-modify-write nothing is searched.
 */
#include "range-lock.h"

#include <pthread.h>

struct RangeLock {
    pthread_mutex_t mutex; /* one that TSan knows */
    RangeHolder *first;   /* GUARDED_BY mutex, like all below: who holds */
    unsigned exclusive;   /* how many in the list are */
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

static RangeHolder *find_conflict(RangeLock *lock, const RangeHolder *holder)
{
    RangeHolder *other = NULL;

    if (holder->exclusive || lock->exclusive > 0) {
        for (other = lock->first; other; other = other->next) {
            if (conflicts(holder, other)) {
                break;
            }
        }
    }
    return other;
}

/* Returns false when it has to wait, behind those who wait for the same. */
static bool take(RangeLock *lock, RangeHolder *holder)
{
    RangeHolder *other = find_conflict(lock, holder);

    if (other) {
        holder->next_waiter = NULL;
        *other->waiters_tail = holder;
        other->waiters_tail = &holder->next_waiter;
        return false;
    }
    holder->prev = NULL;
    holder->next = lock->first;
    if (lock->first) {
        lock->first->prev = holder;
    }
    lock->first = holder;
    lock->exclusive += holder->exclusive;
    return true;
}

bool range_lock_acquire(RangeLock *lock, RangeHolder *holder)
{
    bool held;

    holder->waiters = NULL;
    holder->waiters_tail = &holder->waiters;
    pthread_mutex_lock(&lock->mutex);
    held = take(lock, holder);
    pthread_mutex_unlock(&lock->mutex);
    return held;
}

static void unlink_holder(RangeLock *lock, RangeHolder *holder)
{
    *(holder->prev ? &holder->prev->next : &lock->first) = holder->next;
    if (holder->next) {
        holder->next->prev = holder->prev;
    }
    lock->exclusive -= holder->exclusive;
}

/* Whoever conflicts with @holder conflicts with @next. */
static bool succeeds(const RangeHolder *next, const RangeHolder *holder)
{
    return next->exclusive && next->start <= holder->start &&
           next->end >= holder->end;
}

/* Those from @rest on wait for @next instead, which nobody waits for yet. */
static void inherit_waiters(RangeHolder *next, const RangeHolder *holder,
                            RangeHolder *rest)
{
    next->waiters = rest;
    next->waiters_tail = holder->waiters_tail;
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
        if (!take(lock, waiter)) {
            continue;
        }
        if (next && succeeds(waiter, holder)) {
            inherit_waiters(waiter, holder, next);
            next = NULL;
        }
        aio_bh_once(waiter->ctx, waiter->granted, waiter->opaque);
    }
    pthread_mutex_unlock(&lock->mutex);
}
