/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk that forgets: results, order, latency, contexts coming and going. */
#include "tests/lib/block.h"

#include <string.h>

#define N 64

static char buf[4096];

static void test_reads(void)
{
    BlockDriverState *plain = test_open_attached("null-co");
    BlockDriverState *zeroes = test_open_attached("null-aio,read-zeroes=on");

    memset(buf, 7, sizeof(buf));
    g_assert_cmpint(test_rw(plain, BLOCK_READ, 0, buf, 4096), ==, 0);
    g_assert_cmpint(buf[4095], ==, 7);
    g_assert_cmpint(test_rw(zeroes, BLOCK_WRITE, 0, buf, 4096), ==, 0);
    g_assert_cmpint(buf[4095], ==, 7);
    g_assert_cmpint(test_rw(zeroes, BLOCK_READ, 0, buf, 4095), ==, 0);
    g_assert_cmpint(buf[0] | buf[4094], ==, 0);
    g_assert_cmpint(buf[4095], ==, 7);
    g_assert_cmpint(test_op(plain, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(plain, BLOCK_DISCARD, 0, 0, 512), ==, 0);
    g_assert_cmpint(test_op(plain, BLOCK_WRITE_ZEROES, 0, 0, 512), ==, 0);
    test_detach_unref(plain);
    test_detach_unref(zeroes);
}

static void test_size(void)
{
    g_autoptr(BlockDriverState) standard = test_open("null-co");
    g_autoptr(BlockDriverState) given = test_open("null-co,size=7T");

    g_assert_cmpint(standard->total_bytes, ==, 1 << 30);
    g_assert_cmpint(given->total_bytes, ==, 7LL << 40);
    test_open_fails("null-co,node-name=n,latency-ns=x",
                    "blockdev 'n': option 'latency-ns' needs a number from 0 "
                    "to 4611686018427387903, not 'x'");
}

/* Time is not measured, only that it had to pass and that one timer serves
 * all that were sent together. */
static void test_latency(void)
{
    BlockDriverState *bs = test_open_attached("null-co,latency-ns=1000000");
    TestRequest tests[N] = { 0 };
    int64_t begin = aio_clock_ns();
    AioStats before, after;

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            tests[i].req.op = BLOCK_FLUSH;
            test_submit(bs, &tests[i]);
        }
        before = aio_context_stats(test_ctx());
        for (int i = 0; i < N; i++) {
            g_assert_cmpint(test_wait(&tests[i]), ==, 0);
        }
        after = aio_context_stats(test_ctx());
        g_assert_cmpuint(after.rounds - before.rounds, <, N);
    }
    g_assert_cmpint(aio_clock_ns() - begin, >=, 3000000);
    test_detach_unref(bs);
}

static void test_attach_again(void)
{
    BlockDriverState *bs = test_open_attached("null-co,latency-ns=1");

    for (int i = 0; i < 3; i++) {
        bdrv_attach_context(bs, test_ctx());
        g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
        bdrv_detach_context(bs, test_ctx());
        g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
        bdrv_detach_context(bs, test_ctx());
        bdrv_attach_context(bs, test_ctx());
    }
    test_detach_unref(bs);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/null/reads", test_reads);
    g_test_add_func("/null/size", test_size);
    g_test_add_func("/null/latency", test_latency);
    g_test_add_func("/null/attach-again", test_attach_again);
    ret = g_test_run();
    test_block_end();
    return ret;
}
