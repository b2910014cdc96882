/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 images that lose power while a guest writes much at once and people
 * change the image: sizes, snapshots, bitmaps, commits, compressed clusters.
 * Whatever a cut leaves opens, has nothing wrong with it but leaks, by Debian's
 * check and by ours, holds what was flushed, and its snapshots are what they
 * were when they were taken.
 *
 * Steps come one after the other, requests of a step side by side. A sector of
 * a cut is what one of the states of the disk had there that may be on the
 * medium: the last one that was flushed, those after it, and that of the step
 * under way.
 */
#include "block/block-co.h"
#include "block/image.h"
#include "tests/lib/block.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/disk-states.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/test-disk.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS   60
#define CUTS    10
#define WIDTH   4    /* requests side by side */
#define DELAY   4
#define MOST    (3 << 20)
#define BASE_TAG 1

typedef struct Config {
    const char *name, *create, *options;
    int64_t bytes;
    bool lazy, base, data_file;
    bool no_snapshots;   /* the format has none, or not enough bits */
} Config;

static const Config configs[] = {
    { "default", "cluster_size=64k", "", 16 << 20 },
    { "clusters-512", "cluster_size=512", "", 6 << 20 },
    { "clusters-2m", "cluster_size=2M", "", 24 << 20 },
    { "small-caches", "cluster_size=512",
      ",l2-cache-size=2k,refcount-cache-size=2k", 4 << 20 },
    { "subclusters", "extended_l2=on,cluster_size=32k", "", 12 << 20 },
    { "version-2", "compat=0.10,cluster_size=4k", "", 8 << 20 },
    { "lazy", "lazy_refcounts=on,cluster_size=4k", "", 8 << 20,
      .lazy = true },
    { "refcounts-1", "refcount_bits=1,cluster_size=1k", "", 6 << 20,
      .no_snapshots = true },
    { "refcounts-64", "refcount_bits=64,cluster_size=512", "", 4 << 20 },
    { "zstd", "compression_type=zstd,cluster_size=16k", "", 8 << 20 },
    { "base", "cluster_size=16k", "", 8 << 20, .base = true },
    { "commit", "cluster_size=16k", "", 8 << 20, .base = true,
      .no_snapshots = true },
    { "commit-subclusters", "extended_l2=on,cluster_size=16k", "", 8 << 20,
      .base = true, .no_snapshots = true },
    { "base-no-unref", "cluster_size=4k", ",discard-no-unref=on", 6 << 20,
      .base = true },
    { "data-file", "cluster_size=16k", "", 8 << 20, .data_file = true,
      .no_snapshots = true },
    { "data-file-raw", "cluster_size=4k,data_file_raw=on", "", 8 << 20,
      .data_file = true, .no_snapshots = true },
};

typedef struct Run {
    const Config *config;
    GRand *rand;
    char *dir, *image, *raw, *base_path, *data_path;
    TestDisk *disk, *base, *data;
    BlockDriverState *bs;
    DiskStates *states;
    uint32_t tag;
    unsigned names;
} Run;

static struct {
    unsigned steps, cuts, snapshots, leaks;
    uint64_t written, promised;
} totals;

static unsigned now(const Run *run)
{
    return test_disk_log_length(run->disk);
}

static unsigned below(Run *run, unsigned n)
{
    return g_rand_int_range(run->rand, 0, n);
}

static DiskState *begin(Run *run)
{
    return disk_states_begin(run->states, now(run));
}

static void check_contents(const Run *run, const void *found, int64_t bytes,
                           unsigned at)
{
    if (disk_states_check_cut(run->states, found, bytes, at)) {
        totals.promised += bytes;
    }
}

/* --- the image --- */

static void create_base(Run *run)
{
    int64_t bytes = run->config->bytes;
    g_autofree char *buf = g_malloc(bytes);

    disk_model_fill(buf, 0, bytes, BASE_TAG);
    test_disk_set(run->base, buf, bytes);
    test_disk_store(run->base, run->base_path);
}

