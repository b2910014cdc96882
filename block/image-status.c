/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells which parts of an image hold data, read as zeroes, or are another
 * layer's. Called by the tools and by formats; asks the drivers.
 *
 * How it works: a driver speaks for its own layer. Here its answer is cut to
 * the question, what nobody has becomes zeroes where nothing lies below, and
 * the file is asked for the holes in what a format calls data.
 */
#include "block/image.h"

#include <errno.h>

/* What there is to say without a driver's word is that it is data. */
static int coroutine_fn ask_driver(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes, BlockStatus *status)
{
    if (bs->drv->image && bs->drv->image->co_block_status) {
        return bs->drv->image->co_block_status(bs, offset, bytes, status);
    }
    status->flags = BLOCK_STATUS_DATA;
    status->bytes = bytes;
    if (bs->drv->is_protocol) {
        status->flags |= BLOCK_STATUS_OFFSET;
        status->map = offset;
        status->file = bs;
    }
    return 0;
}

/* A filter's file has the last word: what it says is found out, and not
 * allocated for having been. */
static bool shows_file(const BlockDriverState *bs)
{
    return bs->drv->is_filter && bs->file &&
           !(bs->drv->image && bs->drv->image->co_block_status);
}

/* What is data to the format may be a hole to its file. */
static int coroutine_fn ask_file(BlockDriverState *bs, BlockStatus *status)
{
    BlockStatus below;
    int ret;

    if (!(status->flags & BLOCK_STATUS_RECURSE) ||
        !(status->flags & BLOCK_STATUS_DATA) || status->file == bs) {
        return 0;
    }
    ret = bdrv_co_block_status(status->file, status->map, status->bytes,
                               &below);
    if (ret < 0) {
        return ret;
    }
    if (below.bytes == 0) { /* behind its end */
        status->flags |= BLOCK_STATUS_ZERO;
        return 0;
    }
    status->bytes = MIN(status->bytes, below.bytes);
    status->flags |= below.flags & BLOCK_STATUS_ZERO;
    return 0;
}

/* Nothing of this layer: zeroes, if there is nothing below either. */
static void look_below(const BlockDriverState *bs, int64_t offset,
                       BlockStatus *status)
{
    const BlockDriverState *backing = bs->backing;

    if (!backing || offset >= backing->total_bytes) {
        status->flags |= BLOCK_STATUS_ZERO;
    } else {
        status->bytes = MIN(status->bytes, backing->total_bytes - offset);
    }
}

int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, BlockStatus *status)
{
    int64_t rest = bs->total_bytes - offset;
    int ret;

    g_assert(offset >= 0 && bytes >= 0);
    *status = (BlockStatus){ .flags = BLOCK_STATUS_EOF };
    if (rest <= 0 || bytes == 0) {
        return 0;
    }
    if (shows_file(bs)) {
        return bdrv_co_block_status(bs->file, offset, bytes, status);
    }
    status->flags = 0;
    bytes = MIN(bytes, rest);
    ret = ask_driver(bs, offset, bytes, status);
    if (ret < 0) {
        return ret;
    }
    g_assert(status->bytes > 0);
    status->bytes = MIN(status->bytes, bytes);
    ret = ask_file(bs, status);
    if (ret < 0) {
        return ret;
    }
    status->flags &= ~(BLOCK_STATUS_RECURSE | BLOCK_STATUS_EOF);
    if (status->flags & (BLOCK_STATUS_DATA | BLOCK_STATUS_ZERO)) {
        status->flags |= BLOCK_STATUS_ALLOCATED;
    } else if (!(status->flags & BLOCK_STATUS_ALLOCATED) &&
               !bs->drv->is_filter) {
        look_below(bs, offset, status);
    }
    if (status->bytes == rest) {
        status->flags |= BLOCK_STATUS_EOF;
    }
    return 0;
}

/* Filters are no layers: what they say is their file's word. */
static BlockDriverState *next_layer(BlockDriverState *bs,
                                    const BlockDriverState *base)
{
    while (bs && bs != base && bs->drv->is_filter && bs->file) {
        bs = bs->file;
    }
    return bs != base ? bs : NULL;
}

/*
 * A layer that is shorter than what lies on it stands for zeroes behind its
 * end, as if they were its own.
 */
static void behind_end(BlockStatus *status, int64_t bytes)
{
    status->flags = BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED;
    status->bytes = bytes;
}

int coroutine_fn bdrv_co_block_status_above(BlockDriverState *bs,
                                            BlockDriverState *base,
                                            int64_t offset, int64_t bytes,
                                            BlockStatus *status,
                                            unsigned *depth)
{
    int64_t rest = bs->total_bytes - offset;

    *depth = 0;
    *status = (BlockStatus){ .flags = BLOCK_STATUS_EOF };
    bytes = MIN(bytes, MAX(rest, 0));
    for (BlockDriverState *p = next_layer(bs, base); p && bytes > 0;
         p = next_layer(p->backing, base)) {
        int ret = bdrv_co_block_status(p, offset, bytes, status);

        if (ret < 0) {
            return ret;
        }
        if (status->bytes == 0) {
            behind_end(status, bytes);
        }
        bytes = status->bytes;
        status->flags &= ~BLOCK_STATUS_EOF;
        if (status->flags & BLOCK_STATUS_ALLOCATED) {
            break;
        }
        ++*depth;
    }
    if (bytes == MAX(rest, 0)) {
        status->flags |= BLOCK_STATUS_EOF;
    }
    return 0;
}
