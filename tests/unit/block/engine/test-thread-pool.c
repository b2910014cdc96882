/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread pool: all work is done once, by no more workers than it needs,
 * with no more wake-ups than bursts, and none is forgotten when threads cannot
 * be had, sleep, or hang.
 */
#include "block/thread-pool.h"

#include <string.h>

#include "block/engine/thread-pool-internal.h"
#include "tests/lib/faults.h"

#define MAX_ITEMS 2000

typedef struct Item {
    ThreadPoolWork work;
    unsigned runs;  /* atomic */
    bool blocks;    /* until the gate opens */
    bool done;
    unsigned again; /* submitted anew by the callback */
} Item;

static AioContext *ctx;
static ThreadPool *pool;
static Item items[MAX_ITEMS];
static unsigned done;
static bool submitting;

/* A gate that work waits at, so that nothing depends on time. Not GMutex,
 * which ThreadSanitizer does not see through. */
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static bool gate_open;
static unsigned at_gate;

static void gate_set(bool is_open)
{
    pthread_mutex_lock(&gate_lock);
    gate_open = is_open;
    at_gate = 0;
    pthread_cond_broadcast(&gate_cond);
    pthread_mutex_unlock(&gate_lock);
}

static void gate_pass(void)
{
    pthread_mutex_lock(&gate_lock);
    at_gate++;
    pthread_cond_broadcast(&gate_cond);
    while (!gate_open) {
        pthread_cond_wait(&gate_cond, &gate_lock);
    }
    pthread_mutex_unlock(&gate_lock);
}

static unsigned gate_waiting(void)
{
    unsigned n;

    pthread_mutex_lock(&gate_lock);
    n = at_gate;
    pthread_mutex_unlock(&gate_lock);
    return n;
}

static int item_fn(ThreadPoolWork *work)
{
    Item *item = (Item *)work;

    __atomic_fetch_add(&item->runs, 1, __ATOMIC_RELAXED);
    if (item->blocks) {
        gate_pass();
    }
    return item - items;
}

static void item_cb(ThreadPoolWork *work, int ret)
{
    Item *item = (Item *)work;

    g_assert_false(submitting);
    g_assert_true(aio_context_current() == ctx);
    g_assert_cmpint(ret, ==, item - items);
    if (item->again) {
        item->again--;
        thread_pool_submit(pool, work);
        return;
    }
    item->done = true;
    done++;
}

static void set_up(unsigned min, unsigned max)
{
    AioParams params = { .thread_pool_min = min, .thread_pool_max = max };

    memset(items, 0, sizeof(items));
    done = 0;
    ctx = aio_context_new(&params, NULL);
    aio_context_adopt(ctx);
    pool = thread_pool_get(ctx);
    g_assert_true(thread_pool_get(ctx) == pool);
}

static void tear_down(void)
{
    aio_context_free(ctx);
}

static void submit(unsigned from, unsigned to)
{
    blk_io_plug(ctx);
    for (unsigned i = from; i < to; i++) {
        items[i].work.fn = item_fn;
        items[i].work.cb = item_cb;
        items[i].runs = 0;
        items[i].done = false;
        thread_pool_submit(pool, &items[i].work);
    }
    submitting = true;
    blk_io_unplug(ctx);
    submitting = false;
}

static void wait_done(unsigned n)
{
    while (done < n) {
        aio_poll(ctx, true);
    }
}

/* Until every worker is in the kernel: the state a burst finds at leisure. */
/* Whether the kernel says that this thread, if it is a worker, sleeps. */
static bool sleeps(const char *tid)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%s/stat", tid);
    g_autofree char *stat = NULL;

    return !g_file_get_contents(path, &stat, NULL, NULL) ||
           !strstr(stat, "(vblk-worker)") || strstr(stat, ") S ");
}

static bool workers_are_in_the_kernel(void)
{
    GDir *dir = g_dir_open("/proc/self/task", 0, NULL);
    const char *tid;
    bool all = true;

    while (all && (tid = g_dir_read_name(dir))) {
        all = sleeps(tid);
    }
    g_dir_close(dir);
    return all;
}

/* A worker that has only announced its sleep would wake by itself. */
static void wait_all_asleep(void)
{
    while (__atomic_load_n(&pool->sleepers, __ATOMIC_SEQ_CST) <
               thread_pool_workers(pool) ||
           !workers_are_in_the_kernel()) {
        g_thread_yield();
    }
}

static void test_one(void)
{
    faults_reset();
    set_up(0, 0);
    g_assert_cmpuint(thread_pool_workers(pool), ==, 0);
    submit(0, 1);
    wait_done(1);
    g_assert_cmpuint(items[0].runs, ==, 1);
    g_assert_cmpuint(thread_pool_workers(pool), ==, 1);
    tear_down();
}

