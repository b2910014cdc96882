/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The home thread's side of the pool: queueing, waking and starting workers,
 * handing out results. Used by the threads engine and by whoever has a call
 * that may block; thread-pool-worker.c is the other side.
 *
 * How it works: work goes into a ring that workers empty without a lock; a
 * burst is followed by at most one FUTEX_WAKE. Results come back on a stack
 * that one bottom half takes as a whole. How many workers a burst needs
 * depends on what the work is like:
 *
 *   - work that blocks (a disk) needs a worker each, up to the maximum;
 *   - work that is a copy from memory (page cache, RAM disk) needs no more
 *     workers than there are processors: more would only switch contexts. It
 *     is also over so soon that telling the home thread of each would cost
 *     more than the work; a worker then tells it every few, or when it finds
 *     no more work.
 *
 * Workers keep score of which it is. What the score gets wrong is set right
 * by the watchdog, a timer that runs only while work waits for a worker: work
 * that blocks all workers of a pool that thinks itself fast, results that a
 * worker has not told of before it blocked, threads that could not be made.
 *
 * Who comes back for queued work: a worker that is awake looks at the ring
 * before it sleeps or goes; with none awake, this file wakes or starts one;
 * when that fails, the watchdog is armed, which does the work itself if there
 * is no worker at all. What does not fit into the ring is pushed when results
 * come back, of which there are then plenty.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "block/log.h"
#include "syscalls.h"
#include "thread-pool-internal.h"

#define WATCHDOG_NS (1000 * 1000)

#define IDLE_TIMEOUT_S 10

/* Starting a thread takes as long as several requests. */
#define MAX_STARTS 4

/* What the home thread does itself, before it looks after its loop again. */
#define MAX_OWN 4

/* Workers run the kernel's I/O path and a few frames of ours. */
#define STACK_BYTES (256 * 1024)

/* --- Workers come and go --- */

static unsigned pool_alive(const ThreadPool *pool)
{
    return __atomic_load_n(&pool->alive, __ATOMIC_SEQ_CST);
}

static int worker_create(Worker *worker)
{
    sigset_t blocked, before;
    pthread_attr_t attr;
    int err;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    /* Signals are for others; but a fault in guest memory that was taken
     * away is the worker's own, as is a system call that a sandbox refuses,
     * and its handler must be asked. */
    sigfillset(&blocked);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGSYS);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    err = engine_syscalls->thread_create(&worker->thread, &attr,
                                         thread_pool_worker, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return err;
}

static void worker_join(Worker *worker)
{
    pthread_join(worker->thread, NULL);
    __atomic_store_n(&worker->state, WORKER_FREE, __ATOMIC_RELAXED);
}

static Worker *pool_free_slot(ThreadPool *pool)
{
    for (unsigned i = 0; i < pool->max; i++) {
        Worker *worker = &pool->workers[i];
        int state = __atomic_load_n(&worker->state, __ATOMIC_ACQUIRE);

        if (state == WORKER_GONE) {
            worker_join(worker);
        }
        if (state != WORKER_ALIVE) {
            return worker;
        }
    }
    return NULL;
}

/* Memory may be what is lacking: nothing here allocates any. */
static void pool_warn(ThreadPool *pool, int err, unsigned alive)
{
    if (!pool->warned) {
        errno = err; /* %m: g_strerror() takes memory */
        log_warn("cannot start a worker thread: %m; going on with %u", alive);
        pool->warned = true;
    }
}

/* Returns false when there can be no more now. */
static bool pool_start_worker(ThreadPool *pool)
{
    Worker *worker = pool_free_slot(pool);
    unsigned alive;
    int err;

    if (!worker) {
        return false;
    }
    alive = __atomic_add_fetch(&pool->alive, 1, __ATOMIC_SEQ_CST);
    worker->state = WORKER_ALIVE;
    err = worker_create(worker);
    if (err) {
        worker->state = WORKER_FREE;
        __atomic_fetch_sub(&pool->alive, 1, __ATOMIC_SEQ_CST);
        pool_warn(pool, err, alive - 1);
        return false;
    }
    if (alive > pool->peak) {
        __atomic_store_n(&pool->peak, alive, __ATOMIC_RELAXED);
    }
    return true;
}

