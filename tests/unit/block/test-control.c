/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control thread: where it runs what, and that main waits for the end. */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <string.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/iothread.h"

typedef struct Job {
    BlockDriverState *bs;
    Coroutine *co;
    AioContext *ctx;
    unsigned yields;  /* to do */
    unsigned rounds;  /* done */
    unsigned attached;
    int ret;
} Job;

static void wake_bh(void *opaque)
{
    Job *job = opaque;

    coroutine_enter(job->co);
}

static void coroutine_fn job_entry(void *opaque)
{
    Job *job = opaque;
    char buf[512];

    job->ctx = aio_context_current();
    job->co = coroutine_self();
    job->attached = job->bs ? job->bs->attached : 0;
    for (; job->rounds < job->yields; job->rounds++) {
        aio_bh_once(job->ctx, wake_bh, job);
        coroutine_yield();
        g_assert_true(aio_context_current() == job->ctx);
    }
    if (job->bs) {
        job->ret = bdrv_co_pread(job->bs, 0, sizeof(buf), buf);
    }
}

static void test_run(void)
{
    Job job = { .yields = 0 };

    control_run_co(job_entry, &job);
    g_assert_true(job.ctx == control_context());
    g_assert_true(aio_context_current() != job.ctx);
    job.yields = 100;
    control_run_co(job_entry, &job);
    g_assert_cmpuint(job.rounds, ==, 100);
    g_assert_null(coroutine_self());
}

static void test_attached(void)
{
    g_autoptr(BlockDriverState) bs =
        test_open("raw,file.driver=test-mem,file.size=64k");
    Job job = { .bs = bs, .yields = 3, .ret = -1 };

    for (unsigned i = 0; i < 5; i++) {
        job.ret = -1;
        bdrv_run_co(bs, job_entry, &job);
        g_assert_cmpint(job.ret, ==, 0);
        g_assert_cmpuint(job.attached, ==, 1);
        g_assert_cmpuint(bs->attached, ==, 0);
        g_assert_cmpuint(bs->file->attached, ==, 0);
    }
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_READ), ==, 5);
}

/* A device may use the node in its thread meanwhile. */
static void test_beside_device(void)
{
    g_autoptr(BlockDriverState) bs =
        test_open("raw,file.driver=test-mem,file.size=64k");
    BlockBackendOptions options = { .block_size = 512 };
    BlockBackend *blk = blk_new(bs, &options, NULL);
    IOThread *thread = iothread_new("device", NULL, NULL);
    BlkChannel *channel = blk_channel_new(blk, iothread_context(thread));
    Job job = { .bs = bs, .ret = -1 };

    bdrv_run_co(bs, job_entry, &job);
    g_assert_cmpint(job.ret, ==, 0);
    g_assert_cmpuint(job.attached, ==, 2);
    g_assert_cmpuint(bs->attached, ==, 1);
    blk_channel_free(channel);
    blk_free(blk);
    iothread_free(thread);
}

static void test_stop(void)
{
    Job job = { .yields = 1 };

    control_stop(); /* there may be none */
    control_stop();
    for (unsigned i = 0; i < 3; i++) {
        job.rounds = 0;
        control_run_co(job_entry, &job);
        g_assert_cmpuint(job.rounds, ==, 1);
        control_stop();
    }
}

/* What is still at work when the last request ends is let go of after it, not
 * under its feet: ThreadSanitizer would see the node freed. */
static void test_engine(void)
{
    for (unsigned i = 0; i < 50; i++) {
        g_autoptr(BlockDriverState) null =
            test_open("null-co,size=64k,latency-ns=1000");
        Job job = { .bs = null, .ret = -1 };

        bdrv_run_co(null, job_entry, &job);
        g_assert_cmpint(job.ret, ==, 0);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/control/run", test_run);
    g_test_add_func("/control/attached", test_attached);
    g_test_add_func("/control/beside-device", test_beside_device);
    g_test_add_func("/control/stop", test_stop);
    g_test_add_func("/control/engine", test_engine);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
