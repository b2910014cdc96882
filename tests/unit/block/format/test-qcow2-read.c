/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads from images that Debian's tools have written. */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include <string.h>

#define MIB (1024 * 1024)

static BlockDriverState *open_image(const TestImage *image)
{
    return test_open_attached("qcow2,read-only=on,file.driver=file,"
                              "file.filename=%s", test_image_path(image));
}

/* [offset, offset + bytes) is all @byte. */
static void expect(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    g_autofree uint8_t *wanted = g_malloc(bytes);

    memset(buf, 0xee, bytes);
    memset(wanted, byte, bytes);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, offset, buf, bytes), ==, 0);
    g_assert_cmpmem(buf, bytes, wanted, bytes);
}

static void test_plain(gconstpointer options)
{
    g_autoptr(TestImage) image = qcow2_image_new(options, "64M");
    BlockDriverState *bs;

    qcow2_image_io(image, "write -P 1 0 1M", "write -P 2 3M 100k",
                   "write -P 3 2M 1000", "write -P 4 65535k 1k", NULL);
    bs = open_image(image);
    g_assert_cmpint(bs->total_bytes, ==, 64 * MIB);
    expect(bs, 0, MIB, 1);
    expect(bs, 12345, 777, 1);
    expect(bs, MIB, MIB, 0);
    expect(bs, 2 * MIB, 1000, 3);
    expect(bs, 2 * MIB + 1000, MIB - 1000, 0);
    expect(bs, 3 * MIB, 100 * 1024, 2);
    expect(bs, 64 * MIB - 1024, 1024, 4);
    expect(bs, 32 * MIB, 20 * MIB, 0);
    test_detach_unref(bs);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    g_test_add_data_func("/qcow2-read/default", "", test_plain);
    g_test_add_data_func("/qcow2-read/v2", "compat=0.10", test_plain);
    g_test_add_data_func("/qcow2-read/cluster-512", "cluster_size=512",
                         test_plain);
    g_test_add_data_func("/qcow2-read/cluster-2M", "cluster_size=2M",
                         test_plain);
    g_test_add_data_func("/qcow2-read/extended-l2", "extended_l2=on",
                         test_plain);
    g_test_add_data_func("/qcow2-read/preallocated",
                         "preallocation=metadata", test_plain);
    ret = g_test_run();
    test_block_end();
    return ret;
}
