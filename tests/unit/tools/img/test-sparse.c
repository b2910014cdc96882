/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Zeroes in buffers: what becomes a hole, by example and against rules that
 * must hold for any buffer; comparing.
 */
#include "tools/img/sparse.h"

#include <glib.h>
#include <string.h>

#define BLOCK SPARSE_BLOCK
#define MAX_BLOCKS 64

/* 'd' is a block of data, '0' one of zeroes. */
static int64_t fill(uint8_t *buf, const char *blocks)
{
    int64_t n = strlen(blocks);

    g_assert_cmpint(n, <=, MAX_BLOCKS);
    for (int64_t i = 0; i < n; i++) {
        memset(buf + i * BLOCK, 0, BLOCK);
        /* anywhere in the block */
        buf[i * BLOCK + (i * 37) % BLOCK] = blocks[i] == 'd';
    }
    return n * BLOCK;
}

/* "3w 8h": three blocks to be written, a hole of eight. */
static char *runs_of(const SparseRule *rule, const char *blocks,
                     int64_t first_block)
{
    uint8_t buf[MAX_BLOCKS * BLOCK];
    int64_t bytes = fill(buf, blocks), pos = 0;
    GString *text = g_string_new(NULL);

    while (pos < bytes) {
        bool zero;
        int64_t n = sparse_run(rule, buf + pos, first_block * BLOCK + pos,
                               bytes - pos, &zero);

        g_assert_cmpint(n, >, 0);
        g_assert_cmpint(n, <=, bytes - pos);
        g_string_append_printf(text, "%s%d%c", pos ? " " : "",
                               (int)(n / BLOCK), zero ? 'h' : 'w');
        pos += n;
    }
    return g_string_free(text, FALSE);
}

static void test_examples(void)
{
    static const struct {
        int min, alignment, first; /* blocks */
        const char *blocks, *runs;
    } cases[] = {
        { 8, 8, 0, "dddddddd", "8w" },
        { 8, 8, 0, "00000000", "8h" },
        { 8, 8, 0, "d", "1w" },
        { 8, 8, 0, "0", "1h" },
        { 1, 1, 0, "d0d0", "1w 1h 1w 1h" },
        { 2, 1, 0, "d0d00d", "3w 2h 1w" },
        /* a unit with some data is data */
        { 8, 8, 0, "d00000000000000000000000", "8w 16h" },
        { 8, 8, 0, "0000000d0000000000000000", "8w 16h" },
        { 8, 8, 0, "000000000d00000000000000", "8h 8w 8h" },
        /* zeroes that are too short stay with the data */
        { 16, 8, 0, "d000000000000000d0000000", "24w" },
        { 16, 8, 0, "d00000000000000000000000d000000000000000",
          "8w 16h 8w 8h" }, /* to the end of the buffer */
        /* as in the drawing at the top of sparse.c */
        { 4, 4, 0, "dd00d000000000dd", "8w 4h 4w" },
        /* units count from the start of the image */
        { 8, 8, 4, "0000d000000000000000", "4h 8w 8h" },
        { 8, 8, 4, "00d00000000000000000", "4w 16h" },
        /* the end of the buffer is an end */
        { 8, 8, 0, "dddddddd000", "8w 3h" },
        { 8, 8, 0, "00000000000d", "8h 4w" },
        { 8, 8, 0, "dddddddd000d", "12w" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        SparseRule rule = {
            .min_bytes = cases[i].min * BLOCK,
            .alignment = cases[i].alignment * BLOCK,
        };
        g_autofree char *runs = runs_of(&rule, cases[i].blocks,
                                        cases[i].first);

        g_test_message("%s", cases[i].blocks);
        g_assert_cmpstr(runs, ==, cases[i].runs);
    }
}

/* Holes are zero and aligned; no hole was missed between them. */
static void check_hole(const SparseRule *rule, const uint8_t *buf,
                       int64_t start, int64_t end, int64_t bytes)
{
    g_assert_true(sparse_is_zero(buf + start, end - start));
    g_assert_true(start % rule->alignment == 0 || start == 0);
    g_assert_true(end % rule->alignment == 0 || end == bytes);
}

static void check_written(const SparseRule *rule, const uint8_t *buf,
                          int64_t start, int64_t end)
{
    int64_t unit = rule->alignment, zeroes = 0;

    for (int64_t pos = start; pos + unit <= end; pos += unit) {
        zeroes = sparse_is_zero(buf + pos, unit) ? zeroes + unit : 0;
        g_assert_cmpint(zeroes, <, MAX(rule->min_bytes, unit));
    }
}

static void test_random(void)
{
    uint8_t buf[MAX_BLOCKS * BLOCK];
    char blocks[MAX_BLOCKS + 1] = { 0 };

    for (unsigned round = 0; round < 2000; round++) {
        SparseRule rule = {
            .alignment = BLOCK << g_test_rand_int_range(0, 4),
        };
        int64_t bytes, pos, n;
        char kind = 'd';

        rule.min_bytes = rule.alignment * g_test_rand_int_range(1, 5);
        for (unsigned i = 0; i < MAX_BLOCKS; i++) {
            if (g_test_rand_int_range(0, 4) == 0) {
                kind = kind == 'd' ? '0' : 'd';
            }
            blocks[i] = kind;
        }
        bytes = fill(buf, blocks);
        for (pos = 0; pos < bytes; pos += n) {
            bool zero;

            n = sparse_run(&rule, buf + pos, pos, bytes - pos, &zero);
            if (zero) {
                check_hole(&rule, buf, pos, pos + n, bytes);
            } else {
                check_written(&rule, buf, pos, pos + n);
            }
        }
        g_assert_cmpint(pos, ==, bytes);
    }
}

static void test_compare(void)
{
    uint8_t a[4 * BLOCK + 100] = { 0 }, b[4 * BLOCK + 100] = { 0 };
    bool same;

    g_assert_cmpint(sparse_compare(a, b, sizeof(a), &same), ==, sizeof(a));
    g_assert_true(same);
    b[2 * BLOCK + 7] = 1;
    g_assert_cmpint(sparse_compare(a, b, sizeof(a), &same), ==, 2 * BLOCK);
    g_assert_true(same);
    b[0] = b[BLOCK] = 1;
    g_assert_cmpint(sparse_compare(a, b, sizeof(a), &same), ==, 3 * BLOCK);
    g_assert_false(same);
    /* the last block is shorter */
    a[4 * BLOCK + 99] = 1;
    g_assert_cmpint(sparse_compare(a + 4 * BLOCK, b + 4 * BLOCK, 100, &same),
                    ==, 100);
    g_assert_false(same);
    g_assert_cmpint(sparse_compare(a + 4 * BLOCK, b + 4 * BLOCK, 99, &same),
                    ==, 99);
    g_assert_true(same);
}

static void test_find_data(void)
{
    uint8_t buf[3 * BLOCK + 100] = { 0 };

    g_assert_cmpint(sparse_find_data(buf, sizeof(buf)), ==, -1);
    buf[3 * BLOCK + 99] = 1;
    g_assert_cmpint(sparse_find_data(buf, sizeof(buf)), ==, 3 * BLOCK);
    g_assert_cmpint(sparse_find_data(buf, sizeof(buf) - 1), ==, -1);
    buf[BLOCK + 5] = 1;
    g_assert_cmpint(sparse_find_data(buf, sizeof(buf)), ==, BLOCK);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sparse/examples", test_examples);
    g_test_add_func("/sparse/random", test_random);
    g_test_add_func("/sparse/compare", test_compare);
    g_test_add_func("/sparse/find-data", test_find_data);
    return g_test_run();
}
