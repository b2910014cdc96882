/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of busy polling. The time that polling may last is set by hand, to
 * nothing, to next to nothing or to more than any test runs, so that the
 * counts do not depend on the machine's speed.
 */
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../../../block/loop/aio-private.h"

#define FOREVER_NS (3600 * 1000000000LL)

typedef struct Source {
    AioContext *ctx;
    AioHandler *handler;
    int fd;
    unsigned work;       /* how many polls find some */
    unsigned polls, readies, begins, ends;
    unsigned work_after_end; /* becomes work in poll_end() */
    unsigned act_at;     /* the poll, counted from 1, that calls act */
    AioFn *act;
    struct Source *other;
    GString *log;        /* b: begin, p: polls, e: end, r: ready */
} Source;

static void note(Source *source, char what)
{
    GString *log = source->log;

    if (log && !(what == 'p' && g_str_has_suffix(log->str, "p"))) {
        g_string_append_c(log, what);
    }
}

static void source_ready(void *opaque)
{
    Source *source = opaque;
    eventfd_t value;

    note(source, 'r');
    source->readies++;
    g_assert_cmpint(eventfd_read(source->fd, &value), ==, 0);
}

static bool source_poll(void *opaque)
{
    Source *source = opaque;

    note(source, 'p');
    source->polls++;
    if (source->act && source->polls == source->act_at) {
        source->act(source);
    }
    if (source->work == 0) {
        return false;
    }
    source->work--;
    return true;
}

static void source_begin(void *opaque)
{
    Source *source = opaque;

    note(source, 'b');
    source->begins++;
}

static void source_end(void *opaque)
{
    Source *source = opaque;

    note(source, 'e');
    source->ends++;
    source->work += source->work_after_end;
    source->work_after_end = 0;
}

static const AioHandlerOps polled_ops = {
    .ready = source_ready,
    .poll = source_poll,
    .poll_begin = source_begin,
    .poll_end = source_end,
};

static const AioHandlerOps plain_ops = { .ready = source_ready };

static AioContext *context_new(int64_t budget_ns)
{
    AioContext *ctx = aio_context_new(NULL, NULL);

    g_assert_nonnull(ctx);
    aio_context_adopt(ctx);
    ctx->polled.judges[0].budget_ns = budget_ns;
    return ctx;
}

static void source_init(Source *source, AioContext *ctx,
                        const AioHandlerOps *ops)
{
    memset(source, 0, sizeof(*source));
    source->ctx = ctx;
    source->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert_cmpint(source->fd, >=, 0);
    source->handler = aio_handler_add(ctx, source->fd, ops, source);
}

static void source_clear(Source *source)
{
    if (!source->handler) {
        return;
    }
    aio_handler_remove(source->handler);
    source->handler = NULL;
    close(source->fd);
}

static void nothing(void *opaque)
{
}

/* Lets the next wait end by itself, but not before it has slept: also not
 * where the machine has something else to do until then. */
static void arm_soon(AioTimer *timer, AioContext *ctx)
{
    aio_timer_init(timer, ctx, nothing, NULL);
    aio_timer_arm(timer, aio_clock_ns() + 100000000);
}

static void poll_until_fired(AioContext *ctx, AioTimer *timer)
{
    while (timer->armed) {
        aio_poll(ctx, true);
    }
}

static void test_hit(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source source;

    source_init(&source, ctx, &polled_ops);
    source.work = 2;
    g_assert_true(aio_poll(ctx, true));
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(source.polls, ==, 2);
    g_assert_cmpuint(source.begins, ==, 1); /* polling went on */
    g_assert_cmpuint(source.ends, ==, 0);
    g_assert_cmpuint(source.readies, ==, 0);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    g_assert_cmpuint(aio_context_stats(ctx).poll_rounds, ==, 2);
    g_assert_cmpuint(aio_context_stats(ctx).poll_hits, ==, 2);
    source_clear(&source);
    g_assert_cmpuint(source.ends, ==, 1); /* inside of the removal */
    aio_context_free(ctx);
}