static void create_image(Run *run)
{
    const Config *config = run->config;
    g_autofree char *size = g_strdup_printf("%" G_GINT64_FORMAT,
                                            config->bytes);
    g_autofree char *create = g_strdup_printf(
        "%s%s%s", config->create, config->data_file ? ",data_file=" : "",
        config->data_file ? run->data_path : "");
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-o",
                           create, run->image, size, "-b", run->base_path,
                           "-F", "raw", NULL };

    if (config->base) {
        create_base(run);
    } else {
        argv[9] = NULL;
    }
    test_must_run(argv);
    test_disk_load(run->disk, run->image);
    if (config->data_file) {
        test_disk_load(run->data, run->data_path);
    }
}

/* @prefix is of the disks' names. */
static BlockDriverState *open_disks(Run *run, const char *prefix,
                                    unsigned delay)
{
    const Config *config = run->config;
    g_autofree char *data = g_strdup_printf(
        ",data-file.driver=test-disk,data-file.discard=unmap,"
        "data-file.disk=%sdata,data-file.delay=%u", prefix, delay);
    g_autofree char *base = g_strdup_printf(
        ",backing.driver=raw,backing.read-only=on,"
        "backing.file.driver=test-disk,backing.file.disk=%sbase", prefix);
    BlockDriverState *bs = test_open(
        "qcow2,discard=unmap,file.driver=test-disk,file.discard=unmap,"
        "file.disk=%simage,file.delay=%u%s%s%s", prefix, delay,
        config->options, config->data_file ? data : "",
        config->base ? base : "");

    g_assert_true(bdrv_set_block_size(bs, MODEL_SECTOR, NULL));
    bdrv_attach_context(bs, test_ctx());
    return bs;
}

static Run *run_new(const Config *config)
{
    const char *seed = g_getenv("QCOW2_STORM_SEED");
    Run *run = g_new0(Run, 1);

    run->config = config;
    run->rand = g_rand_new_with_seed(seed ? g_ascii_strtoull(seed, NULL, 10)
                                          : g_str_hash(config->name));
    run->dir = g_dir_make_tmp("vblk-qcow2-XXXXXX", NULL);
    run->image = g_build_filename(run->dir, "image", NULL);
    run->raw = g_build_filename(run->dir, "raw", NULL);
    run->base_path = g_build_filename(run->dir, "base", NULL);
    run->data_path = g_build_filename(run->dir, "data", NULL);
    run->disk = test_disk_new("image", g_rand_int(run->rand));
    run->data = test_disk_new("data", g_rand_int(run->rand));
    run->base = test_disk_new("base", g_rand_int(run->rand));
    run->states = disk_states_new(config->bytes, config->base ? BASE_TAG : 0);
    run->tag = BASE_TAG;
    create_image(run);
    test_disk_start_log(run->disk);
    test_disk_join_log(run->data, run->disk);
    test_disk_join_log(run->base, run->disk);
    run->bs = open_disks(run, "", DELAY);
    return run;
}

static void run_free(Run *run)
{
    g_unlink(run->image);
    g_unlink(run->raw);
    g_unlink(run->base_path);
    g_unlink(run->data_path);
    g_rmdir(run->dir);
    test_disk_free(run->disk);
    test_disk_free(run->data);
    test_disk_free(run->base);
    disk_states_free(run->states);
    g_rand_free(run->rand);
    g_free(run->dir);
    g_free(run->image);
    g_free(run->raw);
    g_free(run->base_path);
    g_free(run->data_path);
    g_free(run);
}

/* --- what guests do --- */

/* Whatever has been done so far is promised. */
static void promise(Run *run)
{
    disk_states_promise(run->states, now(run));
}

