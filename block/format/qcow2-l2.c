/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes L2 tables that may be changed: new ones, or copies of those that a
 * snapshot shares; and larger L1 tables. All of it under s->lock.
 *
 * Order on the disk: refcounts before the L2 table, that before the L1 entry
 * that leads to it; a new L1 table before the header. What is given up is
 * free once the change is stable.
 *
 * Nothing of that is waited for when a table is made: its entry is in memory
 * at once, and is written when the cache of L2 tables is flushed. Until then
 * the disk leads to the old table, or to none.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block/debug.h"

/* --- entries --- */

bool qcow2_l1_is_dirty(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return s->write && s->write->l1_dirty->len > 0;
}

static int coroutine_fn write_entry(BlockDriverState *bs, unsigned index)
{
    Qcow2State *s = bs->opaque;
    Qcow2Table table = {
        .entries = s->l1,
        .count = s->l1_entries,
        .offset = s->l1_offset,
        .kind = QCOW2_OL_ACTIVE_L1,
    };

    bdrv_co_debug_event(bs->file, BLKDBG_L1_UPDATE);
    return qcow2_co_write_entry(bs, &table, index);
}

/* The sector has the others, too, so they have to be allowed to be there. */
int coroutine_fn qcow2_co_write_l1_entry(BlockDriverState *bs,
                                         unsigned index)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    if (qcow2_l1_is_dirty(bs)) {
        ret = qcow2_cache_flush(s->l2_cache);
    }
    return ret < 0 ? ret : write_entry(bs, index);
}

static int compare_indexes(gconstpointer a, gconstpointer b)
{
    unsigned left = *(const unsigned *)a, right = *(const unsigned *)b;

    return (left > right) - (left < right);
}

/* Each sector once. */
static int coroutine_fn write_dirty(BlockDriverState *bs, GArray *dirty)
{
    unsigned in_unit = qcow2_write_unit(bs) / sizeof(uint64_t);
    unsigned last = UINT_MAX;

    g_array_sort(dirty, compare_indexes);
    for (unsigned i = 0; i < dirty->len; i++) {
        unsigned index = g_array_index(dirty, unsigned, i);
        int ret;

        if (index / in_unit == last) {
            continue;
        }
        ret = write_entry(bs, index);
        if (ret < 0) {
            return ret;
        }
        last = index / in_unit;
    }
    return 0;
}

int coroutine_fn qcow2_co_flush_l1(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret;

    if (!qcow2_l1_is_dirty(bs)) {
        return 0;
    }
    ret = write_dirty(bs, s->write->l1_dirty);
    if (ret < 0) {
        return ret;
    }
    g_array_set_size(s->write->l1_dirty, 0);
    return bdrv_co_flush(bs->file);
}

/* --- a table --- */

/* The place of a new table, and the one whose contents it gets. */
typedef struct NewTable {
    int64_t offset;
    uint64_t from; /* 0: all zeroes */
    bool fresh;    /* which is what is there */
    bool counted;  /* what counts it is stable */
} NewTable;

/* A slice, @at from the start. */
static int coroutine_fn fill_slice(BlockDriverState *bs,
                                   const NewTable *table, uint64_t at,
                                   uint64_t bytes)
{
    Qcow2State *s = bs->opaque;
    void *slice, *old = NULL;
    int ret = 0;

    if (table->from) {
        ret = qcow2_cache_get(s->l2_cache, table->from + at, &old);
    }
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_cache_get_empty(s->l2_cache, table->offset + at, &slice);
    if (ret == 0) {
        if (old) {
            memcpy(slice, old, bytes);
        } else {
            memset(slice, 0, bytes);
        }
        if (old || !table->fresh) {
            qcow2_mark_l2_dirty(bs, slice);
        }
        qcow2_cache_put(s->l2_cache, &slice);
    }
    if (old) {
        qcow2_cache_put(s->l2_cache, &old);
    }
    return ret;
}

static int coroutine_fn fill_table(BlockDriverState *bs,
                                   const NewTable *table)
{
    Qcow2State *s = bs->opaque;
    uint64_t step = (uint64_t)s->l2_slice_entries * s->l2_entry_bytes;
    int ret = table->counted ? 0 : qcow2_co_order_l2(bs);

    for (uint64_t at = 0; at < (uint64_t)s->cluster_size && ret == 0;
         at += step) {
        ret = fill_slice(bs, table, at, step);
    }
    return ret;
}

static int coroutine_fn make_table(BlockDriverState *bs, unsigned index,
                                   uint64_t old)
{
    Qcow2State *s = bs->opaque;
    NewTable table = { .from = old };
    Qcow2Row row;
    int ret = qcow2_co_take_row(bs, 1, &row);

    if (ret < 0) {
        return ret;
    }
    table.offset = row.first << s->cluster_bits;
    table.fresh = row.fresh;
    table.counted = row.counted;
    if (old) {
        bdrv_co_debug_event(bs->file, BLKDBG_L2_ALLOC_COW_READ);
    }
    ret = fill_table(bs, &table);
    bdrv_co_debug_event(bs->file, BLKDBG_L2_ALLOC_WRITE);
    if (ret < 0) {
        qcow2_cache_forget(s->l2_cache, table.offset, s->cluster_size);
        qcow2_co_free_clusters(bs, table.offset, s->cluster_size,
                               QCOW2_DISCARD_NEVER);
        return ret;
    }
    s->l1[index] = table.offset | QCOW2_COPIED;
    g_array_append_val(s->write->l1_dirty, index);
    s->write->changes++;
    qcow2_overlap_add(bs, table.offset, s->cluster_size);
    if (old) {
        qcow2_free_later(bs, old, s->cluster_size, QCOW2_DISCARD_OTHER);
    }
    return 0;
}

