/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device sees of a disk: checks, write cache, statistics, requests in
 * flight. Devices call it, it calls the root node.
 *
 * What is per request is per channel: one thread, no sharing. The backend
 * itself is read-only while channels run, but for the write cache flag.
 */
#include "block/block-backend.h"

#include <errno.h>

#include "block/driver.h"
#include "block/graph.h"

struct BlockBackend {
    BlockDriverState *bs;
    BlockBackendOptions options;
    bool outlived;       /* main thread */
    bool write_cache;    /* relaxed atomic: orders nothing but itself */
    GPtrArray *channels; /* main thread */
    BlockStats past;     /* of channels that are gone; main thread */
};

/* Aligned, so that no two threads write to one cache line. */
struct BlkChannel {
    BlockBackend *blk;
    AioContext *ctx;
    bool cancelled;      /* relaxed atomic; home writes */
    unsigned in_flight;  /* relaxed atomic; home writes */
    AioFn *drained;      /* home; set while someone waits */
    void *drained_opaque;
    BlockStats stats;    /* home writes */
} __attribute__((aligned(64)));

static bool check_length(BlockDriverState *bs, uint32_t block_size,
                         GError **error)
{
    if (bs->total_bytes % block_size == 0) {
        return true;
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                "node '%s' is %" G_GINT64_FORMAT " bytes long, which is not a "
                "multiple of the logical block size %u", bs->node_name,
                bs->total_bytes, block_size);
    return false;
}

BlockBackend *blk_new(BlockDriverState *bs, const BlockBackendOptions *options,
                      GError **error)
{
    BlockBackend *blk;

    g_assert(options->block_size > 0);
    if (options->writable && bs->read_only) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_ROFS,
                    "Block node '%s' is read-only", bs->node_name);
        return NULL;
    }
    if (bs->inactive && !options->allow_inactive) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_PERM,
                    "Block node '%s' is inactive", bs->node_name);
        return NULL;
    }
    if (!check_length(bs, options->block_size, error) ||
        !bdrv_set_block_size(bs, options->block_size, error)) {
        return NULL;
    }
    blk = g_new0(BlockBackend, 1);
    blk->bs = bdrv_ref(bs);
    blk->options = *options;
    bs->must_be_active += !options->allow_inactive;
    blk->write_cache = !options->writethrough;
    blk->channels = g_ptr_array_new();
    return blk;
}

void blk_free(BlockBackend *blk)
{
    if (!blk) {
        return;
    }
    g_assert(blk->channels->len == 0);
    blk_set_outlived(blk, false);
    blk->bs->must_be_active -= !blk->options.allow_inactive;
    g_ptr_array_unref(blk->channels);
    bdrv_unref(blk->bs);
    g_free(blk);
}

int64_t blk_length(const BlockBackend *blk)
{
    return blk->bs->total_bytes;
}

bool blk_is_writable(const BlockBackend *blk)
{
    return blk->options.writable;
}

const char *blk_node_name(const BlockBackend *blk)
{
    return blk->bs->node_name;
}

int64_t blk_max_transfer(const BlockBackend *blk)
{
    return blk->bs->limits.max_transfer;
}

unsigned blk_max_iov(const BlockBackend *blk)
{
    return blk->bs->limits.max_iov;
}

BlkGeometry blk_geometry(const BlockBackend *blk)
{
    const BlockLimits *limits = &blk->bs->limits;
    bool writable = blk->options.writable;

    return (BlkGeometry){
        .physical_block_size = limits->physical_block_size,
        .min_io_size = limits->min_transfer,
        .opt_io_size = limits->opt_transfer,
        .discard_granularity = limits->discard_alignment,
        .discard = writable && limits->can_discard && blk->bs->discard_unmap,
        .write_zeroes = writable && limits->can_write_zeroes,
    };
}

void blk_set_write_cache(BlockBackend *blk, bool on)
{
    __atomic_store_n(&blk->write_cache, on, __ATOMIC_RELAXED);
}

bool blk_write_cache(const BlockBackend *blk)
{
    return __atomic_load_n(&blk->write_cache, __ATOMIC_RELAXED);
}

void blk_set_outlived(BlockBackend *blk, bool on)
{
    if (blk->outlived != on) {
        blk->outlived = on;
        bdrv_add_outlived(blk->bs, on ? 1 : -1);
    }
}

/* --- channels --- */

static void attach_fn(void *opaque)
{
    BlkChannel *channel = opaque;

    bdrv_attach_context(channel->blk->bs, channel->ctx);
}

static void detach_fn(void *opaque)
{
    BlkChannel *channel = opaque;

    bdrv_detach_context(channel->blk->bs, channel->ctx);
}

BlkChannel *blk_channel_new(BlockBackend *blk, AioContext *ctx)
{
    BlkChannel *channel = g_aligned_alloc0(1, sizeof(*channel), 64);

    channel->blk = blk;
    channel->ctx = ctx;
    aio_bh_run_sync(ctx, attach_fn, channel);
    g_ptr_array_add(blk->channels, channel);
    return channel;
}

void blk_channel_free(BlkChannel *channel)
{
    g_assert(channel->in_flight == 0 && !channel->drained);
    aio_bh_run_sync(channel->ctx, detach_fn, channel);
    bdrv_detach_finish();
    block_stats_accumulate(&channel->blk->past, &channel->stats);
    g_ptr_array_remove(channel->blk->channels, channel);
    g_aligned_free(channel);
}

