/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Headers of all lengths that change while power fails: names of backing
 * files, short ones and ones that the first sector has no room for, come,
 * change and go, and so do bitmaps. Whatever a cut leaves has the old header or
 * the new one, by our reading and by qemu-img's.
 */
#include "block/format/qcow2-header.h"
#include "block/block-co.h"
#include "block/image.h"
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/test-disk.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

#define TRIES 4     /* of each cut: what is there of it is random */

typedef struct Config {
    const char *name, *create;
    unsigned first;         /* length of the name it is made with; 0: none */
    unsigned data_file;     /* length of that one's name */
} Config;

static const Config configs[] = {
    { "none", "cluster_size=64k", 0, 0 },
    { "short", "cluster_size=64k", 20, 0 },
    { "long", "cluster_size=64k", 1000, 0 },
    { "clusters-4k", "cluster_size=4k", 900, 0 },
    { "clusters-512", "cluster_size=512", 30, 0 },
    { "version-2", "cluster_size=64k,compat=0.10", 20, 0 },
    { "version-2-long", "cluster_size=4k,compat=0.10", 700, 0 },
    { "zstd-subclusters",
      "cluster_size=64k,compression_type=zstd,extended_l2=on", 300, 0 },
    { "data-file", "cluster_size=64k", 0, 40 },
};

/* Lengths of names that follow each other; those of up to 30 bytes fit the
 * smallest clusters. -1: a bitmap more; -2: all bitmaps go. */
static const int steps[] = {
    25, -1, 30, -1, 1023, -1, 1022, 1023, -2, 350, 360, -1, 500, 0, -1, 800,
    -2, 0, 700, 20, 0,
};

typedef struct Shape {
    unsigned from;          /* the log's length when it began to be so */
    char *name;             /* or NULL */
    unsigned bitmaps;
} Shape;

typedef struct Run {
    const Config *config;
    GRand *rand;
    TestDisk *disk;
    BlockDriverState *bs;
    char *dir, *image, *data;
    GArray *shapes;
    unsigned names;
} Run;

static unsigned cuts;

static Shape *last(Run *run)
{
    return &g_array_index(run->shapes, Shape, run->shapes->len - 1);
}

/* No two are alike. */
static char *make_name(Run *run, unsigned bytes)
{
    char *name = g_strnfill(bytes, 'a' + run->names++ % 26);

    return bytes ? name : (g_free(name), NULL);
}

static void begin(Run *run, char *name, unsigned bitmaps)
{
    Shape shape = { test_disk_log_length(run->disk), name, bitmaps };

    g_array_append_val(run->shapes, shape);
}

/* --- the image --- */

static void create(Run *run)
{
    const Config *config = run->config;
    char *name = make_name(run, config->first);
    g_autofree char *options = g_strdup_printf(
        "%s%s%s", config->create, config->data_file ? ",data_file=" : "",
        config->data_file ? run->data : "");
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-o",
                           options, run->image, "1M", "-u", "-b", name, "-F",
                           "raw", NULL };

    if (!name) {
        argv[9] = NULL;
    }
    test_must_run(argv);
    test_disk_load(run->disk, run->image);
    begin(run, name, 0);
}

static BlockDriverState *open_disk(const Run *run, const char *disk,
                                   const char *options)
{
    g_autofree char *data = g_strdup(
        run->config->data_file ? ",data-file.driver=null-co,"
                                 "data-file.size=1M"
                               : "");

    BlockDriverState *bs = test_open(
        "qcow2,backing.driver=null-co,backing.size=1M,backing.read-only=on,"
        "file.driver=test-disk,file.disk=%s%s%s", disk, data, options);

    g_assert_true(bdrv_set_block_size(bs, 512, NULL));
    bdrv_attach_context(bs, test_ctx());
    return bs;
}

static Run *run_new(const Config *config)
{
    Run *run = g_new0(Run, 1);
    g_autofree char *data = NULL;

    run->config = config;
    run->rand = g_rand_new_with_seed(g_str_hash(config->name));
    run->dir = g_dir_make_tmp("vblk-header-XXXXXX", NULL);
    run->image = g_build_filename(run->dir, "image", NULL);
    data = g_strnfill(config->data_file, 'd');
    run->data = g_build_filename(run->dir, data, NULL);
    run->disk = test_disk_new("image", 1);
    run->shapes = g_array_new(FALSE, FALSE, sizeof(Shape));
    create(run);
    run->bs = open_disk(run, "image", "");
    test_disk_start_log(run->disk);
    return run;
}

static void run_free(Run *run)
{
    test_detach_unref(run->bs);
    for (unsigned i = 0; i < run->shapes->len; i++) {
        g_free(g_array_index(run->shapes, Shape, i).name);
    }
    g_array_unref(run->shapes);
    test_disk_free(run->disk);
    g_rand_free(run->rand);
    g_unlink(run->image);
    g_unlink(run->data);
    g_rmdir(run->dir);
    g_free(run->data);
    g_free(run->dir);
    g_free(run->image);
    g_free(run);
}

/* --- steps --- */

