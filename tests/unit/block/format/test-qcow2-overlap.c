/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images whose tables lead writes to other tables: the write fails, the image
 * is marked, one line says why, in QEMU's words.
 */
#include "tests/lib/qcow2-rig.h"

#include <errno.h>
#include <string.h>

#include "block/image.h"
#include "tests/lib/faults.h"

#define K 1024
#define M (1024 * K)
#define CLUSTER (64 * K)

/* Where qemu-img puts things. */
#define AT_REFTABLE (1 * CLUSTER)
#define AT_REFBLOCK (2 * CLUSTER)
#define AT_L1       (3 * CLUSTER)
#define AT_L2       (4 * CLUSTER)

static void make_broken(TestImage *image, uint64_t host)
{
    qcow2_image_io(image, "write 0 128k", NULL);
    qcow2_image_set64(image, qcow2_image_l2_entry(image, CLUSTER, 8),
                      host | QCOW2_COPIED);
}

static bool is_marked(const TestImage *image)
{
    uint32_t bits;

    test_image_read(image, 76, &bits, sizeof(bits));
    return GUINT32_FROM_BE(bits) & QCOW2_INCOMPAT_CORRUPT;
}

static void expect_line(const char *what)
{
    g_autofree char *line = g_strdup_printf(
        "qcow2: Marking image as corrupt: Preventing invalid write on "
        "metadata (overlaps with %s); further corruption events will be "
        "suppressed", what);

    g_assert_cmpuint(faults_log_lines(), >=, 1);
    g_assert_cmpstr(faults_log_line(0), ==, line);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
}

typedef struct Case {
    const char *name;
    uint64_t host;
} Case;

/* The first time one has to wait for the tables, so try the way that goes
 * through, too: with the tables in memory and the image ready. */
static void test_data_on_table(gconstpointer opaque)
{
    const Case *c = opaque;

    for (unsigned warm = 0; warm < 2; warm++) {
        TestImage *image = qcow2_image_new("", "64M");
        Qcow2Rig *rig;

        make_broken(image, c->host);
        rig = qcow2_rig_new_with(image, "");
        if (warm) {
            g_assert_cmpint(qcow2_rig_write(rig, 0, 4 * K, 1), ==, 0);
        }
        faults_capture_log();
        g_assert_cmpint(qcow2_rig_write(rig, CLUSTER, 4 * K, 1), ==, -EIO);
        expect_line(c->name);
        /* nothing goes any more, and nobody says it again */
        g_assert_cmpint(qcow2_rig_write(rig, 0, 4 * K, 1), ==, -ENOMEDIUM);
        g_assert_cmpint(test_op(rig->bs, BLOCK_DISCARD, 0, 0, CLUSTER), ==,
                        -ENOMEDIUM);
        g_assert_cmpuint(faults_log_lines(), ==, 1);
        qcow2_rig_store(rig);
        g_assert_true(is_marked(rig->image));
        qcow2_rig_free_broken(rig);
    }
}

static const Case cases[] = {
    { "refcount table", AT_REFTABLE },
    { "refcount block", AT_REFBLOCK },
    { "active L1 table", AT_L1 },
    { "active L2 table", AT_L2 },
};

/* Counts that say that a table is free: it is not given to anybody. */
static void test_free_table(void)
{
    static const struct {
        unsigned cluster;
        const char *name;
    } tables[] = {
        { 1, "refcount table" }, { 2, "refcount block" },
        { 3, "active L1 table" }, { 4, "active L2 table" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++) {
        TestImage *image = qcow2_image_new("", "64M");
        static const uint16_t free_count;
        Qcow2Rig *rig;

        qcow2_image_io(image, "write 0 64k", NULL);
        test_image_write(image, AT_REFBLOCK + 2 * tables[i].cluster,
                         &free_count, 2);
        rig = qcow2_rig_new_with(image, "");
        faults_capture_log();
        g_assert_cmpint(qcow2_rig_write(rig, M, 4 * K, 1), ==, -EIO);
        expect_line(tables[i].name);
        qcow2_rig_free_broken(rig);
    }
}

static void test_free_header(void)
{
    TestImage *image = qcow2_image_new("", "64M");
    static const uint16_t free_count;
    Qcow2Rig *rig;

    qcow2_image_io(image, "write 0 64k", NULL);
    test_image_write(image, AT_REFBLOCK, &free_count, 2);
    rig = qcow2_rig_new_with(image, "");
    faults_capture_log();
    g_assert_cmpint(qcow2_rig_write(rig, M, 4 * K, 1), ==, -EIO);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    g_assert_nonnull(strstr(faults_log_line(0), "at offset 0"));
    qcow2_rig_free_broken(rig);
}

/* A guest gives up what is a table: it stays, now and when nobody counts it
 * any more. */
static void test_discarded_table(void)
{
    static const uint64_t tables[] = { AT_REFTABLE, AT_L1 };

    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++) {
        TestImage *image = qcow2_image_new("", "64M");
        const uint8_t *table;
        g_autofree void *before = NULL;
        Qcow2Rig *rig;

        make_broken(image, tables[i]);
        rig = qcow2_rig_new_with(image, "");
        table = test_disk_data(rig->disk) + tables[i];
        before = g_memdup2(table, CLUSTER);
        faults_capture_log();
        g_assert_cmpint(test_op(rig->bs, BLOCK_DISCARD, 0, CLUSTER, CLUSTER),
                        ==, 0);
        g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
        g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
        g_assert_cmpuint(qcow2_rig_refcount(rig, tables[i] / CLUSTER), ==, 0);
        table = test_disk_data(rig->disk) + tables[i];
        g_assert_true(memcmp(before, table, CLUSTER) == 0);
        g_assert_cmpuint(faults_log_lines(), ==, 1);
        g_assert_nonnull(strstr(faults_log_line(0), "in use as a table"));
        qcow2_rig_free_broken(rig);
    }
}