/* Many more than the ring holds; each once. */
static void test_many(void)
{
    faults_reset();
    set_up(0, 8);
    submit(0, MAX_ITEMS);
    wait_done(MAX_ITEMS);
    for (unsigned i = 0; i < MAX_ITEMS; i++) {
        g_assert_cmpuint(items[i].runs, ==, 1);
        g_assert_true(items[i].done);
    }
    g_assert_cmpuint(thread_pool_workers_peak(pool), <=, 8);
    tear_down();
}

static void test_resubmitted_by_callback(void)
{
    faults_reset();
    set_up(0, 4);
    for (unsigned i = 0; i < 32; i++) {
        items[i].again = 500;
    }
    submit(0, 32);
    wait_done(32);
    for (unsigned i = 0; i < 32; i++) {
        g_assert_cmpuint(items[i].runs, ==, 501);
    }
    tear_down();
}

/* A burst wakes once, however many it wakes. */
static void test_one_wake_a_burst(void)
{
    faults_reset();
    set_up(8, 8);
    g_assert_cmpuint(faults.threads_made, ==, 8);
    for (unsigned i = 0; i < 20; i++) {
        wait_all_asleep();
        faults.futex_wakes = 0;
        submit(0, 32);
        g_assert_cmpuint(faults.futex_wakes, ==, 1);
        wait_done((i + 1) * 32);
    }
    g_assert_cmpuint(faults.threads_made, ==, 8);
    tear_down();
}

/* Work that blocks gets a worker each: all of it is at the gate at once. */
static void test_blocking_work_in_parallel(void)
{
    faults_reset();
    set_up(0, 32);
    gate_set(false);
    for (unsigned i = 0; i < 32; i++) {
        items[i].blocks = true;
    }
    submit(0, 32);
    while (gate_waiting() < 32) {
        aio_poll(ctx, false); /* the watchdog starts more */
        g_thread_yield();
    }
    g_assert_cmpuint(thread_pool_workers(pool), ==, 32);
    gate_set(true);
    wait_done(32);
    g_assert_cmpuint(thread_pool_workers_peak(pool), ==, 32);
    tear_down();
}

/* Fast work needs few workers, and when it ceases to be fast, more come: one
 * that hangs does not hold up the others. */
static void test_fast_work_then_hang(void)
{
    faults_reset();
    set_up(0, 16);
    pool->processors = 2;
    pool->score = 0; /* it has been fast so far */
    for (unsigned i = 100; i < 104; i++) {
        items[i].blocks = true;
    }
    gate_set(false);
    submit(100, 120);
    wait_done(16);
    for (unsigned i = 100; i < 120; i++) {
        g_assert_true(items[i].done == !items[i].blocks);
    }
    while (gate_waiting() < 4) {
        g_thread_yield(); /* taken by a worker that is on its way there */
    }
    gate_set(true);
    wait_done(20);
    tear_down();
}

/* Fast work by two workers; the others stay asleep. */
static void test_fast_work_wakes_few(void)
{
    unsigned awake;

    faults_reset();
    set_up(8, 8);
    pool->processors = 2;
    wait_all_asleep();
    pool->score = 0;
    gate_set(false);
    for (unsigned i = 0; i < 2; i++) {
        items[i].blocks = true;
    }
    submit(0, 2);
    submit(2, 10); /* two are awake already, if not running yet */
    awake = 8 - __atomic_load_n(&pool->sleepers, __ATOMIC_SEQ_CST);
    g_assert_cmpuint(awake, ==, 2);
    gate_set(true);
    wait_done(10);
    tear_down();
}

static void test_no_threads_at_first(void)
{
    faults_reset();
    faults_capture_log();
    faults.threads_left = 0;
    set_up(0, 4);
    submit(0, 10);
    g_assert_cmpuint(thread_pool_workers(pool), ==, 0);
    wait_done(10); /* the timer's doing: nothing else would wake */
    g_assert_cmpuint(thread_pool_workers_peak(pool), ==, 0);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    faults.threads_left = 1;
    submit(10, 20);
    wait_done(20);
    g_assert_cmpuint(thread_pool_workers_peak(pool), ==, 1);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    tear_down();
}

/* One worker has to do, and does. */
static void test_threads_run_out(void)
{
    faults_reset();
    faults_capture_log();
    faults.threads_left = 1;
    set_up(0, 64);
    submit(0, 100);
    wait_done(100);
    g_assert_cmpuint(thread_pool_workers_peak(pool), ==, 1);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    tear_down();
}

static unsigned slots_in_use(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < pool->max; i++) {
        n += __atomic_load_n(&pool->workers[i].state, __ATOMIC_ACQUIRE) !=
             WORKER_FREE;
    }
    return n;
}

