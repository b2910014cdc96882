/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resizing, against a raw file that is truncated: what the guest sees is the
 * same, whatever lies below or was there before.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-ops.h"

#include <string.h>

typedef struct Walk {
    TestImage *image, *model;
    GRand *rand;
    bool takes_snapshots;
} Walk;

static int64_t sectors(Walk *w, int from, int to)
{
    return g_rand_int_range(w->rand, from, to) * (int64_t)512;
}

static void write_both(Walk *w)
{
    int64_t size = test_image_length(w->model);
    int64_t offset = sectors(w, 0, size / 512);
    int64_t bytes = sectors(w, 1, 300);
    uint8_t byte = g_rand_int_range(w->rand, 1, 256);
    g_autofree void *buf = NULL;

    bytes = MIN(bytes, size - offset);
    buf = g_malloc(bytes);
    memset(buf, byte, bytes);
    test_image_write(w->model, offset, buf, bytes);
    qcow2_ops_write(w->image, offset, bytes, byte);
}

static void resize_both(Walk *w)
{
    int64_t size = test_image_length(w->model);
    int64_t bytes = size;
    BlockPrealloc prealloc = PREALLOC_OFF;

    switch (g_rand_int_range(w->rand, 0, 3)) {
    case 0:
        bytes = sectors(w, 1, size / 512 + 1);
        break;
    case 1:
        bytes += sectors(w, 1, 9000);
        prealloc = g_rand_int_range(w->rand, 0, 4);
        break;
    default:
        bytes += sectors(w, 1, 400000);
    }
    qcow2_ops_ok(qcow2_ops_resize(w->image, bytes,
                                  bytes > size ? prealloc : PREALLOC_OFF));
    test_image_truncate(w->model, bytes);
}

static void compare(Walk *w)
{
    g_free(qcow2_image_run(w->image, "compare", "-f", "qcow2", "-F",
                           "raw", "@", test_image_path(w->model), NULL));
}

static void walk(Walk *w)
{
    for (unsigned i = 0; i < 14; i++) {
        unsigned what = g_rand_int_range(w->rand, 0, 5);

        if (what < 2) {
            write_both(w);
        } else if (what == 2 && w->takes_snapshots) {
            qcow2_ops_ok(qcow2_ops_snapshot(w->image, "create", "x"));
        } else {
            resize_both(w);
        }
        qcow2_image_check(w->image);
        compare(w);
    }
}

typedef struct Case {
    const char *name, *options;
    bool backing, snapshots;
} Case;

static TestImage *make_backing(void)
{
    TestImage *backing = test_image_new(2 << 20);
    g_autofree char *buf = g_malloc(1 << 20);

    memset(buf, 9, 1 << 20);
    test_image_write(backing, 0, buf, 1 << 20);
    return backing;
}

static void test_random(const void *opaque)
{
    const Case *test = opaque;
    g_autoptr(TestImage) backing = make_backing();
    g_autofree char *with_backing =
        g_strdup_printf("backing_file=%s,backing_fmt=raw%s%s",
                        test_image_path(backing), *test->options ? "," : "",
                        test->options);
    Walk w = {
        .image = qcow2_image_new(test->backing ? with_backing
                                               : test->options, "300k"),
        .model = test_image_new(300 * 1024),
        .rand = g_rand_new_with_seed(g_str_hash(test->name)),
        .takes_snapshots = test->snapshots,
    };

    if (test->backing) {
        g_autofree char *buf = g_malloc(300 * 1024);

        memset(buf, 9, 300 * 1024);
        test_image_write(w.model, 0, buf, 300 * 1024);
    }
    walk(&w);
    g_rand_free(w.rand);
    test_image_free(w.image);
    test_image_free(w.model);
}

/* A disk that shrinks gives its clusters back to the host. */
static void test_shrink_file(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=4k", "64M");
    int64_t empty = test_image_length(image);

    qcow2_ops_write(image, 0, 64 << 20, 1);
    g_assert_cmpint(test_image_length(image), >, 64 << 20);
    qcow2_ops_ok(qcow2_ops_resize(image, 4096, PREALLOC_OFF));
    g_assert_cmpint(test_image_length(image), <, empty + (1 << 20));
    qcow2_image_check(image);
}

static void expect_message(char *message, const char *expected)
{
    g_assert_cmpstr(message, ==, expected);
    g_free(message);
}

