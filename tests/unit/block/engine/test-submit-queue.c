/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The submit queue over a kernel that is a script: what is handed over when,
 * what is kept, who fails, and that somebody always comes back.
 */
#include "block/engine/submit-queue.h"

#include <errno.h>

#include "block/engine/engine-internal.h"

#define MAX_REQUESTS 64

typedef struct Fixture {
    AioContext *ctx;
    SubmitQueue queue;
    EngineStats stats[2];
    EngineRequest requests[MAX_REQUESTS];
    int ret[MAX_REQUESTS];      /* 1: not called back */
    unsigned called_back;
    bool submitting;
    unsigned batch;             /* the first early one of each section */

    /* the kernel */
    int script[8];              /* an answer per call; the last one stays */
    unsigned calls;
    GString *handed;            /* "3 5": sizes of what it was shown */
    unsigned taken;             /* in order: requests [0, taken) */
    int refuse_err;             /* refused() saves requests failing with it */
    unsigned saved;
} Fixture;

static Fixture *f;

static int kernel_take(SubmitQueue *queue, unsigned max)
{
    int answer = f->script[MIN(f->calls, G_N_ELEMENTS(f->script) - 1)];
    unsigned n = answer > 0 ? MIN((unsigned)answer, max) : 0;
    EngineRequest *req = queue->head;

    f->calls++;
    g_string_append_printf(f->handed, "%s%u", f->handed->len ? " " : "", max);
    for (unsigned i = 0; i < n; i++, req = req->next) {
        f->taken++;
    }
    return answer > 0 ? (int)n : answer;
}

static bool kernel_refused(SubmitQueue *queue, EngineRequest *req, int err)
{
    if (err != f->refuse_err) {
        return false;
    }
    f->saved++;
    req->ret = 0;
    submit_queue_finish_later(queue, req);
    return true;
}

static const SubmitQueueOps ops = {
    .hand_over = kernel_take,
    .refused = kernel_refused,
    .one_call = true,
};

static void call_back(EngineRequest *req, int ret)
{
    g_assert_false(f->submitting);
    f->ret[req - f->requests] = ret;
    f->called_back++;
}

static void set_up(const AioParams *params, unsigned capacity)
{
    f = g_new0(Fixture, 1);
    f->ctx = aio_context_new(params, NULL);
    aio_context_adopt(f->ctx);
    f->handed = g_string_new("");
    f->script[0] = f->script[1] = f->script[2] = f->script[3] = INT_MAX;
    f->script[4] = f->script[5] = f->script[6] = f->script[7] = INT_MAX;
    f->batch = 1024;
    submit_queue_init(&f->queue, f->ctx, &ops, capacity);
    for (unsigned i = 0; i < MAX_REQUESTS; i++) {
        f->requests[i].cb = call_back;
        f->requests[i].stats = &f->stats[0];
        f->ret[i] = 1;
    }
}

static void complete(unsigned n)
{
    blk_io_plug(f->ctx);
    for (unsigned i = 0; i < n; i++) {
        submit_queue_completed(&f->queue);
    }
    blk_io_unplug(f->ctx);
}

static void tear_down(void)
{
    complete(f->queue.in_flight);
    submit_queue_destroy(&f->queue);
    aio_context_free(f->ctx);
    g_string_free(f->handed, TRUE);
    g_free(f);
}

static void add(unsigned from, unsigned to)
{
    f->submitting = true;
    blk_io_plug(f->ctx);
    f->queue.batch = f->batch;
    for (unsigned i = from; i < to; i++) {
        submit_queue_add(&f->queue, &f->requests[i]);
    }
    blk_io_unplug(f->ctx);
    f->submitting = false;
    g_assert_true(submit_queue_is_attended(&f->queue));
}

static void test_one_call_a_section(void)
{
    set_up(NULL, 1024);
    add(0, 5);
    g_assert_cmpstr(f->handed->str, ==, "5");
    g_assert_cmpuint(f->queue.in_flight, ==, 5);
    add(5, 5);
    g_assert_cmpuint(f->calls, ==, 1);
    tear_down();
}

static void test_no_section(void)
{
    set_up(NULL, 1024);
    submit_queue_add(&f->queue, &f->requests[0]);
    submit_queue_add(&f->queue, &f->requests[1]);
    g_assert_cmpstr(f->handed->str, ==, "1 1");
    tear_down();
}

static void test_early(void)
{
    set_up(NULL, 1024);
    add(0, 64);
    g_assert_cmpstr(f->handed->str, ==, "32 32");
    tear_down();
}

/* The device gets its first request before the second is collected. */
static void test_early_batches_double(void)
{
    set_up(NULL, 1024);
    f->batch = 1;
    add(0, 64);
    g_assert_cmpstr(f->handed->str, ==, "1 2 4 8 16 32 1");
    g_assert_cmpuint(f->stats[0].bursts, ==, 1);
    g_assert_cmpuint(f->stats[0].submit_calls, ==, 7);
    g_string_truncate(f->handed, 0);
    for (unsigned i = 0; i < 8; i++) {
        f->requests[i].max_batch = 2;
    }
    add(0, 8); /* the next section begins small again */
    g_assert_cmpstr(f->handed->str, ==, "1 2 2 2 1");
    g_string_truncate(f->handed, 0);
    add(8, 9);
    g_assert_cmpstr(f->handed->str, ==, "1");
    g_assert_cmpuint(f->stats[0].bursts, ==, 3);
    tear_down();
}

