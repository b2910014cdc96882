/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks beside those of qemu-img: the same lines for the same damage. Then
 * repairs, after which qemu-img and we find nothing.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-ops.h"

#include <string.h>

#include "block/format/qcow2.h"

#define FIX_ALL (BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS)

#define AT_L1_OFFSET       40
#define AT_REFTABLE        48
#define AT_REFTABLE_COUNT  56
#define AT_SNAPSHOT_COUNT  60
#define AT_SNAPSHOTS       64
#define AT_INCOMPATIBLE    72

/* --- damage --- */

typedef struct Damage {
    const char *name, *options;
    /* where, found by following these fields, and what goes there */
    enum { IN_HEADER, IN_L1, IN_L2, IN_REFTABLE, IN_REFBLOCK } where;
    int64_t at;
    uint64_t value;
    bool same_lines;  /* as qemu-img's */
    const char *repaired; /* a line that tells of it, or NULL */
} Damage;

static int64_t place(const TestImage *image, const Damage *damage)
{
    uint64_t l1 = qcow2_image_get64(image, AT_L1_OFFSET);
    uint64_t reftable = qcow2_image_get64(image, AT_REFTABLE);

    switch (damage->where) {
    case IN_L1:
        return l1 + damage->at;
    case IN_L2:
        return (qcow2_image_get64(image, l1) & QCOW2_L1_OFFSET) + damage->at;
    case IN_REFTABLE:
        return reftable + damage->at;
    case IN_REFBLOCK:
        return qcow2_image_get64(image, reftable) + damage->at;
    default:
        return damage->at;
    }
}

static TestImage *damaged_image(const Damage *damage)
{
    TestImage *image = qcow2_image_new(damage->options, "10M");

    qcow2_image_io(image, "write -P 1 0 512k", "write -P 2 2M 64k",
                   "write -z 3M 64k", NULL);
    qcow2_image_check(image);
    qcow2_image_set64(image, place(image, damage), damage->value);
    return image;
}

static void expect_clean(const TestImage *image)
{
    BlockCheck check;
    g_autofree char *lines = qcow2_ops_check(image, 0, &check);

    g_assert_cmpstr(lines, ==, "");
    qcow2_image_check(image);
    g_assert_cmpint(check.corruptions + check.leaks + check.check_errors, ==,
                    0);
}

static void test_damage(const void *opaque)
{
    const Damage *damage = opaque;
    g_autoptr(TestImage) image = damaged_image(damage);
    g_autofree char *theirs = qcow2_image_check_lines(image);
    g_autofree char *lines = qcow2_ops_check(image, 0, NULL);
    g_autofree char *repaired = NULL;

    if (damage->same_lines) {
        g_assert_cmpstr(lines, ==, theirs);
    }
    g_assert_cmpstr(lines, !=, "");
    repaired = qcow2_ops_check(image, FIX_ALL, NULL);
    if (damage->repaired && !strstr(repaired, damage->repaired)) {
        g_test_message("%s", repaired);
        g_assert_not_reached();
    }
    expect_clean(image);
}

#define CLUSTER(n) (UINT64_C(n) << 16)
#define COPIED QCOW2_COPIED