static void test_errors(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autoptr(TestImage) old = qcow2_image_new("compat=0.10", "1M");

    expect_message(qcow2_ops_resize(image, 1000, PREALLOC_OFF),
                   "The new size must be a multiple of 512");
    expect_message(qcow2_ops_resize(image, 512, PREALLOC_METADATA),
                   "Preallocation can't be used for shrinking an image");
    expect_message(qcow2_ops_resize(image, INT64_C(1) << 52, PREALLOC_OFF),
                   "Failed to grow the L1 table: File too large");
    qcow2_ops_ok(qcow2_ops_snapshot(old, "create", "a"));
    expect_message(qcow2_ops_resize(old, 2 << 20, PREALLOC_OFF),
                   "Can't resize a v2 image which has snapshots");
    qcow2_image_check(image);
}

/* Of an image with a raw data file, the new part is allocated. */
static char *map_resized(int64_t bytes, bool ours)
{
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options =
        g_strdup_printf("data_file=%s,data_file_raw=on",
                        test_image_path(data));
    g_autofree char *size = g_strdup_printf("%" G_GINT64_FORMAT, bytes);
    g_autoptr(TestImage) image = qcow2_image_new(options, "100K");

    qcow2_ops_write(image, 0, 100 << 10, 1);
    if (ours) {
        qcow2_ops_ok(qcow2_ops_resize(image, bytes, PREALLOC_OFF));
    } else {
        g_free(qcow2_image_run(image, "resize", "-q", "@", size, NULL));
    }
    qcow2_image_check(image);
    qcow2_image_io(image, "read -P 1 0 100k", "read -P 0 100k 20k", NULL);
    g_assert_cmpint(test_image_length(data), >=, bytes);
    return qcow2_image_run(image, "map", "--output=json", "@", NULL);
}

static void test_raw_data_file(void)
{
    static const int64_t sizes[] = { 120 << 10, 3 << 20, (3 << 20) + 512 };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *ours = map_resized(sizes[i], true);
        g_autofree char *theirs = map_resized(sizes[i], false);

        g_assert_cmpstr(ours, ==, theirs);
    }
}

/* --- emptying --- */

static bool coroutine_fn empty_op(BlockDriverState *bs, void *opaque,
                                  GError **error)
{
    return bs->drv->image->co_make_empty(bs) == 0;
}

static void test_make_empty(void)
{
    g_autoptr(TestImage) backing = make_backing();
    g_autofree char *options =
        g_strdup_printf("backing_file=%s,backing_fmt=raw,cluster_size=4k",
                        test_image_path(backing));
    g_autoptr(TestImage) image = qcow2_image_new(options, "2M");
    g_autofree char *before = qcow2_image_checksum(image, NULL);
    g_autofree char *after = NULL;
    int64_t empty = test_image_length(image);

    qcow2_ops_write(image, 4000, 1 << 20, 1);
    qcow2_image_io(image, "write -z 1500k 100k", NULL);
    qcow2_ops_ok(qcow2_ops_run(image, empty_op, NULL));
    after = qcow2_image_checksum(image, NULL);
    g_assert_cmpstr(after, ==, before);
    g_assert_cmpint(test_image_length(image), <=, empty + 65536);
    qcow2_image_check(image);
}

int main(int argc, char **argv)
{
    static const Case cases[] = {
        { "plain", "", false, true },
        { "cluster-4k", "cluster_size=4k", false, true },
        { "cluster-512", "cluster_size=512", false, false },
        { "v2", "compat=0.10", false, false },
        { "extended-l2", "extended_l2=on", false, true },
        { "refcount-1", "refcount_bits=1,cluster_size=4k", false, false },
        { "backing", "", true, true },
        { "backing-v2", "compat=0.10,cluster_size=4k", true, false },
        { "backing-extended-l2", "extended_l2=on", true, true },
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-resize/%s",
                                                cases[i].name);

        g_test_add_data_func(path, &cases[i], test_random);
    }
    g_test_add_func("/qcow2-resize/shrink-file", test_shrink_file);
    g_test_add_func("/qcow2-resize/errors", test_errors);
    g_test_add_func("/qcow2-resize/raw-data-file", test_raw_data_file);
    g_test_add_func("/qcow2-resize/make-empty", test_make_empty);
    ret = g_test_run();
    test_block_end();
    return ret;
}
