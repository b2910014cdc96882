/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From guest offset to extent, over tables that are written by hand, broken
 * ones included: 64 clusters of 64 KiB, in slices of 64 entries.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block/format/qcow2.h"
#include "block/log.h"

#define KIB     1024
#define CLUSTER (64 * KIB)
#define HOST(n) (0x100000ULL + (n) * (uint64_t)CLUSTER)
#define SLICE   64 /* entries of 8 bytes */

typedef struct Tables {
    TestImage *image;
    int64_t l1;       /* of its first entry, in the file */
    int64_t l2;
} Tables;

/* An image of one L2 table without an entry. */
static Tables tables_new(const char *options)
{
    Tables t = { .image = qcow2_image_new(options, "4M") };

    qcow2_image_io(t.image, "write 0 64k", NULL);
    t.l1 = qcow2_image_get64(t.image, 40);
    t.l2 = qcow2_image_get64(t.image, t.l1) & QCOW2_L1_OFFSET;
    qcow2_image_set64(t.image, t.l2, 0);
    return t;
}

static void set(const Tables *t, unsigned n, uint64_t entry)
{
    qcow2_image_set64(t->image, t->l2 + n * 8, entry);
}

static void set_extended(const Tables *t, unsigned n, uint64_t entry,
                         uint64_t bitmap)
{
    qcow2_image_set64(t->image, t->l2 + n * 16, entry);
    qcow2_image_set64(t->image, t->l2 + n * 16 + 8, bitmap);
}

static BlockDriverState *open_tables(const Tables *t)
{
    return test_open_attached("qcow2,read-only=on,l2-cache-entry-size=512,"
                              "file.driver=file,file.filename=%s",
                              test_image_path(t->image));
}

typedef struct MapCall {
    BlockDriverState *bs;
    int64_t offset, bytes;
    Qcow2Extent extent;
    int ret;
} MapCall;

static void coroutine_fn map_entry(void *opaque)
{
    MapCall *call = opaque;
    Qcow2State *s = call->bs->opaque;

    co_mutex_lock(&s->lock);
    call->ret = qcow2_co_map(call->bs, call->offset, call->bytes,
                             &call->extent);
    co_mutex_unlock(&s->lock);
}

static Qcow2Extent map(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    MapCall call = { .bs = bs, .offset = offset, .bytes = bytes };
    Qcow2Extent cached;

    test_run_co(map_entry, &call);
    g_assert_cmpint(call.ret, ==, 0);
    /* by now it is in memory */
    g_assert_cmpint(qcow2_map_cached(bs, offset, bytes, &cached), ==, 1);
    g_assert_cmpint(cached.kind, ==, call.extent.kind);
    g_assert_cmpint(cached.bytes, ==, call.extent.bytes);
    g_assert_cmphex(cached.host, ==, call.extent.host);
    g_assert_cmpint(cached.in_place, ==, call.extent.in_place);
    return cached;
}

static void expect(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   Qcow2Extent wanted)
{
    Qcow2Extent extent = map(bs, offset, bytes);

    g_assert_cmpint(extent.kind, ==, wanted.kind);
    g_assert_cmpint(extent.bytes, ==, wanted.bytes);
    g_assert_cmphex(extent.host, ==, wanted.host);
    g_assert_cmpint(extent.in_place, ==, wanted.in_place);
}

static void tables_end(Tables *t, BlockDriverState *bs)
{
    test_detach_unref(bs);
    test_image_free(t->image);
}