/* Begin, poll, end, one more poll, and only then sleep. */
static void test_futile(void)
{
    AioContext *ctx = context_new(1);
    AioTimer timer;
    Source source;

    source_init(&source, ctx, &polled_ops);
    source.log = g_string_new("");
    arm_soon(&timer, ctx);
    aio_poll(ctx, true);
    g_assert_cmpstr(source.log->str, ==, "bpep");
    g_assert_cmpuint(source.polls, ==, 2);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 1);
    g_assert_cmpuint(aio_context_stats(ctx).poll_hits, ==, 0);
    /* slept for so long */
    g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==, 0);
    poll_until_fired(ctx, &timer);

    arm_soon(&timer, ctx);
    poll_until_fired(ctx, &timer);
    g_assert_cmpuint(source.polls, ==, 2); /* no polling any more */
    g_string_free(source.log, TRUE);
    source_clear(&source);
    aio_context_free(ctx);
}

/* What arrives while poll_end() runs is seen before the sleep. */
static void test_look_after_end(void)
{
    AioContext *ctx = context_new(1);
    Source source;

    source_init(&source, ctx, &polled_ops);
    source.work_after_end = 1;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(source.ends, ==, 1);
    g_assert_cmpuint(source.work, ==, 0);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    source_clear(&source);
    aio_context_free(ctx);
}

static AioTimer late_timer;

static void arm_late_timer(void *opaque)
{
    Source *source = opaque;

    arm_soon(&late_timer, source->ctx);
}

/* A timer that is armed while polling is about to end is not overslept. */
static void test_timer_armed_in_last_look(void)
{
    AioContext *ctx = context_new(1);
    Source source;

    source_init(&source, ctx, &polled_ops);
    source.act = arm_late_timer;
    source.act_at = 2; /* the look after poll_end() */
    aio_poll(ctx, true);
    g_assert_cmpuint(source.ends, ==, 1);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 1);
    poll_until_fired(ctx, &late_timer);
    source_clear(&source);
    aio_context_free(ctx);
}

static void test_disabled(void)
{
    AioParams params = { .poll_max_ns = -1 };
    AioContext *ctx = aio_context_new(&params, NULL);
    AioTimer timer;
    Source source;

    aio_context_adopt(ctx);
    source_init(&source, ctx, &polled_ops);
    source.work = 1;
    for (unsigned i = 0; i < 3; i++) {
        arm_soon(&timer, ctx);
        poll_until_fired(ctx, &timer);
    }
    eventfd_write(source.fd, 1);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(source.polls, ==, 0);
    g_assert_cmpuint(source.begins, ==, 0);
    g_assert_cmpuint(source.readies, ==, 1);
    source_clear(&source);
    aio_context_free(ctx);
}

static void count_call(void *opaque)
{
    unsigned *calls = opaque;

    (*calls)++;
}

static unsigned bh_calls;

static void schedule_bh(void *opaque)
{
    Source *source = opaque;

    aio_bh_once(source->ctx, count_call, &bh_calls);
}

/* A bottom half ends the polling, which would else last for an hour. */
static void test_bh_ends_polling(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source source;

    bh_calls = 0;
    source_init(&source, ctx, &polled_ops);
    source.act = schedule_bh;
    source.act_at = 100;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(source.polls, ==, 100);
    g_assert_cmpuint(bh_calls, ==, 1);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    g_assert_cmpuint(aio_context_stats(ctx).poll_hits, ==, 1);
    source_clear(&source);
    aio_context_free(ctx);
}

static void *schedule_thread(void *opaque)
{
    schedule_bh(opaque);
    return NULL;
}

/* The same from another thread, and it costs that one no system call. */
static void test_bh_from_thread(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    pthread_t thread;
    Source source;

    bh_calls = 0;
    source_init(&source, ctx, &polled_ops);
    pthread_create(&thread, NULL, schedule_thread, &source);
    g_assert_true(aio_poll(ctx, true));
    pthread_join(thread, NULL);
    g_assert_cmpuint(bh_calls, ==, 1);
    g_assert_cmpuint(aio_context_stats(ctx).notifies, ==, 0);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    source_clear(&source);
    aio_context_free(ctx);
}

static void test_timer_ends_polling(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    AioTimer timer;
    Source source;

    source_init(&source, ctx, &polled_ops);
    arm_soon(&timer, ctx);
    poll_until_fired(ctx, &timer);
    g_assert_cmpuint(source.polls, >, 0);
    g_assert_cmpuint(source.ends, ==, 0);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    source_clear(&source);
    aio_context_free(ctx);
}

