/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The header: what is refused, in whose words, and what is written back. Each
 * broken image is shown to Debian's qemu-io as well, which has to say the
 * same.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include <string.h>

#include "block/format/qcow2-header.h"

/* Bytes at an offset of the header; none ends a list. */
typedef struct Patch {
    int64_t offset;
    const char *bytes;
    size_t n;
} Patch;

#define PATCH(offset, bytes) { offset, bytes, sizeof(bytes) - 1 }

typedef struct BadHeader {
    const char *name;
    const char *message; /* NULL: it opens */
    Patch patches[4];
    const char *options;
    int64_t truncate;    /* 0: not */
    bool ours_only;      /* qemu-io knows what we do not */
} BadHeader;

static const BadHeader bad_headers[] = {
    { "magic", "Image is not in qcow2 format", { PATCH(3, "\xfc") } },
    { "version-1", "Unsupported qcow2 version 1", { PATCH(4, "\0\0\0\1") } },
    { "version-4", "Unsupported qcow2 version 4", { PATCH(4, "\0\0\0\4") } },
    { "clusters-256", "Unsupported cluster size: 2^8",
      { PATCH(20, "\0\0\0\x8") } },
    { "clusters-4M", "Unsupported cluster size: 2^22",
      { PATCH(20, "\0\0\0\x16") } },
    { "clusters-huge", "Unsupported cluster size: 2^4294967295",
      { PATCH(20, "\xff\xff\xff\xff") } },
    { "header-72", "qcow2 header too short", { PATCH(100, "\0\0\0\x48") } },
    { "header-103", "qcow2 header too short", { PATCH(100, "\0\0\0\x67") } },
    { "header-105", NULL, { PATCH(100, "\0\0\0\x69") } },
    { "header-large", "qcow2 header exceeds cluster size",
      { PATCH(100, "\0\1\0\x8") } },
    { "header-huge", "qcow2 header exceeds cluster size",
      { PATCH(100, "\x80\0\0\0") } },
    { "backing-offset", "Invalid backing file offset",
      { PATCH(8, "\0\0\0\0\0\1\0\1") } },
    { "backing-length", "Backing file name too long",
      { PATCH(8, "\0\0\0\0\0\0\2\0"), PATCH(16, "\0\0\4\0") } },
    { "backing-over-end", "Backing file name too long",
      { PATCH(8, "\0\0\0\0\0\0\xff\xfa"), PATCH(16, "\0\0\0\x64") } },
    { "backing-empty", NULL,
      { PATCH(8, "\0\0\0\0\0\0\2\0"), PATCH(16, "\0\0\0\0") } },
    { "feature-unknown",
      "Unsupported qcow2 feature(s): Unknown incompatible feature: 20",
      { PATCH(72, "\0\0\0\0\0\0\0\x20") } },
    { "features-unknown",
      "Unsupported qcow2 feature(s): Unknown incompatible feature: "
      "8000000000000020",
      { PATCH(72, "\x80\0\0\0\0\0\0\x20") } },
    /* the first two names of the table become those of bits 5 and 6 */
    { "features-named", "Unsupported qcow2 feature(s): fancy, plain",
      { PATCH(72, "\0\0\0\0\0\0\0\x60"),
        PATCH(120, "\0\5" "fancy\0"), PATCH(168, "\0\6" "plain\0") } },
    { "features-half-named",
      "Unsupported qcow2 feature(s): fancy, Unknown incompatible feature: 40",
      { PATCH(72, "\0\0\0\0\0\0\0\x60"), PATCH(120, "\0\5" "fancy\0") } },
    { "refcount-order",
      "Reference count entry width too large; may not exceed 64 bits",
      { PATCH(96, "\0\0\0\7") } },
    { "crypt-aes", "The image is encrypted (AES), which is not supported",
      { PATCH(32, "\0\0\0\1") }, .ours_only = true },
    { "crypt-luks", "The image is encrypted (LUKS), which is not supported",
      { PATCH(32, "\0\0\0\2") }, .ours_only = true },
    { "crypt-3", "Unsupported encryption method 3",
      { PATCH(32, "\0\0\0\3") } },
    { "reftable-none", "Image does not contain a reference count table",
      { PATCH(56, "\0\0\0\0") } },
    { "reftable-large", "Reference count table too large",
      { PATCH(56, "\x7f\xff\xff\xff") } },
    { "reftable-unaligned", "Reference count table offset invalid",
      { PATCH(48, "\0\0\0\0\0\1\0\1") } },
    { "reftable-far", "Reference count table offset invalid",
      { PATCH(48, "\x80\0\0\0\0\0\0\0") } },
    { "l1-none", "L1 table is too small", { PATCH(36, "\0\0\0\0") } },
    { "l1-large", "Active L1 table too large",
      { PATCH(36, "\0\x40\0\1") } },
    { "l1-unaligned", "Active L1 table offset invalid",
      { PATCH(40, "\0\0\0\0\0\3\0\1") } },
    { "l1-far", "Active L1 table offset invalid",
      { PATCH(40, "\x80\0\0\0\0\0\0\0") } },
    { "l1-behind-end", NULL, { PATCH(40, "\0\0\1\0\0\0\0\0") } },
    { "size-63-bits", "Image is too big",
      { PATCH(24, "\x80\0\0\0\0\0\0\0") } },
    { "size-62-bits", "Image is too big",
      { PATCH(24, "\x40\0\0\0\0\0\0\0") } },
    { "size-over-l1", "L1 table is too small",
      { PATCH(24, "\0\0\0\0\x20\x10\0\0") } },
    { "snapshots-many", "Snapshot table too large",
      { PATCH(60, "\0\1\0\1") } },
    { "snapshots-unaligned", "Snapshot table offset invalid",
      { PATCH(60, "\0\0\0\1"), PATCH(64, "\0\0\0\0\0\0\0\1") } },
    { "compression-bit-missing",
      "qcow2: Compression type incompatible feature bit must be set",
      { PATCH(104, "\1") } },
    { "compression-bit-only",
      "qcow2: Compression type incompatible feature bit must not be set",
      { PATCH(72, "\0\0\0\0\0\0\0\x8") } },
    { "compression-2", "qcow2: unknown compression type: 2",
      { PATCH(72, "\0\0\0\0\0\0\0\x8"), PATCH(104, "\2") } },
    { "subclusters-256", "Unsupported subcluster size: 256",
      { PATCH(72, "\0\0\0\0\0\0\0\x10") }, "cluster_size=8k" },
    { "data-file-unnamed", "'data-file' is required for this image",
      { PATCH(72, "\0\0\0\0\0\0\0\4") } },
    { "data-file-raw-only", "data-file-raw requires a data file",
      { PATCH(88, "\0\0\0\0\0\0\0\2") } },
    { "corrupt", "qcow2: Image is corrupt; cannot be opened read/write",
      { PATCH(72, "\0\0\0\0\0\0\0\2") } },
    { "extension-large", "Header extension too large",
      { PATCH(112, "\x12\x34\x56\x78\0\1\0\0") } },
    { "extension-huge", "Header extension too large",
      { PATCH(112, "\x12\x34\x56\x78\xff\xff\xff\xff") } },
    { "backing-format-long",
      "ERROR: ext_backing_format: len=16 too large (>=16)",
      { PATCH(112, "\xe2\x79\x2a\xca\0\0\0\x10" "0123456789abcdef"
                   "\0\0\0\0\0\0\0\0") } },
    { "bitmaps-length", "bitmaps_ext: Invalid extension length",
      { PATCH(112, "\x23\x85\x28\x75\0\0\0\x10" "0123456789abcdef"
                   "\0\0\0\0\0\0\0\0") } },
    { "bitmaps-none", "found bitmaps extension with zero bitmaps",
      { PATCH(88, "\0\0\0\0\0\0\0\1"),
        PATCH(112, "\x23\x85\x28\x75\0\0\0\x18"
                   "\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\x40"
                   "\0\0\0\0\0\1\0\0" "\0\0\0\0\0\0\0\0") } },
    { "bitmaps-reserved", "bitmaps_ext: Reserved field is not zero",
      { PATCH(88, "\0\0\0\0\0\0\0\1"),
        PATCH(112, "\x23\x85\x28\x75\0\0\0\x18"
                   "\0\0\0\1\0\0\0\1" "\0\0\0\0\0\0\0\x40"
                   "\0\0\0\0\0\1\0\0" "\0\0\0\0\0\0\0\0") } },
    { "bitmaps-many", "bitmaps_ext: Image has 65536 bitmaps, exceeding the "
      "QEMU supported maximum of 65535",
      { PATCH(88, "\0\0\0\0\0\0\0\1"),
        PATCH(112, "\x23\x85\x28\x75\0\0\0\x18"
                   "\0\1\0\0\0\0\0\0" "\0\0\0\0\0\0\0\x40"
                   "\0\0\0\0\0\1\0\0" "\0\0\0\0\0\0\0\0") } },
    { "bitmaps-unaligned", "bitmaps_ext: invalid bitmap directory offset",
      { PATCH(88, "\0\0\0\0\0\0\0\1"),
        PATCH(112, "\x23\x85\x28\x75\0\0\0\x18"
                   "\0\0\0\1\0\0\0\0" "\0\0\0\0\0\0\0\x40"
                   "\0\0\0\0\0\1\0\1" "\0\0\0\0\0\0\0\0") } },
    { "bitmaps-directory-large",
      "bitmaps_ext: bitmap directory size (68157440) exceeds the maximum "
      "supported size (67107840)",
      { PATCH(88, "\0\0\0\0\0\0\0\1"),
        PATCH(112, "\x23\x85\x28\x75\0\0\0\x18"
                   "\0\0\0\1\0\0\0\0" "\0\0\0\0\4\x10\0\0"
                   "\0\0\0\0\0\1\0\0" "\0\0\0\0\0\0\0\0") } },
    { "crypto-extension",
      "CRYPTO header extension only expected with LUKS encryption method",
      { PATCH(112, "\x05\x37\xbe\x77\0\0\0\x10" "0123456789abcdef"
                   "\0\0\0\0\0\0\0\0") } },
    { "cut-at-50", "qcow2 header too short", { { 0 } }, .truncate = 50 },
    { "cut-at-105", NULL, { { 0 } }, .truncate = 105 },
};