static void test_normal(void)
{
    Tables t = tables_new("");
    BlockDriverState *bs;

    set(&t, 1, HOST(1) | QCOW2_COPIED);
    set(&t, 2, HOST(2) | QCOW2_COPIED);
    set(&t, 3, HOST(3));
    set(&t, 4, HOST(5) | QCOW2_COPIED); /* not the next one */
    bs = open_tables(&t);
    expect(bs, CLUSTER, 4 * KIB,
           (Qcow2Extent){ QCOW2_NORMAL, 4 * KIB, HOST(1), true });
    expect(bs, CLUSTER + 5, 2 * CLUSTER - 5,
           (Qcow2Extent){ QCOW2_NORMAL, 2 * CLUSTER - 5, HOST(1) + 5, true });
    expect(bs, CLUSTER + 5, 10 * CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, 3 * CLUSTER - 5, HOST(1) + 5,
                          false });
    expect(bs, 4 * CLUSTER, CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, CLUSTER, HOST(5), true });
    expect(bs, 0, 10 * CLUSTER,
           (Qcow2Extent){ QCOW2_UNALLOCATED, CLUSTER, 0, false });
    expect(bs, 5 * CLUSTER, 10 * CLUSTER,
           (Qcow2Extent){ QCOW2_UNALLOCATED, 10 * CLUSTER, 0, false });
    tables_end(&t, bs);
}

static void test_zeroes(void)
{
    Tables t = tables_new("");
    BlockDriverState *bs;

    set(&t, 0, QCOW2_ZERO);
    set(&t, 1, QCOW2_ZERO);
    set(&t, 2, HOST(1) | QCOW2_ZERO | QCOW2_COPIED);
    set(&t, 3, HOST(2) | QCOW2_ZERO | QCOW2_COPIED);
    set(&t, 4, HOST(3) | QCOW2_COPIED);
    bs = open_tables(&t);
    expect(bs, KIB, 4 * CLUSTER,
           (Qcow2Extent){ QCOW2_ZERO_PLAIN, 2 * CLUSTER - KIB, 0, false });
    expect(bs, 2 * CLUSTER + KIB, 4 * CLUSTER,
           (Qcow2Extent){ QCOW2_ZERO_ALLOC, 2 * CLUSTER - KIB, HOST(1) + KIB,
                          true });
    tables_end(&t, bs);
}

static void test_compressed(void)
{
    Tables t = tables_new("");
    uint64_t entry = QCOW2_COMPRESSED | 3ULL << 54 | (HOST(3) + 700);
    Qcow2State *s;
    BlockDriverState *bs;
    uint64_t host;
    unsigned bytes;

    set(&t, 0, entry);
    set(&t, 1, entry);
    bs = open_tables(&t);
    s = bs->opaque;
    expect(bs, KIB, 4 * CLUSTER,
           (Qcow2Extent){ QCOW2_COMPRESSED_DATA, CLUSTER - KIB, entry,
                          false });
    qcow2_parse_compressed(s, entry, &host, &bytes);
    g_assert_cmphex(host, ==, HOST(3) + 700);
    /* up to the end of the third sector after the one of the offset */
    g_assert_cmpuint(bytes, ==, 4 * 512 - 700 % 512);
    tables_end(&t, bs);
}

/* What ends a stretch, whatever the entries say. */
static void test_ends(void)
{
    Tables t = tables_new("cluster_size=512");
    BlockDriverState *bs;

    /* 64 entries are all of an L2 table, and one slice */
    for (unsigned i = 0; i < 64; i++) {
        set(&t, i, HOST(0) + i * 512);
    }
    bs = open_tables(&t);
    expect(bs, 0, 4 * KIB * KIB,
           (Qcow2Extent){ QCOW2_NORMAL, 32 * KIB, HOST(0), false });
    /* no table: up to where the next one would begin */
    expect(bs, 5 * 32 * KIB + 100, KIB * KIB,
           (Qcow2Extent){ QCOW2_UNALLOCATED, 32 * KIB - 100, 0, false });
    tables_end(&t, bs);

    t = tables_new("");
    for (unsigned i = 0; i < 64; i++) {
        set(&t, i, HOST(i));
    }
    bs = open_tables(&t);
    expect(bs, 62 * CLUSTER, 2 * CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, 2 * CLUSTER, HOST(62), false });
    tables_end(&t, bs);
}

