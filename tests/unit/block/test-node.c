/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A node's pipeline over memory: what passes untouched, what becomes
 * something else on the way. Aligning is in test-node-align.c.
 */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/image.h"

static char buf[16384] __attribute__((aligned(4096)));

static void test_passes(void)
{
    BlockDriverState *bs = test_open_attached("test-mem,discard=unmap");
    char back[4096];

    test_pattern(buf, 4096, 1);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 8192, buf, 4096), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 8192, back, 4096), ==, 0);
    g_assert_cmpmem(buf, 4096, back, 4096);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 512), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_MAY_UNMAP, 8192,
                            512), ==, 0);
    g_assert_cmpuint(test_mem(bs)->last_flags, ==, BLOCK_REQ_MAY_UNMAP);
    for (int op = 0; op < BLOCK_OP__COUNT; op++) {
        g_assert_cmpuint(test_mem_count(bs, op), ==, 1);
    }
    test_mem(bs)->fail_after = 1;
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, 512), ==, -EIO);
    test_detach_unref(bs);
}

static void test_discard_ignored(void)
{
    BlockDriverState *bs = test_open_attached("test-mem");

    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 512), ==, 0);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_DISCARD), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_MAY_UNMAP, 0,
                            512), ==, 0);
    g_assert_cmpuint(test_mem(bs)->last_flags, ==, 0);
    test_detach_unref(bs);
}

static void test_discard_shrinks(void)
{
    static const struct {
        int64_t offset, bytes, got_offset, got_bytes;
    } cases[] = {
        { 0, 4096, 0, 4096 },     { 512, 8192, 4096, 4096 },
        { 512, 4096, 0, 0 },      { 4096, 4095, 0, 0 },
        { 1, 12287, 4096, 8192 },
    };
    BlockDriverState *bs =
        test_open_attached("test-mem,discard=unmap,request-alignment=4096");

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        test_mem_reset_counts(bs);
        g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, cases[i].offset,
                                cases[i].bytes), ==, 0);
        g_assert_cmpuint(test_mem_count(bs, BLOCK_DISCARD), ==,
                         cases[i].got_bytes > 0);
        if (cases[i].got_bytes > 0) {
            g_assert_cmpint(test_mem(bs)->last_offset, ==,
                            cases[i].got_offset);
            g_assert_cmpint(test_mem(bs)->last_bytes, ==, cases[i].got_bytes);
        }
    }
    test_detach_unref(bs);
}

static void test_detect_zeroes(void)
{
    static const struct {
        const char *options;
        bool zeroes;
        unsigned flags;
    } cases[] = {
        { "discard=unmap", false, 0 },
        { "detect-zeroes=on,discard=unmap", true, 0 },
        { "detect-zeroes=unmap,discard=unmap", true, BLOCK_REQ_MAY_UNMAP },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        BlockDriverState *bs =
            test_open_attached("test-mem,%s", cases[i].options);

        memset(buf, 0, 4096);
        memset(test_mem(bs)->data, 7, 8192);
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 4096), ==, 0);
        g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE_ZEROES), ==,
                         cases[i].zeroes);
        g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==,
                         !cases[i].zeroes);
        g_assert_cmpuint(test_mem(bs)->last_flags, ==, cases[i].flags);
        g_assert_cmpmem(test_mem(bs)->data, 4096, buf, 4096);
        g_assert_cmpint(test_mem(bs)->data[4096], ==, 7);
        buf[4095] = 1;
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 4096), ==, 0);
        g_assert_cmpint(test_mem(bs)->data[4095], ==, 1);
        test_detach_unref(bs);
    }
}

static void test_limits(void)
{
    BlockDriverState *bs = test_open("test-mem");

    g_assert_cmpint(bs->limits.max_transfer, ==, ENGINE_MAX_BYTES);
    g_assert_cmpuint(bs->limits.max_iov, ==, 1024);
    bdrv_unref(bs);
    bs = test_open("test-mem,request-alignment=4096,max-transfer=10000,"
                   "max-iov=9999");
    g_assert_cmpint(bs->limits.max_transfer, ==, 8192);
    g_assert_cmpuint(bs->limits.max_iov, ==, 1024);
    bdrv_unref(bs);
    bs = test_open("test-mem,request-alignment=4096,max-transfer=512");
    g_assert_cmpint(bs->limits.max_transfer, ==, 4096);
    bdrv_unref(bs);
}

/* Only who has smaller blocks than the medium pays for the lock. */
static void test_block_size(void)
{
    BlockDriverState *bs = test_open("test-mem,request-alignment=4096");
    g_autoptr(GError) error = NULL;

    g_assert_true(bdrv_set_block_size(bs, 4096, &error));
    g_assert_null(bs->range_lock);
    bdrv_attach_context(bs, test_ctx());
    g_assert_false(bdrv_set_block_size(bs, 512, &error));
    g_assert_nonnull(strstr(error->message, "is in use with blocks of 4096"));
    bdrv_detach_context(bs, test_ctx());
    g_clear_error(&error);
    g_assert_true(bdrv_set_block_size(bs, 512, &error));
    g_assert_nonnull(bs->range_lock);
    bdrv_attach_context(bs, test_ctx());
    g_assert_true(bdrv_set_block_size(bs, 512, &error));
    bdrv_detach_context(bs, test_ctx());
    bdrv_unref(bs);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/node/passes", test_passes);
    g_test_add_func("/node/discard-ignored", test_discard_ignored);
    g_test_add_func("/node/discard-shrinks", test_discard_shrinks);
    g_test_add_func("/node/detect-zeroes", test_detect_zeroes);
    g_test_add_func("/node/limits", test_limits);
    g_test_add_func("/node/block-size", test_block_size);
    ret = g_test_run();
    test_block_end();
    return ret;
}
