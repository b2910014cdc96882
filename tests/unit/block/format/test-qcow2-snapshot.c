/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots, ours and qemu-img's by turns: what each shows never
 * changes, and the image stays clean.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-ops.h"
#include "tests/lib/test-disk.h"

#include <stdlib.h>
#include <string.h>

#define DISK_BYTES (1024 * 1024)

/* --- a random walk --- */

typedef struct Walk {
    TestImage *image;
    GRand *rand;
    GHashTable *taken; /* name to checksum */
    char *now;
    unsigned names;
} Walk;

static void write_something(Walk *w)
{
    int64_t offset = g_rand_int_range(w->rand, 0, DISK_BYTES / 512) * 512;
    int64_t bytes = g_rand_int_range(w->rand, 1, 300) * 512;
    unsigned byte = g_rand_int_range(w->rand, 1, 256);
    unsigned what = g_rand_int_range(w->rand, 0, 4);
    g_autofree char *command = NULL;

    bytes = MIN(bytes, DISK_BYTES - offset);
    if (what == 0) {
        qcow2_ops_write(w->image, offset, bytes, byte);
    } else {
        command = what == 1 ? g_strdup_printf("write -z %" G_GINT64_FORMAT
                                              " %" G_GINT64_FORMAT, offset,
                                              bytes)
                            : g_strdup_printf("write -P %u %" G_GINT64_FORMAT
                                              " %" G_GINT64_FORMAT, byte,
                                              offset, bytes);
        qcow2_image_io(w->image, command, NULL);
    }
    g_free(w->now);
    w->now = qcow2_image_checksum(w->image, NULL);
}

static char *any_name(Walk *w)
{
    g_autoptr(GList) names = g_hash_table_get_keys(w->taken);
    unsigned count = g_list_length(names);

    return count ? g_strdup(g_list_nth_data(names,
                                            g_rand_int_range(w->rand, 0,
                                                             count)))
                 : NULL;
}

static void change(Walk *w, const char *what, const char *option,
                   const char *name)
{
    if (g_rand_boolean(w->rand)) {
        qcow2_ops_ok(qcow2_ops_snapshot(w->image, what, name));
    } else {
        g_free(qcow2_image_run(w->image, "snapshot", option, name, "@",
                               NULL));
    }
}

static void step(Walk *w)
{
    unsigned what = g_rand_int_range(w->rand, 0, 10);
    g_autofree char *name = any_name(w);

    if (what < 4) {
        write_something(w);
    } else if (what < 7 || !name) {
        g_autofree char *new = g_strdup_printf("n%u", w->names++);

        change(w, "create", "-c", new);
        g_hash_table_insert(w->taken, g_strdup(new), g_strdup(w->now));
    } else if (what < 9) {
        change(w, "apply", "-a", name);
        g_free(w->now);
        w->now = g_strdup(g_hash_table_lookup(w->taken, name));
    } else {
        change(w, "delete", "-d", name);
        g_hash_table_remove(w->taken, name);
    }
}

static void expect_all(Walk *w)
{
    g_autofree char *now = qcow2_image_checksum(w->image, NULL);
    GHashTableIter iter;
    char *name, *checksum;

    qcow2_image_check(w->image);
    g_assert_cmpstr(now, ==, w->now);
    g_hash_table_iter_init(&iter, w->taken);
    while (g_hash_table_iter_next(&iter, (void **)&name,
                                  (void **)&checksum)) {
        g_autofree char *shown = qcow2_image_checksum(w->image, name);

        g_assert_cmpstr(shown, ==, checksum);
    }
}

static void test_random(const void *options)
{
    Walk w = {
        .image = qcow2_image_new(options, "1M"),
        .rand = g_rand_new_with_seed(g_str_hash(options)),
        .taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                       g_free),
    };

    w.now = qcow2_image_checksum(w.image, NULL);
    for (unsigned i = 0; i < 20; i++) {
        step(&w);
        qcow2_image_check(w.image);
        if (i % 5 == 4) {
            expect_all(&w);
        }
    }
    g_hash_table_unref(w.taken);
    g_rand_free(w.rand);
    test_image_free(w.image);
    g_free(w.now);
}

/* --- names, sizes, errors --- */

