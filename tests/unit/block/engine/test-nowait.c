/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much is learned of a region, and how it is forgotten. */
#include "block/nowait.h"

#include <glib.h>

#define MIB (INT64_C(1) << 20)

/* How many go untried before the next one is tried. */
static unsigned untried(NowaitMap *map, int64_t offset)
{
    unsigned n = 0;

    while (nowait_map_expects_wait(map, offset)) {
        n++;
    }
    return n;
}

static void test_doubles(void)
{
    NowaitMap *map = nowait_map_new();
    static const unsigned expected[] = { 1, 2, 4, 8, 16, 32, 64, 64, 64 };

    g_assert_cmpuint(untried(map, 5 * MIB), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        nowait_map_learn(map, 5 * MIB + 4096 * i);
        g_assert_cmpuint(untried(map, 5 * MIB), ==, expected[i]);
    }
    nowait_map_learn(map, 5 * MIB);
    nowait_map_forget(map, 5 * MIB + 123);
    g_assert_cmpuint(untried(map, 5 * MIB), ==, 0);
    nowait_map_learn(map, 5 * MIB);
    g_assert_cmpuint(untried(map, 5 * MIB), ==, 1);
    nowait_map_free(map);
}

static void test_regions(void)
{
    NowaitMap *map = nowait_map_new();

    nowait_map_learn(map, 0);
    nowait_map_learn(map, 7 * MIB);
    g_assert_cmpuint(untried(map, MIB), ==, 0);
    g_assert_cmpuint(untried(map, 6 * MIB), ==, 0);
    g_assert_cmpuint(untried(map, MIB - 1), ==, 1);
    g_assert_cmpuint(untried(map, 8 * MIB - 1), ==, 1);
    nowait_map_forget(map, MIB); /* nothing is known of it */
    nowait_map_forget(map, 0);
    nowait_map_learn(map, 7 * MIB);
    g_assert_cmpuint(untried(map, 7 * MIB), ==, 2);
    nowait_map_free(map);
}

/* Regions that share a place take it from each other and mix nothing up. */
static void test_crowded(void)
{
    NowaitMap *map = nowait_map_new();

    for (int64_t i = 0; i < 100000; i++) {
        nowait_map_learn(map, i * MIB);
        g_assert_cmpuint(untried(map, i * MIB), ==, 1);
        if (i % 3 == 0) {
            nowait_map_forget(map, i * MIB);
        }
    }
    for (int64_t i = 0; i < 100000; i++) {
        nowait_map_forget(map, i * MIB);
        g_assert_cmpuint(untried(map, i * MIB), ==, 0);
    }
    nowait_map_free(map);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nowait/doubles", test_doubles);
    g_test_add_func("/nowait/regions", test_regions);
    g_test_add_func("/nowait/crowded", test_crowded);
    return g_test_run();
}
