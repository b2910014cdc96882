/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The raw format: a window of its file. */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <string.h>

#include "tests/lib/image.h"

static char buf[8192] __attribute__((aligned(4096)));

static void test_whole(void)
{
    BlockDriverState *bs =
        test_open_attached("raw,discard=unmap,file.driver=test-mem,"
                           "file.size=1000000");
    char back[512];

    g_assert_cmpint(bs->total_bytes, ==, 1000000);
    test_pattern(buf, 512, 1);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 4096, buf, 512), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 4096, back, 512), ==, 0);
    g_assert_cmpmem(buf, 512, back, 512);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 4096, 512), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_DISCARD), ==, 1);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_FLUSH), ==, 1);
    test_detach_unref(bs);
}

static void test_window(void)
{
    BlockDriverState *bs =
        test_open_attached("raw,offset=4k,size=8k,discard=unmap,"
                           "file.driver=test-mem,file.size=64k");
    uint8_t *data = test_mem(bs->file)->data;

    g_assert_cmpint(bs->total_bytes, ==, 8192);
    memset(data, 9, 65536);
    test_pattern(buf, 8192, 2);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 8192), ==, 0);
    g_assert_cmpmem(data + 4096, 8192, buf, 8192);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 7680, 512), ==, 0);
    g_assert_cmpint(data[4096 + 7679], ==, (uint8_t)buf[7679]);
    g_assert_cmpint(data[4096 + 7680], ==, 0);
    g_assert_cmpint(data[4095], ==, 9);
    g_assert_cmpint(data[4096 + 8192], ==, 9);
    test_detach_unref(bs);
}

/* A window at an odd place makes aligned writes unaligned. */
static void test_unaligned_window(void)
{
    BlockDriverState *bs =
        test_open_attached("raw,offset=512,file.driver=test-mem,"
                           "file.size=65536,file.request-alignment=4096");
    uint8_t *data = test_mem(bs->file)->data;

    memset(data, 9, 65536);
    test_pattern(buf, 4096, 3);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 4096, buf, 4096), ==, 0);
    g_assert_cmpmem(data + 4608, 4096, buf, 4096);
    g_assert_cmpint(data[4607], ==, 9);
    g_assert_cmpint(data[8704], ==, 9);
    test_detach_unref(bs);
}

static void test_limits(void)
{
    g_autoptr(BlockDriverState) bs =
        test_open("raw,file.driver=test-mem,file.request-alignment=4096,"
                  "file.memory-alignment=512,file.max-transfer=64k,"
                  "file.max-iov=16");

    g_assert_cmpuint(bs->limits.request_alignment, ==, 1);
    g_assert_cmpuint(bs->limits.memory_alignment, ==, 1);
    g_assert_cmpint(bs->limits.max_transfer, ==, 65536);
    g_assert_cmpuint(bs->limits.max_iov, ==, 16);
    g_assert_true(bs->limits.can_discard);
}

static void test_bad(void)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        { "offset=2M",
          "Offset (2097152) cannot be greater than size of the containing "
          "file (1048576)" },
        { "size=2M",
          "The sum of offset (0) and size (2097152) has to be smaller or "
          "equal to the actual size of the containing file (1048576)" },
        { "offset=512,size=1M",
          "The sum of offset (512) and size (1048576) has to be smaller or "
          "equal to the actual size of the containing file (1048576)" },
        { "offset=512,size=9223372036854775807",
          "The sum of offset (512) and size (9223372036854775807) has to be "
          "smaller or equal to the actual size of the containing file "
          "(1048576)" },
        { "size=1000", "Specified size is not multiple of 512" },
        { "size=-1",
          "Parameter 'size' expects a non-negative number below 2^64" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf(
            "raw,node-name=r,%s,file.driver=test-mem", cases[i].options);
        g_autofree char *message =
            g_strdup_printf("blockdev 'r': %s", cases[i].message);

        test_open_fails(text, message);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/raw/whole", test_whole);
    g_test_add_func("/raw/window", test_window);
    g_test_add_func("/raw/unaligned-window", test_unaligned_window);
    g_test_add_func("/raw/limits", test_limits);
    g_test_add_func("/raw/bad", test_bad);
    ret = g_test_run();
    test_block_end();
    return ret;
}
