/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where tables may be: none is forgotten, near or far; seldom one too many;
 * and memory does not depend on how far away they are.
 */
#include <glib.h>

#include "block/format/qcow2-overlap-map.h"

#define NEAR 10000
#define FAR  (UINT64_C(1) << 40)

static void test_near(void)
{
    static const unsigned edges[] = { 0, 1, 62, 63, 64, 65, 127, 128, 4095,
                                      4096, 4097, 8191, 8192 };

    for (unsigned a = 0; a < G_N_ELEMENTS(edges); a++) {
        for (unsigned b = a; b < G_N_ELEMENTS(edges); b++) {
            Qcow2OverlapMap *map = qcow2_overlap_map_new(NEAR, 0);

            qcow2_overlap_map_add(map, edges[a], edges[b]);
            for (unsigned i = 0; i < NEAR; i++) {
                g_assert_cmpint(qcow2_overlap_map_get(map, i), ==,
                                i >= edges[a] && i <= edges[b]);
            }
            qcow2_overlap_map_clear(map, edges[b]);
            g_assert_false(qcow2_overlap_map_get(map, edges[b]));
            qcow2_overlap_map_free(map);
        }
    }
}

/* The largest an image can have; the clusters in between are none. */
static void test_far(void)
{
    const unsigned tables = 5 * 1024 * 1024, others = 100000;
    Qcow2OverlapMap *map = qcow2_overlap_map_new(NEAR, tables);
    unsigned wrong = 0;

    for (uint64_t i = 0; i < tables; i++) {
        qcow2_overlap_map_add(map, FAR + i * 2, FAR + i * 2);
    }
    g_assert_false(qcow2_overlap_map_is_full(map));
    for (uint64_t i = 0; i < tables; i++) {
        g_assert_true(qcow2_overlap_map_get(map, FAR + i * 2));
    }
    for (uint64_t i = 0; i < others; i++) {
        wrong += qcow2_overlap_map_get(map, FAR + i * 2 + 1);
    }
    g_assert_cmpuint(wrong, <, others / 50);
    qcow2_overlap_map_free(map);
}

/* There was room for fewer. */
static void test_full(void)
{
    Qcow2OverlapMap *map = qcow2_overlap_map_new(NEAR, 10);

    for (uint64_t i = 0; !qcow2_overlap_map_is_full(map); i++) {
        g_assert_cmpuint(i, <=, 10000);
        qcow2_overlap_map_add(map, FAR + i, FAR + i);
    }
    g_assert_true(qcow2_overlap_map_get(map, FAR));
    qcow2_overlap_map_free(map);
}

/* Tables of many clusters, one inside another, and one from near to far. */
static void test_ranges(void)
{
    Qcow2OverlapMap *map = qcow2_overlap_map_new(NEAR, 0);
    uint64_t near = qcow2_overlap_map_near(map);

    g_assert_cmpuint(near, >=, NEAR);
    qcow2_overlap_map_add(map, FAR + 1000, FAR + 9000);
    qcow2_overlap_map_add(map, FAR + 2000, FAR + 3000);
    qcow2_overlap_map_add(map, near - 3, near + 3);
    for (unsigned i = 0; i < 10000; i++) {
        g_assert_cmpint(qcow2_overlap_map_get(map, FAR + i), ==,
                        i >= 1000 && i <= 9000);
        g_assert_cmpint(qcow2_overlap_map_get(map, near - 100 + i), ==,
                        i >= 97 && i <= 103);
    }
    qcow2_overlap_map_add(map, FAR + 9999, FAR + 10001);
    g_assert_true(qcow2_overlap_map_get(map, FAR + 9999));
    qcow2_overlap_map_free(map);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2-overlap-map/near", test_near);
    g_test_add_func("/qcow2-overlap-map/far", test_far);
    g_test_add_func("/qcow2-overlap-map/full", test_full);
    g_test_add_func("/qcow2-overlap-map/ranges", test_ranges);
    return g_test_run();
}