int coroutine_fn qcow2_co_make_l2(BlockDriverState *bs, int64_t offset)
{
    Qcow2State *s = bs->opaque;
    uint64_t index = (uint64_t)offset >> s->l1_shift;
    uint64_t entry, old;
    int ret;

    if (index >= s->l1_entries) {
        ret = qcow2_co_grow_l1(bs, index + 1, false);
        if (ret < 0) {
            return ret;
        }
    }
    entry = s->l1[index];
    old = entry & QCOW2_L1_OFFSET;
    if ((entry & QCOW2_L1_RESERVED) || (old & (s->cluster_size - 1))) {
        qcow2_co_signal_corruption(bs, true, -1,
                                   "L2 table offset %#" PRIx64
                                   " unaligned (L1 index: %#" PRIx64 ")",
                                   old, index);
        return -EIO;
    }
    if (old && (entry & QCOW2_COPIED)) {
        return 0;
    }
    return make_table(bs, index, old);
}

/* --- a larger L1 table --- */

static int coroutine_fn write_new_l1(BlockDriverState *bs,
                                     const uint64_t *entries, uint64_t count,
                                     int64_t *offset)
{
    Qcow2State *s = bs->opaque;
    uint64_t bytes = count * sizeof(*entries);
    int ret;

    bdrv_co_debug_event(bs->file, BLKDBG_L1_GROW_ALLOC_TABLE);
    *offset = qcow2_co_alloc_clusters(bs, bytes);
    if (*offset < 0) {
        return *offset;
    }
    ret = qcow2_cache_flush(s->refcount_cache);
    if (ret == 0 && qcow2_l1_is_dirty(bs)) {
        ret = qcow2_cache_flush(s->l2_cache);
    }
    if (ret == 0) {
        bdrv_co_debug_event(bs->file, BLKDBG_L1_GROW_WRITE_TABLE);
        ret = qcow2_co_write_table(bs, &(Qcow2Table){
            .entries = entries, .count = count, .offset = *offset });
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret < 0) {
        qcow2_co_free_clusters(bs, *offset, bytes, QCOW2_DISCARD_NEVER);
    }
    return ret;
}

static int coroutine_fn switch_l1(BlockDriverState *bs, uint64_t *entries,
                                  uint64_t count, int64_t offset)
{
    Qcow2State *s = bs->opaque;
    uint64_t old_offset = s->l1_offset;
    unsigned old_count = s->l1_entries;
    int ret;

    bdrv_co_debug_event(bs->file, BLKDBG_L1_GROW_ACTIVATE_TABLE);
    s->l1_offset = offset;
    s->l1_entries = count;
    ret = qcow2_co_write_header(bs);
    if (ret < 0) {
        s->l1_offset = old_offset;
        s->l1_entries = old_count;
        qcow2_co_free_clusters(bs, offset, count * sizeof(*entries),
                               QCOW2_DISCARD_NEVER);
        return ret;
    }
    g_free(s->l1);
    s->l1 = entries;
    qcow2_overlap_changed(bs);
    if (old_offset) {
        qcow2_free_later(bs, old_offset, old_count * sizeof(*entries),
                         QCOW2_DISCARD_OTHER);
    }
    return 0;
}

static uint64_t l1_entries_for(uint64_t have, uint64_t want, bool exact)
{
    uint64_t entries = MAX(have, 1);

    if (exact) {
        return want;
    }
    while (entries < want) {
        entries += (entries + 1) / 2;
    }
    return entries;
}

int coroutine_fn qcow2_co_grow_l1(BlockDriverState *bs, uint64_t entries,
                                  bool exact)
{
    Qcow2State *s = bs->opaque;
    uint64_t max = QCOW2_MAX_L1_BYTES / sizeof(uint64_t);
    uint64_t *table;
    uint64_t count;
    int64_t offset;
    int ret;

    if (entries <= s->l1_entries) {
        return 0;
    }
    if (entries > max) {
        return -EFBIG;
    }
    count = MIN(l1_entries_for(s->l1_entries, entries, exact), max);
    table = g_try_new0(uint64_t, count);
    if (!table) {
        return -ENOMEM;
    }
    memcpy(table, s->l1, s->l1_entries * sizeof(*table));
    ret = write_new_l1(bs, table, count, &offset);
    if (ret == 0) {
        ret = switch_l1(bs, table, count, offset);
    }
    if (ret < 0) {
        g_free(table);
    }
    return ret;
}