/* The table that the first look reads is asked for in memory then. */
static void test_cached(void)
{
    Tables t = tables_new("");
    Qcow2Extent extent;
    BlockDriverState *bs;

    set(&t, 0, HOST(0));
    bs = open_tables(&t);
    g_assert_cmpint(qcow2_map_cached(bs, 0, KIB, &extent), ==, 0);
    map(bs, 0, KIB);
    g_assert_cmpint(qcow2_map_cached(bs, 0, KIB, &extent), ==, 1);
    /* behind what L1 has nothing is */
    g_assert_cmpint(qcow2_map_cached(bs, 1LL << 40, KIB, &extent), ==, 1);
    g_assert_cmpint(extent.kind, ==, QCOW2_UNALLOCATED);
    tables_end(&t, bs);
}

/* Subclusters of 2 KiB: bits 0 to 31 say allocated, 32 to 63 zero. */
static void test_subclusters(void)
{
    Tables t = tables_new("extended_l2=on");
    BlockDriverState *bs;

    set_extended(&t, 0, HOST(0) | QCOW2_COPIED, 0x00000f00000000f0ULL);
    set_extended(&t, 1, HOST(1) | QCOW2_COPIED, 0x00000000ffffffffULL);
    set_extended(&t, 2, HOST(2), 0x000000000000ffffULL);
    set_extended(&t, 3, 0, 0xffff000000000000ULL);
    set_extended(&t, 4, HOST(9) | QCOW2_COPIED, 0x8000000000000000ULL);
    set_extended(&t, 5, HOST(10) | QCOW2_COPIED, 0x0000000100000000ULL);
    bs = open_tables(&t);
    expect(bs, KIB, CLUSTER,
           (Qcow2Extent){ QCOW2_UNALLOCATED, 7 * KIB, HOST(0) + KIB, true });
    expect(bs, 8 * KIB, CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, 8 * KIB, HOST(0) + 8 * KIB, true });
    expect(bs, 17 * KIB, CLUSTER,
           (Qcow2Extent){ QCOW2_ZERO_ALLOC, 7 * KIB, HOST(0) + 17 * KIB,
                          true });
    expect(bs, 24 * KIB, 3 * KIB,
           (Qcow2Extent){ QCOW2_UNALLOCATED, 3 * KIB, HOST(0) + 24 * KIB,
                          true });
    /* over the end of a cluster */
    expect(bs, CLUSTER + 3 * KIB, 4 * CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, CLUSTER + 29 * KIB,
                          HOST(1) + 3 * KIB, false });
    expect(bs, 3 * CLUSTER, CLUSTER,
           (Qcow2Extent){ QCOW2_UNALLOCATED, 32 * KIB, 0, false });
    expect(bs, 3 * CLUSTER + 32 * KIB, 4 * CLUSTER,
           (Qcow2Extent){ QCOW2_ZERO_PLAIN, 32 * KIB, 0, false });
    expect(bs, 5 * CLUSTER - 2 * KIB, 4 * CLUSTER,
           (Qcow2Extent){ QCOW2_ZERO_ALLOC, 4 * KIB,
                          HOST(10) - 2 * KIB, true });
    tables_end(&t, bs);
}

/* The short way agrees with the long one, or knows nothing. */
static void test_plain_entry(void)
{
    static const uint64_t flags[] = {
        0, QCOW2_COPIED, QCOW2_ZERO, QCOW2_COMPRESSED, 512, 0x10, 1ULL << 56,
    };
    Tables t = tables_new("");
    BlockDriverState *bs;
    Qcow2State *s;

    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
        set(&t, i, HOST(i) | flags[i]);
    }
    bs = open_tables(&t);
    s = bs->opaque;
    g_assert_cmphex(qcow2_plain_entry(s, 0, 512), ==, 0);
    map(bs, 0, CLUSTER);
    for (unsigned i = 0; i < 64; i++) {
        uint64_t wanted = i < 2 ? HOST(i) | flags[i] : 0;
        int64_t at = i * CLUSTER;

        g_assert_cmphex(qcow2_plain_entry(s, at, CLUSTER), ==, wanted);
        g_assert_cmphex(qcow2_plain_entry(s, at + 512, 512), ==, wanted);
        g_assert_cmphex(qcow2_plain_entry(s, at + 512, CLUSTER), ==, 0);
    }
    g_assert_cmphex(qcow2_plain_entry(s, 1LL << 40, 512), ==, 0);
    tables_end(&t, bs);
}

