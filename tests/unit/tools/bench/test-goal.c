/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Medians, ratios and verdicts.
 */
#include "tools/bench/goal.h"

#include <math.h>
#include <string.h>

static BenchSeries series(unsigned n, const double *values)
{
    BenchSeries s = { .n = n };

    memcpy(s.values, values, n * sizeof(*values));
    return s;
}

#define SERIES(...) \
    series(sizeof((double[]){ __VA_ARGS__ }) / sizeof(double), \
           (double[]){ __VA_ARGS__ })

static void test_median(void)
{
    BenchSeries odd = SERIES(5, 1, 3), even = SERIES(4, 1, 2, 100);
    BenchSeries unknown = SERIES(1, NAN, 3), empty = { 0 };

    g_assert_cmpfloat(bench_series_median(&odd), ==, 3);
    g_assert_cmpfloat(bench_series_median(&even), ==, 3);
    g_assert_true(isnan(bench_series_median(&unknown)));
    g_assert_true(isnan(bench_series_median(&empty)));
    g_assert_cmpfloat(bench_series_min(&odd), ==, 1);
    g_assert_cmpfloat(bench_series_max(&odd), ==, 5);
    g_assert_cmpfloat_with_epsilon(bench_series_spread(&odd), 2.0 / 3, 1e-9);
}

/* A disturbance of one round, which halves both, is not seen. */
static void test_ratio(void)
{
    BenchSeries a = SERIES(200, 100, 210), b = SERIES(100, 50, 100);

    g_assert_cmpfloat(bench_series_ratio(&a, &b), ==, 2);
}

static void test_parse(void)
{
    static const char *const bad[] = {
        "", "a", "a iops", "a iops >= ", "a iops > 1", "a speed >= 1",
        "a iops >= x", "a iops >= 1x b", "a iops >= 1 b c", "a iops >= nan",
    };
    BenchGoal goal = { 0 };

    g_assert_true(bench_goal_parse(" vblk-*  cpu <= 0.8  qsd ", &goal, NULL));
    g_assert_cmpstr(goal.who, ==, "vblk-*");
    g_assert_cmpstr(goal.peer, ==, "qsd");
    g_assert_cmpint(goal.metric, ==, BENCH_CPU);
    g_assert_false(goal.at_least);
    g_assert_cmpfloat(goal.factor, ==, 0.8);
    bench_goal_clear(&goal);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(bench_goal_parse(bad[i], &goal, &error));
        g_assert_nonnull(error);
    }
}

static BenchVerdict judge(const char *text, double *value)
{
    BenchPeer peers[] = {
        { .name = "qsd-a", .series[BENCH_IOPS] = SERIES(100, 100, 100),
          .series[BENCH_CPU] = SERIES(8, 8, 8) },
        { .name = "qsd-b", .series[BENCH_IOPS] = SERIES(150, 150, 150),
          .series[BENCH_CPU] = SERIES(9, 9, 9) },
        { .name = "ours-a", .series[BENCH_IOPS] = SERIES(300, 300, 300),
          .series[BENCH_CPU] = SERIES(6, 6, 6) },
        { .name = "ours-b", .series[BENCH_IOPS] = SERIES(200, 200, 200),
          .series[BENCH_CPU] = SERIES(4, 4, 4),
          .series[BENCH_SYSCALLS] = SERIES(NAN, 1, 1) },
        { .name = "failed" },
    };
    BenchGoal goal = { 0 };
    BenchVerdict verdict;

    g_assert_true(bench_goal_parse(text, &goal, NULL));
    verdict = bench_goal_judge(&goal, peers, G_N_ELEMENTS(peers), value);
    bench_goal_clear(&goal);
    return verdict;
}

static void test_judge(void)
{
    double value;

    /* the best of ours against the best of theirs */
    g_assert_cmpint(judge("ours-* iops >= 2 qsd-*", &value), ==,
                    BENCH_REACHED);
    g_assert_cmpfloat(value, ==, 2);
    g_assert_cmpint(judge("ours-* iops >= 2.1 qsd-*", &value), ==,
                    BENCH_MISSED);
    /* of CPU time, less is better */
    g_assert_cmpint(judge("ours-* cpu <= 0.5 qsd-*", &value), ==,
                    BENCH_REACHED);
    g_assert_cmpfloat(value, ==, 0.5);
    g_assert_cmpint(judge("ours-a cpu <= 0.5 qsd-b", &value), ==,
                    BENCH_MISSED);
    /* without a peer: the figure itself */
    g_assert_cmpint(judge("ours-a cpu <= 6", &value), ==, BENCH_REACHED);
    g_assert_cmpint(judge("ours-a cpu <= 5.9", &value), ==, BENCH_MISSED);
}

static void test_not_judged(void)
{
    double value;

    g_assert_cmpint(judge("ours-a iops >= 1 failed", &value), ==,
                    BENCH_NOT_JUDGED);
    g_assert_cmpint(judge("failed iops >= 1 ours-a", &value), ==,
                    BENCH_NOT_JUDGED);
    g_assert_cmpint(judge("nobody iops >= 1", &value), ==, BENCH_NOT_JUDGED);
    g_assert_cmpint(judge("ours-b syscalls <= 2", &value), ==,
                    BENCH_NOT_JUDGED);
    g_assert_true(isnan(value));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/series/median", test_median);
    g_test_add_func("/series/ratio", test_ratio);
    g_test_add_func("/goal/parse", test_parse);
    g_test_add_func("/goal/judge", test_judge);
    g_test_add_func("/goal/not-judged", test_not_judged);
    return g_test_run();
}
