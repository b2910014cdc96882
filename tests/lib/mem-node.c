/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The test-mem driver. */
#include "tests/lib/mem-node.h"

#include <errno.h>
#include <string.h>

#include "block/iov.h"

TestMem *test_mem(BlockDriverState *bs)
{
    return bs->opaque;
}

static bool take_uint32(Options *opts, const char *key, uint32_t *value,
                        GError **error)
{
    uint64_t wide = *value;

    if (!options_take_uint(opts, key, 1 << 30, &wide, error)) {
        return false;
    }
    *value = wide;
    return true;
}

static bool mem_open(BlockDriverState *bs, Options *opts, GError **error)
{
    TestMem *mem = bs->opaque;
    BlockLimits *limits = &bs->limits;

    bs->total_bytes = 1 << 20;
    if (!options_take_size(opts, "size", &bs->total_bytes, error) ||
        !take_uint32(opts, "request-alignment", &limits->request_alignment,
                     error) ||
        !take_uint32(opts, "memory-alignment", &limits->memory_alignment,
                     error) ||
        !take_uint32(opts, "max-iov", &limits->max_iov, error) ||
        !options_take_size(opts, "max-transfer", &limits->max_transfer,
                           error)) {
        return false;
    }
    pthread_mutex_init(&mem->mutex, NULL);
    /* a widened request may reach past the end */
    mem->data = g_malloc0(bs->total_bytes + limits->request_alignment);
    limits->can_discard = true;
    return true;
}

static void mem_close(BlockDriverState *bs)
{
    TestMem *mem = bs->opaque;

    g_assert_cmpuint(mem->attached, ==, mem->detached);
    g_free(mem->data);
    pthread_mutex_destroy(&mem->mutex);
}

static void mem_attach(BlockDriverState *bs, AioContext *ctx)
{
    TestMem *mem = bs->opaque;

    assert_home(ctx);
    mem->attached++;
}

static void mem_detach(BlockDriverState *bs, AioContext *ctx)
{
    TestMem *mem = bs->opaque;

    assert_home(ctx);
    mem->detached++;
}

static void assert_fits(BlockDriverState *bs, const BlockRequest *req)
{
    const BlockLimits *limits = &bs->limits;
    int64_t total = bs->total_bytes + limits->request_alignment - 1;

    if (req->op == BLOCK_FLUSH) {
        return;
    }
    g_assert_cmpint(req->offset % limits->request_alignment, ==, 0);
    g_assert_cmpint(req->bytes % limits->request_alignment, ==, 0);
    g_assert_cmpint(req->offset, >=, 0);
    g_assert_cmpint(req->bytes, >, 0);
    g_assert_cmpint(req->offset + req->bytes, <=, total);
    if (req->op != BLOCK_READ && req->op != BLOCK_WRITE) {
        return;
    }
    g_assert_cmpint(req->bytes, <=, limits->max_transfer);
    g_assert_cmpuint(req->niov, <=, limits->max_iov);
    g_assert_cmpuint(iov_size(req->iov, req->niov), ==, req->bytes);
    for (unsigned i = 0; i < req->niov; i++) {
        g_assert_cmpuint((uintptr_t)req->iov[i].iov_base %
                             limits->memory_alignment, ==, 0);
        g_assert_cmpuint(req->iov[i].iov_len % limits->request_alignment, ==,
                         0);
    }
}

static void mem_write_cb(BlockRequest *req, void *opaque, int ret)
{
    TestMem *mem = opaque;

    pthread_mutex_lock(&mem->mutex);
    if (ret == 0 && req->op == BLOCK_WRITE) {
        iov_to_buf(req->iov, req->niov, 0, mem->data + req->offset,
                   req->bytes);
    } else if (ret == 0 && req->op != BLOCK_FLUSH) {
        memset(mem->data + req->offset, 0, req->bytes);
    }
    pthread_mutex_unlock(&mem->mutex);
    block_request_complete(req, ret);
}

static void mem_submit(BlockDriverState *bs, BlockRequest *req)
{
    TestMem *mem = bs->opaque;
    int ret = 0;

    assert_home(req->ctx);
    assert_fits(bs, req);
    g_assert_nonnull(req->engine.stats);
    pthread_mutex_lock(&mem->mutex);
    mem->counts[req->op]++;
    mem->last_flags = req->flags;
    mem->last_offset = req->offset;
    mem->last_bytes = req->bytes;
    if (mem->fail_after > 0 && --mem->fail_after == 0) {
        ret = -EIO;
    }
    if (req->op == BLOCK_READ && ret == 0) {
        iov_from_buf(req->iov, req->niov, 0, mem->data + req->offset,
                     req->bytes);
    }
    pthread_mutex_unlock(&mem->mutex);
    if (req->op != BLOCK_READ) {
        block_request_push(req, mem_write_cb, mem);
    }
    block_request_complete_later(req, ret);
}

static const BlockDriver test_mem_driver = {
    .name = "test-mem",
    .is_protocol = true,
    .instance_size = sizeof(TestMem),
    .open = mem_open,
    .close = mem_close,
    .attach_context = mem_attach,
    .detach_context = mem_detach,
    .submit = mem_submit,
};

void test_mem_register(void)
{
    bdrv_register(&test_mem_driver);
}

unsigned test_mem_count(BlockDriverState *bs, BlockOp op)
{
    return test_mem(bs)->counts[op];
}

void test_mem_reset_counts(BlockDriverState *bs)
{
    memset(test_mem(bs)->counts, 0, sizeof(test_mem(bs)->counts));
}
