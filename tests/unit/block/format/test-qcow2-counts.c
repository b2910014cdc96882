/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts of clusters: limits, order, far and near. */
#include <errno.h>
#include <glib.h>

#include "block/format/qcow2-counts.h"

static void test_limit(void)
{
    static const uint64_t limits[] = { 1, 3, 255, UINT16_MAX, UINT32_MAX,
                                       UINT64_MAX };

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        int64_t room = 1 << 20;
        Qcow2Counts *counts = qcow2_counts_new(limits[i], &room);

        g_assert_cmpuint(qcow2_counts_get(counts, 7), ==, 0);
        g_assert_cmpint(qcow2_counts_add(counts, 7, limits[i] - 1), ==, 0);
        g_assert_cmpint(qcow2_counts_add(counts, 7, 2), ==, -ERANGE);
        g_assert_cmpuint(qcow2_counts_get(counts, 7), ==, limits[i] - 1);
        g_assert_cmpint(qcow2_counts_add(counts, 7, 1), ==, 0);
        g_assert_cmpuint(qcow2_counts_get(counts, 7), ==, limits[i]);
        g_assert_cmpuint(qcow2_counts_get(counts, 6), ==, 0);
        g_assert_cmpint(qcow2_counts_take(counts, 7), ==, 0);
        g_assert_cmpuint(qcow2_counts_get(counts, 7), ==, limits[i] - 1);
        g_assert_cmpint(qcow2_counts_take(counts, 6), ==, -ERANGE);
        qcow2_counts_clear(counts, 7);
        g_assert_cmpuint(qcow2_counts_next(counts, 0), ==, UINT64_MAX);
        qcow2_counts_free(counts);
    }
}

/* What is back at 0 is found free, and its neighbourhood not in use. */
static void test_take(void)
{
    int64_t room = 1 << 20;
    Qcow2Counts *counts = qcow2_counts_new(3, &room);

    for (uint64_t i = 0; i < 2048; i++) {
        g_assert_cmpint(qcow2_counts_add(counts, i, 2), ==, 0);
    }
    g_assert_cmpuint(qcow2_counts_find_free(counts, 5, 1), ==, 2048);
    g_assert_cmpint(qcow2_counts_take(counts, 700), ==, 0);
    g_assert_cmpuint(qcow2_counts_find_free(counts, 5, 1), ==, 2048);
    g_assert_cmpint(qcow2_counts_take(counts, 700), ==, 0);
    g_assert_cmpint(qcow2_counts_take(counts, 700), ==, -ERANGE);
    g_assert_cmpuint(qcow2_counts_find_free(counts, 5, 1), ==, 700);
    g_assert_cmpuint(qcow2_counts_find_free(counts, 5, 2), ==, 2048);
    g_assert_cmpuint(qcow2_counts_next(counts, 700), ==, 701);
    qcow2_counts_free(counts);
}

static void test_order(void)
{
    static const uint64_t clusters[] = { UINT64_C(1) << 54, 3, 100000, 511,
                                         512, 4, UINT64_C(1) << 30 };
    static const uint64_t sorted[] = { 3, 4, 511, 512, 100000,
                                       UINT64_C(1) << 30, UINT64_C(1) << 54 };
    int64_t room = 1 << 20;
    Qcow2Counts *counts = qcow2_counts_new(UINT16_MAX, &room);
    uint64_t at = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(clusters); i++) {
        g_assert_cmpint(qcow2_counts_add(counts, clusters[i], i + 1), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(sorted); i++) {
        at = qcow2_counts_next(counts, at);
        g_assert_cmpuint(at, ==, sorted[i]);
        at++;
    }
    g_assert_cmpuint(qcow2_counts_next(counts, at), ==, UINT64_MAX);
    qcow2_counts_free(counts);
}

