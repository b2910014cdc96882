/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes new refcount structures from counts: of what a check has counted,
 * where the old ones cannot be repaired; of another width, for amend; of what
 * is used with a snapshot more or less.
 *
 * How it works: each stretch of the file that one block covers and that has
 * anything in use gets a block, in the first free cluster from there on, or of
 * all where the counts are not those of a check; the table goes where there is
 * room first. Both are counted as they are placed,
 * and may make more blocks necessary. Nothing of the old structures is
 * overwritten: they are in use until the header says otherwise, in one write.
 */
#include "qcow2-rebuild.h"

#include <errno.h>
#include <string.h>

#include "qcow2-write.h"

#define ENTRY_BYTES 8

typedef struct Qcow2Rebuild {
    BlockDriverState *bs;
    Qcow2Counts *counts;
    GArray *blocks;        /* of uint64_t: offset of each, or 0 */
    uint64_t table;        /* cluster; valid when @table_clusters is not 0 */
    uint64_t table_clusters;
    bool guarded;          /* the counts may be wrong: what lies in their
                              way is not written over */
} Qcow2Rebuild;

static int count_new(Qcow2Rebuild *r, uint64_t cluster)
{
    return qcow2_counts_add(r->counts, cluster, 1);
}

static bool has_block(const Qcow2Rebuild *r, uint64_t index)
{
    return index < r->blocks->len &&
           g_array_index(r->blocks, uint64_t, index) != 0;
}

/* Counts that are in force may be of clusters far behind the end of the file:
 * it need not grow to there. */
static int place_block(Qcow2Rebuild *r, uint64_t index)
{
    const Qcow2State *s = r->bs->opaque;
    uint64_t start = r->guarded ? 0 : index << s->refcount_block_bits;
    uint64_t cluster = qcow2_counts_find_free(r->counts, start, 1);
    int ret;

    if (index >= QCOW2_MAX_REFTABLE_BYTES / ENTRY_BYTES) {
        return -EFBIG;
    }
    if (index >= r->blocks->len) {
        g_array_set_size(r->blocks, index + 1);
    }
    g_array_index(r->blocks, uint64_t, index) = cluster << s->cluster_bits;
    ret = count_new(r, cluster);
    cluster >>= s->refcount_block_bits;
    if (ret < 0 || cluster >= index || has_block(r, cluster)) {
        return ret;
    }
    return place_block(r, cluster); /* where nothing was in use */
}

/* Whatever is counted has a block. New blocks are placed further on, where
 * this has not been yet, or see to that themselves. */
static int place_blocks(Qcow2Rebuild *r)
{
    const Qcow2State *s = r->bs->opaque;
    uint64_t used = qcow2_counts_next(r->counts, 0);
    int ret = 0;

    while (used != UINT64_MAX && ret == 0) {
        uint64_t index = used >> s->refcount_block_bits;

        if (!has_block(r, index)) {
            ret = place_block(r, index);
        }
        used = qcow2_counts_next(r->counts,
                                 (index + 1) << s->refcount_block_bits);
    }
    return ret;
}

static int place_table(Qcow2Rebuild *r, uint64_t clusters)
{
    int ret = 0;

    r->table = qcow2_counts_find_free(r->counts, 0, clusters);
    r->table_clusters = clusters;
    for (uint64_t i = 0; i < clusters && ret == 0; i++) {
        ret = count_new(r, r->table + i);
    }
    return ret;
}

/* Of a table that became too small again: nothing was written there. */
static void unplace_table(Qcow2Rebuild *r)
{
    for (uint64_t i = 0; i < r->table_clusters; i++) {
        qcow2_counts_clear(r->counts, r->table + i);
    }
    r->table_clusters = 0;
}

static int place_all(Qcow2Rebuild *r)
{
    const Qcow2State *s = r->bs->opaque;
    int ret = place_blocks(r);

    while (ret == 0) {
        uint64_t needed = qcow2_size_to_clusters(s, (uint64_t)r->blocks->len *
                                                        ENTRY_BYTES);

        if (needed <= r->table_clusters) {
            break;
        }
        unplace_table(r);
        ret = place_table(r, needed);
        if (ret == 0) {
            ret = place_blocks(r);
        }
    }
    return ret;
}