BlockStats *blk_channel_stats(BlkChannel *channel)
{
    return &channel->stats;
}

unsigned blk_channel_in_flight(const BlkChannel *channel)
{
    return __atomic_load_n(&channel->in_flight, __ATOMIC_RELAXED);
}

unsigned blk_in_flight(const BlockBackend *blk)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < blk->channels->len; i++) {
        sum += blk_channel_in_flight(blk->channels->pdata[i]);
    }
    return sum;
}

static void set_in_flight(BlkChannel *channel, unsigned n)
{
    __atomic_store_n(&channel->in_flight, n, __ATOMIC_RELAXED);
}

void blk_get_stats(BlockBackend *blk, BlockStats *stats)
{
    *stats = blk->past;
    for (unsigned i = 0; i < blk->channels->len; i++) {
        BlkChannel *channel = blk->channels->pdata[i];

        block_stats_accumulate(stats, &channel->stats);
    }
}

static void set_cancelled(BlkChannel *channel, bool on)
{
    __atomic_store_n(&channel->cancelled, on, __ATOMIC_RELAXED);
}

bool blk_channel_is_cancelled(const BlkChannel *channel)
{
    return __atomic_load_n(&channel->cancelled, __ATOMIC_RELAXED);
}

void blk_channel_cancel(BlkChannel *channel)
{
    assert_home(channel->ctx);
    if (channel->in_flight > 0) {
        set_cancelled(channel, true);
        bdrv_cancel_waiting(channel->blk->bs, channel->ctx);
    }
}

void blk_channel_register_buf(BlkChannel *channel, void *host, size_t bytes)
{
    engine_memory_add(channel->ctx, host, bytes);
}

void blk_channel_unregister_buf(BlkChannel *channel, void *host, size_t bytes)
{
    engine_memory_remove(channel->ctx, host, bytes);
}

static void call_drained(BlkChannel *channel)
{
    AioFn *fn = channel->drained;

    channel->drained = NULL;
    set_cancelled(channel, false);
    fn(channel->drained_opaque);
}

void blk_channel_drain(BlkChannel *channel, AioFn *fn, void *opaque)
{
    assert_home(channel->ctx);
    g_assert(!channel->drained);
    channel->drained = fn;
    channel->drained_opaque = opaque;
    if (channel->in_flight == 0) {
        call_drained(channel);
    }
}

/* --- requests --- */

static bool is_write(BlockOp op)
{
    return op == BLOCK_WRITE || op == BLOCK_DISCARD ||
           op == BLOCK_WRITE_ZEROES;
}

/* Returns 0, or why the request may go no further. */
static int check_request(const BlockBackend *blk, const BlockRequest *req)
{
    int64_t length = blk->bs->total_bytes;

    if ((is_write(req->op) && !blk->options.writable) || blk->bs->inactive) {
        return -EPERM;
    }
    if (req->op == BLOCK_FLUSH) {
        return 0;
    }
    if (req->offset < 0 || req->bytes < 0 || req->offset > length ||
        req->bytes > length - req->offset) {
        return -EIO;
    }
    if ((req->offset | req->bytes) & (blk->options.block_size - 1)) {
        return -EINVAL;
    }
    return 0;
}

/* The device's own callback comes first: a request that it submits from
 * there keeps a drain from ending. */
static void request_done(BlockRequest *req, void *opaque, int ret)
{
    BlkChannel *channel = opaque;
    BlockStats *stats = &channel->stats;

    block_stats_latency(stats, aio_context_now_ns(channel->ctx) -
                                   req->start_ns);
    if (ret < 0) {
        stats_add(&stats->errors, 1);
    }
    aio_context_io_end(channel->ctx);
    block_request_complete(req, ret);
    set_in_flight(channel, channel->in_flight - 1);
    if (channel->in_flight == 0 && channel->drained) {
        call_drained(channel);
    }
}

static void set_write_flags(BlockBackend *blk, BlockRequest *req)
{
    if ((req->op == BLOCK_WRITE || req->op == BLOCK_WRITE_ZEROES) &&
        (blk->options.writethrough || !blk_write_cache(blk))) {
        req->flags |= BLOCK_REQ_FUA;
    }
}

void blk_submit(BlkChannel *channel, BlockRequest *req)
{
    BlockBackend *blk = channel->blk;
    BlockStats *stats = &channel->stats;
    int ret = check_request(blk, req);

    req->channel = channel;
    req->ctx = channel->ctx;
    req->start_ns = aio_context_now_ns(channel->ctx);
    req->engine.stats = &stats->engine;
    set_in_flight(channel, channel->in_flight + 1);
    aio_context_io_begin(channel->ctx);
    block_request_push(req, request_done, channel);
    stats_add(&stats->requests[req->op], 1);
    if (ret < 0) {
        stats_add(&stats->invalid, 1);
    } else if (req->op != BLOCK_FLUSH) {
        stats_add(&stats->bytes[req->op], req->bytes);
    }
    if (ret < 0 || (req->bytes == 0 && req->op != BLOCK_FLUSH)) {
        block_request_complete_later(req, ret);
        return;
    }
    set_write_flags(blk, req);
    bdrv_submit(blk->bs, req);
}