static void test_list(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autoptr(GPtrArray) list = NULL;
    const BlockSnapshot *second;
    BlockDriverState *bs;

    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "a"));
    g_free(qcow2_image_run(image, "resize", "-q", "@", "3M", NULL));
    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "a"));
    bs = qcow2_ops_open(image, BDRV_OPEN_READ_ONLY);
    list = bs->drv->image->snapshot_list(bs);
    bdrv_unref(bs);
    g_assert_cmpuint(list->len, ==, 2);
    second = list->pdata[1];
    g_assert_cmpstr(second->id, ==, "2");
    g_assert_cmpstr(second->name, ==, "a");
    g_assert_cmpint(second->disk_bytes, ==, 3 << 20);
    g_assert_cmpint(second->date_s, ==, 1000000000);
}

/* By id before name; and the disk has the size that it had then. */
static void test_apply_size(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=4k", "1M");
    g_autofree char *before = NULL, *after = NULL;
    BlockDriverState *bs;

    qcow2_ops_write(image, 100000, 50000, 7);
    before = qcow2_image_checksum(image, NULL);
    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "x"));
    g_free(qcow2_image_run(image, "resize", "-q", "@", "20M", NULL));
    qcow2_ops_write(image, 15 << 20, 50000, 8);
    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "1"));
    qcow2_ops_ok(qcow2_ops_snapshot(image, "apply", "1"));
    after = qcow2_image_checksum(image, NULL);
    g_assert_cmpstr(after, ==, before);
    bs = qcow2_ops_open(image, BDRV_OPEN_READ_ONLY);
    g_assert_cmpint(bs->total_bytes, ==, 1 << 20);
    bdrv_unref(bs);
    qcow2_image_check(image);
}

static void expect_message(char *message, const char *expected)
{
    g_assert_cmpstr(message, ==, expected);
    g_free(message);
}

static void test_errors(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("refcount_bits=1", "1M");
    g_autoptr(TestImage) marked = qcow2_image_new("", "1M");

    expect_message(qcow2_ops_snapshot(image, "apply", "nope"),
                   "Failed to load snapshot: No such file or directory");
    expect_message(qcow2_ops_snapshot(image, "delete", "nope"),
                   "snapshot not found");
    qcow2_ops_write(image, 0, 65536, 1);
    expect_message(qcow2_ops_snapshot(image, "create", "a"),
                   "-22 (Invalid argument)");
    qcow2_ops_ok(qcow2_ops_snapshot(marked, "create", "a"));
    g_free(qcow2_image_run(marked, "bitmap", "--add", "@", "b", NULL));
    expect_message(qcow2_ops_snapshot(marked, "apply", "a"),
                   "Device has active dirty bitmaps");
}

static bool coroutine_fn load_op(BlockDriverState *bs, void *opaque,
                                 GError **error)
{
    return bs->drv->image->co_snapshot_load(bs, opaque, error);
}

static void test_load_writable(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");

    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "a"));
    expect_message(qcow2_ops_run(image, load_op, (void *)"a"),
                   "Device is not readonly");
}

/* --- no room --- */

typedef struct FullDisk {
    BlockDriverState *bs;
    bool create;
    char *message;
} FullDisk;

static void coroutine_fn full_disk_entry(void *opaque)
{
    FullDisk *full = opaque;
    const BlockImageOps *ops = full->bs->drv->image;
    BlockSnapshot snapshot = { .name = (char *)"b" };
    g_autoptr(GError) error = NULL;
    bool ok = full->create
                  ? ops->co_snapshot_create(full->bs, &snapshot, &error)
                  : ops->co_snapshot_delete(full->bs, "a", &error);

    g_free(snapshot.id);
    g_assert_cmpint(ok, ==, error == NULL);
    full->message = error ? g_strdup(error->message) : NULL;
}

/* On a disk that has room for the image as it is. The message, or NULL. */
static char *run_on_full_disk(const TestImage *image, bool create)
{
    g_autoptr(TestDisk) disk = test_disk_new("full", 1);
    FullDisk full = { .create = create };

    test_disk_load(disk, test_image_path(image));
    test_disk_set_limit(disk, test_disk_bytes(disk));
    full.bs = test_open_attached("qcow2,file.driver=test-disk,file.disk=full");
    test_run_co(full_disk_entry, &full);
    test_detach_unref(full.bs);
    test_disk_store(disk, test_image_path(image));
    return full.message;
}

