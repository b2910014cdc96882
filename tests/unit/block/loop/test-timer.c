/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of timers: order, arming and disarming in callbacks, and the waits
 * that they end. Deadlines lie in the past or a moment ahead; what is checked
 * is that nothing fires early, never how late it is.
 */
#include <string.h>

#include "../../../../block/loop/aio-private.h"

static AioContext *context_new(void)
{
    AioContext *ctx = aio_context_new(NULL, NULL);

    g_assert_nonnull(ctx);
    aio_context_adopt(ctx);
    return ctx;
}

typedef struct Alarm {
    AioTimer timer;
    struct Alarm *other;
    unsigned calls;
    int64_t fired_ns;
    char name;
} Alarm;

static GString *fired;

static void alarm_cb(void *opaque)
{
    Alarm *alarm = opaque;

    g_assert_false(alarm->timer.armed);
    alarm->calls++;
    alarm->fired_ns = aio_clock_ns();
    if (fired) {
        g_string_append_c(fired, alarm->name);
    }
}

static void alarm_init(Alarm *alarm, AioContext *ctx, AioFn *fn)
{
    memset(alarm, 0, sizeof(*alarm));
    aio_timer_init(&alarm->timer, ctx, fn, alarm);
}

static void test_fires_once(void)
{
    AioContext *ctx = context_new();
    Alarm alarm;

    alarm_init(&alarm, ctx, alarm_cb);
    g_assert_false(aio_poll(ctx, false));
    aio_timer_arm(&alarm.timer, aio_clock_ns());
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(alarm.calls, ==, 1);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpuint(alarm.calls, ==, 1);
    aio_context_free(ctx);
}

static void test_order(void)
{
    AioContext *ctx = context_new();
    int64_t now = aio_clock_ns();
    const int64_t deadlines[] = { 5, 3, 5, 1, 3, 5 };
    Alarm alarms[G_N_ELEMENTS(deadlines)];

    fired = g_string_new("");
    for (unsigned i = 0; i < G_N_ELEMENTS(deadlines); i++) {
        alarm_init(&alarms[i], ctx, alarm_cb);
        alarms[i].name = 'a' + i;
        aio_timer_arm(&alarms[i].timer, now - 10 + deadlines[i]);
    }
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpstr(fired->str, ==, "dbeacf");
    g_string_free(fired, TRUE);
    fired = NULL;
    aio_context_free(ctx);
}

/* Re-arming for an equal deadline goes behind those already there. */
static void test_rearm_goes_last(void)
{
    AioContext *ctx = context_new();
    int64_t now = aio_clock_ns();
    Alarm a, b;

    fired = g_string_new("");
    alarm_init(&a, ctx, alarm_cb);
    alarm_init(&b, ctx, alarm_cb);
    a.name = 'a';
    b.name = 'b';
    aio_timer_arm(&a.timer, now);
    aio_timer_arm(&b.timer, now);
    aio_timer_arm(&a.timer, now);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpstr(fired->str, ==, "ba");
    g_string_free(fired, TRUE);
    fired = NULL;
    aio_context_free(ctx);
}

static void sleep_until_fired(AioContext *ctx, Alarm *alarm)
{
    int64_t deadline = aio_clock_ns() + 3000000;

    aio_timer_arm(&alarm->timer, deadline);
    while (alarm->calls == 0) {
        aio_poll(ctx, true);
    }
    g_assert_cmpint(alarm->fired_ns, >=, deadline);
}

static void test_ends_sleep(void)
{
    AioContext *ctx = context_new();
    Alarm alarm;

    alarm_init(&alarm, ctx, alarm_cb);
    sleep_until_fired(ctx, &alarm);
    /* It has slept and not spun: one sleep, perhaps cut in two. */
    g_assert_cmpuint(aio_context_stats(ctx).rounds, <=, 3);
    aio_context_free(ctx);
}

