/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of bottom halves: order, coalescing, cancelling, freeing, and many
 * threads that schedule at once.
 */
#include <pthread.h>

#include "block/aio.h"

static AioContext *context_new(void)
{
    AioContext *ctx = aio_context_new(NULL, NULL);

    g_assert_nonnull(ctx);
    aio_context_adopt(ctx);
    return ctx;
}

typedef struct Call {
    AioBH *bh;
    AioBH *other;
    unsigned calls;
    unsigned again; /* how often to schedule itself */
    char name;
} Call;

static GString *calls_seen;

static void count_bh(void *opaque)
{
    Call *call = opaque;

    call->calls++;
    if (calls_seen) {
        g_string_append_c(calls_seen, call->name);
    }
    if (call->again > 0) {
        call->again--;
        aio_bh_schedule(call->bh);
    }
}

static void test_coalesce(void)
{
    AioContext *ctx = context_new();
    Call call = { 0 };

    call.bh = aio_bh_new(ctx, count_bh, &call);
    g_assert_false(aio_poll(ctx, false));
    aio_bh_schedule(call.bh);
    aio_bh_schedule(call.bh);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(call.calls, ==, 1);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    aio_bh_free(call.bh);
    aio_context_free(ctx);
}

static void test_fifo(void)
{
    AioContext *ctx = context_new();
    Call calls[5] = { 0 };

    calls_seen = g_string_new("");
    for (unsigned i = 0; i < 5; i++) {
        calls[i].name = 'a' + i;
        calls[i].bh = aio_bh_new(ctx, count_bh, &calls[i]);
    }
    aio_bh_schedule(calls[2].bh);
    aio_bh_schedule(calls[0].bh);
    aio_bh_schedule(calls[4].bh);
    aio_bh_once(ctx, count_bh, &calls[1]);
    aio_bh_schedule(calls[2].bh);
    aio_bh_schedule(calls[3].bh);
    aio_poll(ctx, true);
    g_assert_cmpstr(calls_seen->str, ==, "caebd");
    for (unsigned i = 0; i < 5; i++) {
        aio_bh_free(calls[i].bh);
    }
    g_string_free(calls_seen, TRUE);
    calls_seen = NULL;
    aio_context_free(ctx);
}

/* One that schedules itself runs once a round, and the round ends. */
static void test_again_next_round(void)
{
    AioContext *ctx = context_new();
    Call call = { .again = 3 };

    call.bh = aio_bh_new(ctx, count_bh, &call);
    aio_bh_schedule(call.bh);
    for (unsigned round = 1; round <= 4; round++) {
        g_assert_true(aio_poll(ctx, true));
        g_assert_cmpuint(call.calls, ==, round);
    }
    g_assert_false(aio_poll(ctx, false));
    aio_bh_free(call.bh);
    aio_context_free(ctx);
}

static void test_cancel(void)
{
    AioContext *ctx = context_new();
    Call call = { 0 };

    call.bh = aio_bh_new(ctx, count_bh, &call);
    aio_bh_schedule(call.bh);
    aio_bh_cancel(call.bh);
    g_assert_false(aio_poll(ctx, true));
    g_assert_cmpuint(call.calls, ==, 0);

    aio_bh_schedule(call.bh);
    aio_bh_cancel(call.bh);
    aio_bh_schedule(call.bh);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(call.calls, ==, 1);
    aio_bh_free(call.bh);
    aio_context_free(ctx);
}

static void cancel_other_bh(void *opaque)
{
    Call *call = opaque;

    call->calls++;
    aio_bh_cancel(call->other);
}

static void free_other_bh(void *opaque)
{
    Call *call = opaque;

    call->calls++;
    aio_bh_free(call->other);
}

/* The other one is in the list that is being run. */
static void test_cancel_in_round(void)
{
    AioContext *ctx = context_new();
    Call a = { 0 }, b = { 0 };

    b.bh = aio_bh_new(ctx, count_bh, &b);
    a.bh = aio_bh_new(ctx, cancel_other_bh, &a);
    a.other = b.bh;
    aio_bh_schedule(a.bh);
    aio_bh_schedule(b.bh);
    aio_poll(ctx, true);
    g_assert_cmpuint(a.calls, ==, 1);
    g_assert_cmpuint(b.calls, ==, 0);
    aio_bh_free(a.bh);
    aio_bh_free(b.bh);
    aio_context_free(ctx);
}

static void test_free_in_round(void)
{
    AioContext *ctx = context_new();
    Call a = { 0 }, b = { 0 };

    b.bh = aio_bh_new(ctx, count_bh, &b);
    a.bh = aio_bh_new(ctx, free_other_bh, &a);
    a.other = b.bh;
    aio_bh_schedule(a.bh);
    aio_bh_schedule(b.bh);
    aio_poll(ctx, true);
    g_assert_cmpuint(a.calls, ==, 1);
    g_assert_cmpuint(b.calls, ==, 0);

    a.other = a.bh; /* itself */
    aio_bh_schedule(a.bh);
    aio_poll(ctx, true);
    g_assert_cmpuint(a.calls, ==, 2);
    aio_context_free(ctx);
}

