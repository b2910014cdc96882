/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks on byte ranges of one node, for writes that have to read and rewrite
 * what lies around them. Private to block/node*.c.
 */
#ifndef BLOCK_RANGE_LOCK_H
#define BLOCK_RANGE_LOCK_H

#include "block/aio.h"

typedef struct RangeLock RangeLock;

/*
 * One holder or waiter. Embedded in its owner, who keeps it from
 * range_lock_acquire() to range_lock_release(). The first six are the
 * owner's to set, the rest is guarded by the lock's mutex.
 */
typedef struct RangeHolder {
    int64_t start, end;  /* [start, end) */
    bool exclusive;      /* read-modify-write; else a write of whole blocks */
    AioContext *ctx;     /* where granted() runs */
    AioFn *granted;      /* called from the loop when the wait is over */
    void *opaque;

    struct RangeHolder *prev, *next;  /* of those that hold */
    struct RangeHolder *waiters;      /* for this one, in order of arrival */
    struct RangeHolder **waiters_tail;
    struct RangeHolder *next_waiter;
} RangeHolder;

RangeLock *range_lock_new(void);       /* Context: main */
void range_lock_free(RangeLock *lock); /* nobody holds it; NULL is fine */

/*
 * Returns true when the range is held at once. Otherwise granted() will be
 * called once, in the home of holder->ctx, and then it is held. Two ranges
 * conflict when they overlap and one is exclusive. Who waits for the same one
 * goes in order of arrival. Context: home of holder->ctx
 */
bool range_lock_acquire(RangeLock *lock, RangeHolder *holder);

/* Lets those go on that waited for it. Context: home of holder->ctx */
void range_lock_release(RangeLock *lock, RangeHolder *holder);

#endif
