/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads from images that Debian's tools have written. */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"
#include "tests/lib/qcow2-image.h"

#include <errno.h>
#include <string.h>

#include "block/format/qcow2.h"

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

/* --- backing files --- */

/* A qcow2 overlay of a raw image that is shorter and ends in mid-sector of a
 * cluster, and an overlay of that. */
static void test_backing(gconstpointer options)
{
    g_autoptr(TestImage) base = test_image_new(0);
    g_autoptr(TestImage) middle = NULL, top = NULL;
    g_autofree char *o1 = NULL, *o2 = NULL;
    g_autofree char *bytes = g_malloc(MIB);
    BlockDriverState *bs;

    memset(bytes, 9, MIB);
    test_image_write(base, 0, bytes, MIB - 512);
    o1 = g_strdup_printf("%sbacking_file=%s,backing_fmt=raw",
                         (const char *)options, test_image_path(base));
    middle = qcow2_image_new(o1, "4M");
    qcow2_image_io(middle, "write -P 1 128k 64k", "write -z 256k 64k",
                   "write -P 2 1M 64k", NULL);
    o2 = g_strdup_printf("%sbacking_file=%s,backing_fmt=qcow2",
                         (const char *)options, test_image_path(middle));
    top = qcow2_image_new(o2, "8M");
    qcow2_image_io(top, "write -P 3 64k 100", "write -P 4 5M 1k", NULL);

    bs = open_image(top);
    g_assert_nonnull(bs->backing->backing);
    expect(bs, 0, 65536, 9);
    expect(bs, 65536, 100, 3);
    expect(bs, 65536 + 100, 65436, 9);
    expect(bs, 131072, 65536, 1);
    expect(bs, 196608, 65536, 9);
    expect(bs, 262144, 65536, 0);
    expect(bs, 327680, MIB - 512 - 327680, 9);
    expect(bs, MIB - 512, 512, 0);
    expect(bs, MIB, 65536, 2);
    expect(bs, MIB + 65536, 4 * MIB - 65536, 0);
    expect(bs, 5 * MIB, 1024, 4);
    expect(bs, 5 * MIB + 1024, 3 * MIB - 1024, 0);
    test_detach_unref(bs);
}

/* A stretch that only the backing file has costs no request of ours. */
static void test_backing_passed_on(void)
{
    g_autoptr(TestImage) top = qcow2_image_new("", "1M");
    BlockDriverState *bs;
    char buf[4096];

    bs = test_open_attached("qcow2,read-only=on,file.driver=file,"
                            "file.filename=%s,backing.driver=test-mem,"
                            "backing.size=768k", test_image_path(top));
    memset(test_mem(bs->backing)->data, 5, 768 * 1024);
    expect(bs, 4096, 4096, 5);
    g_assert_cmpuint(test_mem_count(bs->backing, BLOCK_READ), ==, 1);
    expect(bs, 768 * 1024 - 2048, 2048, 5);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 768 * 1024 - 2048, buf, 4096), ==,
                    0);
    g_assert_cmpint(buf[2047], ==, 5);
    g_assert_cmpint(buf[2048], ==, 0);
    g_assert_cmpint(test_mem(bs->backing)->last_bytes, ==, 2048);
    expect(bs, 768 * 1024, 4096, 0);
    g_assert_cmpuint(test_mem_count(bs->backing, BLOCK_READ), ==, 3);
    test_detach_unref(bs);
}

static void test_backing_fails(void)
{
    g_autoptr(TestImage) top = qcow2_image_new("", "1M");
    BlockDriverState *bs;
    g_autofree char *buf = g_malloc(MIB);

    qcow2_image_io(top, "write -P 1 64k 64k", "write -P 1 256k 64k", NULL);
    bs = test_open_attached("qcow2,read-only=on,file.driver=file,"
                            "file.filename=%s,backing.driver=test-mem,"
                            "backing.size=1M", test_image_path(top));
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, MIB), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->backing, BLOCK_READ), ==, 3);
    test_mem(bs->backing)->fail_after = 2;
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, MIB), ==, -EIO);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, MIB), ==, 0);
    test_detach_unref(bs);
}

/* --- several extents --- */

/* Every second cluster of the first MiB, from the last to the first, so that
 * none follows another in the file. */
