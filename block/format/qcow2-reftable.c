/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New refcount blocks, and larger refcount tables. All of it under s->lock.
 *
 * How it works: a block covers a region of the file, and wherever it lies
 * itself, it takes up a cluster of some region. The first free cluster gets a
 * block. If the region around that cluster has none yet, then this becomes
 * that region's block and counts itself; else it may be the block that was
 * asked for:
 *
 *     region      |    0    |    1    |    2    |
 *     block              b0   b1
 *     free                      ^first
 *     asked for: 2. The cluster is in region 1, which has b1: this counts the
 *     new block, and that is b2.
 *
 * A table that is too short is replaced by one half as long again, placed
 * behind all that the old one covers, together with the blocks that count it:
 *
 *     | ... covered by the old table ... | blocks | table |
 *
 * Order on the disk: what counts a block, and the block, before the table
 * that leads to it; a table before the header that leads to it.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/debug.h"

#define ENTRY_BYTES sizeof(uint64_t)

/* --- a block --- */

int coroutine_fn qcow2_co_write_reftable_entry(BlockDriverState *bs,
                                               uint64_t index)
{
    Qcow2State *s = bs->opaque;
    Qcow2Table table = {
        .entries = s->reftable,
        .count = s->reftable_entries,
        .offset = s->reftable_offset,
        .kind = QCOW2_OL_REFCOUNT_TABLE,
    };

    return qcow2_co_write_entry(bs, &table, index);
}

static int coroutine_fn enter_block(BlockDriverState *bs, uint64_t region,
                                    uint64_t offset)
{
    Qcow2State *s = bs->opaque;
    int ret;

    bdrv_co_debug_event(bs->file, BLKDBG_REFBLOCK_ALLOC_WRITE);
    ret = qcow2_cache_flush(s->refcount_cache);
    if (ret < 0) {
        return ret;
    }
    bdrv_co_debug_event(bs->file, BLKDBG_REFBLOCK_ALLOC_HOOKUP);
    s->reftable[region] = offset;
    ret = qcow2_co_write_reftable_entry(bs, region);
    if (ret < 0) {
        s->reftable[region] = 0;
        return ret;
    }
    s->reftable_last = MAX(s->reftable_last, region);
    qcow2_cache_depends_on_flush(s->l2_cache);
    qcow2_overlap_add(bs, offset, s->cluster_size);
    return 0;
}

/* A block in cluster @at, which is free and counts itself or is counted by a
 * block that there is. */
static int coroutine_fn count_block(BlockDriverState *bs, uint64_t region,
                                    uint64_t at, void *block)
{
    Qcow2State *s = bs->opaque;
    uint64_t mask = (1ULL << s->refcount_block_bits) - 1;

    memset(block, 0, s->cluster_size);
    qcow2_cache_mark_dirty(s->refcount_cache, block);
    if (at >> s->refcount_block_bits == region) {
        qcow2_set_refcount_at(s, block, at & mask, 1);
        return 0;
    }
    return qcow2_co_change_refcount(bs, &(Qcow2RefcountChange){
        .first = at, .clusters = 1, .addend = 1 });
}

static int coroutine_fn add_block_at(BlockDriverState *bs, uint64_t region,
                                     uint64_t at)
{
    Qcow2State *s = bs->opaque;
    int64_t offset = at << s->cluster_bits;
    void *block;
    int ret = qcow2_co_check_overlap(bs, 0, offset, s->cluster_size);

    if (ret == 0) {
        ret = qcow2_cache_get_empty(s->refcount_cache, offset, &block);
    }
    if (ret < 0) {
        return ret;
    }
    ret = count_block(bs, region, at, block);
    qcow2_cache_put(s->refcount_cache, &block);
    if (ret == 0) {
        ret = enter_block(bs, region, offset);
    }
    if (ret < 0) {
        qcow2_cache_forget(s->refcount_cache, offset, s->cluster_size);
        return ret;
    }
    qcow2_co_use_clusters(bs, offset, s->cluster_size);
    return 0;
}