static void flush(Run *run)
{
    g_assert_cmpint(test_op(run->bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    promise(run);
}

/* Sectors; half of the time so many that several tables have to do with
 * it. */
static void choose(Run *run, int64_t from, int64_t to, int64_t *offset,
                   int64_t *bytes)
{
    int64_t most = below(run, 2) ? MOST / MODEL_SECTOR : 32;
    int64_t start = from + below(run, to - from);

    *offset = start * MODEL_SECTOR;
    *bytes = (1 + below(run, MIN(most, to - start))) * MODEL_SECTOR;
}

static void prepare(Run *run, DiskState *state, TestRequest *test)
{
    BlockRequest *req = &test->req;
    unsigned kind = below(run, 8);

    if (kind == 0) {
        req->op = BLOCK_WRITE_ZEROES;
        req->flags = below(run, 2) ? BLOCK_REQ_MAY_UNMAP : 0;
        disk_state_set(state, req->offset, req->bytes, 0);
        return;
    }
    req->op = BLOCK_WRITE;
    test->iov.iov_base = g_malloc(req->bytes);
    test->iov.iov_len = req->bytes;
    req->iov = &test->iov;
    req->niov = 1;
    disk_model_fill(test->iov.iov_base, req->offset, req->bytes, ++run->tag);
    disk_state_set(state, req->offset, req->bytes, run->tag);
    totals.written += req->bytes;
}

/* Each in a part of the disk of its own. */
static void write_burst(Run *run)
{
    DiskState *state = begin(run);
    unsigned n = 1 + below(run, WIDTH);
    TestRequest tests[WIDTH] = { 0 };

    for (unsigned i = 0; i < n; i++) {
        choose(run, state->sectors * i / n, state->sectors * (i + 1) / n,
               &tests[i].req.offset, &tests[i].req.bytes);
        prepare(run, state, &tests[i]);
        test_submit(run->bs, &tests[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, 0);
        g_free(tests[i].iov.iov_base);
    }
}

static uint8_t *read_all(BlockDriverState *bs)
{
    uint8_t *buf = g_malloc(bs->total_bytes);

    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, bs->total_bytes), ==, 0);
    return buf;
}

/* Of what is discarded some stays. */
static void discard(Run *run)
{
    DiskState *state = begin(run);
    g_autofree uint8_t *found = NULL;
    int64_t offset, bytes;

    choose(run, 0, state->sectors, &offset, &bytes);
    g_assert_cmpint(test_op(run->bs, BLOCK_DISCARD, 0, offset, bytes), ==, 0);
    found = read_all(run->bs);
    for (int64_t i = 0; i < state->sectors; i++) {
        const uint8_t *sector = found + i * MODEL_SECTOR;
        bool inside = i * MODEL_SECTOR >= offset &&
                      i * MODEL_SECTOR < offset + bytes;

        if (inside && disk_state_has_tag(sector, i, 0)) {
            state->tags[i] = 0;
        }
        g_assert_true(disk_state_has_tag(sector, i, state->tags[i]));
    }
}

/* --- what people do --- */

typedef struct Call {
    Run *run;
    void (*fn)(Run *run);
} Call;

static void coroutine_fn compress(Run *run)
{
    const BlockImageOps *ops = run->bs->drv->image;
    int64_t cluster = run->bs->limits.discard_alignment;
    DiskState *state = begin(run);
    int64_t bytes = state->sectors * MODEL_SECTOR;
    g_autofree void *buf = g_malloc(cluster);

    for (unsigned i = 0; i < 4; i++) {
        int64_t offset = below(run, (bytes + cluster - 1) / cluster) * cluster;
        int64_t part = MIN(cluster, bytes - offset);

        int ret;

        /* one that is easy to compress */
        disk_model_fill(buf, offset, part, ++run->tag);
        ret = ops->co_pwrite_compressed(run->bs, offset, part, buf);
        g_assert_true(ret == 0 || ret == -EIO); /* there is data */
        if (ret == 0) {
            disk_state_set(state, offset, part, run->tag);
        }
    }
    g_assert_cmpint(ops->co_pwrite_compressed(run->bs, 0, 0, NULL), ==, 0);
}

static void coroutine_fn resize(Run *run)
{
    int64_t most = run->config->bytes / MODEL_SECTOR;
    DiskState *state = begin(run);
    int64_t old = state->sectors * MODEL_SECTOR;
    BlockTruncate to = { .exact = true };

    to.bytes = (most / 2 + below(run, most)) * MODEL_SECTOR;
    disk_state_resize(state, to.bytes);
    if (to.bytes > old && below(run, 3) == 0) {
        to.prealloc = PREALLOC_METADATA;
    }
    g_assert_true(bdrv_co_truncate(run->bs, &to, NULL));
}

static void coroutine_fn take_snapshot(Run *run)
{
    g_autofree char *name = g_strdup_printf("s%u", run->names++);
    BlockSnapshot snapshot = { .name = name, .icount = UINT64_MAX };
    g_autoptr(GError) error = NULL;

    begin(run);
    disk_states_save(run->states, name);
    run->bs->drv->image->co_snapshot_create(run->bs, &snapshot, &error);
    g_assert_no_error(error);
    g_free(snapshot.id);
    totals.snapshots++;
}

static DiskSnapshot *choose_saved(Run *run)
{
    GPtrArray *all = run->states->saved;
    DiskSnapshot *saved = all->len ? all->pdata[below(run, all->len)] : NULL;

    return saved && saved->deleted == UINT_MAX ? saved : NULL;
}

static void coroutine_fn apply_snapshot(Run *run)
{
    const DiskSnapshot *saved = choose_saved(run);
    g_autoptr(GError) error = NULL;
    DiskState *state;

    if (!saved) {
        return;
    }
    state = begin(run);
    disk_state_apply(state, saved);
    run->bs->drv->image->co_snapshot_apply(run->bs, saved->name, &error);
    g_assert_no_error(error);
}

static void coroutine_fn delete_snapshot(Run *run)
{
    DiskSnapshot *saved = choose_saved(run);
    g_autoptr(GError) error = NULL;

    if (saved) {
        begin(run);
        saved->deleted = now(run);
        run->bs->drv->image->co_snapshot_delete(run->bs, saved->name, &error);
        g_assert_no_error(error);
    }
}

/* Three at most, since they are in the way of snapshots. */
static void coroutine_fn change_bitmaps(Run *run)
{
    const BlockImageOps *ops = run->bs->drv->image;
    g_autoptr(GPtrArray) list = ops->bitmap_list(run->bs);
    g_autofree char *name = g_strdup_printf("b%u", run->names++);
    g_autoptr(GError) error = NULL;

    if (!list) {
        return; /* of version 2 */
    }
    begin(run);
    if (list->len < 3) {
        ops->co_bitmap_add(run->bs, name, 512 << below(run, 8), &error);
    } else {
        const BlockBitmapInfo *info = list->pdata[below(run, 3)];

        ops->co_bitmap_remove(run->bs, info->name, &error);
    }
    g_assert_no_error(error);
}

static void coroutine_fn drop_bitmaps(Run *run)
{
    const BlockImageOps *ops = run->bs->drv->image;
    g_autoptr(GPtrArray) list = ops->bitmap_list(run->bs);

    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockBitmapInfo *info = list->pdata[i];

        g_assert_true(ops->co_bitmap_remove(run->bs, info->name, NULL));
    }
}

