/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leaky buckets by a clock of the test's own: what a queue that is never
 * empty gets through in a time is what the limits say, to 2 %.
 */
#include "block/throttle.h"

#include <math.h>

#define S 1000000000LL

typedef struct Run {
    ThrottleConfig config;
    ThrottleState state;
    int64_t now_ns;
} Run;

static void run_init(Run *run)
{
    *run = (Run){ .now_ns = 12345 };
    throttle_config_init(&run->config);
    run->state.leaked_ns = run->now_ns;
}

static ThrottleRate *rate(Run *run, ThrottleLimit limit)
{
    return &run->config.rates[limit];
}

/* Requests of @bytes, one after the other, until @seconds are over. Returns
 * how many went. */
static unsigned go_on(Run *run, ThrottleDirection direction, int64_t bytes,
                      double seconds)
{
    int64_t end_ns = run->now_ns + seconds * S;
    unsigned count = 0;

    for (;;) {
        int64_t wait_ns = throttle_wait_ns(&run->config, &run->state,
                                           direction, run->now_ns);

        if (run->now_ns + wait_ns >= end_ns) {
            run->now_ns = end_ns;
            return count;
        }
        run->now_ns += wait_ns;
        throttle_account(&run->config, &run->state, direction, bytes);
        count++;
    }
}

static void assert_near(double value, double expected)
{
    if (fabs(value - expected) > 0.02 * expected) {
        g_error("%g is not within 2 %% of %g", value, expected);
    }
}

static void test_no_limit(void)
{
    Run run;

    run_init(&run);
    throttle_account(&run.config, &run.state, THROTTLE_READ, INT64_MAX / 2);
    g_assert_cmpint(throttle_wait_ns(&run.config, &run.state, THROTTLE_READ,
                                     run.now_ns), ==, 0);
    rate(&run, THROTTLE_BPS_WRITE)->avg = 1;
    g_assert_cmpint(throttle_wait_ns(&run.config, &run.state, THROTTLE_READ,
                                     run.now_ns), ==, 0);
}

static void test_average(void)
{
    static const uint64_t averages[] = { 1, 7, 100, 12345, 1000000 };

    for (unsigned i = 0; i < G_N_ELEMENTS(averages); i++) {
        double seconds = averages[i] < 100 ? 600 : 5;
        Run run;

        run_init(&run);
        rate(&run, THROTTLE_IOPS_TOTAL)->avg = averages[i];
        /* a tenth of a second's worth goes at once */
        go_on(&run, THROTTLE_READ, 4096, 1);
        assert_near(go_on(&run, THROTTLE_READ, 4096, seconds),
                    averages[i] * seconds);
        assert_near(go_on(&run, THROTTLE_WRITE, 65536, seconds),
                    averages[i] * seconds);
    }
}

static void test_bytes(void)
{
    Run run;

    run_init(&run);
    rate(&run, THROTTLE_BPS_READ)->avg = 10 << 20;
    go_on(&run, THROTTLE_READ, 4096, 1);
    assert_near(go_on(&run, THROTTLE_READ, 4096, 10), 10 * 2560);
    assert_near(go_on(&run, THROTTLE_READ, 4 << 20, 100), 250);
}

/* The first requests after a pause: a tenth of a second's worth. */
static void test_short_burst(void)
{
    Run run;

    run_init(&run);
    rate(&run, THROTTLE_IOPS_TOTAL)->avg = 1000;
    g_assert_cmpuint(go_on(&run, THROTTLE_READ, 512, 1e-9), ==, 101);
    run.now_ns += 100 * S; /* what was not used is not saved up */
    g_assert_cmpuint(go_on(&run, THROTTLE_READ, 512, 1e-9), ==, 101);
}

static void test_burst(void)
{
    Run run;

    run_init(&run);
    *rate(&run, THROTTLE_IOPS_TOTAL) = (ThrottleRate){ 100, 2000, 1 };
    g_assert_cmpuint(go_on(&run, THROTTLE_READ, 512, 1e-9), ==, 2001);
    assert_near(go_on(&run, THROTTLE_READ, 512, 100), 100 * 100);
}

