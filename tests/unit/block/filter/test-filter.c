/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What filters do alike: limits, growth, the end of the file, how many fit on
 * top of each other. With blkdebug as the filter.
 */
#include "block/filter/filter.h"

#include <string.h>

#include "tests/lib/block.h"
#include "tests/lib/image.h"
#include "tests/lib/mem-node.h"

static char buf[65536] __attribute__((aligned(4096)));

static void test_limits(void)
{
    g_autoptr(BlockDriverState) bs =
        test_open("blkdebug,image.driver=test-mem,image.size=10000,"
                  "image.request-alignment=512,image.memory-alignment=512,"
                  "image.max-transfer=64k,image.max-iov=16");

    g_assert_cmpint(bs->total_bytes, ==, 10000);
    g_assert_cmpuint(bs->limits.request_alignment, ==, 1);
    g_assert_cmpuint(bs->limits.memory_alignment, ==, 1);
    g_assert_cmpint(bs->limits.max_transfer, ==, 65536);
    g_assert_cmpuint(bs->limits.max_iov, ==, 16);
    g_assert_true(bs->limits.can_discard);
    g_assert_true(bs->file == bs->children->pdata[0]);
}

static BlockDriverState *open_stack(unsigned filters)
{
    BlockDriverState *bs = NULL;

    for (unsigned i = 0; i < filters; i++) {
        g_autofree char *child =
            i == 0 ? g_strdup("image.driver=test-mem")
                   : g_strdup_printf("image=n%u", i - 1);
        g_autofree char *node = g_strdup_printf("n%u", i);
        BlockDriverState *next;

        next = test_open("blkdebug,node-name=%s,discard=unmap,%s", node,
                         child);
        g_clear_pointer(&bs, bdrv_unref);
        bs = next;
    }
    return bs;
}

/* As many as can be opened work; one more is refused. */
static void test_stack(void)
{
    BlockDriverState *bs = open_stack(FILTER_MAX_STACK);
    char back[512];

    bdrv_attach_context(bs, test_ctx());
    test_pattern(buf, 512, 1);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf, 512), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 512, back, 512), ==, 0);
    g_assert_cmpmem(buf, 512, back, 512);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 512), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 0, 512), ==, 0);
    bdrv_detach_context(bs, test_ctx());
    test_open_fails("blkdebug,node-name=top,image=n15",
                    "blockdev 'top': more than 16 filters on top of each "
                    "other");
    bdrv_unref(bs);
}

/* A block that reaches past the end: reads see zeroes there, writes do not
 * make the file longer. */
static void test_last_block(void)
{
    g_autoptr(TestImage) image = test_image_new(5000);
    BlockDriverState *bs =
        test_open_attached("blkdebug,align=4096,image.driver=file,"
                           "image.filename=%s", test_image_path(image));

    test_pattern(buf, 8192, 2);
    test_image_write(image, 0, buf, 5000);
    memset(buf, 7, 8192);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 4096, buf, 4096), ==, 0);
    g_assert_cmpint(buf[904], ==, 0);
    g_assert_cmpint(buf[4095], ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 4096, buf, 4096), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 4096, 4096), ==, 0);
    g_assert_cmpint(test_image_length(image), ==, 5000);
    g_assert_cmpint(bs->total_bytes, ==, 5000);
    test_detach_unref(bs);
}

/* The format above says that it will write past the end. */
static bool grower_open(BlockDriverState *bs, Options *opts, GError **error)
{
    bs->total_bytes = 1 << 20;
    return true;
}

static void grower_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit(bs->file, req);
}

static const BlockDriver grower = {
    .name = "grower",
    .grows_file = true,
    .open = grower_open,
    .submit = grower_submit,
};

static void test_growth(void)
{
    g_autoptr(TestImage) image = test_image_new(4096);
    BlockDriverState *bs =
        test_open_attached("grower,file.driver=blkdebug,"
                           "file.image.driver=blkdebug,"
                           "file.image.image.driver=file,"
                           "file.image.image.filename=%s",
                           test_image_path(image));

    test_pattern(buf, 4096, 3);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 65536, buf, 4096), ==, 0);
    g_assert_cmpint(test_image_length(image), ==, 65536 + 4096);
    g_assert_cmpint(bs->file->total_bytes, ==, 65536 + 4096);
    g_assert_cmpint(bs->file->file->total_bytes, ==, 65536 + 4096);
    test_image_read(image, 65536, buf + 4096, 4096);
    g_assert_cmpmem(buf, 4096, buf + 4096, 4096);
    test_detach_unref(bs);
}

/* A file that may not be written to makes the filter read-only. */
static void test_read_only(void)
{
    g_autoptr(BlockDriverState) bs =
        test_open("blkdebug,auto-read-only=on,read-only=off,"
                  "image.driver=test-mem,image.read-only=on");

    g_assert_true(bs->read_only);
    test_open_fails("blkdebug,node-name=n,read-only=off,"
                    "image.driver=test-mem,image.node-name=m,"
                    "image.read-only=on",
                    "blockdev 'n': read-only=off was specified, but node 'm' "
                    "is read-only");
    test_open_fails("blkdebug,node-name=n",
                    "blockdev 'n': A block device must be specified for "
                    "\"image\"");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    bdrv_register(&grower);
    g_test_add_func("/filter/limits", test_limits);
    g_test_add_func("/filter/stack", test_stack);
    g_test_add_func("/filter/last-block", test_last_block);
    g_test_add_func("/filter/growth", test_growth);
    g_test_add_func("/filter/read-only", test_read_only);
    ret = g_test_run();
    test_block_end();
    return ret;
}
