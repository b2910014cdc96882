/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a device sees: checks, write cache, drain, counts. */
#include "block/block-backend.h"
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <errno.h>
#include <string.h>

#include "block/iothread.h"

#define SIZE 65536

typedef struct Disk {
    BlockDriverState *bs;
    BlockBackend *blk;
    BlkChannel *channel;
} Disk;

typedef struct Shot {
    BlockRequest req;
    struct iovec iov;
    bool done;
    int ret;
    BlkChannel *resubmit; /* once, from the completion */
} Shot;

static char buf[SIZE];

static Disk disk_open(const char *options, bool writable, bool writethrough)
{
    BlockBackendOptions blk_options = {
        .writable = writable,
        .writethrough = writethrough,
        .block_size = 512,
    };
    Disk disk = { .bs = test_open("test-mem,size=64k,discard=unmap%s",
                                  options) };

    disk.blk = blk_new(disk.bs, &blk_options, NULL);
    g_assert_nonnull(disk.blk);
    bdrv_unref(disk.bs);
    disk.channel = blk_channel_new(disk.blk, test_ctx());
    return disk;
}

static void disk_close(Disk *disk)
{
    blk_channel_free(disk->channel);
    blk_free(disk->blk);
}

static void shot_cb(BlockRequest *req, void *opaque, int ret)
{
    Shot *shot = opaque;
    BlkChannel *again = shot->resubmit;

    shot->ret = ret;
    if (again) {
        shot->resubmit = NULL;
        block_request_push(req, shot_cb, shot);
        blk_submit(again, req);
        return;
    }
    shot->done = true;
}

static void shoot(Disk *disk, Shot *shot, BlockOp op, int64_t offset,
                  int64_t bytes)
{
    block_request_init(&shot->req);
    shot->done = false;
    shot->iov = (struct iovec){ buf, bytes };
    shot->req.op = op;
    shot->req.offset = offset;
    shot->req.bytes = bytes;
    shot->req.iov = &shot->iov;
    shot->req.niov = 1;
    block_request_push(&shot->req, shot_cb, shot);
    blk_submit(disk->channel, &shot->req);
    g_assert_false(shot->done);
}

static int run(Disk *disk, BlockOp op, int64_t offset, int64_t bytes)
{
    Shot shot = { 0 };

    shoot(disk, &shot, op, offset, bytes);
    while (!shot.done) {
        aio_poll(test_ctx(), true);
    }
    return shot.ret;
}

static void test_range(void)
{
    static const struct {
        int64_t offset, bytes;
        int ret;
    } cases[] = {
        { 0, SIZE, 0 },
        { SIZE - 512, 512, 0 },
        { SIZE, 0, 0 },
        { 0, 0, 0 },
        { SIZE - 512, 1024, -EIO },
        { SIZE, 512, -EIO },
        { SIZE + 512, 0, -EIO },
        { -512, 512, -EIO },
        { 512, -512, -EIO },
        { INT64_MAX - 511, 512, -EIO },
        { INT64_MAX & ~511LL, INT64_MAX & ~511LL, -EIO },
        { 512, INT64_MAX & ~511LL, -EIO },
        { INT64_MIN, INT64_MIN, -EIO },
        { 256, 512, -EINVAL },
        { 0, 100, -EINVAL },
    };
    static const BlockOp ops[] = { BLOCK_READ, BLOCK_WRITE, BLOCK_DISCARD,
                                   BLOCK_WRITE_ZEROES };
    Disk disk = disk_open("", true, false);
    BlockStats *stats = blk_channel_stats(disk.channel);
    unsigned refused = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (unsigned o = 0; o < G_N_ELEMENTS(ops); o++) {
            unsigned reached = cases[i].ret == 0 && cases[i].bytes > 0;

            test_mem_reset_counts(disk.bs);
            g_assert_cmpint(run(&disk, ops[o], cases[i].offset,
                                cases[i].bytes), ==, cases[i].ret);
            g_assert_cmpuint(test_mem_count(disk.bs, ops[o]), ==, reached);
            refused += cases[i].ret < 0;
        }
    }
    g_assert_cmpuint(stats->errors, ==, refused);
    g_assert_cmpuint(stats->invalid, ==, refused);
    disk_close(&disk);
}