static const Damage damages[] = {
    { "l1-unaligned", "", IN_L1, 0, COPIED | CLUSTER(4) | 0x200, true,
      "Repairing l2_offset=40200: Table is not cluster aligned" },
    { "l1-beyond", "", IN_L1, 0, COPIED | CLUSTER(400), true,
      "Repairing l2_offset=1900000: Table is behind the end of the file" },
    { "l1-reserved", "", IN_L1, 0, COPIED | CLUSTER(4) | 8, true,
      "Repairing found L1 entry with reserved bits set: 8000000000040008" },
    { "l1-into-l1", "", IN_L1, 0, COPIED | CLUSTER(3), true,
      "Repairing l2_offset=30000: This is not an L2 table" },
    { "l1-into-data", "", IN_L1, 0, COPIED | CLUSTER(6), true,
      "Repairing l2_offset=60000: This is not an L2 table" },
    { "l1-not-copied", "", IN_L1, 0, CLUSTER(4), true,
      "Repairing OFLAG_COPIED L2 cluster: l1_index=0" },
    { "l2-unaligned", "", IN_L2, 0, COPIED | CLUSTER(5) | 0x200, true,
      "Repairing offset=50200: Data cluster is not properly aligned" },
    { "l2-zero-unaligned", "", IN_L2, 0, COPIED | CLUSTER(5) | 0x201, true,
      "Repairing offset=50200: Preallocated cluster is not properly" },
    { "l2-beyond", "", IN_L2, 0, COPIED | CLUSTER(500), true,
      "Repairing offset=1f40000: Cluster is behind the end of the file" },
    { "l2-reserved", "", IN_L2, 0, COPIED | CLUSTER(5) | 4, true,
      "Repairing found l2 entry with reserved bits set: 8000000000050004" },
    { "l2-twice", "", IN_L2, 0, COPIED | CLUSTER(6), true,
      "Repairing OFLAG_COPIED data cluster: l2_entry=8000000000060000" },
    { "l2-into-header", "", IN_L2, 0, COPIED, true, NULL },
    { "l2-into-refcounts", "", IN_L2, 0, COPIED | CLUSTER(2), true,
      "Rebuilding refcount structure" },
    { "l2-dropped", "", IN_L2, 0, 0, true,
      "Repairing cluster 5 refcount=1 reference=0" },
    { "l2-compressed-beyond", "", IN_L2, 0, QCOW2_COMPRESSED | CLUSTER(900),
      true, "Repairing compressed cluster 0: it is behind the end" },
    { "l2-compressed-copied", "", IN_L2, 0,
      COPIED | QCOW2_COMPRESSED | CLUSTER(5), true,
      "Repairing coffset=0x50000: copied flag must never be set" },
    { "v2-l2-unaligned", "compat=0.10", IN_L2, 0,
      COPIED | CLUSTER(5) | 0x200, true, NULL },
    { "extended-both", "extended_l2=on", IN_L2, 8, UINT64_C(0x300000003),
      true, "Repairing offset=50000: Allocated cluster has corrupted" },
    { "extended-unallocated", "extended_l2=on", IN_L2, 16 * 20 + 8, 5, true,
      "Repairing Unallocated cluster has non-zero subcluster allocation" },
    { "reftable-empty", "", IN_REFTABLE, 0, 0, true,
      "Rebuilding refcount structure" },
    { "reftable-unaligned", "", IN_REFTABLE, 0, CLUSTER(2) | 0x200, false,
      "Rebuilding refcount structure" },
    { "reftable-reserved", "", IN_REFTABLE, 0, CLUSTER(2) | 1, true,
      "Rebuilding refcount structure" },
    { "reftable-beyond", "", IN_REFTABLE, 8, CLUSTER(64), true,
      "Repairing refcount block 1 is outside image" },
    { "reftable-far-beyond", "", IN_REFTABLE, 8, CLUSTER(1) << 37, true,
      "ERROR could not resize image" },
    { "refcounts-zero", "", IN_REFBLOCK, 0, 0, true,
      "Rebuilding refcount structure" },
    { "refcounts-high", "", IN_REFBLOCK, 8, UINT64_C(0x0003000100010001),
      true, "Repairing cluster 4 refcount=3 reference=1" },
    { "refcounts-64", "refcount_bits=64", IN_REFBLOCK, 5 * 8, UINT64_MAX,
      true, "Repairing cluster 5 refcount=18446744073709551615 reference=1" },
    { "no-reftable", "", IN_HEADER, AT_REFTABLE_COUNT, 0, true,
      "Rebuilding refcount structure" },
    { "reftable-offset", "", IN_HEADER, AT_REFTABLE, CLUSTER(700), false,
      "Rebuilding refcount structure" },
    { "snapshots-nowhere", "", IN_HEADER, AT_REFTABLE_COUNT,
      UINT64_C(0x100000003), false, "Repairing 3 snapshots without a table" },
    { "l1-offset-beyond", "", IN_HEADER, AT_L1_OFFSET, CLUSTER(900), false,
      "Repairing L1 table is behind the end of the file" },
};