/* The same where the kernel has no epoll_pwait2(). */
static void test_ends_sleep_coarse(void)
{
    AioContext *ctx = context_new();
    Alarm alarm;

    ctx->coarse_timeout = true;
    alarm_init(&alarm, ctx, alarm_cb);
    sleep_until_fired(ctx, &alarm);
    g_assert_cmpuint(aio_context_stats(ctx).rounds, <=, 3);
    aio_context_free(ctx);
}

static void test_disarm(void)
{
    AioContext *ctx = context_new();
    Alarm alarm;

    alarm_init(&alarm, ctx, alarm_cb);
    aio_timer_disarm(&alarm.timer);
    aio_timer_arm(&alarm.timer, 1);
    aio_timer_disarm(&alarm.timer);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpuint(alarm.calls, ==, 0);
    aio_context_free(ctx);
}

static void disarm_other_cb(void *opaque)
{
    Alarm *alarm = opaque;

    alarm_cb(alarm);
    aio_timer_disarm(&alarm->other->timer);
}

/* The other one is due in the same round. */
static void test_disarm_in_callback(void)
{
    AioContext *ctx = context_new();
    Alarm a, b;

    alarm_init(&a, ctx, disarm_other_cb);
    alarm_init(&b, ctx, alarm_cb);
    a.other = &b;
    aio_timer_arm(&a.timer, 1);
    aio_timer_arm(&b.timer, 2);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(a.calls, ==, 1);
    g_assert_cmpuint(b.calls, ==, 0);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpuint(b.calls, ==, 0);
    aio_context_free(ctx);
}

static void rearm_now_cb(void *opaque)
{
    Alarm *alarm = opaque;

    alarm_cb(alarm);
    aio_timer_arm(&alarm->timer, 1);
}

/* One that arms itself for the past fires once a round. */
static void test_rearm_in_callback(void)
{
    AioContext *ctx = context_new();
    Alarm alarm;

    alarm_init(&alarm, ctx, rearm_now_cb);
    aio_timer_arm(&alarm.timer, 1);
    for (unsigned round = 1; round <= 3; round++) {
        g_assert_true(aio_poll(ctx, true));
        g_assert_cmpuint(alarm.calls, ==, round);
    }
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    aio_timer_disarm(&alarm.timer);
    aio_context_free(ctx);
}

static void rearm_other_cb(void *opaque)
{
    Alarm *alarm = opaque;

    alarm_cb(alarm);
    aio_timer_arm(&alarm->other->timer, aio_clock_ns() + 3600000000000LL);
}

static void test_rearm_due_one(void)
{
    AioContext *ctx = context_new();
    Alarm a, b;

    alarm_init(&a, ctx, rearm_other_cb);
    alarm_init(&b, ctx, alarm_cb);
    a.other = &b;
    aio_timer_arm(&a.timer, 1);
    aio_timer_arm(&b.timer, 2);
    g_assert_true(aio_poll(ctx, true));
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpuint(b.calls, ==, 0);
    g_assert_true(b.timer.armed);
    aio_timer_disarm(&b.timer);
    aio_context_free(ctx);
}

static void test_free_armed(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = context_new();
        Alarm alarm;

        alarm_init(&alarm, ctx, alarm_cb);
        aio_timer_arm(&alarm.timer, 1);
        aio_context_free(ctx);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*aio_timers_empty*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/timer/fires-once", test_fires_once);
    g_test_add_func("/timer/order", test_order);
    g_test_add_func("/timer/rearm-goes-last", test_rearm_goes_last);
    g_test_add_func("/timer/ends-sleep", test_ends_sleep);
    g_test_add_func("/timer/ends-sleep-coarse", test_ends_sleep_coarse);
    g_test_add_func("/timer/disarm", test_disarm);
    g_test_add_func("/timer/disarm-in-callback", test_disarm_in_callback);
    g_test_add_func("/timer/rearm-in-callback", test_rearm_in_callback);
    g_test_add_func("/timer/rearm-due-one", test_rearm_due_one);
    g_test_add_func("/timer/free-armed", test_free_armed);
    return g_test_run();
}