static void test_read_only(void)
{
    Disk disk = disk_open("", false, false);

    g_assert_cmpint(run(&disk, BLOCK_READ, 0, 512), ==, 0);
    g_assert_cmpint(run(&disk, BLOCK_FLUSH, 0, 0), ==, 0);
    g_assert_cmpint(run(&disk, BLOCK_WRITE, 0, 512), ==, -EPERM);
    g_assert_cmpint(run(&disk, BLOCK_DISCARD, 0, 512), ==, -EPERM);
    g_assert_cmpint(run(&disk, BLOCK_WRITE_ZEROES, 0, 512), ==, -EPERM);
    g_assert_cmpuint(test_mem_count(disk.bs, BLOCK_WRITE), ==, 0);
    g_assert_cmpuint(test_mem_count(disk.bs, BLOCK_DISCARD), ==, 0);
    g_assert_cmpuint(test_mem_count(disk.bs, BLOCK_WRITE_ZEROES), ==, 0);
    g_assert_false(blk_geometry(disk.blk).discard);
    disk_close(&disk);
}

static void test_refused(void)
{
    g_autoptr(BlockDriverState) ro =
        test_open("test-mem,node-name=ro,read-only=on");
    g_autoptr(BlockDriverState) odd =
        test_open("test-mem,node-name=odd,size=1000");
    BlockBackendOptions options = { .writable = true, .block_size = 512 };
    g_autoptr(GError) error = NULL;

    g_assert_null(blk_new(ro, &options, &error));
    g_assert_cmpstr(error->message, ==, "Block node 'ro' is read-only");
    g_clear_error(&error);
    g_assert_null(blk_new(odd, &options, &error));
    g_assert_cmpstr(error->message, ==,
                    "node 'odd' is 1000 bytes long, which is not a multiple "
                    "of the logical block size 512");
    g_assert_cmpuint(ro->refcount, ==, 1);
    g_assert_cmpuint(odd->refcount, ==, 1);
}

static unsigned write_flags(Disk *disk, BlockOp op)
{
    g_assert_cmpint(run(disk, op, 0, 512), ==, 0);
    return test_mem(disk->bs)->last_flags;
}

static void test_write_cache(void)
{
    Disk disk = disk_open("", true, false);

    g_assert_true(blk_write_cache(disk.blk));
    g_assert_cmpuint(write_flags(&disk, BLOCK_WRITE), ==, 0);
    blk_set_write_cache(disk.blk, false);
    g_assert_false(blk_write_cache(disk.blk));
    g_assert_cmpuint(write_flags(&disk, BLOCK_WRITE), ==, BLOCK_REQ_FUA);
    g_assert_cmpuint(write_flags(&disk, BLOCK_WRITE_ZEROES), ==,
                     BLOCK_REQ_FUA);
    g_assert_cmpuint(write_flags(&disk, BLOCK_READ), ==, 0);
    g_assert_cmpuint(write_flags(&disk, BLOCK_DISCARD), ==, 0);
    blk_set_write_cache(disk.blk, true);
    g_assert_cmpuint(write_flags(&disk, BLOCK_WRITE), ==, 0);
    disk_close(&disk);
}

static void test_writethrough(void)
{
    Disk disk = disk_open("", true, true);

    g_assert_false(blk_write_cache(disk.blk));
    blk_set_write_cache(disk.blk, true);
    g_assert_cmpuint(write_flags(&disk, BLOCK_WRITE), ==, BLOCK_REQ_FUA);
    disk_close(&disk);
}