/* --- what is broken is left alone --- */

static bool coroutine_fn change_image(BlockDriverState *bs, unsigned how,
                                      GError **error)
{
    const BlockImageOps *ops = bs->drv->image;

    switch (how) {
    case 0:
        return ops->co_truncate(bs, &(BlockTruncate){ .bytes = M }, error);
    case 1:
        return ops->co_snapshot_create(bs, &(BlockSnapshot){ 0 }, error);
    case 2:
        return ops->co_snapshot_apply(bs, "one", error);
    case 3:
        return ops->co_snapshot_delete(bs, "one", error);
    case 4:
        return ops->co_bitmap_add(bs, "new", 0, error);
    case 5:
        return ops->co_bitmap_remove(bs, "b", error);
    case 6:
        return ops->co_bitmap_clear(bs, "b", error);
    case 7:
        return ops->co_bitmap_enable(bs, "b", false, error);
    case 8:
        return ops->co_bitmap_merge(bs, "b", bs, "b", error);
    case 9:
        return ops->co_change_backing(bs, NULL, NULL, error);
    default:
        return ops->co_check(bs, &(BlockCheck){
            .fix = BLOCK_CHECK_FIX_ERRORS }, error);
    }
}

static void coroutine_fn change_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    uint8_t byte = 1;

    for (unsigned i = 0; i <= 10; i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(change_image(bs, i, &error));
        g_assert_nonnull(strstr(error->message, g_strerror(ENOMEDIUM)));
    }
    g_assert_cmpint(bs->drv->image->co_make_empty(bs), ==, -ENOMEDIUM);
    g_assert_cmpint(bs->drv->image->co_vmstate(bs, BLOCK_WRITE, 0, 1, &byte),
                    ==, -ENOMEDIUM);
}

/* Nothing of what is in memory will be written: nobody begins anything. */
static void test_broken(void)
{
    TestImage *image = qcow2_image_new("", "64M");
    Qcow2Rig *rig;

    g_free(qcow2_image_run(image, "snapshot", "-c", "one", "@", NULL));
    g_free(qcow2_image_run(image, "bitmap", "--add", "@", "b", NULL));
    make_broken(image, AT_L1);
    rig = qcow2_rig_new_with(image, "");
    faults_capture_log();
    g_assert_cmpint(qcow2_rig_write(rig, CLUSTER, 4 * K, 1), ==, -EIO);
    qcow2_rig_reset_counts(rig);
    test_run_co(change_entry, rig->bs);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, 0);
    qcow2_rig_free_broken(rig);
}

/* Who asked for no checks gets none. */
static void test_unchecked(void)
{
    TestImage *image = qcow2_image_new("", "64M");
    Qcow2Rig *rig;

    make_broken(image, AT_L1);
    rig = qcow2_rig_new_with(image, ",overlap-check=none");
    g_assert_cmpint(qcow2_rig_write(rig, CLUSTER + 4 * K, 4 * K, 1), ==, 0);
    qcow2_rig_free_broken(rig);
}

/* One kind by itself, and all but one. */
static void test_single(void)
{
    for (unsigned on = 0; on < 2; on++) {
        TestImage *image = qcow2_image_new("", "64M");
        Qcow2Rig *rig;

        make_broken(image, AT_L1);
        rig = qcow2_rig_new_with(image,
                                 on ? ",overlap-check.template=none,"
                                      "overlap-check.active-l1=on"
                                    : ",overlap-check.active-l1=off");
        faults_capture_log();
        g_assert_cmpint(qcow2_rig_write(rig, CLUSTER + 4 * K, 4 * K, 1), ==,
                        on ? -EIO : 0);
        qcow2_rig_free_broken(rig);
    }
}

/* Far behind the end of the file, with a table farther still, as a hostile
 * image has them: writes there do not go through all tables each time. */
static void test_far_away(void)
{
    const int64_t far = INT64_C(1) << 44;
    TestImage *image = qcow2_image_new("cluster_size=512", "64M");
    int64_t l1 = qcow2_image_get64(image, 40);
    Qcow2Rig *rig;

    qcow2_image_set64(image, l1 + 8, (far + 512 * K) | QCOW2_COPIED);
    rig = qcow2_rig_new_with(image, "");
    g_assert_cmpuint(qcow2_overlaps(rig->bs, 0, 0, 1), ==,
                     QCOW2_OL_MAIN_HEADER);
    rig->s->write->overlap_scans = 0;
    g_assert_cmpuint(qcow2_overlaps(rig->bs, 0, far, 512 * K), ==, 0);
    g_assert_cmpuint(rig->s->write->overlap_scans, <=, 10);
    g_assert_cmpuint(qcow2_overlaps(rig->bs, 0, far, 513 * K), ==,
                     QCOW2_OL_ACTIVE_L2);
    qcow2_rig_free_broken(rig);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/qcow2/overlap/",
                                            cases[i].name, NULL);

        g_test_add_data_func(path, &cases[i], test_data_on_table);
    }
    g_test_add_func("/qcow2/overlap/free-table", test_free_table);
    g_test_add_func("/qcow2/overlap/free-header", test_free_header);
    g_test_add_func("/qcow2/overlap/discarded-table", test_discarded_table);
    g_test_add_func("/qcow2/overlap/broken", test_broken);
    g_test_add_func("/qcow2/overlap/unchecked", test_unchecked);
    g_test_add_func("/qcow2/overlap/single", test_single);
    g_test_add_func("/qcow2/overlap/far-away", test_far_away);
    ret = g_test_run();
    test_block_end();
    return ret;
}