static void pool_wake(ThreadPool *pool, unsigned n)
{
    int woken;

    __atomic_fetch_add(&pool->wake_seq, 1, __ATOMIC_SEQ_CST);
    woken = engine_syscalls->futex_wake(&pool->wake_seq, n);
    if (woken > 0) {
        /* On behalf of the woken, who may run much later: until then a
         * second burst must not take them for sleepers. */
        __atomic_fetch_sub(&pool->sleepers, woken, __ATOMIC_SEQ_CST);
    }
}

/* Workers that the work at hand deserves. */
static unsigned pool_wanted(const ThreadPool *pool)
{
    unsigned most = pool_is_slow(pool) ? pool->max : pool->processors;

    return MIN(pool->outstanding, MIN(most, pool->max));
}

/* @workers: awake, woken or started; while there is one for each piece of work
 * none can be kept waiting. An armed timer costs a sleep without polling tens
 * of microseconds in a virtual machine. */
static void pool_watch(ThreadPool *pool, unsigned queued, unsigned workers)
{
    bool watch = queued && workers < MIN(pool->outstanding, pool->max);

    if (watch && !pool->watchdog.armed) {
        pool->watched_head = __atomic_load_n(&pool->ring.head,
                                             __ATOMIC_RELAXED);
        aio_timer_arm(&pool->watchdog, aio_clock_ns() + WATCHDOG_NS);
    } else if (!pool->outstanding && pool->watchdog.armed) {
        aio_timer_disarm(&pool->watchdog);
    }
}

/*
 * Sees to it that the queued work is done: by workers that are awake, else by
 * woken ones, else by new ones. The loads of sleepers and alive come after the
 * store of the ring's tail; a worker that sleeps or goes stores these first
 * and reads the tail afterwards. One of us sees the other.
 */
static void pool_call_workers(ThreadPool *pool)
{
    unsigned queued = work_ring_count(&pool->ring);
    unsigned sleepers = __atomic_load_n(&pool->sleepers, __ATOMIC_SEQ_CST);
    unsigned alive = pool_alive(pool);
    unsigned awake = alive - MIN(alive, sleepers);
    unsigned wanted = pool_wanted(pool);
    unsigned n = wanted > awake ? MIN(wanted - awake, queued) : 0;

    if (n && sleepers) {
        /* Those that are not in the kernel yet find wake_seq changed. */
        pool_wake(pool, MIN(n, sleepers));
        awake += MIN(n, sleepers);
        n -= MIN(n, sleepers);
    }
    for (n = MIN(n, MAX_STARTS); n && pool_start_worker(pool); n--) {
        awake++;
    }
    pool_watch(pool, queued, awake);
}

/* --- Work goes out, results come in --- */

static void pool_fill_ring(ThreadPool *pool)
{
    while (pool->pending) {
        /* Read before: once it is in the ring a worker uses the link. */
        ThreadPoolWork *next = pool->pending->next;

        if (!work_ring_push(&pool->ring, pool->pending)) {
            return;
        }
        pool->pending = next;
    }
    pool->pending_tail = &pool->pending;
}

static void pool_flush(void *opaque)
{
    ThreadPool *pool = opaque;

    pool_fill_ring(pool);
    pool_call_workers(pool);
}

void thread_pool_submit(ThreadPool *pool, ThreadPoolWork *work)
{
    assert_home(pool->ctx);
    work->next = NULL;
    *pool->pending_tail = work;
    pool->pending_tail = &work->next;
    pool->outstanding++;
    blk_io_plug_call(pool->ctx, &pool->flush);
}

/* All results, in the order in which the work was finished. */
static ThreadPoolWork *pool_take_results(ThreadPool *pool)
{
    ThreadPoolWork *work = __atomic_exchange_n(&pool->results, NULL,
                                               __ATOMIC_ACQUIRE);
    ThreadPoolWork *list = NULL, *next;

    for (; work; work = next) {
        next = work->next;
        work->next = list;
        list = work;
    }
    return list;
}

static void pool_hand_out(void *opaque)
{
    ThreadPool *pool = opaque;
    ThreadPoolWork *work = pool_take_results(pool), *next;

    blk_io_plug(pool->ctx);
    for (; work; work = next) {
        next = work->next;
        pool->outstanding--;
        work->cb(work, work->ret);
    }
    blk_io_plug_call(pool->ctx, &pool->flush);
    blk_io_unplug(pool->ctx);
}

