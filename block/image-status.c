/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells which parts of an image hold data, read as zeroes, or are another
 * layer's. Called by the tools and by formats; asks the drivers.
 *
 * How it works: a driver speaks for its own layer. Here its answer is cut to
 * the question, what nobody has becomes zeroes where nothing lies below, and
 * the file is asked for the holes in what a format calls data.
 *
 * A backing file that overlays share may live in another thread than the one
 * that asks. There the question goes on, for that node and all below it: what
 * has no home of its own is attached to that of the node above.
 */
#include "block/image.h"

#include <errno.h>

#include "node-home.h"

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

/* A question on its way to another thread. */
typedef struct StatusVisit {
    BlockDriverState *bs;
    int64_t offset, bytes;
    BlockStatus *status;
    int ret;
} StatusVisit;

static void coroutine_fn status_entry(void *opaque)
{
    StatusVisit *visit = opaque;

    visit->ret = bdrv_co_block_status(visit->bs, visit->offset, visit->bytes,
                                      visit->status);
}

static int coroutine_fn ask_at_home(BlockDriverState *bs, int64_t offset,
                                    int64_t bytes, BlockStatus *status)
{
    StatusVisit visit = {
        .bs = bs, .offset = offset, .bytes = bytes, .status = status,
    };

    node_home_co_run(bs, status_entry, &visit);
    return visit.ret;
}

/* @bytes > 0, and the node has them. */
static int coroutine_fn ask_node(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes, BlockStatus *status)
{
    int ret = ask_driver(bs, offset, bytes, status);

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
    return 0;
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
    if (node_home_is_elsewhere(bs)) {
        return ask_at_home(bs, offset, bytes, status);
    }
    if (shows_file(bs)) {
        return bdrv_co_block_status(bs->file, offset, bytes, status);
    }
    status->flags = 0;
    ret = ask_node(bs, offset, MIN(bytes, rest), status);
    if (ret == 0 && status->bytes == rest) {
        status->flags |= BLOCK_STATUS_EOF;
    }
    return ret;
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

/* Down a chain, from thread to thread. */
typedef struct StatusWalk {
    BlockDriverState *bs;         /* the next one; NULL: over */
    const BlockDriverState *base; /* here it ends as well */
    int64_t offset, bytes;
    BlockStatus *status;
    unsigned *depth;
    int ret;
} StatusWalk;

static int coroutine_fn ask_layer(StatusWalk *walk)
{
    BlockStatus *status = walk->status;
    BlockDriverState *bs = walk->bs;
    int ret = bdrv_co_block_status(bs, walk->offset, walk->bytes, status);

    walk->bs = NULL;
    if (ret < 0) {
        return ret;
    }
    if (status->bytes == 0) {
        behind_end(status, walk->bytes);
    }
    walk->bytes = status->bytes;
    status->flags &= ~BLOCK_STATUS_EOF;
    if (!(status->flags & BLOCK_STATUS_ALLOCATED)) {
        ++*walk->depth;
        walk->bs = bs->backing;
    }
    return 0;
}

/* Filters are no layers: what they say is their file's word. */
static void coroutine_fn walk_entry(void *opaque)
{
    StatusWalk *walk = opaque;

    while (walk->bs && walk->bs != walk->base && walk->ret == 0) {
        if (node_home_is_elsewhere(walk->bs)) {
            node_home_co_run(walk->bs, walk_entry, walk);
            return;
        }
        if (walk->bs->drv->is_filter && walk->bs->file) {
            walk->bs = walk->bs->file;
        } else {
            walk->ret = ask_layer(walk);
        }
    }
}

int coroutine_fn bdrv_co_block_status_above(BlockDriverState *bs,
                                            BlockDriverState *base,
                                            int64_t offset, int64_t bytes,
                                            BlockStatus *status,
                                            unsigned *depth)
{
    int64_t rest = MAX(bs->total_bytes - offset, 0);
    StatusWalk walk = {
        .bs = bs, .base = base, .offset = offset, .bytes = MIN(bytes, rest),
        .status = status, .depth = depth,
    };

    *depth = 0;
    *status = (BlockStatus){ .flags = BLOCK_STATUS_EOF };
    if (walk.bytes > 0) {
        walk_entry(&walk);
    }
    if (walk.ret == 0 && walk.bytes == rest) {
        status->flags |= BLOCK_STATUS_EOF;
    }
    return walk.ret;
}