static void test_fragments(gconstpointer options)
{
    g_autoptr(TestImage) image = qcow2_image_new(options, "2M");
    g_autofree uint8_t *buf = g_malloc(MIB);
    struct iovec iov[] = {
        { buf, 1000 }, { buf + 1000, 300000 }, { buf + 301000, 1 },
        { buf + 301001, MIB - 301001 - 4096 },
    };
    TestRequest test = {
        .req.op = BLOCK_READ,
        .req.offset = 2048,
        .req.bytes = MIB - 4096,
        .req.iov = iov,
        .req.niov = G_N_ELEMENTS(iov),
    };
    BlockDriverState *bs;

    for (int i = 7; i >= 0; i--) {
        g_autofree char *write = g_strdup_printf("write -P %d %dk 64k", i + 1,
                                                 i * 128);

        qcow2_image_io(image, write, NULL);
    }
    bs = open_image(image);
    test_submit(bs, &test);
    g_assert_cmpint(test_wait(&test), ==, 0);
    for (unsigned i = 2048; i < MIB - 2048; i++) {
        g_assert_cmpint(buf[i - 2048], ==,
                        i / 65536 % 2 ? 0 : i / 131072 + 1);
    }
    expect(bs, 7 * 131072, 65536, 8);
    test_detach_unref(bs);
}

/* Many requests, of which only the first finds no table in memory. */
static void test_many(void)
{
    enum { DEPTH = 64 };
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autofree TestRequest *tests = g_new0(TestRequest, DEPTH);
    g_autofree uint8_t *buf = g_malloc0(DEPTH * 4096);
    BlockDriverState *bs;

    qcow2_image_io(image, "write -P 1 0 1M", "write -P 2 8M 1M", NULL);
    bs = open_image(image);
    for (unsigned i = 0; i < DEPTH; i++) {
        tests[i].iov.iov_base = buf + i * 4096;
        tests[i].iov.iov_len = 4096;
        tests[i].req.op = BLOCK_READ;
        tests[i].req.offset = i % 3 * 4 * MIB + i * 4096;
        tests[i].req.bytes = 4096;
        tests[i].req.iov = &tests[i].iov;
        tests[i].req.niov = 1;
        test_submit(bs, &tests[i]);
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, 0);
        g_assert_cmpint(buf[i * 4096], ==, i % 3 == 1 ? 0 : i % 3 / 2 + 1);
        g_assert_cmpint(buf[i * 4096 + 4095], ==, buf[i * 4096]);
    }
    test_detach_unref(bs);
}

/* What the file does not have any more reads as zeroes, tables included. */
static void test_cut_off(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("preallocation=metadata",
                                                 "1M");
    BlockDriverState *bs;
    int64_t data;

    qcow2_image_io(image, "write -P 1 0 1M", NULL);
    data = qcow2_image_get64(image, qcow2_image_l2_entry(image, 0, 8)) &
           QCOW2_L2_OFFSET;
    test_image_truncate(image, data + 65536 + 1000);
    bs = open_image(image);
    expect(bs, 0, 65536 + 1000, 1);
    expect(bs, 65536 + 1000, 4096, 0);
    expect(bs, MIB / 2, MIB / 2, 0);
    test_detach_unref(bs);

    test_image_truncate(image, qcow2_image_l2_entry(image, 0, 8));
    bs = open_image(image);
    expect(bs, 0, MIB, 0);
    test_detach_unref(bs);
}

/* --- other files --- */

static void test_data_file(gconstpointer more)
{
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options =
        g_strdup_printf("data_file=%s%s", test_image_path(data),
                        (const char *)more);
    g_autoptr(TestImage) image = qcow2_image_new(options, "4M");
    char byte = 7;
    BlockDriverState *bs;

    qcow2_image_io(image, "write -P 1 64k 64k", "write -P 2 1M 1k",
                   "write -z 2M 64k", NULL);
    test_image_write(data, 65536, &byte, 1); /* it is there, and no copy */
    bs = open_image(image);
    expect(bs, 0, 65536, 0);
    expect(bs, 65536, 1, 7);
    expect(bs, 65537, 65535, 1);
    expect(bs, MIB, 1024, 2);
    expect(bs, MIB + 1024, 3 * MIB - 1024, 0);
    test_detach_unref(bs);
}

