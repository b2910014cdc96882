/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of IOThread: its identity, calls into it, its end, and that it sleeps
 * when there is nothing to do.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "block/iothread.h"

typedef struct Seen {
    AioContext *ctx;
    AioContext *current;
    AioStats stats;
    sigset_t blocked;
    char name[16];
    unsigned calls;
    unsigned again;
} Seen;

static void look_bh(void *opaque)
{
    Seen *seen = opaque;

    seen->current = aio_context_current();
    seen->stats = aio_context_stats(seen->current);
    pthread_sigmask(SIG_BLOCK, NULL, &seen->blocked);
    pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
    seen->calls++;
}

static void test_identity(void)
{
    Seen seen = { 0 };
    IOThread *iothread = iothread_new("a-rather-long-name", NULL, NULL);

    g_assert_nonnull(iothread);
    g_assert_cmpstr(iothread_id(iothread), ==, "a-rather-long-name");
    g_assert_null(aio_context_current());
    aio_bh_run_sync(iothread_context(iothread), look_bh, &seen);
    g_assert_cmpuint(seen.calls, ==, 1);
    g_assert_true(seen.current == iothread_context(iothread));
    g_assert_cmpstr(seen.name, ==, "a-rather-long-n");
    g_assert_true(sigismember(&seen.blocked, SIGTERM));
    g_assert_true(sigismember(&seen.blocked, SIGUSR1));
    iothread_free(iothread);
}

/* Waits until the thread sleeps (or is about to) for the @n-th time. */
static void wait_for_sleeps(AioContext *ctx, uint64_t n)
{
    while (aio_context_stats(ctx).sleeps < n) {
        sched_yield();
    }
}

/*
 * One sleep from one piece of work to the next: nothing in the loop wakes it
 * up on its own account.
 */
static void test_idle(void)
{
    Seen seen = { 0 };
    IOThread *iothread = iothread_new("idle", NULL, NULL);
    AioContext *ctx = iothread_context(iothread);

    for (unsigned i = 1; i <= 50; i++) {
        wait_for_sleeps(ctx, i);
        aio_bh_run_sync(ctx, look_bh, &seen);
        g_assert_cmpuint(seen.stats.sleeps, ==, i);
        g_assert_cmpuint(seen.stats.rounds, ==, i);
        g_assert_cmpuint(seen.stats.notifies, ==, i);
    }
    iothread_free(iothread);
}

static void test_many(void)
{
    IOThread *iothreads[20];
    Seen seen = { 0 };

    for (unsigned i = 0; i < 20; i++) {
        iothreads[i] = iothread_new("many", NULL, NULL);
        g_assert_nonnull(iothreads[i]);
    }
    for (unsigned i = 0; i < 20; i++) {
        aio_bh_run_sync(iothread_context(iothreads[i]), look_bh, &seen);
    }
    g_assert_cmpuint(seen.calls, ==, 20);
    for (unsigned i = 0; i < 20; i++) {
        iothread_free(iothreads[i]);
    }
}

/* The end meets a thread that starts, runs or sleeps: it must always join. */
static void test_churn(void)
{
    for (unsigned i = 0; i < 300; i++) {
        g_autoptr(IOThread) iothread = iothread_new("churn", NULL, NULL);
        AioContext *ctx = iothread_context(iothread);

        if (i % 3 == 1) {
            sched_yield();
        } else if (i % 3 == 2) {
            wait_for_sleeps(ctx, 1);
        }
    }
}

static void chain_bh(void *opaque)
{
    Seen *seen = opaque;

    seen->calls++;
    if (seen->again-- > 0) {
        aio_bh_once(seen->ctx, chain_bh, seen);
    }
}

/* What was scheduled before the end runs, and what that schedules, too. */
static void test_runs_what_is_left(void)
{
    IOThread *iothread = iothread_new("rest", NULL, NULL);
    Seen seen = { .ctx = iothread_context(iothread), .again = 99 };

    aio_bh_once(seen.ctx, chain_bh, &seen);
    iothread_free(iothread);
    g_assert_cmpuint(seen.calls, ==, 100);
}

typedef struct Ball {
    AioContext *to[2];
    unsigned flights;
    pthread_mutex_t lock; /* of the result; not a GMutex, which
                             ThreadSanitizer does not know */
    pthread_cond_t cond;
    bool landed;
} Ball;

static void fly_bh(void *opaque)
{
    Ball *ball = opaque;

    if (ball->flights-- > 1) {
        aio_bh_once(ball->to[ball->flights & 1], fly_bh, ball);
        return;
    }
    pthread_mutex_lock(&ball->lock);
    ball->landed = true;
    pthread_cond_signal(&ball->cond);
    pthread_mutex_unlock(&ball->lock);
}

/* Whoever notified last may still be at it when the other has done all. */
static void test_freed_after_notify(void)
{
    for (unsigned i = 0; i < 200; i++) {
        IOThread *a = iothread_new("a", NULL, NULL);
        IOThread *b = iothread_new("b", NULL, NULL);
        Ball ball = {
            .to = { iothread_context(a), iothread_context(b) },
            .flights = 10,
            .lock = PTHREAD_MUTEX_INITIALIZER,
            .cond = PTHREAD_COND_INITIALIZER,
        };

        aio_bh_once(ball.to[0], fly_bh, &ball);
        pthread_mutex_lock(&ball.lock);
        while (!ball.landed) {
            pthread_cond_wait(&ball.cond, &ball.lock);
        }
        pthread_mutex_unlock(&ball.lock);
        iothread_free(i & 1 ? a : b);
        iothread_free(i & 1 ? b : a);
    }
}

static void note_destroyed(void *opaque)
{
    AioContext **home = opaque;

    *home = aio_context_current();
}

static void set_slot_bh(void *opaque)
{
    aio_context_set_slot(aio_context_current(), AIO_SLOT_LINUX_AIO, opaque,
                         note_destroyed);
}

static void test_slots_destroyed_at_home(void)
{
    AioContext *home = NULL, *ctx;
    IOThread *iothread = iothread_new("slots", NULL, NULL);

    ctx = iothread_context(iothread);
    aio_bh_run_sync(ctx, set_slot_bh, &home);
    iothread_free(iothread);
    g_assert_true(home == ctx);
}

static void test_no_descriptors(void)
{
    struct rlimit old, none;
    GError *error = NULL;
    IOThread *iothread;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    none = old;
    none.rlim_cur = 3;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    iothread = iothread_new("io0", NULL, &error);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
    g_assert_null(iothread);
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_MFILE);
    g_assert_cmpstr(error->message, ==,
                    "iothread 'io0': cannot create an event loop: "
                    "epoll_create1: Too many open files");
    g_error_free(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iothread/identity", test_identity);
    g_test_add_func("/iothread/idle", test_idle);
    g_test_add_func("/iothread/many", test_many);
    g_test_add_func("/iothread/churn", test_churn);
    g_test_add_func("/iothread/runs-what-is-left", test_runs_what_is_left);
    g_test_add_func("/iothread/freed-after-notify", test_freed_after_notify);
    g_test_add_func("/iothread/slots-destroyed-at-home",
                    test_slots_destroyed_at_home);
    g_test_add_func("/iothread/no-descriptors", test_no_descriptors);
    return g_test_run();
}