/* Linked when freed: the memory must go with the context (leak checkers). */
static void test_free_scheduled(void)
{
    AioContext *ctx = context_new();
    Call a = { 0 }, b = { 0 };

    a.bh = aio_bh_new(ctx, count_bh, &a);
    b.bh = aio_bh_new(ctx, count_bh, &b);
    aio_bh_schedule(a.bh);
    aio_bh_schedule(b.bh);
    aio_bh_free(a.bh);
    aio_bh_cancel(b.bh);
    aio_context_free(ctx);
    aio_bh_free(b.bh); /* after its context */
    g_assert_cmpuint(a.calls + b.calls, ==, 0);
}

static void test_context_free_scheduled(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = context_new();
        Call call = { 0 };

        aio_bh_once(ctx, count_bh, &call);
        aio_context_free(ctx);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*BH_SCHEDULED*");
}

enum { THREADS = 4, SHOTS = 20000 };

typedef struct Storm {
    AioContext *ctx;
    AioBH *shared;         /* scheduled by all threads */
    unsigned long seen;    /* sum of published at the latest shared call */
    unsigned long published[THREADS]; /* atomic; by one thread each */
    unsigned long once;    /* one-shots that ran */
    unsigned last[THREADS]; /* number of the latest one-shot of each thread */
    unsigned finished;      /* threads */
} Storm;

typedef struct Shot {
    Storm *storm;
    unsigned thread, number;
} Shot;

static void shot_bh(void *opaque)
{
    Shot *shot = opaque;
    Storm *storm = shot->storm;

    storm->once++;
    g_assert_cmpuint(shot->number, ==, storm->last[shot->thread] + 1);
    storm->last[shot->thread] = shot->number;
    g_free(shot);
}

static void shared_bh(void *opaque)
{
    Storm *storm = opaque;

    storm->seen = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        storm->seen += __atomic_load_n(&storm->published[i],
                                       __ATOMIC_RELAXED);
    }
}

static void finished_bh(void *opaque)
{
    Storm *storm = opaque;

    storm->finished++;
}

typedef struct StormThread {
    Storm *storm;
    unsigned index;
    pthread_t thread;
} StormThread;

static void *storm_thread(void *opaque)
{
    StormThread *self = opaque;
    Storm *storm = self->storm;

    for (unsigned i = 1; i <= SHOTS; i++) {
        Shot *shot = g_new(Shot, 1);

        *shot = (Shot){ storm, self->index, i };
        aio_bh_once(storm->ctx, shot_bh, shot);
        __atomic_store_n(&storm->published[self->index], i, __ATOMIC_RELAXED);
        aio_bh_schedule(storm->shared);
    }
    aio_bh_once(storm->ctx, finished_bh, storm);
    return NULL;
}

/*
 * All one-shots run, in order per thread, and the last call of the shared one
 * sees all that was published before it was scheduled.
 */
static void test_storm(void)
{
    Storm storm = { .ctx = context_new() };
    StormThread threads[THREADS];

    storm.shared = aio_bh_new(storm.ctx, shared_bh, &storm);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (StormThread){ .storm = &storm, .index = i };
        g_assert_cmpint(pthread_create(&threads[i].thread, NULL, storm_thread,
                                       &threads[i]), ==, 0);
    }
    while (storm.finished < THREADS) {
        aio_poll(storm.ctx, true);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
    }
    while (aio_poll(storm.ctx, false)) {
        /* until nothing is left */
    }
    g_assert_cmpuint(storm.once, ==, THREADS * SHOTS);
    g_assert_cmpuint(storm.seen, ==, THREADS * SHOTS);
    aio_bh_free(storm.shared);
    aio_context_free(storm.ctx);
}

static void test_run_sync_home(void)
{
    AioContext *ctx = context_new();
    Call call = { 0 };

    aio_bh_run_sync(ctx, count_bh, &call); /* nobody polls: must be direct */
    g_assert_cmpuint(call.calls, ==, 1);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bottom-half/coalesce", test_coalesce);
    g_test_add_func("/bottom-half/fifo", test_fifo);
    g_test_add_func("/bottom-half/again-next-round", test_again_next_round);
    g_test_add_func("/bottom-half/cancel", test_cancel);
    g_test_add_func("/bottom-half/cancel-in-round", test_cancel_in_round);
    g_test_add_func("/bottom-half/free-in-round", test_free_in_round);
    g_test_add_func("/bottom-half/free-scheduled", test_free_scheduled);
    g_test_add_func("/bottom-half/context-free-scheduled",
                    test_context_free_scheduled);
    g_test_add_func("/bottom-half/storm", test_storm);
    g_test_add_func("/bottom-half/run-sync-home", test_run_sync_home);
    return g_test_run();
}
