/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Breakpoints of blkdebug: requests stop, are waited for, and go on. */
#include "block/debug.h"

#include <errno.h>
#include <semaphore.h>

#include "block/block-co.h"
#include "block/iothread.h"
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

static BlockDriverState *open_debugged(void)
{
    return test_open_attached("raw,file.driver=blkdebug,"
                              "file.image.driver=test-mem");
}

static char buf[512];

static void send_write(BlockDriverState *bs, TestRequest *test,
                       int64_t offset)
{
    *test = (TestRequest){
        .req.op = BLOCK_WRITE,
        .req.offset = offset,
        .req.bytes = sizeof(buf),
        .req.niov = 1,
        .iov = { buf, sizeof(buf) },
    };
    test->req.iov = &test->iov;
    test_submit(bs, test);
}

static void poll_until_suspended(BlockDriverState *bs, const char *tag)
{
    while (!bdrv_debug_is_suspended(bs, tag)) {
        aio_poll(test_ctx(), true);
    }
}

/* Rounds enough for whatever is not held back to get through. */
static void poll_a_while(void)
{
    for (unsigned i = 0; i < 16; i++) {
        aio_poll(test_ctx(), false);
    }
}

static void test_stop_and_go(void)
{
    BlockDriverState *bs = open_debugged();
    TestRequest first, second;

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "pwritev", "A"), ==, 0);
    send_write(bs, &first, 0);
    poll_until_suspended(bs, "A");
    send_write(bs, &second, 512); /* the breakpoint was for one request */
    g_assert_cmpint(test_wait(&second), ==, 0);
    poll_a_while();
    g_assert_false(first.done);
    g_assert_cmpuint(test_mem_count(bs->file->file, BLOCK_WRITE), ==, 1);
    g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, 0);
    g_assert_false(bdrv_debug_is_suspended(bs, "A"));
    g_assert_cmpint(test_wait(&first), ==, 0);
    g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, -ENOENT);
    test_detach_unref(bs);
}

/* raw's event is told outside of coroutines: its request waits. */
static void test_event_of_submit(void)
{
    BlockDriverState *bs = open_debugged();
    TestRequest write;

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "write_aio", "A"), ==, 0);
    g_assert_cmpint(bdrv_debug_breakpoint(bs, "write_aio", "B"), ==, 0);
    send_write(bs, &write, 0);
    poll_until_suspended(bs, "A");
    g_assert_false(bdrv_debug_is_suspended(bs, "B"));
    g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, 0);
    poll_until_suspended(bs, "B");
    g_assert_false(write.done);
    g_assert_cmpint(bdrv_debug_resume(bs, "B"), ==, 0);
    g_assert_cmpint(test_wait(&write), ==, 0);
    test_detach_unref(bs);
}

/* After the write, before it is reported. */
static void test_after_write(void)
{
    BlockDriverState *bs = open_debugged();
    TestRequest write;

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "pwritev_done", "A"), ==, 0);
    send_write(bs, &write, 0);
    poll_until_suspended(bs, "A");
    g_assert_cmpuint(test_mem_count(bs->file->file, BLOCK_WRITE), ==, 1);
    g_assert_false(write.done);
    g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, 0);
    g_assert_cmpint(test_wait(&write), ==, 0);
    test_detach_unref(bs);
}

static void test_remove(void)
{
    BlockDriverState *bs = open_debugged();
    TestRequest writes[2];

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "pwritev", "A"), ==, 0);
    send_write(bs, &writes[0], 0);
    poll_until_suspended(bs, "A");
    g_assert_cmpint(bdrv_debug_breakpoint(bs, "pwritev", "A"), ==, 0);
    send_write(bs, &writes[1], 0);
    poll_a_while();
    g_assert_cmpint(bdrv_debug_breakpoint(bs, "flush_to_disk", "A"), ==, 0);
    g_assert_cmpint(bdrv_debug_breakpoint(bs, "flush_to_disk", "B"), ==, 0);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "A"), ==, 0);
    g_assert_cmpint(test_wait(&writes[0]), ==, 0);
    g_assert_cmpint(test_wait(&writes[1]), ==, 0);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "B"), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "A"), ==, -ENOENT);
    test_detach_unref(bs);
}