/* 0, or -ENOSPC in the smallest clusters, where nothing has changed. */
static void coroutine_fn set_name_entry(void *opaque)
{
    Run *run = opaque;
    BlockDriverState *bs = run->bs;
    char *old = bs->backing_file, *old_format = bs->backing_format;
    int ret;

    bs->backing_file = g_strdup(last(run)->name);
    bs->backing_format = g_strdup(bs->backing_file ? "raw" : NULL);
    ret = qcow2_co_change_header(bs);
    if (ret == -ENOSPC) {
        g_free(bs->backing_file);
        g_free(bs->backing_format);
        bs->backing_file = old;
        bs->backing_format = old_format;
        g_free(last(run)->name);
        last(run)->name = g_strdup(old);
    } else {
        g_assert_cmpint(ret, ==, 0);
        g_free(old);
        g_free(old_format);
    }
}

/* The smallest clusters may have no room in the header. */
static void coroutine_fn add_bitmap_entry(void *opaque)
{
    Run *run = opaque;
    g_autofree char *name = g_strdup_printf("b%u", last(run)->bitmaps);
    g_autoptr(GError) error = NULL;

    if (run->bs->drv->image->co_bitmap_add(run->bs, name, 65536, &error)) {
        last(run)->bitmaps++;
    } else {
        g_assert_cmpstr(run->config->name, ==, "clusters-512");
        g_assert_nonnull(strstr(error->message, g_strerror(ENOSPC)));
    }
}

static void coroutine_fn remove_bitmap_entry(void *opaque)
{
    Run *run = opaque;
    g_autofree char *name = g_strdup_printf("b%u", last(run)->bitmaps);
    g_autoptr(GError) error = NULL;

    run->bs->drv->image->co_bitmap_remove(run->bs, name, &error);
    g_assert_no_error(error);
}

static void do_step(Run *run, int step)
{
    unsigned bitmaps = last(run)->bitmaps;
    bool has_bitmaps = !strstr(run->config->create, "0.10");

    if (step >= 0) {
        begin(run, make_name(run, step), bitmaps);
        test_run_co(set_name_entry, run);
    } else if (step == -1 && has_bitmaps) {
        begin(run, g_strdup(last(run)->name), bitmaps);
        test_run_co(add_bitmap_entry, run);
    }
    while (step == -2 && last(run)->bitmaps > 0) {
        begin(run, g_strdup(last(run)->name), last(run)->bitmaps - 1);
        test_run_co(remove_bitmap_entry, run);
    }
    g_assert_cmpint(test_op(run->bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
}

/* --- what is left --- */

static bool is_like(const Shape *shape, const char *name, unsigned bitmaps)
{
    return g_strcmp0(shape->name, name) == 0 && shape->bitmaps == bitmaps;
}

/* The state that a step under way has begun from, or what it is to bring. */
static void expect(Run *run, unsigned at, const char *name, unsigned bitmaps)
{
    unsigned i = run->shapes->len - 1;

    while (i > 0 && g_array_index(run->shapes, Shape, i).from >= at) {
        i--;
    }
    if (!is_like(&g_array_index(run->shapes, Shape, i), name, bitmaps) &&
        !(i > 0 && is_like(&g_array_index(run->shapes, Shape, i - 1), name,
                           bitmaps))) {
        g_error("cut at %u, step %u: name '%s', %u bitmaps", at, i, name,
                bitmaps);
    }
}

static void check_with_us(Run *run, unsigned at)
{
    BlockDriverState *bs = open_disk(run, "cut", ",read-only=on");
    const Qcow2State *s = bs->opaque;

    expect(run, at, bs->backing_file, s->bitmap_count);
    g_assert_cmpstr(bs->backing_format, ==, bs->backing_file ? "raw" : NULL);
    g_assert_cmpuint(s->data_file_name ? 1 : 0, ==,
                     run->config->data_file ? 1 : 0);
    test_detach_unref(bs);
}

static char *value_of(const char *json, const char *key)
{
    g_autofree char *begins = g_strdup_printf("\n    \"%s\": \"", key);
    const char *at = strstr(json, begins);

    return at ? g_strndup(at + strlen(begins),
                          strcspn(at + strlen(begins), "\""))
              : NULL;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)); text++) {
        n++;
    }
    return n;
}

static void check_with_qemu(Run *run, unsigned at)
{
    const char *argv[] = { "qemu-img", "info", "--output=json", "-f", "qcow2",
                           run->image, NULL };
    g_autofree char *output = NULL, *name = NULL;

    if (!test_run(argv, &output)) {
        g_error("cut at %u: %s", at, output);
    }
    name = value_of(output, "backing-filename");
    expect(run, at, name, count(output, "\"granularity\": "));
}

static void check_cut(Run *run, unsigned at)
{
    for (unsigned i = 0; i < TRIES; i++) {
        g_autoptr(TestDisk) cut = test_disk_new("cut", 1);

        test_disk_cut(run->disk, at, run->rand, cut);
        check_with_us(run, at);
        if (i == 0 && at % 3 == 0) {
            test_disk_store(cut, run->image);
            check_with_qemu(run, at);
        }
        cuts++;
    }
}

static void test_every_cut(gconstpointer opaque)
{
    Run *run = run_new(opaque);

    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        do_step(run, steps[i]);
    }
    for (unsigned at = 0; at <= test_disk_log_length(run->disk); at++) {
        check_cut(run, at);
    }
    run_free(run);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-header-place/%s",
                                                configs[i].name);

        g_test_add_data_func(path, &configs[i], test_every_cut);
    }
    ret = g_test_run();
    test_block_end();
    printf("# %u cuts\n", cuts);
    return ret;
}
