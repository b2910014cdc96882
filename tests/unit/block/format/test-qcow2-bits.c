/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sparse bits against an array of them. */
#include <glib.h>
#include <string.h>

#include "block/format/qcow2-bits.h"

#define MODEL_BYTES 20000

static void expect_same(Qcow2Bits *bits, const uint8_t *model)
{
    g_autofree uint8_t *buf = g_malloc0(MODEL_BYTES);

    /* in two pieces that end in the middle of whatever it is kept in */
    qcow2_bits_or_into(bits, 0, 4999, buf);
    qcow2_bits_or_into(bits, 4999, MODEL_BYTES - 4999, buf + 4999);
    g_assert_cmpmem(buf, MODEL_BYTES, model, MODEL_BYTES);
}

static void test_random(void)
{
    g_autofree uint8_t *model = g_malloc0(MODEL_BYTES);
    GRand *rand = g_rand_new_with_seed(20260);
    int64_t total = 0;
    Qcow2Bits *bits = qcow2_bits_new(&total);

    for (unsigned n = 0; n < 300; n++) {
        uint64_t first = g_rand_int_range(rand, 0, MODEL_BYTES * 8);
        uint64_t count = g_rand_int_range(rand, 0, n % 10 ? 100 : 50000);

        count = MIN(count, MODEL_BYTES * 8 - first);
        qcow2_bits_set(bits, first, count);
        for (uint64_t i = first; i < first + count; i++) {
            model[i / 8] |= 1U << (i % 8);
        }
        if (n % 50 == 49) {
            first = g_rand_int_range(rand, MODEL_BYTES * 4, MODEL_BYTES * 8);
            qcow2_bits_truncate(bits, first);
            for (uint64_t i = first; i < MODEL_BYTES * 8; i++) {
                model[i / 8] &= ~(1U << (i % 8));
            }
        }
        expect_same(bits, model);
    }
    qcow2_bits_free(bits);
    g_rand_free(rand);
}

static void test_next(void)
{
    int64_t total = 0;
    Qcow2Bits *bits = qcow2_bits_new(&total);
    uint8_t byte = 0x80;

    g_assert_true(qcow2_bits_empty(bits));
    g_assert_cmpuint(qcow2_bits_next(bits, 0), ==, UINT64_MAX);
    qcow2_bits_set(bits, UINT64_C(1) << 40, 1);
    g_assert_cmpint(total, >=, 4096);
    g_assert_cmpint(total, <, 5000);
    qcow2_bits_set(bits, 1000, 1);
    qcow2_bits_set(bits, 1001, 1);
    g_assert_cmpint(total, <, 10000);
    g_assert_cmpuint(qcow2_bits_next(bits, 0), <=, 125);
    g_assert_cmpuint(qcow2_bits_next(bits, 100000), <=, UINT64_C(1) << 37);
    g_assert_cmpuint(qcow2_bits_next(bits, UINT64_C(1) << 38), ==,
                     UINT64_MAX);
    g_assert_true(qcow2_bits_or_into(bits, UINT64_C(1) << 37, 1, &byte));
    g_assert_cmpint(byte, ==, 0x81);
    g_assert_false(qcow2_bits_or_into(bits, UINT64_C(1) << 37, 1, &byte));
    qcow2_bits_truncate(bits, 0);
    g_assert_true(qcow2_bits_empty(bits));
    g_assert_cmpint(total, ==, 0);
    qcow2_bits_set(bits, 5, 1);
    qcow2_bits_free(bits);
    g_assert_cmpint(total, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2-bits/random", test_random);
    g_test_add_func("/qcow2-bits/next", test_next);
    return g_test_run();
}
