/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The throttle driver: options, and that requests come through. */
#include "block/throttle.h"

#include <string.h>

#include "tests/lib/block.h"
#include "tests/lib/image.h"
#include "tests/lib/mem-node.h"

static void make_group(const char *id, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(text, "object", NULL, &error);

    throttle_group_add(id, opts, &error);
    g_assert_no_error(error);
}

static void test_requests(void)
{
    BlockDriverState *bs =
        test_open_attached("throttle,throttle-group=g,discard=unmap,"
                           "file.driver=test-mem");
    char buf[4096], back[4096];

    test_pattern(buf, sizeof(buf), 1);
    for (unsigned i = 0; i < 20; i++) {
        int64_t offset = i * (int64_t)sizeof(buf);

        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, offset, buf, sizeof(buf)),
                        ==, 0);
        g_assert_cmpint(test_rw(bs, BLOCK_READ, offset, back, sizeof(back)),
                        ==, 0);
        g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
    }
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 4096), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 0, 4096), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE), ==, 20);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_DISCARD), ==, 1);
    test_detach_unref(bs);
}

/* Requests that wait when the device stops: it waits for them, too. */
static void test_many_waiting(void)
{
    BlockDriverState *bs = test_open_attached(
        "throttle,throttle-group=slow,file.driver=test-mem");
    TestRequest tests[40];

    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        memset(&tests[i], 0, sizeof(tests[i]));
        tests[i].req.op = BLOCK_WRITE_ZEROES;
        tests[i].req.bytes = 512;
        tests[i].req.offset = i * 512;
        test_submit(bs, &tests[i]);
    }
    /* 2 at once and 2 a bucket of 20 ms: the others wait */
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE_ZEROES), <, 40);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, 0);
    }
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE_ZEROES), ==, 40);
    test_detach_unref(bs);
}

/* A node keeps its group. */
static void test_lifetime(void)
{
    g_autoptr(BlockDriverState) bs = NULL;

    make_group("short", "x-iops-total=1");
    bs = test_open("throttle,throttle-group=short,file.driver=test-mem");
    throttle_group_free_all();
    g_assert_null(throttle_group_find("short"));
}

static void test_bad_options(void)
{
    test_open_fails("throttle,node-name=t,file.driver=test-mem",
                    "blockdev 't': Please specify a throttle group");
    test_open_fails("throttle,node-name=t,throttle-group=h,"
                    "file.driver=test-mem",
                    "blockdev 't': Throttle group 'h' does not exist");
    test_open_fails("throttle,node-name=t,throttle-group=g",
                    "blockdev 't': A block device must be specified for "
                    "\"file\"");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    make_group("g", "x-iops-total=1000,x-bps-total=10000000");
    make_group("slow", "x-iops-total=200");
    g_test_add_func("/throttle/requests", test_requests);
    g_test_add_func("/throttle/many-waiting", test_many_waiting);
    g_test_add_func("/throttle/bad-options", test_bad_options);
    g_test_add_func("/throttle/lifetime", test_lifetime);
    ret = g_test_run();
    test_block_end();
    throttle_group_free_all();
    return ret;
}
