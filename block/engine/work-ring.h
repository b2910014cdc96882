/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ring of work that one thread fills and many empty, without a lock. The
 * thread pool's queue; see thread-pool.c for who sleeps and who wakes.
 *
 * How it works: head and tail only grow; tail - head entries are there. The
 * producer stores a slot and then tail. A consumer reads a slot and then moves
 * head by compare-and-swap: when that succeeds, head did not move in between,
 * so the producer, which stays within a ring's length of head, had not yet
 * written the slot anew, and what was read is what was meant.
 */
#ifndef BLOCK_ENGINE_WORK_RING_H
#define BLOCK_ENGINE_WORK_RING_H

#include "block/thread-pool.h"

#define WORK_RING_SIZE 512 /* a power of 2 */

#define CACHE_LINE 64

typedef struct WorkRing {
    _Alignas(CACHE_LINE) uint64_t tail; /* producer */
    _Alignas(CACHE_LINE) uint64_t head; /* consumers */
    _Alignas(CACHE_LINE) ThreadPoolWork *slots[WORK_RING_SIZE]; /* producer */
} WorkRing;

/*
 * How many entries are there, at least for a moment between the two loads.
 * Sequentially consistent: sleepers, retiring workers and the producer each
 * store a word of their own and then read one of the other's.
 * Context: any
 */
static inline unsigned work_ring_count(const WorkRing *ring)
{
    uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_SEQ_CST);

    return __atomic_load_n(&ring->tail, __ATOMIC_SEQ_CST) - head;
}

/* Returns false when the ring is full. Context: home */
static inline bool work_ring_push(WorkRing *ring, ThreadPoolWork *work)
{
    uint64_t tail = ring->tail;

    /* Acquire: pairs with the compare-and-swap that freed the slot. */
    if (tail - __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) ==
        WORK_RING_SIZE) {
        return false;
    }
    __atomic_store_n(&ring->slots[tail % WORK_RING_SIZE], work,
                     __ATOMIC_RELAXED);
    /* Publishes the slot and the work itself; pairs with work_ring_pop(). */
    __atomic_store_n(&ring->tail, tail + 1, __ATOMIC_SEQ_CST);
    return true;
}

/* NULL when there is none. Context: worker */
static inline ThreadPoolWork *work_ring_pop(WorkRing *ring)
{
    uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_SEQ_CST);
    ThreadPoolWork *work;

    do {
        if (head == __atomic_load_n(&ring->tail, __ATOMIC_SEQ_CST)) {
            return NULL;
        }
        work = __atomic_load_n(&ring->slots[head % WORK_RING_SIZE],
                               __ATOMIC_RELAXED);
    } while (!__atomic_compare_exchange_n(&ring->head, &head, head + 1, false,
                                          __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    return work;
}

#endif