/* What has no room has changed nothing, but that a snapshot can be deleted. */
static void test_full_disk(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=512", "1M");
    g_autofree char *before = NULL, *after = NULL, *output = NULL;
    int64_t length;
    uint64_t l1;

    qcow2_ops_write(image, 0, DISK_BYTES, 7);
    g_free(qcow2_image_run(image, "snapshot", "-c", "a", "@", NULL));
    qcow2_ops_write(image, 0, 200000, 8);
    before = qcow2_image_checksum(image, NULL);
    length = test_image_length(image);
    l1 = qcow2_image_get64(image, 40);
    expect_message(run_on_full_disk(image, true),
                   "-28 (No space left on device)");
    qcow2_image_check(image);
    output = qcow2_image_run(image, "snapshot", "-l", "@", NULL);
    g_assert_nonnull(strstr(output, " a "));
    g_assert_null(strstr(output, " b "));

    qcow2_ops_ok(run_on_full_disk(image, false));
    g_assert_cmpint(test_image_length(image), ==, length);
    g_assert_cmpuint(qcow2_image_get64(image, 40), ==, l1);
    qcow2_image_check(image);
    after = qcow2_image_checksum(image, NULL);
    g_assert_cmpstr(after, ==, before);
}

/* --- the table --- */

/* What later versions may add is kept. */
static void test_extra_data(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    uint8_t entry[128] = { 0 };
    uint64_t table;
    uint32_t extra;

    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "abc"));
    table = qcow2_image_get64(image, 64);
    test_image_read(image, table, entry, sizeof(entry));
    memcpy(&extra, entry + 36, 4);
    g_assert_cmpuint(GUINT32_FROM_BE(extra), ==, 24);
    /* 8 bytes more of it, in front of id and name */
    memmove(entry + 40 + 32, entry + 40 + 24, 8);
    memcpy(entry + 40 + 24, "unknown!", 8);
    extra = GUINT32_TO_BE(32);
    memcpy(entry + 36, &extra, 4);
    test_image_write(image, table, entry, sizeof(entry));

    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "def"));
    g_assert_cmpuint(qcow2_image_get64(image, 64), !=, table);
    test_image_read(image, qcow2_image_get64(image, 64), entry,
                    sizeof(entry));
    g_assert_cmpmem(entry + 40 + 24, 12, "unknown!1abc", 12);
    qcow2_image_check(image);
}

static void test_too_much_extra(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autoptr(GError) error = NULL;
    uint64_t table;

    qcow2_ops_ok(qcow2_ops_snapshot(image, "create", "a"));
    table = qcow2_image_get64(image, 64);
    qcow2_image_set32(image, table + 36, 65536);
    g_assert_null(bdrv_open_image(test_image_path(image), "qcow2", NULL,
                                  BDRV_OPEN_READ_ONLY, &error));
    g_assert_nonnull(strstr(error->message, "Too much extra metadata in "
                            "snapshot table entry 0\nYou can force-remove "
                            "this extra metadata with qemu-img check -r "
                            "all"));
}

int main(int argc, char **argv)
{
    static const char *const options[] = {
        "", "cluster_size=512", "cluster_size=4k,refcount_bits=64",
        "compat=0.10,cluster_size=1k", "extended_l2=on", "lazy_refcounts=on",
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-snapshot/random-%s",
                                                options[i]);

        g_test_add_data_func(path, options[i], test_random);
    }
    g_test_add_func("/qcow2-snapshot/full-disk", test_full_disk);
    g_test_add_func("/qcow2-snapshot/list", test_list);
    g_test_add_func("/qcow2-snapshot/apply-size", test_apply_size);
    g_test_add_func("/qcow2-snapshot/errors", test_errors);
    g_test_add_func("/qcow2-snapshot/load-writable", test_load_writable);
    g_test_add_func("/qcow2-snapshot/extra-data", test_extra_data);
    g_test_add_func("/qcow2-snapshot/too-much-extra", test_too_much_extra);
    ret = g_test_run();
    test_block_end();
    return ret;
}