/* --- what the specification does not allow --- */

#define NO_BITMAP UINT64_MAX

typedef struct Broken {
    const char *name;
    const char *options;
    uint64_t entry;
    uint64_t bitmap; /* or NO_BITMAP */
    const char *said;
    bool survives;   /* only that cluster cannot be used */
} Broken;

static const Broken broken[] = {
    { "unaligned", "", HOST(1) + 512, NO_BITMAP,
      "Cluster allocation offset 0x110200 unaligned " },
    { "zero-unaligned", "", (HOST(1) + 512) | QCOW2_ZERO, NO_BITMAP,
      "Cluster allocation offset 0x110200 unaligned " },
    { "reserved-low", "", HOST(1) | 0x10, NO_BITMAP,
      "L2 entry with reserved bits set: 110010 ", .survives = true },
    { "reserved-high", "", HOST(1) | 1ULL << 60, NO_BITMAP,
      "L2 entry with reserved bits set: 1000000000110000 ",
      .survives = true },
    { "zero-in-v2", "compat=0.10", QCOW2_ZERO, NO_BITMAP,
      "Zero cluster entry found in pre-v3 image " },
    { "zero-with-subclusters", "extended_l2=on", HOST(1) | QCOW2_ZERO, 0,
      "L2 entry with reserved bits set: 110001 ", .survives = true },
    { "both-bits", "extended_l2=on", HOST(1), 0x0000000100000001ULL,
      "Invalid cluster entry found  " },
    { "allocated-nowhere", "extended_l2=on", 0, 0x1,
      "Invalid cluster entry found  " },
};

static void expect_fault(BlockDriverState *bs, int64_t offset)
{
    MapCall call = { .bs = bs, .offset = offset, .bytes = CLUSTER };

    test_run_co(map_entry, &call);
    g_assert_cmpint(call.ret, ==, -EIO);
    g_assert_cmpint(qcow2_map_cached(bs, offset, CLUSTER, &call.extent), ==,
                    -EIO);
}

/* Entry 1 is broken, what is around it is not. */
static Tables broken_tables(const Broken *b)
{
    Tables t = tables_new(b->options);

    if (b->bitmap == NO_BITMAP) {
        set(&t, 0, HOST(0));
        set(&t, 1, b->entry);
        set(&t, 2, HOST(2));
    } else {
        set_extended(&t, 0, HOST(0), UINT32_MAX);
        set_extended(&t, 1, b->entry, b->bitmap);
        set_extended(&t, 2, HOST(2), UINT32_MAX);
    }
    return t;
}

static void test_broken(gconstpointer opaque)
{
    const Broken *b = opaque;
    Tables t = broken_tables(b);
    BlockDriverState *bs;
    char buf[512];

    bs = open_tables(&t);
    expect(bs, 0, 10 * CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, CLUSTER, HOST(0), false });
    expect_fault(bs, CLUSTER + 5 * KIB);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, CLUSTER, buf, 512), ==, -EIO);
    expect(bs, 2 * CLUSTER, CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, CLUSTER, HOST(2), false });
    tables_end(&t, bs);
}

static GString *said;

static void hear(LogLevel level, const char *line, void *opaque)
{
    g_string_append_printf(said, "%s\n", line);
}