static GString *said;

static void hear(const char *line)
{
    g_string_append_printf(said, "%s\n", line);
}

static void test_report(void)
{
    BlockDriverState *bs = open_debugged();
    TestRequest write;

    said = g_string_new(NULL);
    bdrv_debug_set_report(hear);
    bdrv_debug_breakpoint(bs, "pwritev", "A");
    send_write(bs, &write, 0);
    poll_until_suspended(bs, "A");
    bdrv_debug_resume(bs, "A");
    g_assert_cmpint(test_wait(&write), ==, 0);
    bdrv_debug_set_report(NULL);
    g_assert_cmpstr(said->str, ==, "blkdebug: Suspended request 'A'\n"
                                   "blkdebug: Resuming request 'A'\n");
    g_string_free(said, TRUE);
    test_detach_unref(bs);
}

/* --- the node at home in another thread, as in vblk-io --- */

typedef struct Elsewhere {
    BlockDriverState *bs;
    AioContext *ctx;
    int64_t offset;
    int ret;
    sem_t done;
} Elsewhere;

static void attach_fn(void *opaque)
{
    Elsewhere *e = opaque;

    bdrv_attach_context(e->bs, e->ctx);
}

static void detach_fn(void *opaque)
{
    Elsewhere *e = opaque;

    bdrv_detach_context(e->bs, e->ctx);
}

/* A coroutine of a format's: an event that no request belongs to. */
static void coroutine_fn event_and_write(void *opaque)
{
    Elsewhere *e = opaque;

    bdrv_co_debug_event(e->bs->file, BLKDBG_CLUSTER_ALLOC);
    e->ret = bdrv_co_pwrite(e->bs, e->offset, sizeof(buf), buf, 0);
    sem_post(&e->done);
}

static void start_fn(void *opaque)
{
    coroutine_enter(coroutine_new(event_and_write, opaque));
}

static void test_other_thread(void)
{
    static const char *const events[] = { "cluster_alloc", "write_aio",
                                          "pwritev", "pwritev_done" };
    g_autoptr(GError) error = NULL;
    g_autoptr(IOThread) thread = iothread_new("io", NULL, &error);
    g_autoptr(BlockDriverState) bs =
        test_open("raw,file.driver=blkdebug,file.image.driver=test-mem");
    Elsewhere e = { .bs = bs, .ctx = iothread_context(thread) };

    g_assert_no_error(error);
    sem_init(&e.done, 0, 0);
    aio_bh_run_sync(e.ctx, attach_fn, &e);
    for (unsigned i = 0; i < 100; i++) {
        const char *event = events[i % G_N_ELEMENTS(events)];

        g_assert_cmpint(bdrv_debug_breakpoint(bs, event, "A"), ==, 0);
        e.ret = 1;
        aio_bh_once(e.ctx, start_fn, &e);
        bdrv_debug_wait_suspended(bs, "A");
        g_assert_cmpint(sem_trywait(&e.done), ==, -1);
        g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, 0);
        g_assert_cmpint(sem_wait(&e.done), ==, 0);
        g_assert_cmpint(e.ret, ==, 0);
    }
    g_assert_cmpuint(test_mem_count(bs->file->file, BLOCK_WRITE), ==, 100);
    aio_bh_run_sync(e.ctx, detach_fn, &e);
    sem_destroy(&e.done);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/blkdebug-break/stop-and-go", test_stop_and_go);
    g_test_add_func("/blkdebug-break/event-of-submit", test_event_of_submit);
    g_test_add_func("/blkdebug-break/after-write", test_after_write);
    g_test_add_func("/blkdebug-break/remove", test_remove);
    g_test_add_func("/blkdebug-break/report", test_report);
    g_test_add_func("/blkdebug-break/other-thread", test_other_thread);
    ret = g_test_run();
    test_block_end();
    return ret;
}
