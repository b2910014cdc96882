/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What filters do alike: take over what their file is like, pass requests on
 * and grow with it.
 *
 * The rule to know: a filter never pushes a frame on a request of the layer
 * above, so that any number of them fits into BLOCK_REQUEST_MAX_FRAMES. What
 * has to see a result sends a request of its own, from a coroutine.
 */
#include "filter.h"

#include "block/block-co.h"
#include "block/iov.h"

#define ZERO_DATA_BYTES (64 * 1024)

bool filter_open(BlockDriverState *bs, Options *opts, GError **error)
{
    unsigned depth = 1;

    for (const BlockDriverState *below = bs->file;
         below && below->drv->is_filter; below = below->file) {
        depth++;
    }
    if (depth > FILTER_MAX_STACK) {
        return options_fail(opts, error, "more than %d filters on top of each "
                            "other", FILTER_MAX_STACK);
    }
    bs->total_bytes = bs->file->total_bytes;
    bs->limits = bs->file->limits;
    bs->limits.request_alignment = 1;
    bs->limits.memory_alignment = 1;
    return true;
}

static bool is_write(const BlockRequest *req)
{
    return req->op == BLOCK_WRITE || req->op == BLOCK_WRITE_ZEROES;
}

void filter_pass(BlockDriverState *bs, BlockRequest *req)
{
    if (G_UNLIKELY(is_write(req) &&
                   req->offset + req->bytes > bs->total_bytes)) {
        bdrv_submit_co(bs, req, filter_co_pass);
    } else {
        bdrv_submit(bs->file, req);
    }
}

static int coroutine_fn co_pass(BlockDriverState *bs, const BlockRequest *req,
                                int64_t bytes)
{
    g_autofree struct iovec *slice = NULL;
    BlockIo io = {
        .op = req->op,
        .flags = req->flags,
        .offset = req->offset,
        .bytes = bytes,
        .iov = req->iov,
        .niov = req->niov,
    };

    if (bytes < req->bytes && req->niov > 0) {
        slice = g_new(struct iovec, req->niov);
        io.niov = iov_slice(slice, req->iov, req->niov, 0, bytes);
        io.iov = slice;
    }
    return bdrv_co_io(bs->file, &io);
}

/* How much of @req is within the file, or may make it longer. The last block
 * of a filter that has an alignment of its own can reach past both. */
static int64_t bytes_to_pass(const BlockDriverState *bs,
                             const BlockRequest *req)
{
    int64_t left = bs->file->total_bytes - req->offset;

    if (bs->grows && is_write(req)) {
        return req->bytes;
    }
    return MIN(req->bytes, MAX(left, 0));
}

int coroutine_fn filter_co_pass(BlockDriverState *bs, const BlockRequest *req)
{
    int64_t bytes = bytes_to_pass(bs, req);
    int ret = co_pass(bs, req, bytes);

    if (req->op == BLOCK_READ && bytes < req->bytes) {
        iov_memset(req->iov, req->niov, bytes, 0, req->bytes - bytes);
    }
    if (bs->grows && bs->file->total_bytes > bs->total_bytes) {
        bs->total_bytes = bs->file->total_bytes;
    }
    return ret;
}

int coroutine_fn filter_co_write_zero_data(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           unsigned flags)
{
    size_t size = MIN(bytes, ZERO_DATA_BYTES);
    g_autofree char *zeroes = g_malloc0(size);
    int ret = 0;

    while (ret == 0 && bytes > 0) {
        struct iovec iov = { zeroes, MIN(bytes, (int64_t)size) };
        BlockRequest write = {
            .op = BLOCK_WRITE,
            .flags = flags & BLOCK_REQ_FUA,
            .offset = offset,
            .bytes = iov.iov_len,
            .iov = &iov,
            .niov = 1,
        };

        ret = filter_co_pass(bs, &write);
        offset += write.bytes;
        bytes -= write.bytes;
    }
    return ret;
}
