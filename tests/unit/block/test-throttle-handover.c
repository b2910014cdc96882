/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Levels of throttle groups on their way: what arrives, where limits are
 * others, and what is refused.
 */
#include "block/throttle.h"

#include "block/aio.h"

static ThrottleGroup *make_group(const char *limits)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(limits, "object", NULL, &error);

    throttle_group_add("g", opts, &error);
    g_assert_no_error(error);
    return throttle_group_find("g");
}

/* A group with these levels of iops-write leaves them to one with @limits. */
static ThrottleState change_hands(const char *limits, ThrottleState before)
{
    g_autoptr(Handover) handover = handover_new();
    g_autoptr(GError) error = NULL;
    ThrottleGroup *group = make_group("limits.iops-write=1000,"
                                      "limits.iops-write-max=5000,"
                                      "limits.iops-write-max-length=10");
    ThrottleState after;

    throttle_group_set_state(group, &before);
    throttle_hand_over(handover);
    throttle_group_free_all();
    group = make_group(limits);
    g_assert_true(throttle_take_over(handover, &error));
    g_assert_no_error(error);
    g_assert_null(handover_left(handover));
    throttle_group_get_state(group, &after);
    throttle_group_free_all();
    return after;
}

static ThrottleState state_of(double level, double burst_level)
{
    ThrottleState state = { .leaked_ns = aio_clock_ns() };

    state.buckets[THROTTLE_IOPS_WRITE] = (ThrottleBucket){ level,
                                                           burst_level };
    return state;
}

static void test_same(void)
{
    ThrottleState before = state_of(49000.25, 400.5);
    ThrottleState after = change_hands("limits.iops-write=1000,"
                                       "limits.iops-write-max=5000,"
                                       "limits.iops-write-max-length=10",
                                       before);

    g_assert_cmpint(after.leaked_ns, ==, before.leaked_ns);
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        g_assert_cmpfloat(after.buckets[i].level, ==,
                          before.buckets[i].level);
        g_assert_cmpfloat(after.buckets[i].burst_level, ==,
                          before.buckets[i].burst_level);
    }
}

/* 40 of 150 a second: the next one has to wait, but not for years. */
static void test_other_limits(void)
{
    ThrottleState after = change_hands("limits.iops-write=150",
                                       state_of(49000, 400));

    g_assert_cmpfloat(after.buckets[THROTTLE_IOPS_WRITE].level, ==, 15);
    g_assert_cmpfloat(after.buckets[THROTTLE_IOPS_WRITE].burst_level, ==, 0);
    after = change_hands("limits.bps-total=1000000", state_of(49000, 400));
    g_assert_cmpfloat(after.buckets[THROTTLE_BPS_TOTAL].level, ==, 0);
}

/* A bucket whose clock is ahead would not leak. */
static void test_future(void)
{
    ThrottleState before = state_of(10, 0);
    ThrottleState after;

    before.leaked_ns = INT64_MAX;
    after = change_hands("limits.iops-write=150", before);
    g_assert_cmpint(after.leaked_ns, <=, aio_clock_ns());
}

static bool takes(const char *text)
{
    g_autoptr(Handover) handover = handover_new();
    g_autoptr(GError) error = NULL;
    bool ok;

    g_assert_true(handover_add_text(handover, text, NULL, 0, NULL));
    make_group("limits.iops-write=150");
    ok = throttle_take_over(handover, &error);
    g_assert_true(ok == !error);
    throttle_group_free_all();
    return ok;
}

static void test_bad_records(void)
{
    g_assert_true(takes("record=throttle,id=g,leaked-ns=1"));
    g_assert_true(takes("record=throttle,id=g,leaked-ns=1,iops-write=15000"));
    g_assert_true(takes("record=throttle,id=gone,leaked-ns=1,bps-read=1"));
    g_assert_false(takes("record=throttle,id=g"));
    g_assert_false(takes("record=throttle,id=g,leaked-ns=-1"));
    g_assert_false(takes("record=throttle,id=g,leaked-ns=1,iops=1"));
    g_assert_false(takes("record=throttle,id=g,leaked-ns=1,"
                         "iops-write=1000000000000000001"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle-handover/same", test_same);
    g_test_add_func("/throttle-handover/other-limits", test_other_limits);
    g_test_add_func("/throttle-handover/future", test_future);
    g_test_add_func("/throttle-handover/bad-records", test_bad_records);
    return g_test_run();
}
