/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random requests on a qcow2 image. */
#include "tests/lib/qcow2-storm.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/qcow2-image.h"

const StormConfig storm_configs[] = {
    { "default", "cluster_size=64k", "", "", 8 << 20, 0, false },
    { "small-clusters", "cluster_size=512", "", "", 1 << 20, 0, false },
    { "large-clusters", "cluster_size=2M", "", "", 12 << 20, 0, false },
    { "aligned", "cluster_size=4k",
      "", ",file.request-alignment=4096,file.memory-alignment=512", 2 << 20, 0, false },
    { "version-2", "compat=0.10,cluster_size=4k", "", "", 2 << 20, 0, true },
    { "refcounts-1", "refcount_bits=1,cluster_size=1k", "", "", 2 << 20, 0,
      false },
    { "refcounts-64", "refcount_bits=64,cluster_size=512", "", "", 2 << 20, 0,
      false },
    { "lazy", "lazy_refcounts=on,cluster_size=4k", "", "", 2 << 20, 0,
      false, true },
    { "subclusters", "extended_l2=on,cluster_size=16k", "", "", 4 << 20, 0,
      false },
    { "backing", "cluster_size=8k", "", "", 2 << 20, 3 << 19, false },
    { "backing-subclusters", "extended_l2=on,cluster_size=16k", "", "",
      2 << 20, 3 << 19, false },
    { "backing-version-2", "compat=0.10,cluster_size=4k", "", "", 1 << 20,
      3 << 18, true },
    { "odd-size", "cluster_size=16k", "", "", (1 << 20) + 512 * 5, 0, false },
    { "small-caches", "cluster_size=512",
      ",l2-cache-size=2k,refcount-cache-size=2k", "", 2 << 20, 0, false },
    { "no-unref", "cluster_size=4k", ",discard-no-unref=on", "", 2 << 20, 0,
      false },
    { "pass-all", "cluster_size=4k",
      ",pass-discard-other=on,overlap-check=all", "", 2 << 20, 0, false },
    { .name = "data-file", .create = "cluster_size=4k", .options = "",
      .disk = "", .bytes = 2 << 20, .data_file = true },
    { .name = "data-file-raw", .create = "cluster_size=16k,data_file_raw=on",
      .options = "", .disk = "", .bytes = 2 << 20, .data_file = true,
      .data_raw = true },
    { .name = "outlived", .create = "cluster_size=64k", .options = "",
      .disk = "", .bytes = 32 << 20, .outlived = true },
    { .name = "outlived-small-clusters", .create = "cluster_size=512",
      .options = "", .disk = "", .bytes = 1 << 20, .outlived = true },
    { .name = "outlived-backing", .create = "cluster_size=8k", .options = "",
      .disk = "", .bytes = 8 << 20, .backing = 3 << 19, .outlived = true },
    { .name = "outlived-subclusters",
      .create = "extended_l2=on,cluster_size=16k", .options = "", .disk = "",
      .bytes = 4 << 20, .outlived = true },
    { .name = "outlived-small-caches", .create = "cluster_size=512",
      .options = ",l2-cache-size=2k,refcount-cache-size=2k", .disk = "",
      .bytes = 2 << 20, .outlived = true },
    { .name = "outlived-lazy", .create = "lazy_refcounts=on,cluster_size=4k",
      .options = "", .disk = "", .bytes = 2 << 20, .lazy = true,
      .outlived = true },
    { .name = "threads", .create = "cluster_size=16k", .options = "",
      .disk = "", .bytes = 8 << 20, .engine = "threads" },
    { .name = "native", .create = "cluster_size=64k", .options = "",
      .disk = ",file.cache.direct=on", .bytes = 8 << 20,
      .engine = "native" },
    { .name = "io_uring", .create = "cluster_size=4k", .options = "",
      .disk = ",file.cache.direct=on", .bytes = 8 << 20,
      .engine = "io_uring" },
    { .name = NULL },
};

/* --- the image --- */

