/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Percentiles to within a sixty-fourth, whatever the distribution.
 */
#include "tools/bench/histogram.h"

static void test_empty(void)
{
    Histogram h;

    histogram_reset(&h);
    g_assert_cmpuint(histogram_percentile(&h, 99), ==, 0);
    g_assert_cmpfloat(histogram_mean(&h), ==, 0);
    g_assert_cmpfloat(histogram_stddev(&h), ==, 0);
}

/* Below 64 each value has its bucket. */
static void test_small(void)
{
    Histogram h;

    histogram_reset(&h);
    for (unsigned i = 0; i < 64; i++) {
        histogram_add(&h, i);
    }
    for (unsigned i = 1; i <= 64; i++) {
        g_assert_cmpuint(histogram_percentile(&h, i * 100.0 / 64), ==, i - 1);
    }
}

/* A value alone is reported as it is, on both sides of each power of two. */
static void test_alone(void)
{
    for (unsigned bit = 0; bit < 41; bit++) {
        for (int around = -1; around <= 1; around++) {
            uint64_t value = (UINT64_C(1) << bit) + around;
            Histogram h;

            histogram_reset(&h);
            histogram_add(&h, value);
            g_assert_cmpuint(histogram_percentile(&h, 50), ==, value);
            g_assert_cmpuint(h.min, ==, value);
            g_assert_cmpuint(h.max, ==, value);
        }
    }
}

/* The reported value is never below the true one, and at most 1/64 above. */
static void test_precision(void)
{
    GRand *rand = g_rand_new_with_seed(1);

    for (unsigned n = 0; n < 10000; n++) {
        uint64_t value = (uint64_t)g_rand_int(rand)
                         << g_rand_int_range(rand, 0, 9);
        Histogram h;
        uint64_t got;

        histogram_reset(&h);
        histogram_add(&h, value);
        histogram_add(&h, UINT64_C(1) << 41); /* so that max does not help */
        got = histogram_percentile(&h, 50);
        g_assert_cmpuint(got, >=, value);
        g_assert_cmpuint(got, <=, value + value / 64);
    }
    g_rand_free(rand);
}

/* One in ten thousand is seen at 99.99 and not at 99.9. */
static void test_tail(void)
{
    Histogram h;

    histogram_reset(&h);
    for (unsigned i = 0; i < 9998; i++) {
        histogram_add(&h, 1000);
    }
    histogram_add(&h, 1000000);
    histogram_add(&h, 2000000);
    g_assert_cmpuint(histogram_percentile(&h, 99.9), <=, 1007);
    g_assert_cmpuint(histogram_percentile(&h, 99.99), >=, 1000000);
    g_assert_cmpuint(histogram_percentile(&h, 99.99), <=, 1015625);
    g_assert_cmpuint(histogram_percentile(&h, 100), ==, 2000000);
}

/* What does not fit is counted in the last bucket. */
static void test_huge(void)
{
    Histogram h;

    histogram_reset(&h);
    histogram_add(&h, UINT64_MAX);
    g_assert_cmpuint(h.count, ==, 1);
    g_assert_cmpuint(h.max, ==, UINT64_MAX);
    g_assert_cmpuint(histogram_percentile(&h, 50), ==, UINT64_MAX);
}

static void test_merge(void)
{
    Histogram a, b, both;

    histogram_reset(&a);
    histogram_reset(&b);
    histogram_reset(&both);
    for (unsigned i = 0; i < 1000; i++) {
        Histogram *one = i % 3 ? &a : &b;

        histogram_add(one, i * i);
        histogram_add(&both, i * i);
    }
    histogram_merge(&a, &b);
    g_assert_cmpmem(a.buckets, sizeof(a.buckets), both.buckets,
                    sizeof(both.buckets));
    g_assert_cmpuint(a.count, ==, 1000);
    g_assert_cmpuint(a.min, ==, 0);
    g_assert_cmpuint(a.max, ==, 999 * 999);
    g_assert_cmpfloat_with_epsilon(histogram_mean(&a), histogram_mean(&both),
                                   1e-6);
}

static void test_moments(void)
{
    Histogram h;

    histogram_reset(&h);
    for (unsigned i = 0; i < 1000; i++) {
        histogram_add(&h, i % 2 ? 1500 : 500);
    }
    g_assert_cmpfloat_with_epsilon(histogram_mean(&h), 1000, 1e-6);
    g_assert_cmpfloat_with_epsilon(histogram_stddev(&h), 500, 1e-6);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/histogram/empty", test_empty);
    g_test_add_func("/histogram/small", test_small);
    g_test_add_func("/histogram/alone", test_alone);
    g_test_add_func("/histogram/precision", test_precision);
    g_test_add_func("/histogram/tail", test_tail);
    g_test_add_func("/histogram/huge", test_huge);
    g_test_add_func("/histogram/merge", test_merge);
    g_test_add_func("/histogram/moments", test_moments);
    return g_test_run();
}
