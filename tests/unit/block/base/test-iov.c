/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scatter-gather helpers, held against plain byte arrays. */
#include "block/iov.h"

#include <glib.h>
#include <stdint.h>
#include <string.h>

/* A list of pieces of random length, zero included, over @buf. */
static unsigned random_iov(struct iovec *iov, unsigned max, char *buf,
                           size_t bytes)
{
    unsigned n = 0;

    while (bytes && n < max - 1) {
        size_t len = g_test_rand_int_range(0, 40);

        len = MIN(len, bytes);
        iov[n++] = (struct iovec){ buf, len };
        buf += len;
        bytes -= len;
    }
    iov[n++] = (struct iovec){ buf, bytes };
    return n;
}

static void test_size(void)
{
    struct iovec huge[2] = { { NULL, SIZE_MAX - 1 }, { NULL, 2 } };

    g_assert_cmpuint(iov_size(huge, 0), ==, 0);
    g_assert_cmpuint(iov_size(huge, 1), ==, SIZE_MAX - 1);
    g_assert_cmpuint(iov_size(huge, 2), ==, SIZE_MAX);
}

static void test_copy_random(void)
{
    for (unsigned round = 0; round < 2000; round++) {
        char flat[300], list[300], out[300];
        struct iovec iov[32];
        unsigned n = random_iov(iov, 32, list, sizeof(list));
        size_t offset = g_test_rand_int_range(0, 320);
        size_t bytes = g_test_rand_int_range(0, 320);
        size_t there = offset < 300 ? MIN(bytes, 300 - offset) : 0;

        for (unsigned i = 0; i < 300; i++) {
            list[i] = flat[i] = g_test_rand_int();
        }
        memset(out, 0, sizeof(out));
        bytes = MIN(bytes, sizeof(out));
        there = MIN(there, bytes);
        g_assert_cmpuint(iov_to_buf(iov, n, offset, out, bytes), ==, there);
        g_assert_true(memcmp(out, flat + MIN(offset, 300), there) == 0);

        memset(out, 0x5a, sizeof(out));
        g_assert_cmpuint(iov_from_buf(iov, n, offset, out, bytes), ==, there);
        memcpy(flat + MIN(offset, 300), out, there);
        g_assert_cmpmem(list, 300, flat, 300);

        g_assert_cmpuint(iov_memset(iov, n, offset, 0x33, bytes), ==, there);
        memset(flat + MIN(offset, 300), 0x33, there);
        g_assert_cmpmem(list, 300, flat, 300);
    }
}

static void test_slice_random(void)
{
    for (unsigned round = 0; round < 2000; round++) {
        char list[300];
        struct iovec iov[32], part[32];
        unsigned n = random_iov(iov, 32, list, sizeof(list));
        size_t offset = g_test_rand_int_range(0, 300);
        size_t bytes = g_test_rand_int_range(0, 300 - offset + 1);
        unsigned pieces = iov_slice(part, iov, n, offset, bytes);
        char *expect = list + offset;

        g_assert_cmpuint(iov_size(part, pieces), ==, bytes);
        for (unsigned i = 0; i < pieces; i++) {
            g_assert_true(part[i].iov_base == expect);
            g_assert_cmpuint(part[i].iov_len, >, 0);
            expect += part[i].iov_len;
        }
    }
}

static void test_aligned(void)
{
    struct iovec iov[2] = { { (void *)0x1000, 512 }, { (void *)0x2200, 1024 } };

    g_assert_true(iov_is_aligned(iov, 2, 1));
    g_assert_true(iov_is_aligned(iov, 2, 512));
    g_assert_false(iov_is_aligned(iov, 2, 1024));
    iov[1].iov_len = 1023;
    g_assert_false(iov_is_aligned(iov, 2, 2));
}

static void test_zero(void)
{
    char buf[100] = { 0 };
    struct iovec iov[2] = { { buf, 60 }, { buf + 60, 40 } };

    g_assert_true(iov_is_zero(iov, 0));
    g_assert_true(iov_is_zero(iov, 2));
    for (unsigned i = 0; i < sizeof(buf); i++) {
        buf[i] = 1;
        g_assert_false(iov_is_zero(iov, 2));
        buf[i] = 0;
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iov/size", test_size);
    g_test_add_func("/iov/copy-random", test_copy_random);
    g_test_add_func("/iov/slice-random", test_slice_random);
    g_test_add_func("/iov/aligned", test_aligned);
    g_test_add_func("/iov/zero", test_zero);
    return g_test_run();
}