static void test_early_in_memory(void)
{
    set_up(NULL, 1024);
    f->batch = 1;
    for (unsigned i = 0; i < 64; i++) {
        f->requests[i].flags = ENGINE_IN_MEMORY;
    }
    add(0, 40);
    g_assert_cmpstr(f->handed->str, ==, "32 8");
    tear_down();
}

static void test_early_limits(void)
{
    AioParams params = { .aio_max_batch = 10 };

    set_up(&params, 1024);
    for (unsigned i = 20; i < 30; i++) {
        f->requests[i].max_batch = 4;
    }
    for (unsigned i = 30; i < 64; i++) {
        f->requests[i].max_batch = 100; /* the smaller one counts */
    }
    add(0, 20);
    g_assert_cmpstr(f->handed->str, ==, "10 10");
    g_string_truncate(f->handed, 0);
    add(20, 30);
    g_assert_cmpstr(f->handed->str, ==, "4 4 2");
    g_string_truncate(f->handed, 0);
    add(30, 41);
    g_assert_cmpstr(f->handed->str, ==, "10 1");
    tear_down();
}

static void test_partial(void)
{
    set_up(NULL, 1024);
    f->script[0] = 3;
    f->script[1] = 1;
    add(0, 10);
    g_assert_cmpstr(f->handed->str, ==, "10 7 6");
    g_assert_cmpuint(f->taken, ==, 10);
    g_assert_cmpuint(f->queue.in_flight, ==, 10);
    tear_down();
}

static void test_capacity(void)
{
    set_up(NULL, 8);
    add(0, 20);
    g_assert_cmpstr(f->handed->str, ==, "8");
    add(20, 21); /* blocked: not even asked */
    g_assert_cmpuint(f->calls, ==, 1);
    g_assert_false(f->queue.retry.armed);
    complete(3);
    g_assert_cmpstr(f->handed->str, ==, "8 3");
    complete(8);
    complete(8);
    g_assert_cmpstr(f->handed->str, ==, "8 3 8 2");
    g_assert_cmpuint(f->queue.queued, ==, 0);
    tear_down();
}

static void test_again_in_flight(void)
{
    set_up(NULL, 1024);
    f->script[0] = 4;
    f->script[1] = -EAGAIN;
    add(0, 6);
    g_assert_cmpstr(f->handed->str, ==, "6 2");
    complete(1);
    g_assert_cmpstr(f->handed->str, ==, "6 2 2");
    g_assert_cmpuint(f->queue.queued, ==, 0);
    g_assert_false(f->queue.retry.armed);
    tear_down();
}

/* What is in flight hangs: it may be another file's. */
static void test_again_without_completion(void)
{
    set_up(NULL, 1024);
    f->script[0] = 4;
    f->script[1] = f->script[2] = -ENOMEM;
    add(0, 6);
    add(6, 8);
    while (f->queue.queued) {
        aio_poll(f->ctx, true);
    }
    g_assert_cmpstr(f->handed->str, ==, "6 2 4 4");
    g_assert_cmpuint(f->queue.in_flight, ==, 8);
    g_assert_false(f->queue.retry.armed);
    tear_down();
}

static void test_again_none_in_flight(void)
{
    static const int transient[] = { -EAGAIN, -EBUSY, -EINTR, 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(transient); i++) {
        set_up(NULL, 1024);
        f->script[0] = f->script[1] = transient[i];
        add(0, 2);
        g_assert_cmpuint(f->calls, ==, 1);
        g_assert_true(f->queue.retry.armed);
        add(2, 3); /* joins the others in waiting */
        g_assert_cmpuint(f->calls, ==, 1);
        while (f->queue.queued) {
            aio_poll(f->ctx, true);
        }
        /* refused once more by the timer, then taken */
        g_assert_cmpstr(f->handed->str, ==, "2 3 3");
        g_assert_false(f->queue.retry.armed);
        tear_down();
    }
}

/* In flight when it was blocked, and the last of these came back to nothing:
 * the timer takes over. */
static void test_again_until_none_in_flight(void)
{
    set_up(NULL, 1024);
    f->script[0] = 1;
    f->script[1] = f->script[2] = -EAGAIN;
    add(0, 2);
    complete(1);
    g_assert_cmpstr(f->handed->str, ==, "2 1 1");
    g_assert_true(f->queue.retry.armed);
    while (f->queue.queued) {
        aio_poll(f->ctx, true);
    }
    tear_down();
}