/* One that is always busy does not keep the others from their turn. */
static void test_plain_gets_its_turn(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source busy, plain;

    source_init(&busy, ctx, &polled_ops);
    source_init(&plain, ctx, &plain_ops);
    busy.work = UINT32_MAX;
    for (unsigned turn = 1; turn <= 5; turn++) {
        unsigned rounds = 0;

        eventfd_write(plain.fd, 1);
        while (plain.readies < turn) {
            aio_poll(ctx, true);
            g_assert_cmpuint(++rounds, <=, AIO_MAX_SKIPPED_WAITS + 1);
        }
    }
    source_clear(&busy);
    source_clear(&plain);
    aio_context_free(ctx);
}

/* A caller that does not want to wait wants everything. */
static void test_plain_nonblocking(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source busy, plain;

    source_init(&busy, ctx, &polled_ops);
    source_init(&plain, ctx, &plain_ops);
    busy.work = UINT32_MAX;
    aio_poll(ctx, true);
    for (unsigned turn = 1; turn <= 5; turn++) {
        eventfd_write(plain.fd, 1);
        g_assert_true(aio_poll(ctx, false));
        g_assert_cmpuint(plain.readies, ==, turn);
        g_assert_cmpuint(busy.polls, ==, turn + 1);
    }
    source_clear(&busy);
    source_clear(&plain);
    aio_context_free(ctx);
}

/* With all handlers polled and work at hand the kernel is not asked. */
static void test_no_system_call(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source source;

    source_init(&source, ctx, &polled_ops);
    source.work = 100;
    eventfd_write(source.fd, 1); /* would be seen */
    while (source.work > 0) {
        g_assert_true(aio_poll(ctx, true));
    }
    g_assert_cmpuint(source.polls, ==, 100);
    g_assert_cmpuint(source.readies, ==, 0);
    source_clear(&source);
    aio_context_free(ctx);
}

static void run_rounds(AioContext *ctx, unsigned rounds)
{
    while (rounds-- > 0) {
        aio_poll(ctx, true);
    }
}

/* Out after a while, with its descriptor signalling; back when that fires. */
static void test_idle_drops_out(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source busy, idle;
    unsigned polls;

    source_init(&busy, ctx, &polled_ops);
    source_init(&idle, ctx, &polled_ops);
    busy.work = UINT32_MAX;
    run_rounds(ctx, AIO_POLL_IDLE_STRETCHES + AIO_POLL_IDLE_CHECK);
    g_assert_cmpuint(idle.begins, ==, 1);
    g_assert_cmpuint(idle.ends, ==, 1);
    g_assert_cmpuint(busy.ends, ==, 0);
    polls = idle.polls;
    run_rounds(ctx, 100);
    g_assert_cmpuint(idle.polls, ==, polls);

    eventfd_write(idle.fd, 1);
    run_rounds(ctx, AIO_MAX_SKIPPED_WAITS + 1);
    g_assert_cmpuint(idle.readies, ==, 1);
    run_rounds(ctx, 2);
    g_assert_cmpuint(idle.begins, ==, 2);
    g_assert_cmpuint(idle.polls, >=, polls + 2);
    source_clear(&busy);
    source_clear(&idle);
    aio_context_free(ctx);
}

/* Work that comes in between its last poll and its poll_end() is seen. */
static void test_drop_out_looks_again(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source busy, idle;

    source_init(&busy, ctx, &polled_ops);
    source_init(&idle, ctx, &polled_ops);
    busy.work = UINT32_MAX;
    idle.work_after_end = 1;
    while (idle.ends == 0) {
        aio_poll(ctx, true);
    }
    g_assert_cmpuint(idle.work, ==, 0);
    run_rounds(ctx, 10);
    g_assert_cmpuint(idle.begins, ==, 2); /* it had work: it stays */
    source_clear(&busy);
    source_clear(&idle);
    aio_context_free(ctx);
}

static void clear_other(void *opaque)
{
    Source *source = opaque;

    source_clear(source->other);
}

/* @first polls and removes the other or itself; then polling goes on. */
static void check_remove(unsigned first, unsigned removed)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source sources[3];

    for (unsigned i = 0; i < 3; i++) {
        source_init(&sources[i], ctx, &polled_ops);
    }
    sources[first].act = clear_other;
    sources[first].act_at = 2;
    sources[first].other = &sources[removed];
    sources[first].work = 3;
    run_rounds(ctx, first == removed ? 2 : 3);
    g_assert_null(sources[removed].handler);
    g_assert_cmpuint(sources[removed].ends, ==, 1);
    g_assert_cmpuint(ctx->polled.count, ==, 2);
    for (unsigned i = 0; i < 3; i++) {
        if (i != removed) {
            g_assert_cmpuint(sources[i].polls, >=, 2);
        }
        source_clear(&sources[i]);
    }
    aio_context_free(ctx);
}

