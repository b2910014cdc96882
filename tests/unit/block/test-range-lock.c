/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who waits for whom, in one thread and across two. */
#include "block/range-lock.h"

#include "block/iothread.h"
#include "tests/lib/ctx.h"

static void grant_fn(void *opaque)
{
    unsigned *grants = opaque;

    ++*grants;
}

static bool acquire(RangeLock *lock, RangeHolder *holder, int64_t start,
                    int64_t end, bool exclusive)
{
    holder->start = start;
    holder->end = end;
    holder->exclusive = exclusive;
    holder->ctx = test_ctx();
    holder->granted = grant_fn;
    return range_lock_acquire(lock, holder);
}

static void test_pairs(void)
{
    static const struct {
        int64_t start1, end1;
        bool exclusive1;
        int64_t start2, end2;
        bool exclusive2, waits;
    } cases[] = {
        { 0, 4, true, 0, 4, true, true },   { 0, 4, true, 4, 8, true, false },
        { 4, 8, true, 0, 4, true, false },  { 0, 8, true, 4, 8, false, true },
        { 4, 8, false, 0, 8, true, true },  { 0, 8, false, 0, 8, false, false },
        { 0, 12, true, 4, 8, true, true },  { 4, 8, true, 0, 12, true, true },
        { 0, 5, true, 4, 8, true, true },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        RangeLock *lock = range_lock_new();
        unsigned grants = 0;
        RangeHolder a = { .opaque = &grants }, b = { .opaque = &grants };

        g_assert_true(acquire(lock, &a, cases[i].start1, cases[i].end1,
                              cases[i].exclusive1));
        g_assert_true(acquire(lock, &b, cases[i].start2, cases[i].end2,
                              cases[i].exclusive2) == !cases[i].waits);
        range_lock_release(lock, &a);
        g_assert_cmpuint(grants, ==, 0); /* from the loop only */
        aio_poll(test_ctx(), false);
        g_assert_cmpuint(grants, ==, cases[i].waits);
        range_lock_release(lock, &b);
        range_lock_free(lock);
    }
}

/* The example of range-lock.c. */
static void test_order(void)
{
    RangeLock *lock = range_lock_new();
    unsigned grants[5] = { 0 };
    RangeHolder h[5];

    for (int i = 0; i < 5; i++) {
        h[i] = (RangeHolder){ .opaque = &grants[i] };
    }
    g_assert_true(acquire(lock, &h[0], 0, 4, true));
    g_assert_false(acquire(lock, &h[1], 0, 4, true));
    g_assert_false(acquire(lock, &h[2], 0, 8, true));
    g_assert_true(acquire(lock, &h[3], 4, 8, true)); /* past h[2] */
    g_assert_false(acquire(lock, &h[4], 4, 8, false));
    range_lock_release(lock, &h[0]);
    aio_poll(test_ctx(), false);
    g_assert_cmpuint(grants[1], ==, 1);
    g_assert_cmpuint(grants[2] + grants[4], ==, 0);
    range_lock_release(lock, &h[3]);
    aio_poll(test_ctx(), false);
    g_assert_cmpuint(grants[4], ==, 1);
    g_assert_cmpuint(grants[2], ==, 0); /* h[1] and h[4] hold */
    range_lock_release(lock, &h[4]);
    range_lock_release(lock, &h[1]);
    aio_poll(test_ctx(), false);
    g_assert_cmpuint(grants[2], ==, 1);
    range_lock_release(lock, &h[2]);
    range_lock_free(lock);
}

/* The grants of ranges that wait for [0, 8), which leaves, and then for each
 * other: as many as @steps says, in order of arrival, and those leave, too. */
static void check_waiters(const int64_t ranges[][2], unsigned n,
                          const unsigned *steps)
{
    RangeLock *lock = range_lock_new();
    RangeHolder first = { 0 }, h[4];
    unsigned grants = 0, left = 0;

    g_assert_true(acquire(lock, &first, 0, 8, true));
    for (unsigned i = 0; i < n; i++) {
        h[i] = (RangeHolder){ .opaque = &grants };
        g_assert_false(acquire(lock, &h[i], ranges[i][0], ranges[i][1], true));
    }
    range_lock_release(lock, &first);
    for (unsigned step = 0; left < n; step++) {
        aio_poll(test_ctx(), false);
        g_assert_cmpuint(grants, ==, left + steps[step]);
        while (left < grants) {
            range_lock_release(lock, &h[left++]);
        }
    }
    range_lock_free(lock);
}

