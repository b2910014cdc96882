/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that a coroutine waits for, to nodes and to disks. */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <errno.h>
#include <string.h>

#include "block/block-co.h"
#include "block/control.h"

#define SIZE 65536

typedef void coroutine_fn Body(BlockDriverState *bs, BlkChannel *channel);

typedef struct Run {
    BlockDriverState *bs;
    BlkChannel *channel;
    Body *body;
} Run;

static void coroutine_fn run_entry(void *opaque)
{
    Run *run = opaque;

    run->body(run->bs, run->channel);
}

/* Over a test-mem node with @options, directly and behind a backend. */
static void run(const char *options, bool writable, Body *body)
{
    g_autoptr(BlockDriverState) bs =
        test_open("test-mem,size=64k,discard=unmap%s", options);
    BlockBackendOptions blk_options = { .writable = writable,
                                        .block_size = 1 };
    BlockBackend *blk = blk_new(bs, &blk_options, NULL);
    Run job = { .bs = bs, .body = body };

    job.channel = blk_channel_new(blk, control_context());
    control_run_co(run_entry, &job);
    blk_channel_free(job.channel);
    blk_free(blk);
}

static void coroutine_fn node_body(BlockDriverState *bs, BlkChannel *channel)
{
    uint8_t out[1000], in[1000];

    memset(out, 0xa5, sizeof(out));
    g_assert_cmpint(bdrv_co_pwrite(bs, 100, 1000, out, BLOCK_REQ_FUA), ==, 0);
    g_assert_cmphex(test_mem(bs)->last_flags, ==, BLOCK_REQ_FUA);
    g_assert_cmpint(bdrv_co_pread(bs, 100, 1000, in), ==, 0);
    g_assert_cmpmem(in, 1000, out, 1000);
    g_assert_cmpint(bdrv_co_pwrite_zeroes(bs, 200, 100,
                                          BLOCK_REQ_MAY_UNMAP), ==, 0);
    g_assert_cmphex(test_mem(bs)->last_flags, ==, BLOCK_REQ_MAY_UNMAP);
    g_assert_cmpint(bdrv_co_pread(bs, 200, 1, in), ==, 0);
    g_assert_cmpuint(in[0], ==, 0);
    g_assert_cmpint(bdrv_co_pdiscard(bs, 300, 100), ==, 0);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_DISCARD), ==, 1);
    g_assert_cmpint(bdrv_co_flush(bs), ==, 0);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_FLUSH), ==, 1);
}

static void test_node(void)
{
    run("", true, node_body);
}

static void coroutine_fn nothing_body(BlockDriverState *bs,
                                      BlkChannel *channel)
{
    g_assert_cmpint(bdrv_co_pread(bs, 0, 0, NULL), ==, 0);
    g_assert_cmpint(bdrv_co_pwrite(bs, SIZE, 0, NULL, 0), ==, 0);
    g_assert_cmpint(blk_co_pread(channel, SIZE, 0, NULL), ==, 0);
    for (unsigned i = 0; i < BLOCK_OP__COUNT; i++) {
        g_assert_cmpuint(test_mem_count(bs, i), ==, 0);
    }
}

static void test_nothing(void)
{
    run("", true, nothing_body);
}

static void coroutine_fn vector_body(BlockDriverState *bs,
                                     BlkChannel *channel)
{
    char a[3] = "abc", b[4] = "defg", in[7];
    struct iovec iov[2] = { { a, 3 }, { b, 4 } };
    BlockIo io = { .op = BLOCK_WRITE, .offset = 5, .bytes = 7, .iov = iov,
                   .niov = 2 };

    g_assert_cmpint(bdrv_co_io(bs, &io), ==, 0);
    g_assert_cmpint(bdrv_co_pread(bs, 5, 7, in), ==, 0);
    g_assert_cmpmem(in, 7, "abcdefg", 7);
    io.offset = 20;
    g_assert_cmpint(blk_co_io(channel, &io), ==, 0);
    g_assert_cmpint(blk_co_pread(channel, 20, 7, in), ==, 0);
    g_assert_cmpmem(in, 7, "abcdefg", 7);
}

static void test_vector(void)
{
    run("", true, vector_body);
}

#define SEVERAL 100

/* All are in flight before the first is done, up to a bound; an error of one
 * does not keep its companions from being waited for. */
static void coroutine_fn several_body(BlockDriverState *bs,
                                      BlkChannel *channel)
{
    uint8_t bytes[SEVERAL], in[2 * SEVERAL];
    struct iovec iov[SEVERAL];
    BlockIo ios[SEVERAL];

    for (unsigned i = 0; i < SEVERAL; i++) {
        bytes[i] = i + 1;
        iov[i] = (struct iovec){ &bytes[i], 1 };
        ios[i] = (BlockIo){ .op = BLOCK_WRITE, .offset = 2 * i, .bytes = 1,
                            .iov = &iov[i], .niov = 1 };
    }
    g_assert_cmpint(bdrv_co_io_all(bs, ios, 0), ==, 0);
    g_assert_cmpint(bdrv_co_io_all(bs, ios, SEVERAL), ==, 0);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, SEVERAL);
    g_assert_cmpint(bdrv_co_pread(bs, 0, 2 * SEVERAL, in), ==, 0);
    for (unsigned i = 0; i < 2 * SEVERAL; i++) {
        g_assert_cmpuint(in[i], ==, i % 2 ? 0 : i / 2 + 1);
    }
    test_mem_reset_counts(bs);
    memset(bytes, 0xee, sizeof(bytes));
    test_mem(bs)->fail_after = 3;
    g_assert_cmpint(bdrv_co_io_all(bs, ios, 10), ==, -EIO);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, 10);
    g_assert_cmpint(bdrv_co_pread(bs, 0, 20, in), ==, 0);
    for (unsigned i = 0; i < 10; i++) {
        g_assert_cmpuint(in[2 * i], ==, i == 2 ? 3 : 0xee);
    }
}