static void fill_block(Qcow2Rebuild *r, uint64_t index, void *block)
{
    const Qcow2State *s = r->bs->opaque;
    uint64_t start = index << s->refcount_block_bits;
    uint64_t end = (index + 1) << s->refcount_block_bits;
    Qcow2Counts *counts = r->counts;

    memset(block, 0, s->cluster_size);
    for (uint64_t i = qcow2_counts_next(counts, start); i < end;
         i = qcow2_counts_next(counts, i + 1)) {
        qcow2_set_refcount_at(s, block, i - start, qcow2_counts_get(counts,
                                                                    i));
    }
}

/* Nothing is in the way, and the file is long enough. */
static int coroutine_fn use_place(Qcow2Rebuild *r, uint64_t offset,
                                  uint64_t bytes)
{
    const Qcow2State *s = r->bs->opaque;
    int ret = r->guarded ? qcow2_co_check_place(r->bs,
                                                offset >> s->cluster_bits,
                                                bytes >> s->cluster_bits)
                         : 0;

    if (ret == 0) {
        qcow2_co_use_clusters(r->bs, offset, bytes);
    }
    return ret;
}

static int coroutine_fn write_blocks(Qcow2Rebuild *r)
{
    const Qcow2State *s = r->bs->opaque;
    g_autofree void *block = g_malloc(s->cluster_size);
    int ret = 0;

    for (unsigned i = 0; i < r->blocks->len && ret == 0; i++) {
        uint64_t offset = g_array_index(r->blocks, uint64_t, i);

        if (offset == 0) {
            continue;
        }
        fill_block(r, i, block);
        ret = use_place(r, offset, s->cluster_size);
        if (ret == 0) {
            ret = bdrv_co_pwrite(r->bs->file, offset, s->cluster_size,
                                 block, 0);
        }
    }
    return ret;
}

static int coroutine_fn write_table(Qcow2Rebuild *r)
{
    const Qcow2State *s = r->bs->opaque;
    size_t bytes = r->table_clusters << s->cluster_bits;
    g_autofree uint64_t *table = g_malloc0(bytes);
    uint64_t offset = r->table << s->cluster_bits;
    int ret = use_place(r, offset, bytes);

    for (unsigned i = 0; i < r->blocks->len; i++) {
        table[i] = GUINT64_TO_BE(g_array_index(r->blocks, uint64_t, i));
    }
    if (ret == 0) {
        ret = bdrv_co_pwrite(r->bs->file, offset, bytes, table, 0);
    }
    return ret == 0 ? bdrv_co_flush(r->bs->file) : ret;
}

void qcow2_swap_reftable(BlockDriverState *bs, Qcow2Reftable *table)
{
    Qcow2State *s = bs->opaque;
    Qcow2Reftable old = { s->reftable_offset, s->reftable_clusters,
                          s->reftable_entries, s->reftable_last,
                          s->reftable };

    s->reftable_offset = table->offset;
    s->reftable_clusters = table->clusters;
    s->reftable_entries = table->entries;
    s->reftable_last = table->last;
    s->reftable = table->table;
    s->free_hint = 0;
    s->refblocks_distinct = false;
    *table = old;
    qcow2_overlap_changed(bs);
}

static Qcow2Reftable new_reftable(Qcow2Rebuild *r)
{
    const Qcow2State *s = r->bs->opaque;
    Qcow2Reftable new = {
        .offset = r->table << s->cluster_bits,
        .clusters = r->table_clusters,
        .entries = r->table_clusters << (s->cluster_bits - 3),
        .last = r->blocks->len - 1,
    };

    new.table = g_new0(uint64_t, new.entries);
    memcpy(new.table, r->blocks->data, r->blocks->len * sizeof(uint64_t));
    return new;
}