/* --- what is not damage --- */

static void test_figures(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=4k", "1M");
    g_autofree char *ours = NULL;
    BlockCheck check;

    qcow2_image_io(image, "write 0 64k", "write 512k 64k", "write 256k 4k",
                   "write -c 128k 4k", "write -z 700k 8k", NULL);
    ours = qcow2_ops_check(image, 0, &check);
    g_assert_cmpstr(ours, ==, "");
    g_assert_cmpint(check.total_clusters, ==, 256);
    g_assert_cmpint(check.allocated_clusters, ==, 34);
    g_assert_cmpint(check.compressed_clusters, ==, 1);
    /* the compressed one, and two seams */
    g_assert_cmpint(check.fragmented_clusters, ==, 3);
    g_assert_cmpint(check.image_end_offset, ==, 39 * 4096);
}

static void test_snapshots_and_bitmaps(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=1k", "2M");

    for (unsigned i = 0; i < 4; i++) {
        qcow2_ops_write(image, i * 100000, 150000, i + 1);
        g_free(qcow2_image_run(image, "snapshot", "-c", "s", "@", NULL));
        qcow2_ops_ok(qcow2_ops_bitmap(image, "add", (char[]){ 'a' + i, 0 },
                                      512 << i));
    }
    expect_clean(image);
}

/* Nothing is written without leave. */
static void test_read_only(void)
{
    Damage damage = damages[0];
    g_autoptr(TestImage) image = damaged_image(&damage);
    g_autofree char *before = NULL, *after = NULL;
    gsize length, length_after;

    g_assert_true(g_file_get_contents(test_image_path(image), &before,
                                      &length, NULL));
    g_free(qcow2_ops_check(image, 0, NULL));
    g_assert_true(g_file_get_contents(test_image_path(image), &after,
                                      &length_after, NULL));
    g_assert_cmpmem(after, length_after, before, length);
}

/* The second of three clusters is leaked, the first has lost its flag. */
static TestImage *image_with_leak(void)
{
    TestImage *image = qcow2_image_new("", "1M");
    Damage l2 = { .where = IN_L2 };

    qcow2_image_io(image, "write 0 192k", NULL);
    qcow2_image_set64(image, place(image, &l2), CLUSTER(5));
    l2.at = 8;
    qcow2_image_set64(image, place(image, &l2), 0);
    return image;
}

/* Flags are made to fit the counts, as these are right now. */
static void test_leaks_only(void)
{
    g_autoptr(TestImage) image = image_with_leak();
    g_autofree char *lines = NULL;
    BlockCheck check;

    lines = qcow2_ops_check(image, BLOCK_CHECK_FIX_LEAKS, &check);
    g_assert_cmpint(check.leaks, ==, 0);
    g_assert_cmpint(check.leaks_fixed, ==, 1);
    g_assert_cmpint(check.corruptions, ==, 0);
    g_assert_cmpint(check.corruptions_fixed, ==, 1);
    g_assert_nonnull(strstr(lines, "Repairing OFLAG_COPIED data cluster"));
    qcow2_image_check(image);
}