static void test_several(void)
{
    run("", true, several_body);
}

static void coroutine_fn error_body(BlockDriverState *bs, BlkChannel *channel)
{
    char buf[512] = { 0 };

    test_mem(bs)->fail_after = 1;
    g_assert_cmpint(bdrv_co_pread(bs, 0, 512, buf), ==, -EIO);
    test_mem(bs)->fail_after = 1;
    g_assert_cmpint(bdrv_co_pwrite(bs, 0, 512, buf, 0), ==, -EIO);
    test_mem(bs)->fail_after = 1;
    g_assert_cmpint(blk_co_flush(channel), ==, -EIO);
    test_mem(bs)->fail_after = 1;
    g_assert_cmpint(blk_co_pwrite_zeroes(channel, 0, 512, 0), ==, -EIO);
    g_assert_cmpuint(blk_channel_stats(channel)->errors, ==, 2);
}

static void test_error(void)
{
    run("", true, error_body);
}

/* A disk checks what a node takes for granted. */
static void coroutine_fn disk_body(BlockDriverState *bs, BlkChannel *channel)
{
    char buf[512] = { 0 };

    g_assert_cmpint(blk_co_pread(channel, SIZE - 511, 512, buf), ==, -EIO);
    g_assert_cmpint(blk_co_pread(channel, -1, 512, buf), ==, -EIO);
    g_assert_cmpint(blk_co_pwrite(channel, INT64_MAX, 512, buf, 0), ==, -EIO);
    g_assert_cmpint(blk_co_pdiscard(channel, 0, SIZE + 1), ==, -EIO);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_READ), ==, 0);
    g_assert_cmpuint(blk_channel_stats(channel)->invalid, ==, 4);
    g_assert_cmpint(blk_co_pwrite(channel, SIZE - 512, 512, buf, 0), ==, 0);
    g_assert_cmpint(blk_co_pdiscard(channel, 0, SIZE), ==, 0);
    g_assert_cmpuint(blk_channel_stats(channel)->requests[BLOCK_WRITE], ==, 2);
}

static void test_disk(void)
{
    run("", true, disk_body);
}

static void coroutine_fn read_only_body(BlockDriverState *bs,
                                        BlkChannel *channel)
{
    char buf[512] = { 0 };

    g_assert_cmpint(blk_co_pwrite(channel, 0, 512, buf, 0), ==, -EPERM);
    g_assert_cmpint(blk_co_pwrite_zeroes(channel, 0, 512, 0), ==, -EPERM);
    g_assert_cmpint(blk_co_pdiscard(channel, 0, 512), ==, -EPERM);
    g_assert_cmpint(blk_co_pread(channel, 0, 512, buf), ==, 0);
    g_assert_cmpint(blk_co_flush(channel), ==, 0);
}

static void test_read_only(void)
{
    run("", false, read_only_body);
}

/* Through the bounce buffer and with reads around it. */
static void coroutine_fn align_body(BlockDriverState *bs, BlkChannel *channel)
{
    char out[1500], in[1500];

    memset(out, 'x', sizeof(out));
    g_assert_cmpint(bdrv_co_pwrite(bs, 301, 1500, out, 0), ==, 0);
    g_assert_cmpint(bdrv_co_pread(bs, 301, 1500, in), ==, 0);
    g_assert_cmpmem(in, 1500, out, 1500);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, 1);
    g_assert_cmpint(blk_co_pwrite_zeroes(channel, 301, 1, 0), ==, 0);
    g_assert_cmpint(blk_co_pread(channel, 301, 2, in), ==, 0);
    g_assert_cmpmem(in, 2, "\0x", 2);
}

static void test_align(void)
{
    run(",request-alignment=512,memory-alignment=512", true, align_body);
}

/* --- several at a time --- */

typedef struct Worker {
    BlockDriverState *bs;
    unsigned number;
    unsigned *running;
    Coroutine *parent;
} Worker;

static void coroutine_fn worker_entry(void *opaque)
{
    Worker *worker = opaque;
    int64_t offset = worker->number * 512;
    char out[512], in[512];

    memset(out, worker->number, sizeof(out));
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpint(bdrv_co_pwrite(worker->bs, offset, 512, out, 0), ==,
                        0);
        g_assert_cmpint(bdrv_co_pread(worker->bs, offset, 512, in), ==, 0);
        g_assert_cmpmem(in, 512, out, 512);
    }
    if (--*worker->running == 0) {
        coroutine_enter(worker->parent);
    }
}

static void coroutine_fn many_body(BlockDriverState *bs, BlkChannel *channel)
{
    Worker workers[32];
    unsigned running = G_N_ELEMENTS(workers);

    for (unsigned i = 0; i < G_N_ELEMENTS(workers); i++) {
        workers[i] = (Worker){ bs, i, &running, coroutine_self() };
        coroutine_enter(coroutine_new(worker_entry, &workers[i]));
    }
    coroutine_yield();
    g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, 640);
}

static void test_many(void)
{
    run("", true, many_body);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/block-co/node", test_node);
    g_test_add_func("/block-co/nothing", test_nothing);
    g_test_add_func("/block-co/vector", test_vector);
    g_test_add_func("/block-co/several", test_several);
    g_test_add_func("/block-co/error", test_error);
    g_test_add_func("/block-co/disk", test_disk);
    g_test_add_func("/block-co/read-only", test_read_only);
    g_test_add_func("/block-co/align", test_align);
    g_test_add_func("/block-co/many", test_many);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
