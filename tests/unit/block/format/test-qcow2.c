/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening, closing, other access, and what an image says of itself. */
#include "tests/lib/qcow2-rig.h"

#include <errno.h>
#include <string.h>

#include "block/format/qcow2.h"

#define AT_INCOMPATIBLE 72
#define AT_AUTOCLEAR    88

static BlockDriverState *open_with(const TestImage *image,
                                   const char *options)
{
    return test_open("qcow2,%sfile.driver=file,file.filename=%s", options,
                     test_image_path(image));
}

/* Nobody tells somebody of us that we have written, so the bits go before. */
static void test_autoclear(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");

    qcow2_image_set64(image, AT_AUTOCLEAR, 0xf0f0);
    bdrv_unref(open_with(image, "read-only=on,"));
    g_assert_cmphex(qcow2_image_get64(image, AT_AUTOCLEAR), ==, 0xf0f0);
    bdrv_unref(open_with(image, ""));
    g_assert_cmphex(qcow2_image_get64(image, AT_AUTOCLEAR), ==, 0);
}

/* Refcounts that somebody left in disorder are not called good by us. */
static void test_found_dirty(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("lazy_refcounts=on", "1M");
    BlockDriverState *bs;

    qcow2_image_set64(image, AT_INCOMPATIBLE, QCOW2_INCOMPAT_DIRTY);
    bs = open_with(image, "read-only=on,");
    bdrv_unref(bs);
    g_assert_cmphex(qcow2_image_get64(image, AT_INCOMPATIBLE), ==,
                    QCOW2_INCOMPAT_DIRTY);
}

static int rw(BlockDriverState *bs, BlockOp op, char *buf)
{
    int ret;

    bdrv_attach_context(bs, test_ctx());
    ret = test_rw(bs, op, 0, buf, 4096);
    bdrv_detach_context(bs, test_ctx());
    return ret;
}

static void write_at(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     uint8_t byte)
{
    g_autofree char *buf = g_malloc(bytes);

    memset(buf, byte, bytes);
    bdrv_attach_context(bs, test_ctx());
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, offset, buf, bytes), ==, 0);
    bdrv_detach_context(bs, test_ctx());
}

static void reopen(BlockDriverState *bs, unsigned flags)
{
    g_autoptr(GError) error = NULL;

    bdrv_reopen(bs, flags, &error);
    g_assert_no_error(error);
}

/* While it is read-only, nothing is left to be written. */
static void test_reopen(gconstpointer options)
{
    g_autoptr(TestImage) image = qcow2_image_new(options, "64M");
    BlockDriverState *bs = open_with(image, "read-only=on,");
    char buf[4096], back[4096];

    for (unsigned i = 0; i < 3; i++) {
        reopen(bs, 0);
        test_pattern(buf, sizeof(buf), i);
        g_assert_cmpint(rw(bs, BLOCK_WRITE, buf), ==, 0);
        g_assert_cmpint(rw(bs, BLOCK_READ, back), ==, 0);
        g_assert_cmpmem(back, sizeof(back), buf, sizeof(buf));
        reopen(bs, BDRV_OPEN_READ_ONLY);
        g_assert_cmphex(qcow2_image_get64(image, AT_INCOMPATIBLE) &
                            QCOW2_INCOMPAT_DIRTY, ==, 0);
        g_free(qcow2_image_run(image, "check", "-q", "-U", "@", NULL));
        g_assert_cmpint(rw(bs, BLOCK_READ, back), ==, 0);
        g_assert_cmpmem(back, sizeof(back), buf, sizeof(buf));
    }
    bdrv_unref(bs);
    qcow2_image_check(image);
}

static void test_reopen_corrupt(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs;

    qcow2_image_set64(image, AT_INCOMPATIBLE, QCOW2_INCOMPAT_CORRUPT);
    bs = open_with(image, "read-only=on,");
    g_assert_false(bdrv_reopen(bs, 0, &error));
    g_assert_cmpstr(error->message, ==,
                    "qcow2: Image is corrupt; cannot be opened read/write");
    g_assert_true(bs->read_only);
    g_assert_true(bs->file->read_only);
    bdrv_unref(bs);
}

