/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Completion frames and completions that wait for the next round. */
#include "block/request.h"

#include <errno.h>

#include "block/plug.h"
#include "tests/lib/ctx.h"

#define N 40

typedef struct Probe {
    BlockRequest req;
    unsigned order; /* when it completed, from 1 */
    unsigned again; /* completions that submit it once more */
    int ret;
} Probe;

static unsigned completed, flushes;

static void note_cb(BlockRequest *req, void *opaque, int ret)
{
    GString *log = opaque;

    g_string_append_printf(log, "%d ", ret);
}

static void inner_cb(BlockRequest *req, void *opaque, int ret)
{
    g_string_append_c(opaque, 'i');
    block_request_complete(req, ret == 0 ? -EIO : ret);
}

static void test_frames(void)
{
    g_autoptr(GString) log = g_string_new(NULL);
    BlockRequest req;

    block_request_init(&req);
    for (int round = 0; round < 2; round++) {
        block_request_push(&req, note_cb, log);
        for (int i = 0; i < BLOCK_REQUEST_MAX_FRAMES - 1; i++) {
            block_request_push(&req, inner_cb, log);
        }
        block_request_complete(&req, 0);
        g_assert_cmpuint(req.depth, ==, 0);
    }
    g_assert_cmpstr(log->str, ==, "iiiiiii-5 iiiiiii-5 ");
}

static void flush_fn(void *opaque)
{
    flushes++;
}

static BlkPlugCall flush_call = { .fn = flush_fn };

static void probe_cb(BlockRequest *req, void *opaque, int ret)
{
    Probe *probe = opaque;

    probe->order = ++completed;
    probe->ret = ret;
    blk_io_plug_call(req->ctx, &flush_call);
    if (probe->again > 0) {
        probe->again--;
        block_request_push(req, probe_cb, probe);
        block_request_complete_later(req, ret);
    }
}

static void submit_probe(Probe *probe, int ret)
{
    block_request_init(&probe->req);
    probe->req.ctx = test_ctx();
    block_request_push(&probe->req, probe_cb, probe);
    block_request_complete_later(&probe->req, ret);
}

/* One round, one plugged section, in order, and not before. */
static void test_burst(void)
{
    g_autofree Probe *probes = g_new0(Probe, N);

    completed = flushes = 0;
    for (int i = 0; i < N; i++) {
        submit_probe(&probes[i], -i);
    }
    g_assert_cmpuint(completed, ==, 0);
    aio_poll(test_ctx(), false);
    g_assert_cmpuint(completed, ==, N);
    g_assert_cmpuint(flushes, ==, 1);
    for (int i = 0; i < N; i++) {
        g_assert_cmpuint(probes[i].order, ==, i + 1);
        g_assert_cmpint(probes[i].ret, ==, -i);
    }
}

/* What completes may come back at once, and waits for its turn. */
static void test_resubmit(void)
{
    Probe probe = { .again = 3 };

    completed = 0;
    submit_probe(&probe, 0);
    for (unsigned i = 1; i <= 4; i++) {
        aio_poll(test_ctx(), false);
        g_assert_cmpuint(completed, ==, i);
    }
    aio_poll(test_ctx(), false);
    g_assert_cmpuint(completed, ==, 4);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/request/frames", test_frames);
    g_test_add_func("/request/burst", test_burst);
    g_test_add_func("/request/resubmit", test_resubmit);
    ret = g_test_run();
    test_ctx_end();
    return ret;
}