static TestImage *patched_image(const BadHeader *bad)
{
    TestImage *image = qcow2_image_new(bad->options ? bad->options : "",
                                       "64M");

    for (const Patch *patch = bad->patches; patch->n; patch++) {
        test_image_write(image, patch->offset, patch->bytes, patch->n);
    }
    if (bad->truncate) {
        test_image_truncate(image, bad->truncate);
    }
    return image;
}

/* Opening fails in qemu-io, too, and with the same words. */
static void check_peer(const TestImage *image, const char *message)
{
    const char *argv[] = { "qemu-io", "-f", "qcow2", "-c", "quit",
                           test_image_path(image), NULL };
    g_autofree char *output = NULL;
    g_autofree char *wanted =
        message ? g_strdup_printf("qemu-io: can't open device %s: %s\n",
                                  test_image_path(image), message)
                : g_strdup("");

    g_assert_true(test_run(argv, &output) == !message);
    g_assert_cmpstr(output, ==, wanted);
}

static void test_bad(gconstpointer opaque)
{
    const BadHeader *bad = opaque;
    g_autoptr(TestImage) image = patched_image(bad);
    g_autofree char *text =
        g_strdup_printf("qcow2,node-name=q,file.driver=file,file.filename=%s",
                        test_image_path(image));
    g_autofree char *message = NULL;

    if (!bad->ours_only) {
        check_peer(image, bad->message);
    }
    if (bad->message) {
        message = g_strdup_printf("blockdev 'q': %s", bad->message);
        test_open_fails(text, message);
    } else {
        bdrv_unref(test_open("%s", text));
    }
}