static void test_first_refused(void)
{
    set_up(NULL, 1024);
    f->script[0] = -EIO;
    f->script[1] = 2;
    f->script[2] = -EBADF;
    add(0, 6);
    g_assert_cmpstr(f->handed->str, ==, "6 5 3 2");
    g_assert_cmpuint(f->queue.in_flight, ==, 4);
    g_assert_cmpuint(f->called_back, ==, 0); /* never inside submit */
    g_assert_true(aio_poll(f->ctx, false));
    g_assert_cmpuint(f->called_back, ==, 2);
    g_assert_cmpint(f->ret[0], ==, -EIO);
    g_assert_cmpint(f->ret[3], ==, -EBADF);
    tear_down();
}

static void test_all_refused(void)
{
    set_up(NULL, 1024);
    for (unsigned i = 0; i < G_N_ELEMENTS(f->script); i++) {
        f->script[i] = -EINVAL;
    }
    add(0, 6);
    g_assert_cmpuint(f->calls, ==, 6);
    aio_poll(f->ctx, false);
    g_assert_cmpuint(f->called_back, ==, 6);
    tear_down();
}

static void test_refused_and_saved(void)
{
    set_up(NULL, 1024);
    f->refuse_err = -EOPNOTSUPP;
    f->script[0] = -EOPNOTSUPP;
    add(0, 2);
    aio_poll(f->ctx, false);
    g_assert_cmpuint(f->saved, ==, 1);
    g_assert_cmpint(f->ret[0], ==, 0);
    tear_down();
}

static void test_later(void)
{
    set_up(NULL, 1024);
    add(0, 2);
    blk_io_plug(f->ctx);
    submit_queue_completed(&f->queue);
    submit_queue_add_later(&f->queue, &f->requests[0]);
    blk_io_unplug(f->ctx);
    g_assert_cmpuint(f->calls, ==, 1);
    complete(1);
    g_assert_cmpstr(f->handed->str, ==, "2 1");
    g_assert_false(f->queue.retry.armed);

    blk_io_plug(f->ctx);
    submit_queue_completed(&f->queue);
    submit_queue_add_later(&f->queue, &f->requests[0]);
    blk_io_unplug(f->ctx);
    g_assert_cmpuint(f->calls, ==, 2);
    g_assert_true(f->queue.retry.armed);
    while (f->queue.queued) {
        aio_poll(f->ctx, true);
    }
    g_assert_cmpuint(f->calls, ==, 3);
    tear_down();
}

static void test_stats(void)
{
    set_up(NULL, 1024);
    for (unsigned i = 0; i < 10; i++) {
        f->requests[i].stats = &f->stats[i % 2];
    }
    f->script[0] = 5;
    add(0, 10); /* two calls, both with requests of both */
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpuint(f->stats[i].host_requests, ==, 5);
        g_assert_cmpuint(f->stats[i].submit_calls, ==, 2);
        g_assert_cmpuint(f->stats[i].bursts, ==, 1);
        for (unsigned b = 0; b < ENGINE_BATCH_BUCKETS; b++) {
            g_assert_cmpuint(f->stats[i].batch[b], ==, b == 3);
        }
    }
    f->requests[11].stats = &f->stats[1];
    add(10, 11);
    add(11, 12);
    g_assert_cmpuint(f->stats[0].bursts, ==, 2);
    g_assert_cmpuint(f->stats[0].batch[0], ==, 1);
    g_assert_cmpuint(f->stats[1].submit_calls, ==, 3);
    tear_down();
}

static void test_batch_buckets(void)
{
    static const unsigned sizes[] = { 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64,
                                      65, 200 };
    static const unsigned bucket[] = { 0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6,
                                       7, 7 };
    EngineStats stats = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint64_t before = stats.batch[bucket[i]];

        engine_stats_burst(&stats, i + 1, sizes[i]);
        g_assert_cmpuint(stats.batch[bucket[i]], ==, before + 1);
    }
    g_assert_cmpuint(stats.bursts, ==, G_N_ELEMENTS(sizes));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/submit-queue/one-call-a-section",
                    test_one_call_a_section);
    g_test_add_func("/submit-queue/no-section", test_no_section);
    g_test_add_func("/submit-queue/early", test_early);
    g_test_add_func("/submit-queue/early-limits", test_early_limits);
    g_test_add_func("/submit-queue/early-batches-double",
                    test_early_batches_double);
    g_test_add_func("/submit-queue/early-in-memory", test_early_in_memory);
    g_test_add_func("/submit-queue/partial", test_partial);
    g_test_add_func("/submit-queue/capacity", test_capacity);
    g_test_add_func("/submit-queue/again-in-flight", test_again_in_flight);
    g_test_add_func("/submit-queue/again-without-completion",
                    test_again_without_completion);
    g_test_add_func("/submit-queue/again-none-in-flight",
                    test_again_none_in_flight);
    g_test_add_func("/submit-queue/again-until-none-in-flight",
                    test_again_until_none_in_flight);
    g_test_add_func("/submit-queue/first-refused", test_first_refused);
    g_test_add_func("/submit-queue/all-refused", test_all_refused);
    g_test_add_func("/submit-queue/refused-and-saved", test_refused_and_saved);
    g_test_add_func("/submit-queue/later", test_later);
    g_test_add_func("/submit-queue/stats", test_stats);
    g_test_add_func("/submit-queue/batch-buckets", test_batch_buckets);
    return g_test_run();
}
