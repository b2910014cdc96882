/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blkverify: both images get everything, and differences are told. */
#include "block/debug.h"

#include <errno.h>
#include <string.h>

#include "block/log.h"
#include "tests/lib/block.h"
#include "tests/lib/image.h"
#include "tests/lib/mem-node.h"

static char buf[3 << 20] __attribute__((aligned(4096)));
static char back[3 << 20] __attribute__((aligned(4096)));
static unsigned mismatches;
static char *line;

static void count_mismatch(void)
{
    mismatches++;
}

static void keep_line(LogLevel level, const char *text, void *opaque)
{
    g_free(line);
    line = g_strdup(text);
}

typedef struct Pair {
    BlockDriverState *bs, *raw, *test;
} Pair;

static Pair open_pair(const char *options)
{
    Pair pair;

    pair.bs = test_open_attached("blkverify,discard=unmap,"
                                 "raw.driver=test-mem,test.driver=test-mem,"
                                 "raw.size=4M,test.size=4M%s", options);
    pair.raw = pair.bs->children->pdata[0];
    pair.test = pair.bs->children->pdata[1];
    mismatches = 0;
    g_clear_pointer(&line, g_free);
    return pair;
}

static void test_same(void)
{
    Pair pair = open_pair("");

    test_pattern(buf, sizeof(buf), 1);
    g_assert_cmpint(test_rw(pair.bs, BLOCK_WRITE, 512, buf, sizeof(buf)), ==,
                    0);
    g_assert_cmpmem(test_mem(pair.raw)->data + 512, sizeof(buf), buf,
                    sizeof(buf));
    g_assert_cmpmem(test_mem(pair.test)->data + 512, sizeof(buf), buf,
                    sizeof(buf));
    g_assert_cmpint(test_op(pair.bs, BLOCK_WRITE_ZEROES,
                            BLOCK_REQ_FUA | BLOCK_REQ_MAY_UNMAP, 512, 512),
                    ==, 0);
    g_assert_cmpuint(test_mem(pair.raw)->last_flags, ==, BLOCK_REQ_FUA);
    g_assert_cmpuint(test_mem(pair.test)->last_flags, ==, BLOCK_REQ_FUA);
    memset(buf, 0, 512);
    g_assert_cmpint(test_rw(pair.bs, BLOCK_READ, 512, back, sizeof(back)), ==,
                    0);
    g_assert_cmpmem(back, sizeof(back), buf, sizeof(buf));
    g_assert_cmpuint(mismatches, ==, 0);
    test_detach_unref(pair.bs);
}

static void test_flush_and_discard(void)
{
    Pair pair = open_pair("");

    g_assert_cmpint(test_op(pair.bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpuint(test_mem_count(pair.test, BLOCK_FLUSH), ==, 1);
    g_assert_cmpint(test_op(pair.bs, BLOCK_DISCARD, 0, 0, 4096), ==, 0);
    g_assert_cmpuint(test_mem_count(pair.test, BLOCK_DISCARD), ==, 0);
    g_assert_cmpuint(test_mem_count(pair.raw, BLOCK_DISCARD), ==, 0);
    test_detach_unref(pair.bs);
}

static void test_contents(void)
{
    Pair pair = open_pair("");

    test_mem(pair.test)->data[5000] = 1;
    g_assert_cmpint(test_rw(pair.bs, BLOCK_READ, 0, back, 4096), ==, 0);
    g_assert_cmpint(test_rw(pair.bs, BLOCK_READ, 4096, back, 512), ==, 0);
    g_assert_cmpuint(mismatches, ==, 0);
    memset(back, 9, 4096);
    g_assert_cmpint(test_rw(pair.bs, BLOCK_READ, 4096, back, 4096), ==, -EIO);
    g_assert_cmpuint(mismatches, ==, 1);
    g_assert_cmpstr(line, ==, "blkverify: read offset=4096 bytes=4096 "
                              "contents mismatch at offset 5000");
    g_assert_cmpint(back[0], ==, 9); /* nothing that is in doubt */
    test_detach_unref(pair.bs);
}

static void test_results(void)
{
    Pair pair = open_pair("");

    test_mem(pair.test)->fail_after = 1;
    g_assert_cmpint(test_rw(pair.bs, BLOCK_READ, 0, back, 512), ==, -EIO);
    g_assert_cmpstr(line, ==, "blkverify: read offset=0 bytes=512 return "
                              "value mismatch -5 != 0");
    test_mem(pair.raw)->fail_after = 1;
    g_assert_cmpint(test_rw(pair.bs, BLOCK_WRITE, 512, buf, 512), ==, -EIO);
    g_assert_cmpstr(line, ==, "blkverify: write offset=512 bytes=512 return "
                              "value mismatch 0 != -5");
    g_assert_cmpuint(mismatches, ==, 2);
    test_mem(pair.raw)->fail_after = 1; /* alike, if not good */
    test_mem(pair.test)->fail_after = 1;
    g_assert_cmpint(test_rw(pair.bs, BLOCK_READ, 0, back, 512), ==, -EIO);
    g_assert_cmpuint(mismatches, ==, 2);
    test_detach_unref(pair.bs);
}

static void test_short_raw(void)
{
    BlockDriverState *bs =
        test_open_attached("blkverify,raw.driver=test-mem,raw.size=4096,"
                           "test.driver=test-mem,test.size=8192");

    mismatches = 0;
    g_assert_cmpint(bs->total_bytes, ==, 8192);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, 4096), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 4096, back, 512), ==, -EIO);
    g_assert_cmpstr(line, ==, "blkverify: read offset=4096 bytes=512 return "
                              "value mismatch 0 != -5");
    g_assert_cmpuint(mismatches, ==, 1);
    test_detach_unref(bs);
}

static void test_options(void)
{
    g_autoptr(TestImage) raw = test_image_new(4096);
    g_autoptr(TestImage) test = test_image_new(4096);
    g_autofree char *name = g_strdup_printf(
        "blkverify:%s:%s", test_image_path(raw), test_image_path(test));
    g_autoptr(BlockDriverState) bs =
        test_open("blkverify,raw.driver=file,raw.filename=%s,"
                  "test.driver=raw,test.read-only=on,test.file.driver=file,"
                  "test.file.filename=%s",
                  test_image_path(raw), test_image_path(test));

    g_assert_true(bs->read_only);
    g_assert_cmpstr(bs->filename, ==, name);
    test_open_fails("blkverify,node-name=v,raw.driver=test-mem",
                    "blockdev 'v': A block device must be specified for "
                    "\"test\"");
    test_open_fails("blkverify,node-name=v,test.driver=test-mem",
                    "blockdev 'v': A block device must be specified for "
                    "\"raw\"");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    log_set_sink(keep_line, NULL);
    bdrv_debug_set_mismatch(count_mismatch);
    g_test_add_func("/blkverify/same", test_same);
    g_test_add_func("/blkverify/flush-and-discard", test_flush_and_discard);
    g_test_add_func("/blkverify/contents", test_contents);
    g_test_add_func("/blkverify/results", test_results);
    g_test_add_func("/blkverify/short-raw", test_short_raw);
    g_test_add_func("/blkverify/options", test_options);
    ret = g_test_run();
    g_free(line);
    test_block_end();
    return ret;
}
