/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flushes: how many reach the kernel, and that after one that has failed for
 * good none succeeds, whichever thread asks.
 */
#include "tests/lib/block.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "block/iothread.h"
#include "block/plug.h"
#include "tests/lib/faults.h"
#include "tests/lib/image.h"

static const char *const modes[] = {
    "aio=threads",
    "aio=threads,cache.direct=on",
    "aio=native,cache.direct=on",
    "aio=io_uring",
    "aio=auto",
    "aio=auto,cache.direct=on",
};

static unsigned syncs; /* atomic, like the next */
static int sync_error;
static int write_error;
static bool fua_error;      /* only for what is not just a copy */

static ssize_t fail_result(const EngineRequest *req, ssize_t res)
{
    if (req->op == ENGINE_FDSYNC) {
        __atomic_add_fetch(&syncs, 1, __ATOMIC_RELAXED);
        return sync_error ? sync_error : res;
    }
    if (req->op != ENGINE_WRITE || (fua_error && !(req->flags & ENGINE_FUA))) {
        return res;
    }
    return write_error ? write_error : res;
}

static BlockDriverState *open_mode(const TestImage *image, const char *mode)
{
    faults_reset();
    faults.result = fail_result;
    syncs = 0;
    sync_error = write_error = 0;
    fua_error = false;
    return test_open_attached("file,filename=%s,%s", test_image_path(image),
                              mode);
}

static int flush(BlockDriverState *bs)
{
    return test_op(bs, BLOCK_FLUSH, 0, 0, 0);
}

/* Whether a failed flush of this file says so again until all is well. */
static bool sync_repeats(const TestImage *image)
{
    struct statfs fs;

    g_assert_cmpint(statfs(test_image_path(image), &fs), ==, 0);
    return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC;
}

static void fail_once(BlockDriverState *bs, int error, bool final)
{
    unsigned before = syncs;

    sync_error = error;
    g_assert_cmpint(flush(bs), ==, error);
    sync_error = 0;
    g_assert_cmpint(flush(bs), ==, final ? -EIO : 0);
    g_assert_cmpint(flush(bs), ==, final ? -EIO : 0);
    g_assert_cmpuint(syncs - before, ==, final ? 1 : 3);
}

/* What was in the page cache is lost; with direct I/O nothing was. */
static void test_sticky(gconstpointer mode)
{
    static const int errors[] = { -ENOSPC, -EDQUOT, -EIO };
    bool direct = strstr(mode, "cache.direct=on");

    for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
        g_autoptr(TestImage) image = test_image_new(65536);
        BlockDriverState *bs = open_mode(image, mode);

        g_assert_cmpint(flush(bs), ==, 0);
        g_assert_cmpuint(syncs, ==, 1);
        fail_once(bs, errors[i],
                  !direct || (errors[i] == -EIO && !sync_repeats(image)));
        test_detach_unref(bs);
    }
}

/* Of a device it is what the device says. */
static void test_device(void)
{
    g_autoptr(TestImage) image = test_image_new(65536);
    const char *reason;
    char *loop = test_loop_new(image, 512, &reason);

    if (!loop) {
        g_test_skip(reason);
        return;
    }
    for (unsigned direct = 0; direct < 2; direct++) {
        BlockDriverState *bs;

        faults_reset();
        faults.result = fail_result;
        bs = test_open_attached("host_device,filename=%s,cache.direct=%s",
                                loop, direct ? "on" : "off");
        fail_once(bs, -EIO, !direct);
        test_detach_unref(bs);
    }
    test_loop_free(loop);
}

/* One runs, all others wait for one more: theirs alone counts for them. */
static void test_group(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(65536);
    BlockDriverState *bs = open_mode(image, mode);
    TestRequest tests[8] = { 0 };

    for (unsigned round = 0; round < 2; round++) {
        syncs = 0;
        for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
            tests[i].req.op = BLOCK_FLUSH;
            test_submit(bs, &tests[i]);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
            g_assert_cmpint(test_wait(&tests[i]), ==, 0);
        }
        g_assert_cmpuint(syncs, ==, 2);
    }
    /* the failure of the first is that of all */
    sync_error = -EIO;
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        test_submit(bs, &tests[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, -EIO);
    }
    test_detach_unref(bs);
}

static void test_no_flush(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(65536);
    g_autofree char *text = g_strdup_printf("%s,cache.no-flush=on",
                                            (const char *)mode);
    BlockDriverState *bs = open_mode(image, text);

    sync_error = -EIO;
    g_assert_cmpint(flush(bs), ==, 0);
    g_assert_cmpuint(syncs, ==, 0);
    test_detach_unref(bs);
}

static int write_fua(BlockDriverState *bs)
{
    static char buf[4096] __attribute__((aligned(4096)));
    TestRequest test = {
        .req = { .op = BLOCK_WRITE, .flags = BLOCK_REQ_FUA, .bytes = 4096,
                 .niov = 1 },
        .iov = { buf, 4096 },
    };

    test.req.iov = &test.iov;
    test_submit(bs, &test);
    return test_wait(&test);
}