static void set_idle_timeout(long ns)
{
    g_assert_cmpuint(thread_pool_workers(pool), ==, 0);
    pool->idle_timeout = (struct timespec){ .tv_nsec = ns };
}

/* Idle workers go, and are joined without being asked. */
static void test_retire(void)
{
    faults_reset();
    set_up(0, 8);
    set_idle_timeout(1000);
    submit(0, 100);
    wait_done(100);
    while (slots_in_use()) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(thread_pool_workers(pool), ==, 0);
    submit(0, 100);
    wait_done(200);
    tear_down();
}

static void test_minimum_stays(void)
{
    faults_reset();
    set_up(0, 8);
    set_idle_timeout(1000);
    pool->min = 3;
    gate_set(false);
    for (unsigned i = 0; i < 8; i++) {
        items[i].blocks = true;
    }
    submit(0, 8);
    while (gate_waiting() < 8) {
        aio_poll(ctx, false);
        g_thread_yield();
    }
    gate_set(true);
    wait_done(8);
    while (slots_in_use() > 3) {
        aio_poll(ctx, true);
    }
    wait_all_asleep(); /* and these without a time-out */
    g_assert_cmpuint(thread_pool_workers(pool), ==, 3);
    tear_down();
}

/* Work that comes just as workers fall asleep or go: without the watchdog,
 * which would make up for it, a wake-up that is lost hangs this test. */
static void test_sleep_races(void)
{
    static const long timeouts[] = { 999999999, 20000, 1 };

    faults_reset();
    for (unsigned i = 0; i < G_N_ELEMENTS(timeouts); i++) {
        set_up(0, 1); /* nobody else helps */
        set_idle_timeout(timeouts[i]);
        for (unsigned n = 0; n < 10000; n++) {
            unsigned want = done + 2;

            submit(0, 1);
            /* until about when the worker is through with it */
            for (volatile int spin = n % 400; spin > 0; spin--) {
            }
            submit(1, 2);
            while (done < want) {
                aio_timer_disarm(&pool->watchdog);
                aio_poll(ctx, true);
            }
        }
        tear_down();
    }
}

static void test_idle_then_free(void)
{
    faults_reset();
    for (unsigned i = 0; i < 50; i++) {
        set_up(i % 5, 8);
        submit(0, i % 3);
        wait_done(i % 3);
        tear_down(); /* with workers starting, working out, asleep */
    }
}

/* Idle: no worker, timer or bottom half wakes the loop. */
static void test_idle_is_quiet(void)
{
    faults_reset();
    set_up(2, 8);
    submit(0, 100);
    wait_done(100);
    wait_all_asleep();
    while (aio_poll(ctx, false)) {
    }
    g_assert_false(pool->watchdog.armed);
    tear_down();
}

/* A timer makes each sleep of the loop dearer: none while every piece of work
 * has a worker. */
static void test_no_watchdog_for_few(void)
{
    faults_reset();
    set_up(0, 8);
    gate_set(false);
    for (unsigned i = 0; i < 3; i++) {
        items[i].blocks = true;
        submit(i, i + 1);
        g_assert_false(pool->watchdog.armed);
    }
    while (gate_waiting() < 3) {
        g_thread_yield();
    }
    gate_set(true);
    wait_done(3);
    tear_down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/thread-pool/one", test_one);
    g_test_add_func("/thread-pool/many", test_many);
    g_test_add_func("/thread-pool/resubmitted-by-callback",
                    test_resubmitted_by_callback);
    g_test_add_func("/thread-pool/one-wake-a-burst", test_one_wake_a_burst);
    g_test_add_func("/thread-pool/blocking-work-in-parallel",
                    test_blocking_work_in_parallel);
    g_test_add_func("/thread-pool/fast-work-then-hang",
                    test_fast_work_then_hang);
    g_test_add_func("/thread-pool/fast-work-wakes-few",
                    test_fast_work_wakes_few);
    g_test_add_func("/thread-pool/no-threads-at-first",
                    test_no_threads_at_first);
    g_test_add_func("/thread-pool/threads-run-out", test_threads_run_out);
    g_test_add_func("/thread-pool/retire", test_retire);
    g_test_add_func("/thread-pool/minimum-stays", test_minimum_stays);
    g_test_add_func("/thread-pool/sleep-races", test_sleep_races);
    g_test_add_func("/thread-pool/idle-then-free", test_idle_then_free);
    g_test_add_func("/thread-pool/no-watchdog-for-few",
                    test_no_watchdog_for_few);
    g_test_add_func("/thread-pool/idle-is-quiet", test_idle_is_quiet);
    return g_test_run();
}