static void create_backing(Storm *run)
{
    int64_t bytes = run->config->backing;
    g_autofree char *buf = g_malloc(bytes);

    run->backing = g_build_filename(run->dir, "backing", NULL);
    disk_model_fill(buf, 0, bytes, 1);
    g_assert_true(g_file_set_contents(run->backing, buf, bytes, NULL));
    disk_model_end(run->model,
                   disk_model_begin(run->model, 0,
                                    MIN(bytes, run->config->bytes), 1, 0));
}

static void load(Storm *run)
{
    test_disk_load(run->disk, run->image);
    if (run->data) {
        test_disk_load(run->data_disk, run->data);
    }
}

/* Brings what the disks have to files, for others to read. */
static void store(Storm *run)
{
    if (run->config->engine) {
        return; /* there it is */
    }
    test_disk_store(run->disk, run->image);
    if (run->data) {
        test_disk_store(run->data_disk, run->data);
    }
}

static void create_image(Storm *run)
{
    g_autofree char *size = g_strdup_printf("%" G_GINT64_FORMAT,
                                            run->config->bytes);
    g_autofree char *create =
        run->data ? g_strdup_printf("%s,data_file=%s", run->config->create,
                                    run->data)
                  : g_strdup(run->config->create);
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2",
                           "-o", create, run->image, size,
                           "-b", run->backing, "-F", "raw", NULL };

    if (!run->backing) {
        argv[9] = NULL;
    }
    test_must_run(argv);
    load(run);
}

static uint32_t get_seed(const char *name)
{
    const char *seed = g_getenv("QCOW2_STORM_SEED");

    return seed ? g_ascii_strtoull(seed, NULL, 10) : g_str_hash(name);
}

unsigned storm_ops(unsigned def)
{
    const char *ops = g_getenv("QCOW2_STORM_OPS");

    return ops ? g_ascii_strtoull(ops, NULL, 10) : def;
}

Storm *storm_new(const StormConfig *config, const char *test)
{
    Storm *run = g_new0(Storm, 1);
    g_autofree char *name = g_strconcat(test, config->name, NULL);
    uint32_t seed = get_seed(name);

    g_test_message("seed %u", seed);
    run->config = config;
    run->dir = g_dir_make_tmp("vblk-qcow2-XXXXXX", NULL);
    run->image = g_build_filename(run->dir, "image", NULL);
    run->raw = g_build_filename(run->dir, "raw", NULL);
    run->rand = g_rand_new_with_seed(seed);
    run->disk = test_disk_new("d", seed);
    run->data_disk = test_disk_new("data", seed + 1);
    if (config->data_file) {
        run->data = g_build_filename(run->dir, "data", NULL);
    }
    run->model = disk_model_new(config->bytes);
    run->next_tag = 2;
    if (config->backing) {
        create_backing(run);
    }
    create_image(run);
    for (unsigned i = 0; i < STORM_DEPTH; i++) {
        run->ops[i].run = run;
    }
    return run;
}

void storm_free(Storm *run)
{
    g_unlink(run->image);
    g_unlink(run->raw);
    if (run->backing) {
        g_unlink(run->backing);
    }
    if (run->data) {
        g_unlink(run->data);
    }
    g_rmdir(run->dir);
    test_disk_free(run->disk);
    test_disk_free(run->data_disk);
    disk_model_free(run->model);
    g_rand_free(run->rand);
    g_free(run->dir);
    g_free(run->image);
    g_free(run->raw);
    g_free(run->backing);
    g_free(run->data);
    g_free(run);
}

/* The nodes below. */
static char *file_options(Storm *run, const char *disk, unsigned delay)
{
    g_autofree char *data = g_strdup("");

    if (run->config->engine) {
        return g_strdup_printf("file.driver=file,file.filename=%s,"
                               "file.aio=%s", run->image,
                               run->config->engine);
    }
    if (run->data) {
        g_free(data);
        data = g_strdup_printf(",data-file.driver=test-disk,"
                               "data-file.discard=unmap,"
                               "data-file.disk=data,data-file.delay=%u",
                               delay);
    }
    return g_strdup_printf("file.driver=test-disk,file.disk=%s,"
                           "file.delay=%u%s", disk, delay, data);
}

