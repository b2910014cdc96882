/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One request's progress, over all engines: results that are not the last
 * word, and what makes a write stable. The file is a real one with O_DIRECT.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "block/engine/engine-internal.h"
#include "block/plug.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"

#define FILE_BYTES (8 * 1024 * 1024)
#define BURST      32

/* Workers may ask the hooks: what these change is atomic. */
static unsigned hook_count;

static unsigned hook_next(void)
{
    return __atomic_fetch_add(&hook_count, 1, __ATOMIC_RELAXED);
}

static EngineRig *open_rig(gconstpointer data)
{
    faults_reset();
    hook_count = 0;
    return eng_new(GPOINTER_TO_INT(data), FILE_BYTES, O_DIRECT);
}

/* --- Results that are not the last word --- */

/* Half of what is left, in whole sectors, until one is left. */
static ssize_t half(const EngineRequest *req, ssize_t res)
{
    return res >= 1024 ? res / 1024 * 512 : res;
}

static void test_short(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = half;
    for (unsigned op = 0; op < 2; op++) {
        blk_io_plug(rig->ctx);
        for (unsigned i = 0; i < BURST; i++) {
            RigRequest *r = eng_prepare(rig, i,
                                        op ? ENGINE_READ : ENGINE_WRITE,
                                        i * 8192, 8192);

            eng_scatter(r, 1 + i % 8);
            eng_submit(r);
        }
        blk_io_unplug(rig->ctx);
        eng_wait(rig);
    }
    eng_expect_data(rig, 0, BURST);
    /* 8192 = 4096 + 2048 + 1024 + 512 + 512 */
    g_assert_cmpuint(rig->stats.host_requests, ==, 2 * BURST * 5);
    eng_free(rig);
}

static ssize_t eintr_once(const EngineRequest *req, ssize_t res)
{
    return hook_next() < BURST ? -EINTR : res;
}

static ssize_t eagain_once(const EngineRequest *req, ssize_t res)
{
    return hook_next() < BURST ? -EAGAIN : res;
}

static void check_retried(gconstpointer data,
                          ssize_t (*result)(const EngineRequest *, ssize_t))
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = result;
    eng_burst(rig, BURST, ENGINE_WRITE, 4096);
    eng_wait(rig);
    eng_expect(rig, 0, BURST, 0);
    g_assert_cmpuint(rig->stats.host_requests, ==, 2 * BURST);
    eng_free(rig);
}

static void test_eintr(gconstpointer data)
{
    check_retried(data, eintr_once);
}

static void test_eagain(gconstpointer data)
{
    check_retried(data, eagain_once);
}

static ssize_t nothing(const EngineRequest *req, ssize_t res)
{
    return 0;
}

static void test_no_progress(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = nothing;
    eng_burst(rig, 4, ENGINE_WRITE, 4096);
    eng_wait(rig);
    eng_expect(rig, 0, 4, -ENOSPC);
    eng_burst(rig, 4, ENGINE_READ, 4096);
    eng_wait(rig);
    eng_expect(rig, 0, 4, 0);
    g_assert_cmpuint(rig->requests[3].buf[4095], ==, 0);
    eng_free(rig);
}

static ssize_t misaligned_rest(const EngineRequest *req, ssize_t res)
{
    return req->done ? -EINVAL : 700;
}

/* A file system that finds the rest misaligned before it finds that there is
 * none: the read has met the end of the file, a write has failed. */
static void test_misaligned_rest(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    eng_fill_file(rig, 4096);
    faults.result = misaligned_rest;
    eng_burst(rig, 1, ENGINE_READ, 4096);
    eng_wait(rig);
    eng_expect(rig, 0, 1, 0);
    g_assert_true(eng_is_filled(rig->requests[0].buf, 0, 700));
    g_assert_cmpuint(rig->requests[0].buf[700], ==, 0);
    g_assert_cmpuint(rig->requests[0].buf[4095], ==, 0);
    eng_burst(rig, 1, ENGINE_WRITE, 4096);
    eng_wait(rig);
    eng_expect(rig, 0, 1, -EINVAL);
    eng_free(rig);
}

static ssize_t too_much(const EngineRequest *req, ssize_t res)
{
    return res + 512;
}

static void test_too_much(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = too_much;
    eng_burst(rig, 1, ENGINE_READ, 4096);
    eng_wait(rig);
    eng_expect(rig, 0, 1, -EIO);
    eng_free(rig);
}