/* A guest's flush leaves the counts of an image with lazy refcounts behind. It
 * becomes writable once they are mended: what is allocated then is not what
 * the guest has. */
static void test_reopen_dirty(void)
{
    Qcow2Rig *rig = qcow2_rig_new("lazy_refcounts=on", "64M", "");
    const TestImage *image = rig->image;
    BlockDriverState *bs;
    const Qcow2State *s;

    g_assert_cmpint(qcow2_rig_write(rig, 63 << 20, 4096, 1), ==, 0);
    qcow2_rig_reopen(rig); /* the L2 table is counted */
    g_assert_cmpint(qcow2_rig_write(rig, 0, 4 << 20, 0x11), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    qcow2_rig_store(rig);
    g_assert_cmphex(qcow2_image_get64(image, AT_INCOMPATIBLE), ==,
                    QCOW2_INCOMPAT_DIRTY);
    bs = open_with(image, "read-only=on,");
    s = bs->opaque;
    g_assert_true(s->found_dirty);
    reopen(bs, 0);
    g_assert_false(s->found_dirty);
    write_at(bs, 16 << 20, 4 << 20, 0x22);
    bdrv_unref(bs);
    g_assert_cmphex(qcow2_image_get64(image, AT_INCOMPATIBLE), ==, 0);
    qcow2_image_check(image);
    qcow2_image_io(image, "read -P 0x11 0 4M", "read -P 0x22 16M 4M",
                   "read -P 1 63M 4k", NULL);
    qcow2_rig_free_broken(rig);
}

/* Where that cannot be done it stays read-only, and dirty. */
static void test_reopen_dirty_fails(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("lazy_refcounts=on", "64M");
    g_autoptr(TestDisk) disk = test_disk_new("dirty", 1);
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs;
    const Qcow2State *s;

    qcow2_image_set64(image, AT_INCOMPATIBLE, QCOW2_INCOMPAT_DIRTY);
    test_disk_load(disk, test_image_path(image));
    bs = test_open("qcow2,read-only=on,file.driver=test-disk,file.disk=dirty");
    s = bs->opaque;
    test_disk_fail(disk, BLOCK_FLUSH, 0, 1);
    g_assert_false(bdrv_reopen(bs, 0, &error));
    g_assert_cmpstr(error->message, ==, "Could not repair dirty image: "
                    "Input/output error");
    g_assert_true(bs->read_only);
    g_assert_true(s->found_dirty);
    reopen(bs, 0);
    g_assert_false(s->found_dirty);
    bdrv_unref(bs);
}

/* What is not flushed by anybody is on the disk after the close. */
static void test_close(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    BlockDriverState *bs = open_with(image, "");
    char buf[4096];

    memset(buf, 0x33, sizeof(buf));
    g_assert_cmpint(rw(bs, BLOCK_WRITE, buf), ==, 0);
    bdrv_unref(bs);
    qcow2_image_check(image);
    qcow2_image_io(image, "read -P 0x33 0 4k", "read -P 0 4k 1M", NULL);
}

/* --- flush --- */

/* All that is known is on the disk after it. */
static void test_flush(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    BlockDriverState *bs = open_with(image, "");
    const Qcow2State *s = bs->opaque;
    char buf[4096] = { 1 };

    bdrv_attach_context(bs, test_ctx());
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, sizeof(buf)), ==, 0);
    g_assert_true(qcow2_cache_is_dirty(s->l2_cache));
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_false(qcow2_cache_is_dirty(s->l2_cache));
    g_assert_false(qcow2_cache_is_dirty(s->refcount_cache));
    g_free(qcow2_image_run(image, "check", "-q", "-U", "@", NULL));
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    test_detach_unref(bs);
}

/* --- info --- */