/* By a node of the user's; the first cluster has offset 0 there. */
static void test_data_file_node(void)
{
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options =
        g_strdup_printf("data_file=%s", test_image_path(data));
    g_autoptr(TestImage) image = qcow2_image_new(options, "4M");
    BlockDriverState *bs;

    qcow2_image_io(image, "write -P 3 0 65k", NULL);
    bs = test_open_attached("qcow2,read-only=on,file.driver=file,"
                            "file.filename=%s,data-file.driver=test-mem,"
                            "data-file.size=4M", test_image_path(image));
    memset(test_mem(((Qcow2State *)bs->opaque)->data_file)->data, 8, 4 * MIB);
    expect(bs, 0, 131072, 8);
    expect(bs, 131072, 65536, 0);
    test_detach_unref(bs);
}

static void test_data_file_bad(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "4M");
    g_autofree char *text =
        g_strdup_printf("qcow2,node-name=q,file.driver=file,file.filename=%s,"
                        "data-file.driver=null-co", test_image_path(image));

    test_open_fails(text, "blockdev 'q': 'data-file' can only be set for "
                    "images with an external data file");
}

/* --- compressed --- */

static TestImage *compressed_image(const char *options)
{
    g_autoptr(TestImage) raw = test_image_new(4 * MIB);
    g_autofree uint8_t *bytes = g_malloc(4 * MIB);
    TestImage *image = test_image_new(0);

    /* some compresses well, some not at all, some is nothing */
    memset(bytes, 1, MIB);
    test_pattern(bytes + MIB, MIB, 5);
    memset(bytes + 2 * MIB, 0, MIB);
    for (unsigned i = 3 * MIB; i < 4 * MIB; i++) {
        bytes[i] = i / 97;
    }
    test_image_write(raw, 0, bytes, 4 * MIB);
    g_free(qcow2_image_run(raw, "convert", "-q", "-c", "-f", "raw", "-O",
                           "qcow2", "-o", options, "@",
                           test_image_path(image), NULL));
    return image;
}

static void expect_pattern(BlockDriverState *bs, int64_t offset,
                           int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    g_autofree uint8_t *wanted = g_malloc(MIB);

    g_assert_cmpint(test_rw(bs, BLOCK_READ, offset, buf, bytes), ==, 0);
    test_pattern(wanted, MIB, 5);
    for (int64_t i = offset; i < offset + bytes; i++) {
        uint8_t byte = i < MIB ? 1
                       : i < 2 * MIB ? wanted[i - MIB]
                       : i < 3 * MIB ? 0
                                     : (uint8_t)(i / 97);

        g_assert_cmpint(buf[i - offset], ==, byte);
    }
}

static void test_compressed(gconstpointer options)
{
    g_autoptr(TestImage) image = compressed_image(options);
    BlockDriverState *bs = open_image(image);

    expect_pattern(bs, 0, 4 * MIB);
    expect_pattern(bs, 3 * MIB, 512);
    expect_pattern(bs, 3 * MIB + 512, 512); /* of the same cluster */
    expect_pattern(bs, 3 * MIB + 65536 * 4 + 777, 3333);
    for (int64_t at = 0; at < MIB; at += 65536 / 4) {
        expect_pattern(bs, 3 * MIB + at, 65536 / 4);
    }
    expect_pattern(bs, MIB - 1000, 2000);
    test_detach_unref(bs);
}

/* Readers of parts of one cluster at the same time, and of more clusters than
 * are remembered. */
static void test_compressed_many(void)
{
    enum { DEPTH = 64, BYTES = 8192 };
    g_autoptr(TestImage) image = compressed_image("compression_type=zlib");
    g_autofree TestRequest *tests = g_new0(TestRequest, DEPTH);
    g_autofree uint8_t *buf = g_malloc0(DEPTH * BYTES);
    BlockDriverState *bs = open_image(image);

    for (unsigned i = 0; i < DEPTH; i++) {
        tests[i].iov.iov_base = buf + i * BYTES;
        tests[i].iov.iov_len = BYTES;
        tests[i].req.op = BLOCK_READ;
        tests[i].req.offset = 3 * MIB + i * BYTES;
        tests[i].req.bytes = BYTES;
        tests[i].req.iov = &tests[i].iov;
        tests[i].req.niov = 1;
        test_submit(bs, &tests[i]);
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, 0);
        for (unsigned j = 0; j < BYTES; j++) {
            g_assert_cmpint(buf[i * BYTES + j], ==,
                            (uint8_t)((3 * MIB + i * BYTES + j) / 97));
        }
    }
    test_detach_unref(bs);
}