/* A corrupt image can be read. */
static void test_corrupt_read_only(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    BlockDriverState *bs;

    qcow2_image_set64(image, 72, QCOW2_INCOMPAT_CORRUPT);
    bs = test_open("qcow2,read-only=on,file.driver=file,file.filename=%s",
                   test_image_path(image));
    bdrv_unref(bs);
    g_assert_cmphex(qcow2_image_get64(image, 72), ==, QCOW2_INCOMPAT_CORRUPT);
}

/* --- what is written --- */

static void coroutine_fn write_header_entry(void *opaque)
{
    g_assert_cmpint(qcow2_co_write_header(opaque), ==, 0);
}

static BlockDriverState *open_writable(const TestImage *image)
{
    return test_open_attached("qcow2,file.driver=file,file.filename=%s",
                              test_image_path(image));
}

static void rewrite(const TestImage *image)
{
    BlockDriverState *bs = open_writable(image);

    test_run_co(write_header_entry, bs);
    test_detach_unref(bs);
}

/* Everything that qemu-img says of an image, and its first cluster. */
static void test_same_bytes(gconstpointer options)
{
    g_autoptr(TestImage) image = qcow2_image_new(options, "64M");
    g_autofree char *info = qcow2_image_run(image, "info", "@", NULL);
    g_autofree char *after = NULL;
    char before[512], now[512];

    test_image_read(image, 0, before, sizeof(before));
    rewrite(image);
    test_image_read(image, 0, now, sizeof(now));
    after = qcow2_image_run(image, "info", "@", NULL);
    g_assert_cmpstr(after, ==, info);
    g_assert_cmpmem(now, sizeof(now), before, sizeof(before));
    qcow2_image_check(image);
}

