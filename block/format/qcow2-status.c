/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Says what a stretch of the disk is, without reading it: for maps, copies
 * and comparisons of images. Called beside requests.
 *
 * Clusters may be allocated and yet be holes of the file, after
 * preallocation=metadata above all. Whether that is worth to be looked into,
 * which costs system calls, is decided once: by whether there are many more
 * clusters in use than the file takes on its disk.
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

/* In steps, so that others get at the tables as well. */
#define COUNT_AT_A_TIME 4096

static int coroutine_fn count_used(BlockDriverState *bs, uint64_t first,
                                   uint64_t end, uint64_t *used)
{
    Qcow2State *s = bs->opaque;
    uint64_t refcount;
    int ret = 0;

    co_mutex_lock(&s->lock);
    for (uint64_t i = first; i < end && ret == 0; i++) {
        ret = qcow2_co_get_refcount(bs, i, &refcount);
        *used += ret == 0 && refcount > 0;
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

static bool coroutine_fn uses_at_least(BlockDriverState *bs, uint64_t least)
{
    const Qcow2State *s = bs->opaque;
    uint64_t clusters = qcow2_size_to_clusters(s, bs->file->total_bytes);
    uint64_t used = 0;

    for (uint64_t i = 0; i < clusters && used < least;
         i += COUNT_AT_A_TIME) {
        if (count_used(bs, i, MIN(i + COUNT_AT_A_TIME, clusters),
                       &used) < 0) {
            return false;
        }
    }
    return used >= least;
}

static void coroutine_fn look_for_holes(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int64_t there = bdrv_allocated_bytes(bs->file);
    uint64_t clusters = there >> s->cluster_bits;

    s->holes_looked_for = true;
    if (s->data_file == bs->file && there >= 0) {
        s->has_holes = uses_at_least(bs, MAX(clusters * 10 / 9,
                                             clusters + 2));
    }
}

int coroutine_fn qcow2_co_block_status(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BlockStatus *status)
{
    Qcow2State *s = bs->opaque;
    Qcow2Extent extent;
    int ret;

    if (!s->holes_looked_for) {
        look_for_holes(bs);
    }
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
        if (s->has_holes && extent.kind == QCOW2_NORMAL) {
            status->flags |= BLOCK_STATUS_RECURSE;
        }
        status->map = extent.host;
        status->file = s->data_file;
    }
    return 0;
}