/* Without injection: a file that must not grow. The first attempt is cut at
 * the limit, the rest is refused. */
static void test_file_size_limit(gconstpointer data)
{
    struct rlimit limit = { FILE_BYTES, RLIM_INFINITY };
    EngineRig *rig = open_rig(data);
    RigRequest *r;

    if (!rig) {
        return;
    }
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    r = eng_prepare(rig, 0, ENGINE_WRITE, FILE_BYTES - 4096, 8192);
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, -EFBIG);
    g_assert_cmpuint(rig->stats.host_requests, ==, 2);
    limit.rlim_cur = RLIM_INFINITY;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    eng_free(rig);
}

/* --- Stable storage --- */

static void test_fdsync(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    eng_burst(rig, 4, ENGINE_WRITE, 4096);
    eng_submit(eng_prepare(rig, 4, ENGINE_FDSYNC, 0, 0));
    eng_wait(rig);
    eng_expect(rig, 0, 5, 0);
    g_assert_cmpuint(faults_read(&faults.fdatasyncs), ==, eng_is_threads(rig));
    eng_free(rig);
}

static ssize_t fdsync_fails(const EngineRequest *req, ssize_t res)
{
    return req->op == ENGINE_FDSYNC ? -EIO : res;
}

static void test_fdsync_fails(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = fdsync_fails;
    eng_submit(eng_prepare(rig, 0, ENGINE_FDSYNC, 0, 0));
    eng_wait(rig);
    eng_expect(rig, 0, 1, -EIO);
    eng_free(rig);
}

static ssize_t note_dsync(const EngineRequest *req, ssize_t res)
{
    if (engine_request_dsync(req)) {
        hook_next();
    }
    return res;
}

static void check_fua(EngineRig *rig)
{
    RigRequest *r = eng_prepare(rig, 0, ENGINE_WRITE, 0, 8192);

    r->req.flags = ENGINE_FUA;
    eng_submit(r);
    eng_submit(eng_prepare(rig, 1, ENGINE_WRITE, 8192, 4096));
    eng_wait(rig);
    eng_expect(rig, 0, 2, 0);
}

static void test_fua(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = note_dsync;
    check_fua(rig);
    g_assert_cmpuint(rig->stats.host_requests, ==, 2);
    g_assert_cmpuint(hook_count, ==, 1);
    g_assert_cmpuint(faults_read(&faults.dsync_writes), ==,
                     eng_is_threads(rig));
    eng_free(rig);
}

static ssize_t refuse_dsync(const EngineRequest *req, ssize_t res)
{
    return engine_request_dsync(req) ? -EOPNOTSUPP : half(req, res);
}

/* Written in pieces without the flag, then synced: 4096, 2048, 1024, 512,
 * 512 and the fdatasync, after one attempt that was refused. */
static void test_fua_refused(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = refuse_dsync;
    check_fua(rig);
    g_assert_cmpuint(rig->stats.host_requests, ==, (1 + 5 + 1) + 4);
    g_assert_cmpuint(faults_read(&faults.fdatasyncs), ==, eng_is_threads(rig));
    eng_free(rig);
}

static ssize_t refuse_dsync_fail_sync(const EngineRequest *req, ssize_t res)
{
    if (engine_request_step(req) == ENGINE_STEP_SYNC) {
        return -EIO;
    }
    return engine_request_dsync(req) ? -EOPNOTSUPP : res;
}

static void test_fua_sync_fails(gconstpointer data)
{
    EngineRig *rig = open_rig(data);
    RigRequest *r;

    if (!rig) {
        return;
    }
    faults.result = refuse_dsync_fail_sync;
    r = eng_prepare(rig, 0, ENGINE_WRITE, 0, 8192);
    r->req.flags = ENGINE_FUA;
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, -EIO);
    eng_free(rig);
}

static const EngineRigCase cases[] = {
    { "short", test_short },
    { "eintr", test_eintr },
    { "eagain", test_eagain },
    { "no-progress", test_no_progress },
    { "misaligned-rest", test_misaligned_rest },
    { "too-much", test_too_much },
    { "file-size-limit", test_file_size_limit },
    { "fdsync", test_fdsync },
    { "fdsync-fails", test_fdsync_fails },
    { "fua", test_fua },
    { "fua-refused", test_fua_refused },
    { "fua-sync-fails", test_fua_sync_fails },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    eng_add_cases("engine-request", cases, G_N_ELEMENTS(cases));
    return g_test_run();
}