static char *backing_options(Storm *run)
{
    if (!run->backing) {
        return g_strdup("");
    }
    return g_strdup_printf(",backing.driver=raw,backing.file.driver=file,"
                           "backing.file.filename=%s,backing.read-only=on",
                           run->backing);
}

static BlockDriverState *open_disk(Storm *run, const char *disk,
                                   unsigned delay)
{
    g_autofree char *file = file_options(run, disk, delay);
    g_autofree char *backing = backing_options(run);
    BlockDriverState *bs;

    bs = test_open("qcow2,discard=unmap,file.discard=unmap,%s%s%s%s", file,
                   run->config->disk, run->config->options, backing);
    g_assert_true(bdrv_set_block_size(bs, MODEL_SECTOR, NULL));
    bdrv_attach_context(bs, test_ctx());
    return bs;
}

/* --- operations --- */

static void op_done(StormOp *op)
{
    Storm *run = op->run;
    int ret = op->test.ret;

    g_assert_true(ret == 0 || run->may_fail);
    run->failed += ret < 0;
    if (op->change) {
        if (ret == 0) {
            disk_model_end(run->model, op->change);
            disk_model_answered(run->model, test_disk_log_length(run->disk));
        } else {
            disk_model_fail(run->model, op->change);
        }
    } else if (ret == 0 && op->test.req.op == BLOCK_FLUSH) {
        disk_model_flushed(run->model, op->began,
                           test_disk_log_length(run->disk));
    } else if (ret == 0 && op->buf) {
        disk_model_check(run->model, op->buf, op->offset, op->bytes,
                         op->began);
    }
    free(op->buf);
    op->buf = NULL;
    op->change = NULL;
    op->busy = false;
    run->done++;
}

static void reap(Storm *run)
{
    for (unsigned i = 0; i < STORM_DEPTH; i++) {
        StormOp *op = &run->ops[i];

        if (op->busy && op->test.done) {
            op_done(op);
        }
    }
}

static unsigned in_flight(const Storm *run)
{
    unsigned n = 0;

    for (unsigned i = 0; i < STORM_DEPTH; i++) {
        n += run->ops[i].busy;
    }
    return n;
}

static void drain(Storm *run, unsigned max)
{
    reap(run);
    while (in_flight(run) > max) {
        aio_poll(test_ctx(), true);
        reap(run);
    }
}

static StormOp *idle_op(Storm *run)
{
    drain(run, STORM_DEPTH - 1);
    for (unsigned i = 0; i < STORM_DEPTH; i++) {
        if (!run->ops[i].busy) {
            return &run->ops[i];
        }
    }
    g_assert_not_reached();
}

static void submit(StormOp *op, BlockOp kind, unsigned flags)
{
    Storm *run = op->run;
    TestRequest *test = &op->test;

    memset(test, 0, sizeof(*test));
    test->req.op = kind;
    test->req.flags = flags;
    test->req.offset = op->offset;
    test->req.bytes = op->bytes;
    if (op->buf) {
        test->iov = (struct iovec){ op->buf, op->bytes };
        test->req.iov = &test->iov;
        test->req.niov = 1;
    }
    op->busy = true;
    test_submit(run->bs, test);
}

static void get_memory(StormOp *op)
{
    g_assert_cmpint(posix_memalign(&op->buf, 4096, op->bytes), ==, 0);
    memset(op->buf, 0xee, op->bytes);
}

static void start_read(StormOp *op)
{
    get_memory(op);
    op->began = disk_model_now(op->run->model);
    submit(op, BLOCK_READ, 0);
}

static void start_write(StormOp *op)
{
    Storm *run = op->run;
    unsigned at = test_disk_log_length(run->disk);
    unsigned flags = g_rand_int_range(run->rand, 0, 16) == 0
                         ? BLOCK_REQ_FUA
                         : 0;

    get_memory(op);
    disk_model_fill(op->buf, op->offset, op->bytes, run->next_tag);
    op->change = disk_model_begin(run->model, op->offset, op->bytes,
                                  run->next_tag++, at);
    submit(op, BLOCK_WRITE, flags);
}