/* What of the image's own is at @offset gets to @base. */
static int64_t coroutine_fn commit_part(Run *run, BlockDriverState *base,
                                        int64_t offset)
{
    g_autofree void *buf = NULL;
    BlockStatus status;

    g_assert_cmpint(bdrv_co_block_status(run->bs, offset,
                                         run->bs->total_bytes - offset,
                                         &status), ==, 0);
    if (status.flags & BLOCK_STATUS_ALLOCATED) {
        buf = g_malloc(status.bytes);
        g_assert_cmpint(bdrv_co_pread(run->bs, offset, status.bytes, buf), ==,
                        0);
        g_assert_cmpint(bdrv_co_pwrite(base, offset, status.bytes, buf, 0),
                        ==, 0);
    }
    return status.bytes;
}

/* The guest's disk contains what it did. Snapshots would not. */
static void coroutine_fn commit(Run *run)
{
    BlockDriverState *base;

    if (!run->config->base || run->states->saved->len > 0 ||
        run->bs->total_bytes > test_disk_bytes(run->base)) {
        return;
    }
    begin(run);
    base = test_open("test-disk,disk=base,delay=%u", DELAY);
    bdrv_attach_context(base, test_ctx());
    for (int64_t at = 0; at < run->bs->total_bytes;) {
        at += commit_part(run, base, at);
    }
    g_assert_cmpint(bdrv_co_flush(base), ==, 0);
    test_detach_unref(base);
    g_assert_cmpint(run->bs->drv->image->co_make_empty(run->bs), ==, 0);
}

