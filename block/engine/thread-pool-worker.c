/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A worker of the thread pool: takes work one piece at a time, so that a slow
 * piece holds up no other, and returns results. Started by thread-pool.c.
 *
 * The one rule: before a worker sleeps or goes it has told the home thread of
 * every result, and has looked at the ring after saying that it is leaving.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread-pool-internal.h"

/* Longer than this is not a copy from memory. */
#define SLOW_NS 20000

/* Results of fast work that may wait for the next one, per worker. */
#define MAX_HELD 16

static void worker_keep_score(ThreadPool *pool, int64_t ns)
{
    unsigned score = __atomic_load_n(&pool->score, __ATOMIC_RELAXED);

    /* Workers may overwrite each other's vote; at either end of the scale,
     * where the score mostly is, none is cast and the line stays shared. */
    if (ns > SLOW_NS && score < SCORE_MAX) {
        __atomic_store_n(&pool->score, score + 1, __ATOMIC_RELAXED);
    } else if (ns <= SLOW_NS && score > 0) {
        __atomic_store_n(&pool->score, score - 1, __ATOMIC_RELAXED);
    }
}

/* Pairs with pool_take_results(): release, so that what fn wrote is seen. */
void thread_pool_return(ThreadPool *pool, ThreadPoolWork *work)
{
    ThreadPoolWork *top = __atomic_load_n(&pool->results, __ATOMIC_RELAXED);

    do {
        work->next = top;
    } while (!__atomic_compare_exchange_n(&pool->results, &top, work, true,
                                          __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

/* Tells of all results, other workers' included; nothing to do when the home
 * thread knows already. */
static void worker_tell(ThreadPool *pool)
{
    if (__atomic_load_n(&pool->results, __ATOMIC_RELAXED)) {
        aio_bh_schedule(pool->results_bh);
    }
}

/* @held: results this worker has not told of. */
static void worker_do(ThreadPool *pool, ThreadPoolWork *work, unsigned *held)
{
    int64_t start_ns = aio_clock_ns();

    work->ret = work->fn(work);
    worker_keep_score(pool, aio_clock_ns() - start_ns);
    thread_pool_return(pool, work); /* work is the home thread's from here on */
    if (pool_is_slow(pool) || ++*held == MAX_HELD) {
        worker_tell(pool);
        *held = 0;
    }
}

static bool worker_has_cause_to_stay(ThreadPool *pool)
{
    return work_ring_count(&pool->ring) ||
           __atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST);
}

/*
 * Returns whether the worker was idle for too long. Whoever ends the sleep
 * subtracts from sleepers: the home thread for those it woke, which is when
 * the system call returns 0, else the worker itself.
 */
static bool worker_sleep(ThreadPool *pool)
{
    uint32_t seq = __atomic_load_n(&pool->wake_seq, __ATOMIC_SEQ_CST);
    bool may_go = __atomic_load_n(&pool->alive, __ATOMIC_SEQ_CST) > pool->min;
    int err = EAGAIN;

    __atomic_fetch_add(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
    if (!worker_has_cause_to_stay(pool)) {
        long ret = syscall(SYS_futex, &pool->wake_seq, FUTEX_WAIT_PRIVATE, seq,
                           may_go ? &pool->idle_timeout : NULL, NULL, 0);

        err = ret < 0 ? errno : 0;
    }
    if (err) {
        __atomic_fetch_sub(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
    }
    return err == ETIMEDOUT;
}

/* Leaves the number of the living, unless it is down to the minimum or work
 * has come: the home thread may have counted on us for it. */
static bool worker_retire(ThreadPool *pool)
{
    unsigned alive = __atomic_load_n(&pool->alive, __ATOMIC_SEQ_CST);

    do {
        if (alive <= pool->min) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&pool->alive, &alive, alive - 1,
                                          false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    if (worker_has_cause_to_stay(pool)) {
        __atomic_fetch_add(&pool->alive, 1, __ATOMIC_SEQ_CST);
        return false;
    }
    return true;
}

static void worker_loop(ThreadPool *pool)
{
    unsigned held = 0;

    while (!__atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST)) {
        ThreadPoolWork *work = work_ring_pop(&pool->ring);

        if (work) {
            worker_do(pool, work, &held);
            continue;
        }
        worker_tell(pool);
        held = 0;
        if (worker_sleep(pool) && worker_retire(pool)) {
            return;
        }
    }
}

void *thread_pool_worker(void *opaque)
{
    Worker *worker = opaque;
    ThreadPool *pool = worker->pool;

    pthread_setname_np(pthread_self(), "vblk-worker");
    worker_loop(pool);
    /* After GONE the slot may be anyone's: the pool lives until we are
     * joined, and the bottom half's call is the last thing we do with it. */
    __atomic_store_n(&worker->state, WORKER_GONE, __ATOMIC_RELEASE);
    aio_bh_schedule(pool->join_bh);
    return NULL;
}