/*
 * There is no worker, and none can be made, perhaps for ever: slowly is better
 * than not at all. A worker that thought better of going may take work, too.
 */
static void pool_do_some(ThreadPool *pool)
{
    for (unsigned i = 0; i < MAX_OWN; i++) {
        ThreadPoolWork *work = work_ring_pop(&pool->ring);

        if (!work) {
            return;
        }
        work->ret = work->fn(work);
        thread_pool_return(pool, work);
    }
}

static void pool_watchdog(void *opaque)
{
    ThreadPool *pool = opaque;

    if (work_ring_count(&pool->ring) &&
        __atomic_load_n(&pool->ring.head, __ATOMIC_RELAXED) ==
            pool->watched_head) {
        __atomic_store_n(&pool->score, SCORE_MAX, __ATOMIC_RELAXED);
    }
    if (pool_alive(pool) == 0 && !pool_start_worker(pool)) {
        pool_do_some(pool);
    }
    pool_hand_out(pool);
}

/* --- The pool itself --- */

static void pool_join_gone(void *opaque)
{
    ThreadPool *pool = opaque;

    for (unsigned i = 0; i < pool->max; i++) {
        Worker *worker = &pool->workers[i];

        if (__atomic_load_n(&worker->state, __ATOMIC_ACQUIRE) ==
            WORKER_GONE) {
            worker_join(worker);
        }
    }
    /* Work may have come that saw this worker neither awake nor its slot
     * free. */
    pool_call_workers(pool);
}

static void pool_free(void *opaque)
{
    ThreadPool *pool = opaque;

    g_assert(!pool->outstanding);
    __atomic_store_n(&pool->stop, true, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&pool->wake_seq, 1, __ATOMIC_SEQ_CST);
    engine_syscalls->futex_wake(&pool->wake_seq, INT_MAX);
    for (unsigned i = 0; i < pool->max; i++) {
        Worker *worker = &pool->workers[i];

        if (__atomic_load_n(&worker->state, __ATOMIC_ACQUIRE) != WORKER_FREE) {
            worker_join(worker);
        }
    }
    blk_io_plug_cancel(pool->ctx, &pool->flush);
    aio_timer_disarm(&pool->watchdog);
    aio_bh_free(pool->results_bh);
    aio_bh_free(pool->join_bh);
    g_free(pool->workers);
    g_aligned_free(pool);
}

static ThreadPool *pool_new(AioContext *ctx)
{
    const AioParams *params = aio_context_params(ctx);
    ThreadPool *pool = g_aligned_alloc0(1, sizeof(*pool), CACHE_LINE);

    pool->ctx = ctx;
    pool->max = MAX(params->thread_pool_max, 1);
    pool->min = MIN(params->thread_pool_min, pool->max);
    pool->processors = g_get_num_processors();
    pool->idle_timeout.tv_sec = IDLE_TIMEOUT_S;
    pool->score = SCORE_MAX;
    pool->pending_tail = &pool->pending;
    pool->flush = (BlkPlugCall){ .fn = pool_flush, .opaque = pool };
    aio_timer_init(&pool->watchdog, ctx, pool_watchdog, pool);
    pool->results_bh = aio_bh_new(ctx, pool_hand_out, pool);
    pool->join_bh = aio_bh_new(ctx, pool_join_gone, pool);
    pool->workers = g_new0(Worker, pool->max);
    for (unsigned i = 0; i < pool->max; i++) {
        pool->workers[i].pool = pool;
    }
    for (unsigned i = 0; i < pool->min && pool_start_worker(pool); i++) {
    }
    return pool;
}

ThreadPool *thread_pool_get(AioContext *ctx)
{
    ThreadPool *pool = aio_context_slot(ctx, AIO_SLOT_THREAD_POOL);

    if (!pool) {
        pool = pool_new(ctx);
        aio_context_set_slot(ctx, AIO_SLOT_THREAD_POOL, pool, pool_free);
    }
    return pool;
}

unsigned thread_pool_workers(const ThreadPool *pool)
{
    return __atomic_load_n(&pool->alive, __ATOMIC_RELAXED);
}

unsigned thread_pool_workers_peak(const ThreadPool *pool)
{
    return __atomic_load_n(&pool->peak, __ATOMIC_RELAXED);
}