static void test_remove_in_poll(void)
{
    for (unsigned first = 0; first < 3; first++) {
        for (unsigned removed = 0; removed < 3; removed++) {
            check_remove(first, removed);
        }
    }
}

static void add_other(void *opaque)
{
    Source *source = opaque;

    source_init(source->other, source->ctx, &polled_ops);
}

static void test_add_in_poll(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source a, b = { 0 };

    source_init(&a, ctx, &polled_ops);
    a.work = 3;
    a.act = add_other;
    a.act_at = 1;
    a.other = &b;
    run_rounds(ctx, 3);
    g_assert_cmpuint(b.begins, ==, 1);
    g_assert_cmpuint(b.polls, >=, 2);
    source_clear(&a);
    source_clear(&b);
    aio_context_free(ctx);
}

static void test_adapt(void)
{
    AioContext *ctx = context_new(0);
    const struct {
        int64_t block_ns, budget_ns;
    } steps[] = {
        { 10000, 20000 },  { 10000, 20000 },  { 20000, 20000 },
        { 30000, 32768 },  { 32768, 32768 },  { 40000, 0 },
        { 10000, 20000 },  { 1000000000, 0 }, { 30000, 22500 },
        { 1000000000, 0 }, { 1000000000, 0 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        ctx->polled.judges[0].hold = 0;
        aio_polled_adapt(ctx, steps[i].block_ns);
        g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==,
                        steps[i].budget_ns);
    }
    aio_context_free(ctx);
}

/* Waits that end soon after polling stops, however long it was. Returns how
 * many of them it takes until polling is tried again. */
static unsigned waits_until_next_attempt(AioContext *ctx)
{
    unsigned waits = 0;

    do {
        aio_polled_adapt(ctx, ctx->polled.judges[0].budget_ns + 8000);
    } while (ctx->polled.judges[0].budget_ns > 0);
    while (ctx->polled.judges[0].budget_ns == 0) {
        aio_polled_adapt(ctx, 8000);
        waits++;
    }
    return waits;
}

static void test_back_off(void)
{
    AioContext *ctx = context_new(0);

    aio_polled_adapt(ctx, 8000);
    g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==, 16000);
    for (unsigned hold = 16; hold < 4096; hold *= 2) {
        g_assert_cmpuint(waits_until_next_attempt(ctx), ==, hold + 1);
    }
    g_assert_cmpuint(waits_until_next_attempt(ctx), ==, 4096 + 1);
    g_assert_cmpuint(waits_until_next_attempt(ctx), ==, 4096 + 1);

    /* so waits were shorter with polling */
    ctx->polled.judges[0].plain_ns = 1000000;
    g_assert_cmpuint(waits_until_next_attempt(ctx), ==, 1);
    ctx->polled.judges[0].plain_ns = 8000;
    g_assert_cmpuint(waits_until_next_attempt(ctx), ==, 16 + 1);
    aio_context_free(ctx);
}

/* Polling that goes on is judged, too: waits of 9 us are fine while those
 * without polling take 10, and end it when they take 5. */
static void test_judged_while_it_goes_on(void)
{
    AioContext *ctx = context_new(16384);

    ctx->polled.judges[0].plain_ns = 10000;
    for (unsigned i = 0; i < 10 * AIO_POLL_TRIAL; i++) {
        aio_polled_adapt(ctx, 9000);
        g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==, 16384);
    }
    ctx->polled.judges[0].plain_ns = 5000;
    for (unsigned i = 1; i < AIO_POLL_TRIAL; i++) {
        aio_polled_adapt(ctx, 9000);
        g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==, 16384);
    }
    aio_polled_adapt(ctx, 9000);
    g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==, 0);
    g_assert_cmpuint(ctx->polled.judges[0].hold, >, 0);
    aio_context_free(ctx);
}

#define LONG_WORK_NS (200 * 1000000LL)

static void work_for_long(void *opaque)
{
    g_usleep(LONG_WORK_NS / 1000);
}