/* A header of 120 bytes, and an extension that nobody knows. */
static void test_unknown_kept(void)
{
    static const char exts[] = "\x12\x34\x56\x78\0\0\0\5" "hello\0\0\0"
                               "\0\0\0\0\0\0\0\0";
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    char tail[] = "\0padded\1\2\3\4\5\6\7\x8", back[24];

    qcow2_image_set32(image, 100, 120);
    test_image_write(image, 105, tail, 15);
    test_image_write(image, 120, exts, sizeof(exts) - 1);
    rewrite(image);
    test_image_read(image, 105, back, 15);
    g_assert_cmpmem(back, 15, tail, 15);
    g_assert_cmphex(qcow2_image_get64(image, 100) >> 32, ==, 120);
    /* behind our table of feature names, of 8 entries */
    test_image_read(image, 120 + 8 + 8 * 48, back, 24);
    g_assert_cmpmem(back, 24, exts, 24);
}

/* Small clusters have no room for feature names. */
static void test_no_room_for_names(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=512", "1M");
    g_autofree char *info = NULL;
    BlockDriverState *bs = open_writable(image);

    bs->backing_file = g_strdup("/dev/null");
    bs->backing_format = g_strdup("raw");
    test_run_co(write_header_entry, bs);
    test_detach_unref(bs);
    info = qcow2_image_run(image, "info", "@", NULL);
    g_assert_nonnull(strstr(info, "backing file: /dev/null\n"));
    g_assert_nonnull(strstr(info, "backing file format: raw\n"));
}

static void coroutine_fn too_long_entry(void *opaque)
{
    g_assert_cmpint(qcow2_co_write_header(opaque), ==, -ENOSPC);
}

static void test_no_room(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=512", "1M");
    BlockDriverState *bs = open_writable(image);

    bs->backing_file = g_strnfill(500, 'x');
    test_run_co(too_long_entry, bs);
    test_detach_unref(bs);
    qcow2_image_check(image);
}

static void coroutine_fn mark_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    Qcow2State *s = bs->opaque;

    g_assert_cmpint(qcow2_co_mark_dirty(bs), ==, 0);
    g_assert_cmpint(qcow2_co_mark_corrupt(bs), ==, 0);
    g_assert_cmphex(s->incompatible, ==,
                    QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
}

static void coroutine_fn unmark_entry(void *opaque)
{
    BlockDriverState *bs = opaque;

    g_assert_cmpint(qcow2_co_mark_clean(bs), ==, 0);
    g_assert_cmpint(qcow2_co_mark_consistent(bs), ==, 0);
}

static void test_marks(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    BlockDriverState *bs = open_writable(image);
    char before[512], now[512];

    test_image_read(image, 0, before, sizeof(before));
    test_run_co(mark_entry, bs);
    g_assert_cmphex(qcow2_image_get64(image, 72), ==, 3);
    test_run_co(unmark_entry, bs);
    test_detach_unref(bs);
    test_image_read(image, 0, now, sizeof(now));
    g_assert_cmpmem(now, sizeof(now), before, sizeof(before));
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_headers); i++) {
        g_autofree char *path = g_strconcat("/qcow2-header/bad/",
                                            bad_headers[i].name, NULL);

        g_test_add_data_func(path, &bad_headers[i], test_bad);
    }
    g_test_add_func("/qcow2-header/corrupt-read-only", test_corrupt_read_only);
    g_test_add_data_func("/qcow2-header/write/default", "", test_same_bytes);
    g_test_add_data_func("/qcow2-header/write/v2", "compat=0.10",
                         test_same_bytes);
    g_test_add_data_func("/qcow2-header/write/zstd",
                         "compression_type=zstd,refcount_bits=1",
                         test_same_bytes);
    g_test_add_data_func("/qcow2-header/write/cluster-512",
                         "cluster_size=512,lazy_refcounts=on",
                         test_same_bytes);
    g_test_add_func("/qcow2-header/write/unknown", test_unknown_kept);
    g_test_add_func("/qcow2-header/write/no-names", test_no_room_for_names);
    g_test_add_func("/qcow2-header/write/no-room", test_no_room);
    g_test_add_func("/qcow2-header/write/marks", test_marks);
    ret = g_test_run();
    test_block_end();
    return ret;
}