/* A synchronous write to the page cache takes errors away from a flush. */
static void test_fua(void)
{
    static const struct {
        const char *mode;
        int error;
        bool fua;
        int flush;
    } cases[] = {
        { "aio=threads", -EIO, false, -EIO },
        /* no room in the file system: nothing was written, nothing synced */
        { "aio=threads", -ENOSPC, false, 0 },
        { "aio=threads", -EDQUOT, false, 0 },
        /* no room below it: that is what the sync has said */
        { "aio=threads", -ENOSPC, true, -EIO },
        { "aio=io_uring", -ENOSPC, true, -EIO },
        { "aio=threads,cache.direct=on", -EIO, true, 0 },
        { "aio=threads,cache.direct=on", -ENOSPC, true, 0 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TestImage) image = test_image_new(65536);
        BlockDriverState *bs = open_mode(image, cases[i].mode);

        write_error = cases[i].error;
        fua_error = cases[i].fua;
        g_assert_cmpint(write_fua(bs), ==, cases[i].error);
        write_error = 0;
        g_assert_cmpint(flush(bs), ==, cases[i].flush);
        test_detach_unref(bs);
    }
}

/* --- flushes from two threads --- */

#define ROUNDS 300

typedef struct Flusher {
    BlockDriverState *bs;
    AioContext *ctx, *main_ctx;
    BlockRequest req;
    EngineStats stats;
    unsigned rounds, failed;
    bool after_failure; /* one succeeded though one before it had failed */
    unsigned *running;  /* atomic */
} Flusher;

static void flusher_submit(Flusher *flusher);

static void flusher_cb(BlockRequest *req, void *opaque, int ret)
{
    Flusher *flusher = opaque;

    flusher->failed += ret < 0;
    flusher->after_failure |= ret == 0 && flusher->failed > 0;
    if (++flusher->rounds < ROUNDS) {
        flusher_submit(flusher);
    } else {
        __atomic_sub_fetch(flusher->running, 1, __ATOMIC_SEQ_CST);
        aio_notify(flusher->main_ctx);
    }
}

static void flusher_submit(Flusher *flusher)
{
    flusher->req.op = BLOCK_FLUSH;
    flusher->req.ctx = flusher->ctx;
    flusher->req.engine.stats = &flusher->stats;
    block_request_push(&flusher->req, flusher_cb, flusher);
    bdrv_submit(flusher->bs, &flusher->req);
}

static void flusher_begin(void *opaque)
{
    Flusher *flusher = opaque;

    bdrv_attach_context(flusher->bs, flusher->ctx);
    block_request_init(&flusher->req);
    flusher_submit(flusher);
}

static void flusher_end(void *opaque)
{
    Flusher *flusher = opaque;

    bdrv_detach_context(flusher->bs, flusher->ctx);
}

/* The 100th fails, and the kernel tells only one of the threads. */
static ssize_t fail_100th(const EngineRequest *req, ssize_t res)
{
    return __atomic_add_fetch(&syncs, 1, __ATOMIC_RELAXED) == 100 ? -EIO
                                                                  : res;
}

static void test_threads(void)
{
    g_autoptr(TestImage) image = test_image_new(65536);
    IOThread *threads[2];
    Flusher flushers[4] = { 0 };
    unsigned running = G_N_ELEMENTS(flushers), i;
    BlockDriverState *bs = test_open("file,filename=%s",
                                     test_image_path(image));

    faults_reset();
    faults.result = fail_100th;
    syncs = 0;
    for (i = 0; i < 2; i++) {
        threads[i] = iothread_new("t", NULL, NULL);
    }
    for (i = 0; i < G_N_ELEMENTS(flushers); i++) {
        flushers[i].bs = bs;
        flushers[i].ctx = iothread_context(threads[i % 2]);
        flushers[i].main_ctx = test_ctx();
        flushers[i].running = &running;
        aio_bh_run_sync(flushers[i].ctx, flusher_begin, &flushers[i]);
    }
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) > 0) {
        aio_poll(test_ctx(), true);
    }
    for (i = 0; i < G_N_ELEMENTS(flushers); i++) {
        aio_bh_run_sync(flushers[i].ctx, flusher_end, &flushers[i]);
        g_assert_cmpuint(flushers[i].failed, >, 0);
        g_assert_false(flushers[i].after_failure);
    }
    g_assert_cmpuint(syncs, <=, 102);
    for (i = 0; i < 2; i++) {
        iothread_free(threads[i]);
    }
    bdrv_unref(bs);
    faults_reset();
}

static void add(const char *name, GTestDataFunc fn)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *path = g_strdup_printf("/file-posix-flush/%s/%s",
                                                name, modes[i]);

        g_test_add_data_func(path, modes[i], fn);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    add("sticky", test_sticky);
    add("group", test_group);
    add("no-flush", test_no_flush);
    g_test_add_func("/file-posix-flush/device", test_device);
    g_test_add_func("/file-posix-flush/fua", test_fua);
    g_test_add_func("/file-posix-flush/threads", test_threads);
    ret = g_test_run();
    test_block_end();
    return ret;
}
