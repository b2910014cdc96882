/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The throttle driver: options, and that requests come through. */
#include "block/throttle.h"

#include <errno.h>
#include <string.h>

#include "block/block-backend.h"
#include "tests/lib/block.h"
#include "tests/lib/image.h"
#include "tests/lib/mem-node.h"

static void make_group(const char *id, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(text, "object", NULL, &error);

    throttle_group_add(id, opts, &error);
    g_assert_no_error(error);
}

static void test_requests(void)
{
    BlockDriverState *bs =
        test_open_attached("throttle,throttle-group=g,discard=unmap,"
                           "file.driver=test-mem");
    char buf[4096], back[4096];

    test_pattern(buf, sizeof(buf), 1);
    for (unsigned i = 0; i < 20; i++) {
        int64_t offset = i * (int64_t)sizeof(buf);

        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, offset, buf, sizeof(buf)),
                        ==, 0);
        g_assert_cmpint(test_rw(bs, BLOCK_READ, offset, back, sizeof(back)),
                        ==, 0);
        g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
    }
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 4096), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 0, 4096), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE), ==, 20);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_DISCARD), ==, 1);
    test_detach_unref(bs);
}

/* Requests that wait when the device stops: it waits for them, too. */
static void test_many_waiting(void)
{
    BlockDriverState *bs = test_open_attached(
        "throttle,throttle-group=slow,file.driver=test-mem");
    TestRequest tests[40];

    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        memset(&tests[i], 0, sizeof(tests[i]));
        tests[i].req.op = BLOCK_WRITE_ZEROES;
        tests[i].req.bytes = 512;
        tests[i].req.offset = i * 512;
        test_submit(bs, &tests[i]);
    }
    /* 5 and one go at once: the others wait */
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE_ZEROES), <, 40);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, 0);
    }
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE_ZEROES), ==, 40);
    test_detach_unref(bs);
}

/* --- cancelled channels --- */

#define EACH 30

typedef struct Source {
    BlkChannel *channel;
    BlockRequest reqs[EACH];
    unsigned done, cancelled;
} Source;

static void source_cb(BlockRequest *req, void *opaque, int ret)
{
    Source *source = opaque;

    if (ret == -ECANCELED) {
        source->cancelled++;
    } else {
        g_assert_cmpint(ret, ==, 0);
        source->done++;
    }
}

static void source_submit(Source *source, unsigned i)
{
    BlockRequest *req = &source->reqs[i];

    block_request_init(req);
    req->op = BLOCK_WRITE_ZEROES;
    req->offset = 512 * i;
    req->bytes = 512;
    block_request_push(req, source_cb, source);
    blk_submit(source->channel, req);
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

static void source_drain(Source *source)
{
    bool drained = false;

    blk_channel_drain(source->channel, set_true, &drained);
    while (!drained) {
        aio_poll(test_ctx(), true);
    }
}

static BlockBackend *open_slow(void)
{
    const BlockBackendOptions options = { .writable = true,
                                          .block_size = 512 };
    g_autoptr(BlockDriverState) bs =
        test_open("throttle,throttle-group=slow,file.driver=test-mem");

    return blk_new(bs, &options, NULL);
}

/* Two channels of one node, and one of another in the same group. What waits
 * is cancelled for one after the other, and whoever is left gets the turn. */
static void test_cancelled(void)
{
    BlockBackend *blks[2] = { open_slow(), open_slow() };
    Source *sources = g_new0(Source, 3);

    for (unsigned s = 0; s < 3; s++) {
        sources[s].channel = blk_channel_new(blks[s / 2], test_ctx());
        for (unsigned i = 0; i < EACH; i++) {
            source_submit(&sources[s], i);
        }
    }
    for (unsigned s = 0; s < 2; s++) {
        blk_channel_cancel(sources[s].channel);
        g_assert_cmpuint(sources[s].cancelled, ==, 0); /* from the loop */
        source_drain(&sources[s]);
        g_assert_cmpuint(sources[s].cancelled, >, 0);
        g_assert_cmpuint(sources[s].done + sources[s].cancelled, ==, EACH);
        g_assert_cmpuint(sources[s + 1].cancelled, ==, 0);
    }
    source_drain(&sources[2]);
    g_assert_cmpuint(sources[2].done, ==, EACH);
    for (unsigned s = 0; s < 3; s++) {
        source_submit(&sources[s], 0); /* all is as before */
        source_drain(&sources[s]);
        g_assert_cmpuint(sources[s].done + sources[s].cancelled, ==, EACH + 1);
        blk_channel_free(sources[s].channel);
    }
    blk_free(blks[0]);
    blk_free(blks[1]);
    g_free(sources);
}

/* Who gets to the queue later does not have to wait to be told. */
static void test_cancelled_before(void)
{
    BlockBackend *blk = open_slow();
    Source *source = g_new0(Source, 1);
    unsigned done;

    source->channel = blk_channel_new(blk, test_ctx());
    for (unsigned i = 0; i < EACH - 1; i++) {
        source_submit(source, i);
    }
    blk_channel_cancel(source->channel);
    done = source->done;
    source_submit(source, EACH - 1);
    source_drain(source);
    g_assert_cmpuint(source->done + source->cancelled, ==, EACH);
    g_assert_cmpuint(source->cancelled, >=, 1);
    g_assert_cmpuint(source->done, >=, done);
    blk_channel_free(source->channel);
    blk_free(blk);
    g_free(source);
}

/* A node keeps its group. */
static void test_lifetime(void)
{
    g_autoptr(BlockDriverState) bs = NULL;

    make_group("short", "x-iops-total=1");
    bs = test_open("throttle,throttle-group=short,file.driver=test-mem");
    throttle_group_free_all();
    g_assert_null(throttle_group_find("short"));
}

static void test_bad_options(void)
{
    test_open_fails("throttle,node-name=t,file.driver=test-mem",
                    "blockdev 't': Please specify a throttle group");
    test_open_fails("throttle,node-name=t,throttle-group=h,"
                    "file.driver=test-mem",
                    "blockdev 't': Throttle group 'h' does not exist");
    test_open_fails("throttle,node-name=t,throttle-group=g",
                    "blockdev 't': A block device must be specified for "
                    "\"file\"");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    make_group("g", "x-iops-total=1000,x-bps-total=10000000");
    make_group("slow", "x-iops-total=50");
    g_test_add_func("/throttle/requests", test_requests);
    g_test_add_func("/throttle/many-waiting", test_many_waiting);
    g_test_add_func("/throttle/cancelled", test_cancelled);
    g_test_add_func("/throttle/cancelled-before", test_cancelled_before);
    g_test_add_func("/throttle/bad-options", test_bad_options);
    g_test_add_func("/throttle/lifetime", test_lifetime);
    ret = g_test_run();
    test_block_end();
    throttle_group_free_all();
    return ret;
}