static void test_find_free(void)
{
    int64_t room = 1 << 20;
    Qcow2Counts *counts = qcow2_counts_new(1, &room);

    for (uint64_t i = 0; i < 2000; i++) {
        if (i % 10 != 3 && i != 1505 && i != 1506) {
            g_assert_cmpint(qcow2_counts_add(counts, i, 1), ==, 0);
        }
    }
    g_assert_cmpuint(qcow2_counts_find_free(counts, 0, 1), ==, 3);
    g_assert_cmpuint(qcow2_counts_find_free(counts, 4, 1), ==, 13);
    g_assert_cmpuint(qcow2_counts_find_free(counts, 0, 2), ==, 1505);
    g_assert_cmpuint(qcow2_counts_find_free(counts, 0, 3), ==, 2000);
    g_assert_cmpuint(qcow2_counts_find_free(counts, 5000, 9), ==, 5000);
    qcow2_counts_free(counts);
}

/* Two arrays share what there is. A cluster far from others takes little of
 * it, as it is all that an entry of 8 bytes in a hostile image costs; among
 * others it takes less than 2 bytes. */
static void test_room(void)
{
    const int64_t all = 1 << 20;
    int64_t room = all;
    Qcow2Counts *one = qcow2_counts_new(UINT64_MAX, &room);
    Qcow2Counts *other = qcow2_counts_new(1, &room);
    uint64_t near = 0, far = 0;

    while (all - room < all / 2) {
        g_assert_cmpint(qcow2_counts_add(one, near++, 1), ==, 0);
    }
    g_assert_cmpuint(near, >, all / 2 / 2);
    while (qcow2_counts_add(other, far << 30, 1) == 0) {
        far++;
    }
    g_assert_cmpuint(far, >, all / 2 / 256);
    g_assert_cmpuint(far, <, all / 2 / 128);
    g_assert_cmpint(qcow2_counts_add(one, UINT64_C(1) << 50, 1), ==,
                    -ENOMEM);
    g_assert_cmpuint(qcow2_counts_get(one, UINT64_C(1) << 50), ==, 0);
    g_assert_cmpint(qcow2_counts_add(one, 0, 1), ==, 0);
    g_assert_cmpint(qcow2_counts_add(one, 0, 1000), ==, -ENOMEM);
    g_assert_cmpuint(qcow2_counts_get(one, 0), ==, 2);
    qcow2_counts_free(other);
    g_assert_cmpint(qcow2_counts_add(one, 0, 1000), ==, 0);
    g_assert_cmpuint(qcow2_counts_get(one, 0), ==, 1002);
    qcow2_counts_free(one);
    g_assert_cmpint(room, ==, all);
}

/* Small ones and large ones side by side. */
static void test_wide(void)
{
    int64_t room = 1 << 20;
    Qcow2Counts *counts = qcow2_counts_new(UINT64_MAX, &room);

    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmpint(qcow2_counts_add(counts, i, i % 7), ==, 0);
    }
    for (unsigned i = 0; i < 300; i += 50) {
        g_assert_cmpint(qcow2_counts_add(counts, i, UINT64_C(1) << 60), ==,
                        0);
    }
    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmpuint(qcow2_counts_get(counts, i), ==,
                         i % 7 + (i % 50 ? 0 : UINT64_C(1) << 60));
    }
    qcow2_counts_clear(counts, 100);
    g_assert_cmpuint(qcow2_counts_get(counts, 100), ==, 0);
    g_assert_cmpuint(qcow2_counts_next(counts, 98), ==, 99);
    g_assert_cmpuint(qcow2_counts_next(counts, 100), ==, 101);
    qcow2_counts_free(counts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2-counts/limit", test_limit);
    g_test_add_func("/qcow2-counts/take", test_take);
    g_test_add_func("/qcow2-counts/order", test_order);
    g_test_add_func("/qcow2-counts/find-free", test_find_free);
    g_test_add_func("/qcow2-counts/room", test_room);
    g_test_add_func("/qcow2-counts/wide", test_wide);
    return g_test_run();
}