/* --- a larger table --- */

/* What a larger table looks like; clusters are counted from @at. */
typedef struct Growth {
    uint64_t at;      /* first cluster; the first of a region */
    uint64_t blocks;  /* clusters with the blocks that count all of this */
    uint64_t table;   /* clusters with the table */
    uint64_t *entries;
    uint64_t count;   /* of entries */
} Growth;

static int plan_growth(const Qcow2State *s, uint64_t min_entries,
                       Growth *growth)
{
    uint64_t in_cluster = s->cluster_size / ENTRY_BYTES;
    uint64_t in_block = 1ULL << s->refcount_block_bits;
    uint64_t want = MAX(min_entries,
                        s->reftable_entries + s->reftable_entries / 2);
    uint64_t before;

    growth->at = (uint64_t)s->reftable_entries << s->refcount_block_bits;
    growth->blocks = 0;
    do {
        before = growth->blocks;
        want = MAX(want, s->reftable_entries + growth->blocks);
        if (want > QCOW2_MAX_REFTABLE_BYTES / ENTRY_BYTES) {
            return -EFBIG;
        }
        growth->table = (want + in_cluster - 1) / in_cluster;
        growth->blocks = (growth->table + growth->blocks + in_block - 1) /
                         in_block;
    } while (growth->blocks != before);
    growth->count = growth->table * in_cluster;
    if (growth->count * ENTRY_BYTES > QCOW2_MAX_REFTABLE_BYTES ||
        growth->at + growth->blocks + growth->table > qcow2_max_cluster(s)) {
        return -EFBIG;
    }
    return 0;
}

static void fill_table(const Qcow2State *s, Growth *growth)
{
    growth->entries = g_new0(uint64_t, growth->count);
    memcpy(growth->entries, s->reftable, s->reftable_entries * ENTRY_BYTES);
    for (uint64_t i = 0; i < growth->blocks; i++) {
        growth->entries[s->reftable_entries + i] =
            (growth->at + i) << s->cluster_bits;
    }
}

/* Counts the blocks and the table, which lie one behind the other. */
static void fill_block(const Qcow2State *s, const Growth *growth,
                       uint64_t number, void *block)
{
    uint64_t in_block = 1ULL << s->refcount_block_bits;
    uint64_t before = number * in_block;
    uint64_t used = growth->blocks + growth->table;

    memset(block, 0, s->cluster_size);
    for (uint64_t i = 0; i < in_block && before + i < used; i++) {
        qcow2_set_refcount_at(s, block, i, 1);
    }
}

static int coroutine_fn write_blocks(BlockDriverState *bs,
                                     const Growth *growth)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    for (uint64_t i = 0; i < growth->blocks && ret == 0; i++) {
        uint64_t offset = (growth->at + i) << s->cluster_bits;
        void *block;

        ret = qcow2_cache_get_empty(s->refcount_cache, offset, &block);
        if (ret == 0) {
            fill_block(s, growth, i, block);
            qcow2_cache_mark_dirty(s->refcount_cache, block);
            qcow2_cache_put(s->refcount_cache, &block);
        }
    }
    return ret < 0 ? ret : qcow2_cache_write(s->refcount_cache);
}

static int coroutine_fn write_growth(BlockDriverState *bs,
                                     const Growth *growth)
{
    Qcow2State *s = bs->opaque;
    Qcow2Table table = {
        .entries = growth->entries,
        .count = growth->count,
        .offset = (growth->at + growth->blocks) << s->cluster_bits,
    };
    uint64_t bytes = (growth->blocks + growth->table) << s->cluster_bits;
    int ret = qcow2_co_check_overlap(bs, 0, growth->at << s->cluster_bits,
                                     bytes);

    if (ret == 0) {
        bdrv_co_debug_event(bs->file, BLKDBG_REFBLOCK_ALLOC_WRITE_BLOCKS);
        ret = write_blocks(bs, growth);
    }
    if (ret == 0) {
        bdrv_co_debug_event(bs->file, BLKDBG_REFBLOCK_ALLOC_WRITE_TABLE);
        ret = qcow2_co_write_table(bs, &table);
    }
    return ret < 0 ? ret : bdrv_co_flush(bs->file);
}

