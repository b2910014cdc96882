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
#include "qcow2-write.h"

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

/* In steps, so that others get at the tables as well, and now and then the
 * rest of the thread does something. With more clusters than 16 TiB have of
 * 64 KiB it is not worth it: as if there were holes. */
#define COUNT_AT_A_TIME 4096
#define GIVE_WAY_AFTER  65536
#define COUNT_AT_MOST   (UINT64_C(1) << 28)

typedef struct UsedCount {
    uint64_t next;   /* cluster to be looked at */
    uint64_t end;
    uint64_t used;
    uint64_t looked; /* at so many */
} UsedCount;

/* Some, of one refcount block; or the whole region that has none. */
static int coroutine_fn count_some(BlockDriverState *bs, UsedCount *count)
{
    Qcow2State *s = bs->opaque;
    uint64_t mask = (1ULL << s->refcount_block_bits) - 1;
    uint64_t end = MIN((count->next | mask) + 1, count->end);
    int64_t offset = qcow2_co_refblock_offset(bs, count->next);
    void *block;
    int ret;

    if (offset <= 0) {
        count->next = end;
        count->looked++;
        return offset;
    }
    ret = qcow2_cache_get(s->refcount_cache, offset, &block);
    if (ret < 0) {
        return ret;
    }
    end = MIN(end, count->next + COUNT_AT_A_TIME);
    for (uint64_t i = count->next; i < end; i++) {
        count->used += qcow2_refcount_at(s, block, i & mask) > 0;
    }
    qcow2_cache_put(s->refcount_cache, &block);
    count->looked += end - count->next;
    count->next = end;
    return 0;
}

static bool coroutine_fn uses_at_least(BlockDriverState *bs, uint64_t least)
{
    Qcow2State *s = bs->opaque;
    uint64_t counted = (uint64_t)s->reftable_entries << s->refcount_block_bits;
    UsedCount count = {
        .end = MIN(qcow2_size_to_clusters(s, bs->file->total_bytes), counted),
    };
    uint64_t next_turn = GIVE_WAY_AFTER;

    while (count.next < count.end && count.used < least) {
        int ret;

        co_mutex_lock(&s->lock);
        ret = count_some(bs, &count);
        co_mutex_unlock(&s->lock);
        if (ret < 0) {
            return false;
        }
        if (count.looked >= COUNT_AT_MOST) {
            return true;
        }
        if (count.looked >= next_turn) {
            coroutine_give_way();
            next_turn = count.looked + GIVE_WAY_AFTER;
        }
    }
    return count.used >= least;
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