/* Whatever the bytes are: an error or data, and nothing else happens. */
static void test_compressed_broken(gconstpointer options)
{
    g_autoptr(TestImage) image = compressed_image(options);
    uint64_t entry =
        qcow2_image_get64(image, qcow2_image_l2_entry(image, 3 * MIB, 8));
    int64_t host = entry & ((1ULL << 54) - 1);
    char buf[4096], junk[64];

    for (unsigned i = 0; i < 40; i++) {
        BlockDriverState *bs;
        int ret;

        test_pattern(junk, sizeof(junk), i);
        test_image_write(image, host + (i < 20 ? 0 : i * 3), junk,
                         i < 20 ? i + 1 : 4);
        bs = open_image(image);
        ret = test_rw(bs, BLOCK_READ, 3 * MIB, buf, sizeof(buf));
        g_assert_true(ret == 0 || ret == -EIO);
        ret = test_rw(bs, BLOCK_READ, 3 * MIB, buf, sizeof(buf));
        g_assert_true(ret == 0 || ret == -EIO);
        expect_pattern(bs, 3 * MIB + 8 * 65536, 4096);
        test_detach_unref(bs);
    }
}

static void test_compressed_nowhere(void)
{
    g_autoptr(TestImage) image = compressed_image("compression_type=zlib");
    BlockDriverState *bs;
    char buf[512];

    qcow2_image_set64(image, qcow2_image_l2_entry(image, 0, 8),
                      QCOW2_COMPRESSED | 0x3fffffffffffffffULL);
    bs = open_image(image);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 512), ==, -EIO);
    test_detach_unref(bs);
}

/* --- all of them --- */

typedef struct OptionTest {
    const char *name;
    GTestDataFunc fn;
    const char *options;
} OptionTest;

static const OptionTest option_tests[] = {
    { "default", test_plain, "" },
    { "v2", test_plain, "compat=0.10" },
    { "cluster-512", test_plain, "cluster_size=512" },
    { "cluster-2M", test_plain, "cluster_size=2M" },
    { "extended-l2", test_plain, "extended_l2=on" },
    { "preallocated", test_plain, "preallocation=metadata" },
    { "backing", test_backing, "" },
    { "backing-cluster-512", test_backing, "cluster_size=512," },
    { "backing-extended-l2", test_backing, "extended_l2=on," },
    { "fragments", test_fragments, "" },
    { "fragments-extended-l2", test_fragments, "extended_l2=on" },
    { "fragments-cluster-4k", test_fragments, "cluster_size=4k" },
    { "data-file", test_data_file, "" },
    { "data-file-raw", test_data_file, ",data_file_raw=on" },
    { "zlib", test_compressed, "compression_type=zlib" },
    { "zlib-v2", test_compressed, "compat=0.10" },
    { "zlib-cluster-512", test_compressed, "cluster_size=512" },
    { "zlib-cluster-2M", test_compressed, "cluster_size=2M" },
    { "zlib-extended-l2", test_compressed, "extended_l2=on" },
    { "zstd", test_compressed, "compression_type=zstd" },
    { "zstd-cluster-2M", test_compressed,
      "compression_type=zstd,cluster_size=2M" },
    { "zlib-broken", test_compressed_broken, "compression_type=zlib" },
    { "zstd-broken", test_compressed_broken, "compression_type=zstd" },
};

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_mem_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(option_tests); i++) {
        const OptionTest *test = &option_tests[i];
        g_autofree char *path = g_strconcat("/qcow2-read/", test->name, NULL);

        g_test_add_data_func(path, test->options, test->fn);
    }
    g_test_add_func("/qcow2-read/backing-passed-on", test_backing_passed_on);
    g_test_add_func("/qcow2-read/backing-fails", test_backing_fails);
    g_test_add_func("/qcow2-read/many", test_many);
    g_test_add_func("/qcow2-read/cut-off", test_cut_off);
    g_test_add_func("/qcow2-read/data-file-node", test_data_file_node);
    g_test_add_func("/qcow2-read/data-file-bad", test_data_file_bad);
    g_test_add_func("/qcow2-read/compressed-many", test_compressed_many);
    g_test_add_func("/qcow2-read/compressed-nowhere",
                    test_compressed_nowhere);
    ret = g_test_run();
    test_block_end();
    return ret;
}