/* "length" seconds at the rate of "max", then "avg". */
static void test_long_burst(void)
{
    Run run;
    unsigned first, second, third;

    run_init(&run);
    *rate(&run, THROTTLE_IOPS_TOTAL) = (ThrottleRate){ 100, 1000, 60 };
    first = go_on(&run, THROTTLE_READ, 512, 30);
    assert_near(first, 30 * 1000 + 100);
    second = go_on(&run, THROTTLE_READ, 512, 30);
    assert_near(second, 30 * 1000);
    /* what leaks meanwhile prolongs it: 60000 = t * (1000 - 100) */
    third = go_on(&run, THROTTLE_READ, 512, 10);
    assert_near(first + second + third, 60000 + 70 * 100);
    assert_near(go_on(&run, THROTTLE_READ, 512, 100), 100 * 100);
    run.now_ns += 600 * S; /* all of it has leaked */
    assert_near(go_on(&run, THROTTLE_READ, 512, 30), 30 * 1000 + 100);
}

/* Several limits: the tightest counts. */
static void test_several(void)
{
    Run run;

    run_init(&run);
    rate(&run, THROTTLE_IOPS_WRITE)->avg = 100;
    rate(&run, THROTTLE_BPS_TOTAL)->avg = 1 << 20;
    go_on(&run, THROTTLE_WRITE, 4096, 1);
    assert_near(go_on(&run, THROTTLE_WRITE, 4096, 100), 100 * 100);
    go_on(&run, THROTTLE_WRITE, 65536, 1);
    assert_near(go_on(&run, THROTTLE_WRITE, 65536, 100), 16 * 100);
    assert_near(go_on(&run, THROTTLE_READ, 4096, 100), 256 * 100);
}

/* Both directions pour into the totals. */
static void test_total(void)
{
    Run run;
    unsigned reads = 0, writes = 0;

    run_init(&run);
    rate(&run, THROTTLE_IOPS_TOTAL)->avg = 100;
    go_on(&run, THROTTLE_READ, 512, 1);
    for (unsigned i = 0; i < 100; i++) {
        reads += go_on(&run, THROTTLE_READ, 512, 0.5);
        writes += go_on(&run, THROTTLE_WRITE, 512, 0.5);
    }
    assert_near(reads + writes, 100 * 100);
}

static void test_iops_size(void)
{
    Run run;

    run_init(&run);
    rate(&run, THROTTLE_IOPS_TOTAL)->avg = 1000;
    run.config.iops_size = 4096;
    go_on(&run, THROTTLE_READ, 4096, 1);
    assert_near(go_on(&run, THROTTLE_READ, 512, 10), 10 * 1000);
    assert_near(go_on(&run, THROTTLE_READ, 4096, 10), 10 * 1000);
    assert_near(go_on(&run, THROTTLE_READ, 65536, 10), 10 * 1000 / 16);
    assert_near(go_on(&run, THROTTLE_READ, 6144, 10), 10 * 1000 / 1.5);
}

/* A thread that is late to look at its clock; the largest limits there are. */
static void test_extremes(void)
{
    Run run;
    int64_t wait_ns;

    run_init(&run);
    rate(&run, THROTTLE_BPS_TOTAL)->avg = 1;
    g_assert_cmpint(throttle_wait_ns(&run.config, &run.state, THROTTLE_READ,
                                     run.now_ns), ==, 0);
    throttle_account(&run.config, &run.state, THROTTLE_READ, 2);
    wait_ns = throttle_wait_ns(&run.config, &run.state, THROTTLE_READ,
                               run.now_ns - S);
    assert_near(wait_ns, 1.9 * S);
    throttle_account(&run.config, &run.state, THROTTLE_READ, INT64_MAX);
    wait_ns = throttle_wait_ns(&run.config, &run.state, THROTTLE_READ,
                               run.now_ns);
    g_assert_cmpint(wait_ns, ==, INT64_MAX / 2);

    run_init(&run);
    *rate(&run, THROTTLE_BPS_TOTAL) =
        (ThrottleRate){ THROTTLE_VALUE_MAX, THROTTLE_VALUE_MAX, 1 };
    throttle_account(&run.config, &run.state, THROTTLE_READ, 1 << 30);
    g_assert_cmpint(throttle_wait_ns(&run.config, &run.state, THROTTLE_READ,
                                     run.now_ns), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle-bucket/no-limit", test_no_limit);
    g_test_add_func("/throttle-bucket/average", test_average);
    g_test_add_func("/throttle-bucket/bytes", test_bytes);
    g_test_add_func("/throttle-bucket/short-burst", test_short_burst);
    g_test_add_func("/throttle-bucket/burst", test_burst);
    g_test_add_func("/throttle-bucket/long-burst", test_long_burst);
    g_test_add_func("/throttle-bucket/several", test_several);
    g_test_add_func("/throttle-bucket/total", test_total);
    g_test_add_func("/throttle-bucket/iops-size", test_iops_size);
    g_test_add_func("/throttle-bucket/extremes", test_extremes);
    return g_test_run();
}
