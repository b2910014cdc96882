/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes new refcount structures from counts: of what a check has counted,
 * where the old ones cannot be repaired; of another width, for amend.
 *
 * How it works: each stretch of the file that one block covers and that has
 * anything in use gets a block, in the first free cluster from there on; the
 * table goes where there is room first. Both are counted as they are placed,
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
} Qcow2Rebuild;

static int count_new(Qcow2Rebuild *r, uint64_t cluster)
{
    return qcow2_counts_add(r->counts, cluster, 1);
}

static int place_block(Qcow2Rebuild *r, uint64_t index)
{
    const Qcow2State *s = r->bs->opaque;
    uint64_t start = index << s->refcount_block_bits;
    uint64_t cluster = qcow2_counts_find_free(r->counts, start, 1);

    if (index >= QCOW2_MAX_REFTABLE_BYTES / ENTRY_BYTES) {
        return -EFBIG;
    }
    if (index >= r->blocks->len) {
        g_array_set_size(r->blocks, index + 1);
    }
    g_array_index(r->blocks, uint64_t, index) = cluster << s->cluster_bits;
    return count_new(r, cluster);
}

/* Whatever is counted has a block. New blocks are placed further on, where
 * this has not been yet. */
static int place_blocks(Qcow2Rebuild *r)
{
    const Qcow2State *s = r->bs->opaque;
    uint64_t used = qcow2_counts_next(r->counts, 0);
    int ret = 0;

    while (used != UINT64_MAX && ret == 0) {
        uint64_t index = used >> s->refcount_block_bits;

        if (index >= r->blocks->len ||
            g_array_index(r->blocks, uint64_t, index) == 0) {
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

static int coroutine_fn write_blocks(Qcow2Rebuild *r)
{
    const Qcow2State *s = r->bs->opaque;
    g_autofree void *block = g_malloc(s->cluster_size);
    int ret = 0;

    for (unsigned i = 0; i < r->blocks->len && ret == 0; i++) {
        uint64_t offset = g_array_index(r->blocks, uint64_t, i);

        if (offset) {
            fill_block(r, i, block);
            qcow2_co_use_clusters(r->bs, offset, s->cluster_size);
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
    int ret;

    for (unsigned i = 0; i < r->blocks->len; i++) {
        table[i] = GUINT64_TO_BE(g_array_index(r->blocks, uint64_t, i));
    }
    qcow2_co_use_clusters(r->bs, r->table << s->cluster_bits, bytes);
    ret = bdrv_co_pwrite(r->bs->file, r->table << s->cluster_bits, bytes,
                         table, 0);
    return ret == 0 ? bdrv_co_flush(r->bs->file) : ret;
}

/* What of the state says where they are. */
typedef struct Qcow2Reftable {
    uint64_t offset;
    unsigned clusters, entries, last;
    uint64_t *table;
} Qcow2Reftable;

static Qcow2Reftable get_reftable(const Qcow2State *s)
{
    return (Qcow2Reftable){ s->reftable_offset, s->reftable_clusters,
                            s->reftable_entries, s->reftable_last,
                            s->reftable };
}

static void set_reftable(BlockDriverState *bs, const Qcow2Reftable *to)
{
    Qcow2State *s = bs->opaque;

    s->reftable_offset = to->offset;
    s->reftable_clusters = to->clusters;
    s->reftable_entries = to->entries;
    s->reftable_last = to->last;
    s->reftable = to->table;
    s->free_hint = 0;
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

static int coroutine_fn switch_to_new(Qcow2Rebuild *r)
{
    BlockDriverState *bs = r->bs;
    Qcow2Reftable old = get_reftable(bs->opaque);
    Qcow2Reftable new = new_reftable(r);
    int ret;

    set_reftable(bs, &new);
    ret = qcow2_co_write_header(bs);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret < 0) {
        set_reftable(bs, &old);
        g_free(new.table);
    } else {
        g_free(old.table);
    }
    return ret;
}

static int coroutine_fn rebuild(Qcow2Rebuild *r, const char **what)
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
        *what = "setting reftable";
        ret = switch_to_new(r);
    }
    return ret;
}

int coroutine_fn qcow2_co_rebuild_refcounts(BlockDriverState *bs,
                                            Qcow2Counts *counts,
                                            const char **what)
{
    Qcow2Rebuild r = {
        .bs = bs,
        .counts = counts,
        .blocks = g_array_new(FALSE, TRUE, sizeof(uint64_t)),
    };
    int ret = rebuild(&r, what);

    g_array_unref(r.blocks);
    return ret;
}