static void expect_info(const char *options, const char *json)
{
    g_autoptr(TestImage) image = qcow2_image_new(options, "1M");
    g_autoptr(BlockDriverState) bs = open_with(image, "read-only=on,");
    g_autoptr(JsonNode) node = json_node_alloc();
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autofree char *text = NULL, *peer = NULL, *squeezed = NULL;
    g_auto(GStrv) words = NULL;
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = { 0 };

    g_assert_true(bs->drv->image->info(bs, &info, &error));
    json_node_init_object(node, info.specific);
    json_generator_set_root(generator, node);
    text = json_generator_to_data(generator, NULL);
    g_assert_cmpstr(text, ==, json);
    g_assert_cmpint(info.cluster_bytes, ==,
                    ((Qcow2State *)bs->opaque)->cluster_size);
    g_assert_false(info.dirty);
    /* the same from qemu-img, but for its blanks */
    peer = qcow2_image_run(image, "info", "-U", "--output=json", "@", NULL);
    words = g_strsplit_set(peer, " \n", -1);
    squeezed = g_strjoinv("", words);
    g_assert_nonnull(strstr(squeezed, json));
    block_image_info_clear(&info);
}

static void test_info(void)
{
    expect_info("compat=0.10", "{\"type\":\"qcow2\",\"data\":{"
                "\"compat\":\"0.10\",\"compression-type\":\"zlib\","
                "\"refcount-bits\":16}}");
    expect_info("", "{\"type\":\"qcow2\",\"data\":{"
                "\"compat\":\"1.1\",\"compression-type\":\"zlib\","
                "\"lazy-refcounts\":false,\"refcount-bits\":16,"
                "\"corrupt\":false,\"extended-l2\":false}}");
    expect_info("lazy_refcounts=on,refcount_bits=1,extended_l2=on,"
                "compression_type=zstd,cluster_size=16k",
                "{\"type\":\"qcow2\",\"data\":{"
                "\"compat\":\"1.1\",\"compression-type\":\"zstd\","
                "\"lazy-refcounts\":true,\"refcount-bits\":1,"
                "\"corrupt\":false,\"extended-l2\":true}}");
}

/* With a data file that is not there: to be looked at, but not read. */
static void test_info_without_data_file(void)
{
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options =
        g_strdup_printf("data_file=%s", test_image_path(data));
    g_autoptr(TestImage) image = qcow2_image_new(options, "1M");
    g_autoptr(GError) error = NULL;
    BlockImageInfo info = { 0 };
    BlockDriverState *bs;
    char buf[4096];

    g_clear_pointer(&data, test_image_free);
    bs = bdrv_open_image(test_image_path(image), "qcow2", NULL,
                         BDRV_OPEN_READ_ONLY | BDRV_OPEN_NO_IO, &error);
    g_assert_no_error(error);
    g_assert_true(bs->drv->image->info(bs, &info, &error));
    block_image_info_clear(&info);
    g_assert_cmpint(rw(bs, BLOCK_READ, buf), ==, -ENOMEDIUM);
    bdrv_unref(bs);
}

static void test_probe(void)
{
    static const uint8_t head[2048] = "QFI\xfb\0\0\0\3";
    const BlockImageOps *ops = bdrv_qcow2.image;

    g_assert_cmpint(ops->probe(head, sizeof(head), ""), ==, 100);
    g_assert_cmpint(ops->probe(head, 4, ""), ==, 0);
    g_assert_cmpint(ops->probe(head + 1, sizeof(head) - 1, ""), ==, 0);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    g_test_add_func("/qcow2/autoclear", test_autoclear);
    g_test_add_func("/qcow2/found-dirty", test_found_dirty);
    g_test_add_data_func("/qcow2/reopen/default", "", test_reopen);
    g_test_add_data_func("/qcow2/reopen/lazy-refcounts", "lazy_refcounts=on",
                         test_reopen);
    g_test_add_func("/qcow2/reopen/corrupt", test_reopen_corrupt);
    g_test_add_func("/qcow2/reopen/dirty", test_reopen_dirty);
    g_test_add_func("/qcow2/reopen/dirty-fails", test_reopen_dirty_fails);
    g_test_add_func("/qcow2/close", test_close);
    g_test_add_func("/qcow2/flush", test_flush);
    g_test_add_func("/qcow2/info/all", test_info);
    g_test_add_func("/qcow2/info/no-data-file", test_info_without_data_file);
    g_test_add_func("/qcow2/probe", test_probe);
    ret = g_test_run();
    test_block_end();
    return ret;
}