/* Errors are left alone, and so is what might be one. */
static void test_leaks_beside_errors(void)
{
    g_autoptr(TestImage) image = image_with_leak();
    g_autofree char *lines = NULL;
    BlockCheck check;
    Damage third = { .where = IN_L2, .at = 16 };

    /* the first one's cluster, which is counted once, and the third's leaks */
    qcow2_image_set64(image, place(image, &third), CLUSTER(5));
    lines = qcow2_ops_check(image, BLOCK_CHECK_FIX_LEAKS, &check);
    g_assert_cmpint(check.leaks_fixed, ==, 2);
    g_assert_cmpint(check.corruptions, ==, 3);
    g_assert_cmpint(check.corruptions_fixed, ==, 0);
    g_assert_nonnull(strstr(lines, "ERROR OFLAG_COPIED data cluster"));
}

static void test_leaks_need_rebuild(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *lines = NULL;
    Damage table = { .where = IN_REFTABLE };

    qcow2_image_set64(image, place(image, &table), 0);
    lines = qcow2_ops_check(image, BLOCK_CHECK_FIX_LEAKS, NULL);
    g_assert_nonnull(strstr(lines,
                            "ERROR need to rebuild refcount structures"));
}

/* --- the bits of the header --- */

static uint64_t incompatible(const TestImage *image)
{
    return qcow2_image_get64(image, AT_INCOMPATIBLE);
}

static void test_corrupt_bit(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");

    qcow2_image_set64(image, AT_INCOMPATIBLE, QCOW2_INCOMPAT_CORRUPT);
    g_free(qcow2_ops_check(image, 0, NULL));
    g_assert_cmpuint(incompatible(image), ==, QCOW2_INCOMPAT_CORRUPT);
    g_free(qcow2_ops_check(image, FIX_ALL, NULL));
    g_assert_cmpuint(incompatible(image), ==, 0);
}

/* Left behind with refcounts that were not written: opening for writing
 * repairs, for reading does not. */
static void test_dirty(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("lazy_refcounts=on", "1M");
    g_autofree char *checksum = NULL;
    Damage block = { .where = IN_REFBLOCK, .at = 8 };

    qcow2_image_io(image, "write -P 5 0 128k", NULL);
    qcow2_image_set64(image, place(image, &block),
                      UINT64_C(0x0001000000000000));
    qcow2_image_set64(image, AT_INCOMPATIBLE, QCOW2_INCOMPAT_DIRTY);
    bdrv_unref(qcow2_ops_open(image, BDRV_OPEN_READ_ONLY));
    g_assert_cmpuint(incompatible(image), ==, QCOW2_INCOMPAT_DIRTY);
    bdrv_unref(qcow2_ops_open(image, 0));
    g_assert_cmpuint(incompatible(image), ==, 0);
    expect_clean(image);
    qcow2_image_io(image, "read -P 5 0 128k", NULL);
}

/* --- snapshots that are too many or too large --- */

static void test_incomplete_snapshot(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *lines = NULL, *theirs = NULL, *repaired = NULL;
    uint8_t entry[64];
    uint64_t table;

    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "abcd"));
    table = qcow2_image_get64(image, AT_SNAPSHOTS);
    test_image_read(image, table, entry, sizeof(entry));
    memset(entry + 36, 0, 4); /* no extra data; id and name follow */
    memcpy(entry + 40, "1abcd\0\0", 8);
    test_image_write(image, table, entry, 48);
    theirs = qcow2_image_check_lines(image);
    lines = qcow2_ops_check(image, 0, NULL);
    g_assert_cmpstr(lines, ==, theirs);
    g_assert_nonnull(strstr(lines, "ERROR snapshot table entry 0 is "
                            "incomplete"));
    repaired = qcow2_ops_check(image, FIX_ALL, NULL);
    g_assert_nonnull(strstr(repaired, "Repairing snapshot table entry 0 is "
                            "incomplete"));
    expect_clean(image);
}

static void test_too_many_snapshots(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *lines = NULL, *repaired = NULL;

    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "a"));
    qcow2_image_set32(image, AT_SNAPSHOT_COUNT, 65537);
    lines = qcow2_ops_check(image, 0, NULL);
    g_assert_nonnull(strstr(lines, "ERROR snapshot table too large"));
    g_assert_nonnull(strstr(lines, "File too large"));
    repaired = qcow2_ops_check(image, FIX_ALL, NULL);
    g_assert_nonnull(strstr(repaired, "Discarding 1 overhanging snapshots"));
}