static void coroutine_fn call_entry(void *opaque)
{
    const Call *call = opaque;

    call->fn(call->run);
}

static void in_coroutine(Run *run, void (*fn)(Run *run))
{
    test_run_co(call_entry, &(Call){ run, fn });
}

static void snapshot_step(Run *run)
{
    static void (*const steps[])(Run *run) = {
        take_snapshot, take_snapshot, take_snapshot, apply_snapshot,
        delete_snapshot,
    };

    if (!run->config->no_snapshots) {
        in_coroutine(run, drop_bitmaps);
        in_coroutine(run, steps[below(run, G_N_ELEMENTS(steps))]);
    }
}

/* Nothing stays behind when an image is closed. */
static void reopen(Run *run)
{
    begin(run);
    test_detach_unref(run->bs);
    promise(run);
    run->bs = open_disks(run, "", DELAY);
}

static void do_step(Run *run)
{
    unsigned kind = below(run, 20);

    totals.steps++;
    if (kind < 6) {
        write_burst(run);
    } else if (kind < 8) {
        discard(run);
    } else if (kind < 10) {
        flush(run);
    } else if (kind < 12 && !run->config->data_file) {
        in_coroutine(run, compress);
    } else if (kind < 13) {
        reopen(run);
    } else if (kind < 14) {
        in_coroutine(run, change_bitmaps);
    } else if (kind < 15) {
        in_coroutine(run, commit);
    } else if (run->config->no_snapshots) {
        in_coroutine(run, run->config->base && below(run, 2) ? commit
                                                             : resize);
    } else if (kind < 16 && !(run->states->saved->len &&
                              strstr(run->config->create, "0.10"))) {
        in_coroutine(run, resize);
    } else {
        snapshot_step(run);
    }
}

/* --- what is left --- */

static void ignore_report(void *opaque, const char *line)
{
    g_test_message("%s", line);
}

typedef struct Checking {
    BlockDriverState *bs;
    BlockCheck check;
} Checking;

static void coroutine_fn check_entry(void *opaque)
{
    Checking *checking = opaque;

    g_assert_true(checking->bs->drv->image->co_check(checking->bs,
                                                     &checking->check, NULL));
}

/* Mends leaks; nothing else is wrong, flags neither, and nothing is then. */
static void check_ours(BlockDriverState *bs)
{
    Checking checking = {
        .bs = bs, .check = { .fix = BLOCK_CHECK_FIX_LEAKS,
                             .report = ignore_report },
    };

    test_run_co(check_entry, &checking);
    g_assert_cmpint(checking.check.check_errors, ==, 0);
    g_assert_cmpint(checking.check.corruptions, ==, 0);
    g_assert_cmpint(checking.check.corruptions_fixed, ==, 0);
    totals.leaks += checking.check.leaks_fixed;
    checking.check = (BlockCheck){ .report = ignore_report };
    test_run_co(check_entry, &checking);
    g_assert_cmpint(checking.check.corruptions + checking.check.leaks, ==, 0);
}

typedef struct Loading {
    BlockDriverState *bs;
    const char *name;
} Loading;

static void coroutine_fn load_entry(void *opaque)
{
    const Loading *loading = opaque;

    g_assert_true(loading->bs->drv->image->co_snapshot_load(
        loading->bs, loading->name, NULL));
}

/* What there is of a snapshot is all of it. */
static void check_snapshot(Run *run, const char *name)
{
    g_autofree uint8_t *found = NULL;
    Loading loading = { .name = name };

    loading.bs = test_open_attached(
        "qcow2,read-only=on,file.driver=test-disk,file.disk=cut-image%s",
        run->config->base ? ",backing.driver=raw,backing.file.driver=test-disk,"
                            "backing.file.disk=cut-base"
                          : "");
    test_run_co(load_entry, &loading);
    found = read_all(loading.bs);
    disk_states_check_snapshot(run->states, name, found,
                               loading.bs->total_bytes);
    test_detach_unref(loading.bs);
}