static void start_zeroes(StormOp *op)
{
    Storm *run = op->run;
    unsigned flags = g_rand_boolean(run->rand) ? BLOCK_REQ_MAY_UNMAP : 0;

    op->change = disk_model_begin(run->model, op->offset, op->bytes, 0,
                                  test_disk_log_length(run->disk));
    submit(op, BLOCK_WRITE_ZEROES, flags);
}

/* What is not a whole cluster stays as it is. */
static void start_discard(StormOp *op)
{
    Storm *run = op->run;
    int64_t mask = run->cluster - 1;
    int64_t end = op->offset + op->bytes;
    int64_t first = (op->offset + mask) & ~mask;
    int64_t last = end == run->config->bytes ? end : end & ~mask;

    if (first < last && !(run->config->v2 && run->backing)) {
        op->change = disk_model_begin(run->model, first, last - first, 0,
                                      test_disk_log_length(run->disk));
    }
    submit(op, BLOCK_DISCARD, 0);
}

static void start_flush(StormOp *op)
{
    op->offset = op->bytes = 0;
    op->began = disk_model_now(op->run->model);
    submit(op, BLOCK_FLUSH, 0);
}

/* Mostly small, often in a few places, sometimes many clusters. */
static void choose_range(Storm *run, StormOp *op)
{
    int64_t sectors = run->config->bytes / MODEL_SECTOR;
    int64_t cluster = run->cluster / MODEL_SECTOR;
    int64_t most, start;

    switch (g_rand_int_range(run->rand, 0, 8)) {
    case 0:
        most = 16 * cluster;
        break;
    case 1:
        most = 2 * cluster;
        break;
    default:
        most = MAX(cluster / 4, 1);
        break;
    }
    start = g_rand_int_range(run->rand, 0, g_rand_boolean(run->rand)
                                               ? MIN(sectors, 8 * cluster)
                                               : sectors);
    if (g_rand_int_range(run->rand, 0, 4) == 0) {
        start = start / cluster * cluster;
        most = (most + cluster - 1) / cluster * cluster;
        op->bytes = MIN(most, sectors - start) * MODEL_SECTOR;
    } else {
        op->bytes = (1 + g_rand_int_range(run->rand, 0,
                                          MIN(most, sectors - start))) *
                    MODEL_SECTOR;
    }
    op->offset = start * MODEL_SECTOR;
    op->bytes = MIN(op->bytes, run->config->bytes - op->offset);
}

static bool is_busy(Storm *run, const StormOp *op)
{
    int64_t first = op->offset / run->cluster * run->cluster;
    int64_t end = op->offset + op->bytes;

    end = MIN((end + run->cluster - 1) / run->cluster * run->cluster,
              run->config->bytes);
    /* what is zeroed or discarded may be rounded, so keep clear of it */
    return disk_model_is_busy(run->model, op->offset,
                              MAX(op->bytes, MIN(MODEL_SECTOR,
                                                 end - first)));
}

static void start_op(Storm *run)
{
    StormOp *op = idle_op(run);
    int kind = g_rand_int_range(run->rand, 0, 100);

    choose_range(run, op);
    if (kind < 25) {
        start_read(op);
    } else if (kind < 30) {
        start_flush(op);
    } else if (is_busy(run, op)) {
        return;
    } else if (kind < 75) {
        start_write(op);
    } else if (kind < 88) {
        start_zeroes(op);
    } else {
        start_discard(op);
    }
    if (g_rand_int_range(run->rand, 0, 4) == 0) {
        aio_poll(test_ctx(), false);
        reap(run);
    }
}

/* --- checks --- */

/* With lazy refcounts, what was not closed has to have them made anew. */
static void check_with_qemu(Storm *run, const char *fix)
{
    const char *what = run->config->lazy ? "all" : "leaks";
    const char *check[] = { "qemu-img", "check", "-q", "-f", "qcow2",
                            run->image, fix, what, NULL };
    const char *convert[] = { "qemu-img", "convert", "-f", "qcow2", "-O",
                              "raw", run->image, run->raw, NULL };

    if (!fix) {
        check[6] = NULL;
    }
    test_must_run(check);
    test_must_run(convert);
}