/* Makes the state and the header say that the table is the new one. */
static int coroutine_fn switch_tables(BlockDriverState *bs, Growth *growth)
{
    Qcow2State *s = bs->opaque;
    uint64_t old_offset = s->reftable_offset;
    unsigned old_clusters = s->reftable_clusters;
    int ret;

    bdrv_co_debug_event(bs->file, BLKDBG_REFBLOCK_ALLOC_SWITCH_TABLE);
    s->reftable_offset = (growth->at + growth->blocks) << s->cluster_bits;
    s->reftable_clusters = growth->table;
    ret = qcow2_co_write_header(bs);
    if (ret < 0) {
        s->reftable_offset = old_offset;
        s->reftable_clusters = old_clusters;
        return ret;
    }
    g_free(s->reftable);
    s->reftable = g_steal_pointer(&growth->entries);
    s->reftable_last = s->reftable_entries + growth->blocks - 1;
    s->reftable_entries = growth->count;
    qcow2_overlap_changed(bs);
    qcow2_free_later(bs, old_offset,
                     (uint64_t)old_clusters << s->cluster_bits,
                     QCOW2_DISCARD_OTHER);
    return bdrv_co_flush(bs->file);
}

static int coroutine_fn grow_table(BlockDriverState *bs, uint64_t min_entries)
{
    Qcow2State *s = bs->opaque;
    Growth growth = { 0 };
    uint64_t bytes;
    int ret = plan_growth(s, min_entries, &growth);

    if (ret < 0) {
        return ret;
    }
    bdrv_co_debug_event(bs->file, BLKDBG_REFTABLE_GROW);
    fill_table(s, &growth);
    bytes = (growth.blocks + growth.table) << s->cluster_bits;
    ret = write_growth(bs, &growth);
    if (ret == 0) {
        qcow2_co_use_clusters(bs, growth.at << s->cluster_bits, bytes);
        ret = switch_tables(bs, &growth);
    } else {
        qcow2_cache_forget(s->refcount_cache, growth.at << s->cluster_bits,
                           growth.blocks << s->cluster_bits);
    }
    g_free(growth.entries);
    return ret;
}

/* --- what is asked for --- */

/* One step towards a block for @region. */
static int coroutine_fn add_block(BlockDriverState *bs, uint64_t region)
{
    Qcow2State *s = bs->opaque;
    Qcow2Found found;
    uint64_t around;
    int ret;

    if (region >= s->reftable_entries) {
        return grow_table(bs, region + 1);
    }
    ret = qcow2_co_find_free(bs, 1, 1, &found);
    if (ret < 0) {
        return ret;
    }
    around = found.first >> s->refcount_block_bits;
    if (around >= s->reftable_entries) {
        return grow_table(bs, around + 1);
    }
    if (s->reftable[around] == 0) {
        region = around;
    }
    return add_block_at(bs, region, found.first);
}

int coroutine_fn qcow2_co_make_refblock(BlockDriverState *bs,
                                        uint64_t cluster)
{
    Qcow2State *s = bs->opaque;
    int made = 0;

    bdrv_co_debug_event(bs->file, BLKDBG_REFBLOCK_ALLOC);
    while (true) {
        int64_t offset = qcow2_co_refblock_offset(bs, cluster);
        int ret;

        if (offset > 0) {
            bdrv_co_debug_event(bs->file, BLKDBG_REFBLOCK_LOAD);
        }
        if (offset != 0) {
            return offset < 0 ? offset : made;
        }
        ret = add_block(bs, cluster >> s->refcount_block_bits);
        if (ret < 0) {
            return ret;
        }
        made = 1;
    }
}