static void count_fn(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void test_drain(void)
{
    Disk disk = disk_open("", true, false);
    Shot shots[3] = { 0 };
    unsigned drained = 0;

    blk_channel_drain(disk.channel, count_fn, &drained);
    g_assert_cmpuint(drained, ==, 1);
    for (int i = 0; i < 3; i++) {
        shoot(&disk, &shots[i], BLOCK_WRITE, 0, 512);
    }
    shots[2].resubmit = disk.channel;
    g_assert_cmpuint(blk_channel_in_flight(disk.channel), ==, 3);
    blk_channel_drain(disk.channel, count_fn, &drained);
    while (!shots[0].done) {
        aio_poll(test_ctx(), true);
        g_assert_true(drained == 1 || shots[2].done);
    }
    while (drained == 1) {
        aio_poll(test_ctx(), true);
    }
    g_assert_true(shots[0].done && shots[1].done && shots[2].done);
    g_assert_cmpuint(blk_channel_in_flight(disk.channel), ==, 0);
    disk_close(&disk);
    g_assert_cmpuint(drained, ==, 2);
}

static void test_stats(void)
{
    Disk disk = disk_open("", true, false);
    uint64_t latencies = 0;
    BlockStats stats;

    g_assert_cmpint(run(&disk, BLOCK_READ, 0, 1024), ==, 0);
    g_assert_cmpint(run(&disk, BLOCK_READ, 0, 512), ==, 0);
    g_assert_cmpint(run(&disk, BLOCK_WRITE, 0, 512), ==, 0);
    g_assert_cmpint(run(&disk, BLOCK_FLUSH, 0, 0), ==, 0);
    test_mem(disk.bs)->fail_after = 1;
    g_assert_cmpint(run(&disk, BLOCK_READ, 0, 512), ==, -EIO);
    blk_channel_free(disk.channel);
    disk.channel = blk_channel_new(disk.blk, test_ctx());
    g_assert_cmpint(run(&disk, BLOCK_READ, 0, 512), ==, 0);
    blk_get_stats(disk.blk, &stats);
    g_assert_cmpuint(stats.requests[BLOCK_READ], ==, 4);
    g_assert_cmpuint(stats.bytes[BLOCK_READ], ==, 2560);
    g_assert_cmpuint(stats.requests[BLOCK_WRITE], ==, 1);
    g_assert_cmpuint(stats.requests[BLOCK_FLUSH], ==, 1);
    g_assert_cmpuint(stats.errors, ==, 1);
    g_assert_cmpuint(stats.invalid, ==, 0);
    for (int i = 0; i < BLOCK_LATENCY_BUCKETS; i++) {
        latencies += stats.latency[i];
    }
    g_assert_cmpuint(latencies, ==, 6);
    disk_close(&disk);
}

static void test_geometry(void)
{
    Disk disk = disk_open(",max-transfer=32k,max-iov=9", true, false);

    g_assert_cmpint(blk_length(disk.blk), ==, SIZE);
    g_assert_true(blk_is_writable(disk.blk));
    g_assert_cmpint(blk_max_transfer(disk.blk), ==, 32768);
    g_assert_cmpuint(blk_max_iov(disk.blk), ==, 9);
    g_assert_cmpstr(blk_node_name(disk.blk), ==, disk.bs->node_name);
    g_assert_true(blk_geometry(disk.blk).discard);
    disk_close(&disk);
}

/* Channels of one backend live in threads of their own. */
static void test_threads(void)
{
    IOThread *thread = iothread_new("t", NULL, NULL);
    Disk disk = disk_open("", true, false);
    BlkChannel *other = blk_channel_new(disk.blk, iothread_context(thread));

    g_assert_cmpuint(test_mem(disk.bs)->attached, ==, 2);
    blk_channel_free(other);
    g_assert_cmpuint(test_mem(disk.bs)->detached, ==, 1);
    disk_close(&disk);
    iothread_free(thread);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/block-backend/range", test_range);
    g_test_add_func("/block-backend/read-only", test_read_only);
    g_test_add_func("/block-backend/refused", test_refused);
    g_test_add_func("/block-backend/write-cache", test_write_cache);
    g_test_add_func("/block-backend/writethrough", test_writethrough);
    g_test_add_func("/block-backend/drain", test_drain);
    g_test_add_func("/block-backend/stats", test_stats);
    g_test_add_func("/block-backend/geometry", test_geometry);
    g_test_add_func("/block-backend/threads", test_threads);
    ret = g_test_run();
    test_block_end();
    return ret;
}
