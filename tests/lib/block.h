/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests that open nodes and send them requests from the main thread, the
 * home of test_ctx(). Failures assert.
 */
#ifndef TESTS_LIB_BLOCK_H
#define TESTS_LIB_BLOCK_H

#include "block/coroutine.h"
#include "block/driver.h"
#include "block/graph.h"
#include "tests/lib/ctx.h"

/* Closes all nodes and frees test_ctx(). */
void test_block_end(void);

/* Opens from "key=value" or JSON text. */
BlockDriverState *test_open(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* Opening fails with exactly @message. */
void test_open_fails(const char *text, const char *message);

/* Opened, with test_ctx() attached; closed by test_detach_unref(). */
BlockDriverState *test_open_attached(const char *fmt, ...)
    G_GNUC_PRINTF(1, 2);
void test_detach_unref(BlockDriverState *bs);

typedef struct TestRequest {
    BlockRequest req;
    struct iovec iov; /* of those that have one buffer */
    bool done;
    int ret;
} TestRequest;

/* Sends test->req, whose op, range, flags and iov are set, to @bs. */
void test_submit(BlockDriverState *bs, TestRequest *test);
/* Polls test_ctx() until it is done. Returns its result. */
int test_wait(TestRequest *test);

/* One request, to its end. */
int test_rw(BlockDriverState *bs, BlockOp op, int64_t offset, void *buf,
            int64_t bytes);
/* The same for requests without data. */
int test_op(BlockDriverState *bs, BlockOp op, unsigned flags, int64_t offset,
            int64_t bytes);

/* Runs @fn as a coroutine of this thread, to its end. */
void test_run_co(CoroutineFn *fn, void *opaque);

#endif