/* A handler works inside of its poll: the wait was over before. */
static void test_work_is_not_waiting(void)
{
    AioContext *ctx = context_new(FOREVER_NS);
    Source source;

    source_init(&source, ctx, &polled_ops);
    source.work = 1;
    source.act = work_for_long;
    source.act_at = 1;
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(ctx->polled.judges[0].trial_waits, ==, 1);
    g_assert_cmpint(ctx->polled.judges[0].trial_ns, <, LONG_WORK_NS);
    source_clear(&source);
    aio_context_free(ctx);
}

/* A wake-up that was there already says nothing about how long waits are. */
static void test_waits_that_do_not_sleep(void)
{
    AioContext *ctx = context_new(0);

    for (unsigned i = 0; i < 100; i++) {
        ctx->polled.judges[0].budget_ns = 0;
        aio_polled_adapt(ctx, 500);
    }
    g_assert_cmpint(ctx->polled.judges[0].plain_ns, ==, 0);
    g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==, 4096);
    aio_context_free(ctx);
}

/* What a guest's waits are like says nothing about the disk's. */
static void test_two_kinds(void)
{
    AioContext *ctx = context_new(4096);
    AioPollJudge *judges = ctx->polled.judges;

    aio_context_io_begin(ctx);
    aio_notify(ctx);
    aio_poll(ctx, true); /* looks, and does not sleep */
    g_assert_cmpint(ctx->polled.waiting_for, ==, AIO_WAIT_FOR_IO);
    aio_polled_adapt(ctx, 10000);
    g_assert_cmpint(judges[AIO_WAIT_FOR_IO].plain_ns, ==, 10000);
    g_assert_cmpint(judges[AIO_WAIT_FOR_IO].budget_ns, ==, 20000);
    g_assert_cmpint(judges[AIO_WAIT_FOR_REQUESTS].plain_ns, ==, 0);
    aio_context_io_end(ctx);
    aio_context_free(ctx);
}

static void test_adapt_params(void)
{
    AioParams params = {
        .poll_max_ns = 20000, .poll_grow = 3, .poll_shrink = 2
    };
    AioContext *ctx = aio_context_new(&params, NULL);
    const struct {
        int64_t block_ns, budget_ns;
    } steps[] = {
        { 2000, 4096 },   { 5000, 12288 },  { 19000, 20000 },
        { 21000, 10000 }, { 21000, 5000 },  { 5000, 5000 },
    };

    aio_context_adopt(ctx);
    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        aio_polled_adapt(ctx, steps[i].block_ns);
        g_assert_cmpint(ctx->polled.judges[0].budget_ns, ==,
                        steps[i].budget_ns);
    }
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aio-poll/hit", test_hit);
    g_test_add_func("/aio-poll/futile", test_futile);
    g_test_add_func("/aio-poll/look-after-end", test_look_after_end);
    g_test_add_func("/aio-poll/timer-armed-in-last-look",
                    test_timer_armed_in_last_look);
    g_test_add_func("/aio-poll/disabled", test_disabled);
    g_test_add_func("/aio-poll/bh-ends-polling", test_bh_ends_polling);
    g_test_add_func("/aio-poll/bh-from-thread", test_bh_from_thread);
    g_test_add_func("/aio-poll/timer-ends-polling", test_timer_ends_polling);
    g_test_add_func("/aio-poll/plain-gets-its-turn",
                    test_plain_gets_its_turn);
    g_test_add_func("/aio-poll/plain-nonblocking", test_plain_nonblocking);
    g_test_add_func("/aio-poll/no-system-call", test_no_system_call);
    g_test_add_func("/aio-poll/idle-drops-out", test_idle_drops_out);
    g_test_add_func("/aio-poll/drop-out-looks-again",
                    test_drop_out_looks_again);
    g_test_add_func("/aio-poll/remove-in-poll", test_remove_in_poll);
    g_test_add_func("/aio-poll/add-in-poll", test_add_in_poll);
    g_test_add_func("/aio-poll/adapt", test_adapt);
    g_test_add_func("/aio-poll/back-off", test_back_off);
    g_test_add_func("/aio-poll/judged-while-it-goes-on",
                    test_judged_while_it_goes_on);
    g_test_add_func("/aio-poll/work-is-not-waiting",
                    test_work_is_not_waiting);
    g_test_add_func("/aio-poll/waits-that-do-not-sleep",
                    test_waits_that_do_not_sleep);
    g_test_add_func("/aio-poll/two-kinds", test_two_kinds);
    g_test_add_func("/aio-poll/adapt-params", test_adapt_params);
    return g_test_run();
}