static int coroutine_fn make(Qcow2Rebuild *r, Qcow2Reftable *table,
                             const char **what)
{
    int ret = place_all(r);

    *what = "allocating refblock";
    if (ret == 0) {
        *what = "writing refblock";
        ret = write_blocks(r);
    }
    if (ret == 0) {
        *what = "writing reftable";
        ret = write_table(r);
    }
    if (ret == 0) {
        *table = new_reftable(r);
    }
    return ret;
}

static int coroutine_fn make_reftable(Qcow2Rebuild *r, Qcow2Reftable *table,
                                      const char **what)
{
    int ret;

    r->blocks = g_array_new(FALSE, TRUE, sizeof(uint64_t));
    ret = make(r, table, what);
    g_array_unref(r->blocks);
    return ret;
}

int coroutine_fn qcow2_co_make_reftable(BlockDriverState *bs,
                                        Qcow2Counts *counts,
                                        Qcow2Reftable *table,
                                        const char **what)
{
    Qcow2Rebuild r = { .bs = bs, .counts = counts, .guarded = true };

    return make_reftable(&r, table, what);
}

int coroutine_fn qcow2_co_rebuild_refcounts(BlockDriverState *bs,
                                            Qcow2Counts *counts,
                                            const char **what)
{
    Qcow2Rebuild r = { .bs = bs, .counts = counts };
    Qcow2Reftable table;
    int ret = make_reftable(&r, &table, what);

    if (ret < 0) {
        return ret;
    }
    *what = "setting reftable";
    qcow2_swap_reftable(bs, &table);
    ret = qcow2_co_change_header(bs);
    if (ret < 0) {
        qcow2_swap_reftable(bs, &table);
        qcow2_co_restore_header(bs);
    }
    g_free(table.table);
    return ret;
}

/* --- the counts that there are --- */

/* 8 bytes a cluster come to the two walks of a check that mends. What is not
 * in the file, an image could say without end. */
int64_t qcow2_counts_room(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    int64_t bytes = bdrv_allocated_bytes(bs->file);

    return (s->check_room ? s->check_room : QCOW2_COUNTS_ROOM) +
           (MAX(bytes, 0) >> s->cluster_bits) * 8;
}

static int copy_block(const Qcow2State *s, const void *block,
                      Qcow2Counts *counts, uint64_t *cluster, uint64_t *count)
{
    uint64_t entries = UINT64_C(1) << s->refcount_block_bits;
    int ret = 0;

    for (uint64_t i = 0; i < entries && ret == 0; i++, ++*cluster) {
        *count = qcow2_refcount_at(s, block, i);
        if (*count) {
            ret = qcow2_counts_add(counts, *cluster, *count);
        }
    }
    *cluster -= ret < 0;
    return ret;
}

int coroutine_fn qcow2_co_copy_counts(BlockDriverState *bs,
                                      Qcow2Counts *counts, uint64_t *cluster,
                                      uint64_t *count)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < s->reftable_entries && ret == 0; i++) {
        uint64_t offset = s->reftable[i] & QCOW2_REFTABLE_OFFSET;
        void *block;

        if (offset == 0) {
            continue;
        }
        ret = qcow2_offset_in_cluster(s, offset)
                  ? -EIO
                  : qcow2_cache_get(s->refcount_cache, offset, &block);
        if (ret == 0) {
            *cluster = (uint64_t)i << s->refcount_block_bits;
            ret = copy_block(s, block, counts, cluster, count);
            qcow2_cache_put(s->refcount_cache, &block);
        }
    }
    return ret;
}

void coroutine_fn qcow2_co_free_reftable(BlockDriverState *bs,
                                         const Qcow2Reftable *table)
{
    const Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < table->entries; i++) {
        uint64_t offset = table->table[i] & QCOW2_REFTABLE_OFFSET;

        if (offset) {
            qcow2_co_free_clusters(bs, offset, s->cluster_size,
                                   QCOW2_DISCARD_OTHER);
        }
    }
    qcow2_co_free_clusters(bs, table->offset,
                           (uint64_t)table->clusters << s->cluster_bits,
                           QCOW2_DISCARD_OTHER);
}