/* --- bitmaps that cannot be followed --- */

static void test_broken_bitmap(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *repaired = NULL, *bits = NULL;
    uint64_t directory;

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "good", 0));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "bad", 0));
    /* the first extension behind the header: 8 bytes, and the third number */
    directory = qcow2_image_get64(image, qcow2_image_get64(image, 96) %
                                  UINT64_C(0x100000000) + 8 + 16);
    /* good: 24 bytes and a name of 4; bad comes 32 behind */
    qcow2_image_set64(image, directory + 32, CLUSTER(800));
    repaired = qcow2_ops_check(image, FIX_ALL, NULL);
    g_assert_nonnull(strstr(repaired, "Repairing bitmap 'bad': its table is "
                            "behind the end of the file; removing it"));
    expect_clean(image);
    bits = qcow2_image_run(image, "info", "@", NULL);
    g_assert_nonnull(strstr(bits, "name: good"));
    g_assert_null(strstr(bits, "name: bad"));
}

/* --- images that would take too much memory --- */

static bool coroutine_fn check_small(BlockDriverState *bs, void *opaque,
                                     GError **error)
{
    static const unsigned fixes[] = { 0, FIX_ALL };
    Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < G_N_ELEMENTS(fixes); i++) {
        BlockCheck check = { .fix = fixes[i], .report = opaque };

        s->check_room = 256 << 10;
        g_assert_false(qcow2_co_check(bs, &check, error));
        g_assert_cmpint(check.check_errors, >, 0);
        g_assert_nonnull(strstr((*error)->message, "takes more memory"));
        g_clear_error(error);
    }
    s->check_room = 2 << 20;
    return qcow2_co_check(bs, &(BlockCheck){ .report = opaque }, error);
}

static void no_line(void *opaque, const char *line)
{
}

/* 2048 tables of zeroes far from each other, in a file that is nearly all
 * hole: half a kilobyte for each is what it may come to. */
static void test_memory(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=512", "64M");
    uint64_t l1 = qcow2_image_get64(image, AT_L1_OFFSET);
    const uint64_t first = 1 << 20, apart = 256 << 10, tables = 2048;

    qcow2_image_set64(image, first + tables * apart, 0);
    for (unsigned i = 0; i < tables; i++) {
        qcow2_image_set64(image, l1 + i * 8, (first + i * apart) | COPIED);
    }
    qcow2_ops_ok(qcow2_ops_run(image, check_small, no_line));
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-check/%s",
                                                damages[i].name);

        g_test_add_data_func(path, &damages[i], test_damage);
    }
    g_test_add_func("/qcow2-check/figures", test_figures);
    g_test_add_func("/qcow2-check/snapshots-and-bitmaps",
                    test_snapshots_and_bitmaps);
    g_test_add_func("/qcow2-check/read-only", test_read_only);
    g_test_add_func("/qcow2-check/leaks-only", test_leaks_only);
    g_test_add_func("/qcow2-check/leaks-beside-errors",
                    test_leaks_beside_errors);
    g_test_add_func("/qcow2-check/leaks-need-rebuild",
                    test_leaks_need_rebuild);
    g_test_add_func("/qcow2-check/corrupt-bit", test_corrupt_bit);
    g_test_add_func("/qcow2-check/dirty", test_dirty);
    g_test_add_func("/qcow2-check/incomplete-snapshot",
                    test_incomplete_snapshot);
    g_test_add_func("/qcow2-check/too-many-snapshots",
                    test_too_many_snapshots);
    g_test_add_func("/qcow2-check/broken-bitmap", test_broken_bitmap);
    g_test_add_func("/qcow2-check/memory", test_memory);
    ret = g_test_run();
    test_block_end();
    return ret;
}