static void test_waiters(void)
{
    static const int64_t all_first[][2] = { { 0, 8 }, { 0, 4 }, { 4, 8 } };
    static const int64_t all_last[][2] = { { 0, 4 }, { 4, 8 }, { 0, 8 } };
    static const int64_t larger[][2] = { { 4, 12 }, { 0, 12 } };
    static const unsigned steps[][2] = { { 1, 2 }, { 2, 1 }, { 1, 1 } };

    check_waiters(all_first, 3, steps[0]);
    check_waiters(all_last, 3, steps[1]);
    check_waiters(larger, 2, steps[2]);
}

/* Each of many for one block costs next to nothing: else this takes hours. */
static void test_long_queue(void)
{
    enum { MANY = 20000 };
    g_autofree RangeHolder *h = g_new0(RangeHolder, MANY);
    RangeLock *lock = range_lock_new();
    unsigned grants = 0;

    for (unsigned i = 0; i < MANY; i++) {
        h[i].opaque = &grants;
        g_assert_true(acquire(lock, &h[i], 0, 8, true) == (i == 0));
    }
    for (unsigned i = 0; i < MANY; i++) {
        g_assert_cmpuint(grants, ==, i);
        range_lock_release(lock, &h[i]);
        aio_poll(test_ctx(), false);
    }
    range_lock_free(lock);
}

/* --- two threads that add to plain counters under the lock --- */

#define CELLS  4
#define ROUNDS 2000

typedef struct Worker {
    RangeLock *lock;
    int64_t *cells;
    RangeHolder holder;
    unsigned rounds;
    uint32_t random;
    unsigned *running; /* atomic */
    AioContext *main_ctx;
} Worker;

static void worker_acquire(void *opaque);

static void worker_held(void *opaque)
{
    Worker *worker = opaque;

    for (int64_t i = worker->holder.start; i < worker->holder.end; i++) {
        worker->cells[i]++;
    }
    range_lock_release(worker->lock, &worker->holder);
    if (++worker->rounds < ROUNDS) {
        aio_bh_once(worker->holder.ctx, worker_acquire, worker);
    } else {
        __atomic_sub_fetch(worker->running, 1, __ATOMIC_SEQ_CST);
        aio_notify(worker->main_ctx);
    }
}

static void worker_acquire(void *opaque)
{
    Worker *worker = opaque;

    worker->random = worker->random * 1664525u + 1013904223u;
    worker->holder.start = (worker->random >> 24) % CELLS;
    worker->holder.end = worker->holder.start + 1 +
                         (worker->random >> 16) %
                             (CELLS - worker->holder.start);
    worker->holder.exclusive = true;
    worker->holder.granted = worker_held;
    worker->holder.opaque = worker;
    if (range_lock_acquire(worker->lock, &worker->holder)) {
        worker_held(worker);
    }
}

static void test_threads(void)
{
    RangeLock *lock = range_lock_new();
    IOThread *threads[2];
    Worker workers[8] = { 0 };
    unsigned running = G_N_ELEMENTS(workers);
    int64_t cells[CELLS] = { 0 }, sum = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = iothread_new("t", NULL, NULL);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(workers); i++) {
        Worker *worker = &workers[i];

        worker->lock = lock;
        worker->cells = cells;
        worker->random = i;
        worker->running = &running;
        worker->main_ctx = test_ctx();
        worker->holder.ctx = iothread_context(threads[i % 2]);
        aio_bh_once(worker->holder.ctx, worker_acquire, worker);
    }
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) > 0) {
        aio_poll(test_ctx(), true);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        iothread_free(threads[i]);
    }
    for (unsigned i = 0; i < CELLS; i++) {
        sum += cells[i];
    }
    g_assert_cmpint(sum, >=, ROUNDS * (int)G_N_ELEMENTS(workers));
    range_lock_free(lock); /* asserts that all have left */
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/range-lock/pairs", test_pairs);
    g_test_add_func("/range-lock/order", test_order);
    g_test_add_func("/range-lock/waiters", test_waiters);
    g_test_add_func("/range-lock/long-queue", test_long_queue);
    g_test_add_func("/range-lock/threads", test_threads);
    ret = g_test_run();
    test_ctx_end();
    return ret;
}
