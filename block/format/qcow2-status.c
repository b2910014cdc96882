/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Says what a stretch of the disk is, without reading it: for maps, copies
 * and comparisons of images. Called beside requests.
 */
#include "qcow2.h"

/* Bits of BlockStatus by Qcow2Kind. What has a host offset gets that, too. */
static const unsigned kind_flags[] = {
    [QCOW2_UNALLOCATED] = 0,
    [QCOW2_NORMAL] = BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED,
    [QCOW2_ZERO_PLAIN] = BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED,
    [QCOW2_ZERO_ALLOC] = BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED,
    [QCOW2_COMPRESSED_DATA] = BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED |
                              BLOCK_STATUS_COMPRESSED,
};

/* With subclusters also some that is not allocated has a place. */
static bool has_place(const Qcow2Extent *extent)
{
    return extent->kind == QCOW2_NORMAL ||
           extent->kind == QCOW2_ZERO_ALLOC ||
           (extent->kind == QCOW2_UNALLOCATED && extent->host);
}

int coroutine_fn qcow2_co_block_status(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BlockStatus *status)
{
    Qcow2State *s = bs->opaque;
    Qcow2Extent extent;
    int ret;

    co_mutex_lock(&s->lock);
    ret = qcow2_co_map(bs, offset, bytes, &extent);
    co_mutex_unlock(&s->lock);
    if (ret < 0) {
        return ret;
    }
    status->flags = kind_flags[extent.kind];
    status->bytes = extent.bytes;
    if (has_place(&extent)) {
        status->flags |= BLOCK_STATUS_OFFSET;
        status->map = extent.host;
        status->file = s->data_file;
    }
    return 0;
}