/* Opened for writing, the image is marked, and serves nobody any more. */
static void test_broken_writable(gconstpointer opaque)
{
    const Broken *b = opaque;
    Tables t = broken_tables(b);
    g_autofree char *wanted = g_strdup_printf(
        "qcow2: %s: %s(L2 offset: %#" PRIx64 ", L2 index: 0x1); further %s"
        "corruption events will be suppressed\n",
        b->survives ? "Image is corrupt" : "Marking image as corrupt",
        b->said, t.l2, b->survives ? "non-fatal " : "");
    bool v2 = strstr(b->options, "compat") != NULL;
    BlockDriverState *bs;
    char buf[512];

    said = g_string_new(NULL);
    log_set_sink(hear, NULL);
    bs = test_open_attached("qcow2,file.driver=file,file.filename=%s",
                            test_image_path(t.image));
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, CLUSTER, buf, 512), ==, -EIO);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, CLUSTER, buf, 512), ==,
                    b->survives ? -EIO : -ENOMEDIUM);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 512), ==,
                    b->survives ? 0 : -ENOMEDIUM);
    test_detach_unref(bs);
    g_assert_cmpstr(said->str, ==, wanted);
    g_assert_cmphex(v2 ? QCOW2_INCOMPAT_CORRUPT
                       : qcow2_image_get64(t.image, 72) & 3, ==,
                    b->survives ? 0 : QCOW2_INCOMPAT_CORRUPT);
    log_set_sink(NULL, NULL);
    g_string_free(said, true);
    test_image_free(t.image);
}

static void test_broken_l1(gconstpointer entry)
{
    Tables t = tables_new("");
    BlockDriverState *bs;

    qcow2_image_set64(t.image, t.l1, t.l2 | GPOINTER_TO_SIZE(entry));
    bs = open_tables(&t);
    expect_fault(bs, 0);
    tables_end(&t, bs);
}

/* With a data file, guest offset is host offset. */
static void test_data_file(void)
{
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options =
        g_strdup_printf("data_file=%s", test_image_path(data));
    Tables t = tables_new(options);
    BlockDriverState *bs;

    set(&t, 0, QCOW2_COPIED);
    set(&t, 1, CLUSTER | QCOW2_COPIED);
    set(&t, 2, 3 * CLUSTER | QCOW2_COPIED);
    set(&t, 3, QCOW2_COMPRESSED | 0x10000);
    bs = open_tables(&t);
    expect(bs, KIB, 10 * CLUSTER,
           (Qcow2Extent){ QCOW2_NORMAL, 2 * CLUSTER - KIB, KIB, true });
    expect_fault(bs, 2 * CLUSTER);
    expect_fault(bs, 3 * CLUSTER);
    expect(bs, 4 * CLUSTER, CLUSTER,
           (Qcow2Extent){ QCOW2_UNALLOCATED, CLUSTER, 0, false });
    tables_end(&t, bs);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    g_test_add_func("/qcow2-map/normal", test_normal);
    g_test_add_func("/qcow2-map/zeroes", test_zeroes);
    g_test_add_func("/qcow2-map/compressed", test_compressed);
    g_test_add_func("/qcow2-map/ends", test_ends);
    g_test_add_func("/qcow2-map/cached", test_cached);
    g_test_add_func("/qcow2-map/plain-entry", test_plain_entry);
    g_test_add_func("/qcow2-map/subclusters", test_subclusters);
    g_test_add_func("/qcow2-map/data-file", test_data_file);
    for (unsigned i = 0; i < G_N_ELEMENTS(broken); i++) {
        g_autofree char *path = g_strconcat("/qcow2-map/broken/",
                                            broken[i].name, NULL);

        g_autofree char *writable = g_strconcat(path, "-writable", NULL);

        g_test_add_data_func(path, &broken[i], test_broken);
        g_test_add_data_func(writable, &broken[i], test_broken_writable);
    }
    g_test_add_data_func("/qcow2-map/broken/l1-unaligned",
                         GSIZE_TO_POINTER(512), test_broken_l1);
    g_test_add_data_func("/qcow2-map/broken/l1-reserved",
                         GSIZE_TO_POINTER(1), test_broken_l1);
    ret = g_test_run();
    test_block_end();
    return ret;
}
