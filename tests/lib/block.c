/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes and requests for tests. */
#include "tests/lib/block.h"

#include <string.h>

static EngineStats ignored_stats;

void test_block_end(void)
{
    bdrv_close_all();
    test_ctx_end();
}

static BlockDriverState *open_text(const char *text)
{
    g_autoptr(GError) error = NULL;
    Options *opts = options_parse(text, "--blockdev", "driver", &error);
    BlockDriverState *bs;

    g_assert_no_error(error);
    bs = bdrv_open(opts, &error);
    g_assert_no_error(error);
    g_assert_nonnull(bs);
    return bs;
}

BlockDriverState *test_open(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    return open_text(text);
}

BlockDriverState *test_open_attached(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    BlockDriverState *bs;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    bs = open_text(text);
    bdrv_attach_context(bs, test_ctx());
    return bs;
}

void test_detach_unref(BlockDriverState *bs)
{
    bdrv_detach_context(bs, test_ctx());
    bdrv_detach_finish();
    bdrv_unref(bs);
}

void test_open_fails(const char *text, const char *message)
{
    g_autoptr(GError) error = NULL;
    Options *opts = options_parse(text, "--blockdev", "driver", &error);

    g_assert_no_error(error);
    g_assert_null(bdrv_open(opts, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, message);
}

static void test_request_cb(BlockRequest *req, void *opaque, int ret)
{
    TestRequest *test = opaque;

    g_assert_false(test->done);
    test->done = true;
    test->ret = ret;
}

void test_submit(BlockDriverState *bs, TestRequest *test)
{
    test->done = false;
    test->req.depth = 0;
    test->req.ctx = test_ctx();
    test->req.engine.stats = &ignored_stats;
    block_request_push(&test->req, test_request_cb, test);
    bdrv_submit(bs, &test->req);
    g_assert_false(test->done); /* never from inside submit */
}

int test_wait(TestRequest *test)
{
    while (!test->done) {
        aio_poll(test_ctx(), true);
    }
    return test->ret;
}

int test_rw(BlockDriverState *bs, BlockOp op, int64_t offset, void *buf,
            int64_t bytes)
{
    TestRequest test = {
        .req.op = op,
        .req.offset = offset,
        .req.bytes = bytes,
        .req.niov = 1,
        .iov = { .iov_base = buf, .iov_len = bytes },
    };

    test.req.iov = &test.iov;
    test_submit(bs, &test);
    return test_wait(&test);
}

int test_op(BlockDriverState *bs, BlockOp op, unsigned flags, int64_t offset,
            int64_t bytes)
{
    TestRequest test = {
        .req.op = op,
        .req.flags = flags,
        .req.offset = offset,
        .req.bytes = bytes,
    };

    test_submit(bs, &test);
    return test_wait(&test);
}

typedef struct TestCo {
    CoroutineFn *fn;
    void *opaque;
    bool done;
} TestCo;

static void coroutine_fn test_co_entry(void *opaque)
{
    TestCo *test = opaque;

    test->fn(test->opaque);
    test->done = true;
}

void test_run_co(CoroutineFn *fn, void *opaque)
{
    TestCo test = { .fn = fn, .opaque = opaque };

    coroutine_enter(coroutine_new(test_co_entry, &test));
    while (!test.done) {
        aio_poll(test_ctx(), true);
    }
}