static void check_with_us(Run *run, unsigned at)
{
    g_autoptr(GPtrArray) list = NULL;
    g_autofree uint8_t *found = NULL;
    BlockDriverState *bs = open_disks(run, "cut-", 0);

    check_ours(bs);
    found = read_all(bs);
    check_contents(run, found, bs->total_bytes, at);
    list = bs->drv->image->snapshot_list(bs);
    test_detach_unref(bs);
    disk_states_check_list(run->states, list, at);
    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockSnapshot *snapshot = list->pdata[i];

        check_snapshot(run, snapshot->name);
    }
}

static void check_with_qemu(Run *run, unsigned at)
{
    const char *check[] = { "qemu-img", "check", "-q", "-f", "qcow2",
                            run->image, "-r",
                            run->config->lazy ? "all" : "leaks", NULL };
    const char *convert[] = { "qemu-img", "convert", "-f", "qcow2", "-O",
                              "raw", run->image, run->raw, NULL };
    g_autofree char *found = NULL;
    gsize bytes;

    test_must_run(check);
    test_must_run(convert);
    g_assert_true(g_file_get_contents(run->raw, &found, &bytes, NULL));
    check_contents(run, found, bytes, at);
}

/* All disks lose power at one moment. */
static void check_cut(Run *run, unsigned at)
{
    TestDisk *image = test_disk_new("cut-image", 1);
    TestDisk *base = test_disk_new("cut-base", 1);
    TestDisk *data = test_disk_new("cut-data", 1);

    g_test_message("cut at %u of %u", at, now(run));
    test_disk_cut(run->disk, at, run->rand, image);
    test_disk_cut(run->base, at, run->rand, base);
    test_disk_cut(run->data, at, run->rand, data);
    test_disk_store(image, run->image);
    test_disk_store(base, run->base_path);
    test_disk_store(data, run->data_path);
    check_with_us(run, at);
    check_with_qemu(run, at);
    test_disk_free(image);
    test_disk_free(base);
    test_disk_free(data);
    totals.cuts++;
}

static unsigned times(const char *name, unsigned def)
{
    const char *text = g_getenv(name);

    return text ? g_ascii_strtoull(text, NULL, 10) : def;
}

static void test_cuts(gconstpointer opaque)
{
    Run *run = run_new(opaque);
    unsigned steps = times("QCOW2_STORM_OPS", STEPS);
    unsigned cuts = times("QCOW2_STORM_CUTS", CUTS);

    for (unsigned i = 0; i < steps; i++) {
        do_step(run);
    }
    test_detach_unref(run->bs);
    promise(run);
    for (unsigned i = 0; i < cuts; i++) {
        check_cut(run, below(run, now(run) + 1));
    }
    check_cut(run, now(run));
    run_free(run);
}

/* An image gets its first bitmap and a snapshot, and loses them: cut at every
 * place, more than once. The header changes in several sectors. */
static void test_every_cut(void)
{
    static void (*const steps[])(Run *run) = {
        change_bitmaps, change_bitmaps, drop_bitmaps, take_snapshot,
        change_bitmaps, delete_snapshot, drop_bitmaps,
    };
    Run *run = run_new(&configs[0]);

    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        in_coroutine(run, steps[i]);
    }
    flush(run);
    for (unsigned at = 0; at <= now(run); at++) {
        for (unsigned i = 0; i < 4; i++) {
            check_cut(run, at);
        }
    }
    test_detach_unref(run->bs);
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
        g_autofree char *path = g_strdup_printf("/qcow2/power-cut-ops/%s",
                                                configs[i].name);

        g_test_add_data_func(path, &configs[i], test_cuts);
    }
    g_test_add_func("/qcow2/power-cut-ops/every-cut", test_every_cut);
    ret = g_test_run();
    test_block_end();
    printf("# %u steps, %" G_GUINT64_FORMAT " MiB written, %u snapshots; %u "
           "cuts, %" G_GUINT64_FORMAT " MiB with a promise, %u leaks mended\n",
           totals.steps, totals.written >> 20, totals.snapshots, totals.cuts,
           totals.promised >> 20, totals.leaks);
    return ret;
}
