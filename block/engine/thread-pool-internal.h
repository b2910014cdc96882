/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pool as its two sides see it: thread-pool.c in the home thread,
 * thread-pool-worker.c in the workers. Grouped by who writes.
 */
#ifndef BLOCK_ENGINE_THREAD_POOL_INTERNAL_H
#define BLOCK_ENGINE_THREAD_POOL_INTERNAL_H

#include <pthread.h>
#include <time.h>

#include "block/plug.h"
#include "block/thread-pool.h"
#include "work-ring.h"

typedef enum WorkerState {
    WORKER_FREE,  /* no thread; home may start one */
    WORKER_ALIVE, /* home started it; the worker alone leaves this state */
    WORKER_GONE,  /* touches the pool no more; home joins */
} WorkerState;

typedef struct Worker {
    ThreadPool *pool;
    pthread_t thread;
    int state;
} Worker;

/*
 * The pool's notion of its work: each piece that took long raises the score,
 * each short one lowers it. A majority decides, and not a mean: a worker that
 * lost its processor for a while looks very slow, once.
 */
#define SCORE_MAX 64

struct ThreadPool {
    /* Constant. */
    AioContext *ctx;
    unsigned min, max;
    unsigned processors;
    struct timespec idle_timeout; /* of workers above the minimum */
    AioBH *results_bh, *join_bh;
    Worker *workers; /* max of them */

    /* Home thread only. */
    ThreadPoolWork *pending, **pending_tail; /* not in the ring yet */
    unsigned outstanding; /* submitted, cb not called yet */
    unsigned peak;        /* of alive; read anywhere */
    bool warned;
    BlkPlugCall flush;
    AioTimer watchdog;
    uint64_t watched_head;

    WorkRing ring;

    /* Atomic, both sides. */
    _Alignas(CACHE_LINE) uint32_t wake_seq; /* futex; home changes it */
    unsigned sleepers; /* workers add themselves; who wakes them subtracts */
    unsigned alive;    /* home adds, a retiring worker subtracts */
    bool stop;
    _Alignas(CACHE_LINE) ThreadPoolWork *results; /* stack; home takes all */
    unsigned score;    /* workers, and the watchdog */
};

static inline bool pool_is_slow(const ThreadPool *pool)
{
    return __atomic_load_n(&pool->score, __ATOMIC_RELAXED) > SCORE_MAX / 2;
}

/* Pushes a piece that is done, with its ret, to the results. Context: any */
void thread_pool_return(ThreadPool *pool, ThreadPoolWork *work);

/* A worker thread's function; @opaque is its Worker. */
void *thread_pool_worker(void *opaque);

#endif