static char *read_with_qemu(Storm *run)
{
    char *contents;
    gsize bytes;

    g_assert_true(g_file_get_contents(run->raw, &contents, &bytes, NULL));
    g_assert_cmpint(bytes, ==, run->config->bytes);
    return contents;
}

static char *read_whole(Storm *run, BlockDriverState *bs)
{
    char *buf = g_malloc(run->config->bytes);

    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, run->config->bytes), ==,
                    0);
    return buf;
}

static void check_data_file(Storm *run)
{
    g_autofree char *contents = NULL, *whole = NULL;
    gsize bytes;

    if (run->config->data_raw) {
        g_assert_true(g_file_get_contents(run->data, &contents, &bytes,
                                          NULL));
        whole = g_malloc0(run->config->bytes);
        memcpy(whole, contents, MIN((int64_t)bytes, run->config->bytes));
        disk_model_check(run->model, whole, 0, run->config->bytes,
                         UINT64_MAX);
    }
}

/* Closed: what was there before, what Debian's tools say, and how we read
 * it. */
void storm_check(Storm *run)
{
    g_autofree char *theirs = NULL, *ours = NULL;
    BlockDriverState *bs;

    store(run);
    check_with_qemu(run, run->may_fail ? "-r" : NULL);
    check_data_file(run);
    theirs = read_with_qemu(run);
    disk_model_check(run->model, theirs, 0, run->config->bytes, UINT64_MAX);
    bs = open_disk(run, "d", 0);
    ours = read_whole(run, bs);
    test_detach_unref(bs);
    g_assert_true(memcmp(ours, theirs, run->config->bytes) == 0);
}

static int64_t cluster_of(const BlockDriverState *bs)
{
    return bs->limits.discard_alignment;
}

void storm_run(Storm *run, unsigned ops, unsigned delay)
{
    unsigned end = run->done + ops;

    run->bs = open_disk(run, "d", delay);
    bdrv_add_outlived(run->bs, run->config->outlived);
    run->cluster = cluster_of(run->bs);
    while (run->done < end) {
        start_op(run);
    }
    drain(run, 0);
    test_disk_fail(run->disk, BLOCK_WRITE, 0, 0); /* close tells nobody */
    bdrv_add_outlived(run->bs, -run->config->outlived);
    test_detach_unref(run->bs);
    run->bs = NULL;
}

/* --- loss of power, and of the process --- */

/* What is left on @cut, as Debian's tools see it. Frees @cut. */
static char *read_cut(Storm *run, TestDisk *cut)
{
    test_disk_store(cut, run->image);
    check_with_qemu(run, "-r");
    test_disk_free(cut);
    return read_with_qemu(run);
}

void storm_check_cut(Storm *run, unsigned at)
{
    TestDisk *cut = test_disk_new("cut", 1);
    g_autofree char *theirs = NULL;

    test_disk_cut(run->disk, at, run->rand, cut);
    theirs = read_cut(run, cut);
    disk_model_check_cut(run->model, theirs, at);
}

void storm_check_kill(Storm *run, unsigned at)
{
    TestDisk *cut = test_disk_new("cut", 1);
    g_autofree char *theirs = NULL;

    test_disk_kill(run->disk, at, cut);
    theirs = read_cut(run, cut);
    disk_model_check_kill(run->model, theirs, at);
}

void storm_settle(Storm *run)
{
    g_autofree char *now = read_with_qemu(run);

    disk_model_settle(run->model, now);
    load(run);
}

/* --- programs --- */

static void add_test(const char *kind, const StormConfig *config,
                     GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/qcow2/%s/%s", kind,
                                            config->name);

    g_test_add_data_func(path, config, fn);
}

int storm_main(int argc, char **argv, const char *kind, GTestDataFunc fn,
               StormFilter *suits)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    for (const StormConfig *c = storm_configs; c->name; c++) {
        if (!suits || suits(c)) {
            add_test(kind, c, fn);
        }
    }
    ret = g_test_run();
    test_block_end();
    return ret;
}
