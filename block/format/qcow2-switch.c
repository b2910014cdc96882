/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes reference counts, and the tables whose flags depend on them, in one
 * write of the header. Used by what takes, applies and deletes snapshots.
 *
 * Why: QCOW2_COPIED in an active table is right where the count is 1. A count
 * that goes from 1 to 2 and its flag lie in two places; whichever of them is
 * written first, a crash in between leaves what a check calls an error.
 *
 * How it works: nothing that is in use is changed. The counts are copied to
 * memory and changed there; L2 tables with flags that are going to be wrong
 * are copied to where nothing is, with the right ones; so is the L1 table that
 * leads to them; and all counts, as new refcount structures. One sector of the
 * header then leads to all of it:
 *
 *     header -> L1 -> L2 \             header -> L1' -> L2' \
 *           \             data    =>         \               data
 *            -> counts                        -> counts'
 *
 * What was replaced is counted until then, so that nothing is written over it,
 * and given up afterwards: a crash before the switch leaves what was there, a
 * crash behind it leaves leaks.
 */
#include "qcow2-switch.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block/log.h"
#include "qcow2-rebuild.h"
#include "qcow2-write.h"

#define L1_ENTRY_BYTES 8

typedef struct Qcow2Unused {
    uint64_t offset, bytes;
    Qcow2DiscardType type;
} Qcow2Unused;

struct Qcow2Switch {
    BlockDriverState *bs;
    Qcow2Counts *counts;  /* as they are going to be */
    int64_t room;         /* for more of them */
    GArray *unused;       /* of Qcow2Unused: counted once too often there */
    uint64_t free_hint;   /* no cluster below it that is free */
    void *l2;             /* a table that is looked at */
};

int coroutine_fn qcow2_co_switch_begin(BlockDriverState *bs,
                                       Qcow2Switch **sw)
{
    Qcow2State *s = bs->opaque;
    uint64_t cluster, count;
    int ret;

    *sw = g_new0(Qcow2Switch, 1);
    (*sw)->bs = bs;
    (*sw)->room = qcow2_counts_room(bs);
    (*sw)->counts = qcow2_counts_new(s->refcount_max, &(*sw)->room);
    (*sw)->unused = g_array_new(false, false, sizeof(Qcow2Unused));
    (*sw)->l2 = g_try_malloc(s->cluster_size);
    if (!(*sw)->l2) {
        return -ENOMEM;
    }
    ret = qcow2_cache_empty(s->l2_cache);
    return ret < 0 ? ret : qcow2_co_copy_counts(bs, (*sw)->counts, &cluster,
                                                &count);
}

void qcow2_switch_free(Qcow2Switch *sw)
{
    qcow2_counts_free(sw->counts);
    g_array_unref(sw->unused);
    g_free(sw->l2);
    g_free(sw);
}

/* --- counting --- */

void qcow2_switch_give_up(Qcow2Switch *sw, uint64_t offset, uint64_t bytes,
                          Qcow2DiscardType type)
{
    GArray *all = sw->unused;
    Qcow2Unused *last = all->len
                            ? &g_array_index(all, Qcow2Unused, all->len - 1)
                            : NULL;

    if (last && last->offset + last->bytes == offset && last->type == type) {
        last->bytes += bytes;
    } else if (bytes) {
        g_array_append_val(all, ((Qcow2Unused){ offset, bytes, type }));
    }
}

/* What nobody is going to use is in use until then. */
static int take_one(Qcow2Switch *sw, uint64_t cluster)
{
    const Qcow2State *s = sw->bs->opaque;

    if (qcow2_counts_get(sw->counts, cluster) == 1) {
        qcow2_switch_give_up(sw, cluster << s->cluster_bits, s->cluster_size,
                             QCOW2_DISCARD_SNAPSHOT);
        return 0;
    }
    return qcow2_counts_take(sw->counts, cluster);
}

/* Every cluster that the range touches. */
static int count_range(Qcow2Switch *sw, uint64_t host, uint64_t bytes,
                       int addend)
{
    const Qcow2State *s = sw->bs->opaque;
    uint64_t last = (host + bytes - 1) >> s->cluster_bits;
    int ret = 0;

    for (uint64_t i = host >> s->cluster_bits; i <= last && ret == 0; i++) {
        ret = addend > 0 ? qcow2_counts_add(sw->counts, i, 1)
                         : take_one(sw, i);
    }
    return ret == -ERANGE ? -EINVAL : ret;
}

/* --- looking at tables --- */

/* The cluster of data that is in place; 0: there is none. */
static int coroutine_fn data_cluster(Qcow2Switch *sw, uint64_t entry,
                                     uint64_t guest, uint64_t *host)
{
    const Qcow2State *s = sw->bs->opaque;

    *host = entry & QCOW2_COMPRESSED ? 0 : entry & QCOW2_L2_OFFSET;
    if (qcow2_offset_in_cluster(s, *host) == 0) {
        return 0;
    }
    qcow2_co_signal_corruption(sw->bs, true, -1,
                               "Cluster allocation offset %#" PRIx64
                               " unaligned (guest offset: %#" PRIx64 ")",
                               *host, guest);
    return -EIO;
}

/* Of entry @index; it gets to *offset, 0 without one. */
static int coroutine_fn table_cluster(Qcow2Switch *sw, const uint64_t *l1,
                                      unsigned index, uint64_t *offset)
{
    const Qcow2State *s = sw->bs->opaque;

    *offset = l1[index] & QCOW2_L1_OFFSET;
    if (qcow2_offset_in_cluster(s, *offset) == 0) {
        return 0;
    }
    qcow2_co_signal_corruption(sw->bs, true, -1,
                               "L2 table offset %#" PRIx64
                               " unaligned (L1 index: %#x)", *offset, index);
    return -EIO;
}

/* Into sw->l2, if there is one. */
static int coroutine_fn read_l2(Qcow2Switch *sw, const uint64_t *l1,
                                unsigned index, uint64_t *offset)
{
    const Qcow2State *s = sw->bs->opaque;
    int ret = table_cluster(sw, l1, index, offset);

    if (ret == 0 && *offset) {
        ret = qcow2_co_read_file(sw->bs->file, *offset, s->cluster_size,
                                 sw->l2);
    }
    return ret;
}

static unsigned entries_in_table(const Qcow2State *s)
{
    return s->cluster_size / s->l2_entry_bytes;
}

static int coroutine_fn count_entry(Qcow2Switch *sw, unsigned index,
                                    uint64_t guest, int addend)
{
    const Qcow2State *s = sw->bs->opaque;
    uint64_t entry = qcow2_l2_entry(s, sw->l2, index);
    uint64_t host;
    unsigned bytes;
    int ret;

    if (entry & QCOW2_COMPRESSED) {
        qcow2_parse_compressed(s, entry, &host, &bytes);
        return count_range(sw, host, bytes, addend);
    }
    ret = data_cluster(sw, entry, guest, &host);
    return ret < 0 || !host ? ret
                            : count_range(sw, host, s->cluster_size, addend);
}

int coroutine_fn qcow2_co_switch_count_data(Qcow2Switch *sw,
                                            const uint64_t *l1,
                                            unsigned entries, int addend)
{
    const Qcow2State *s = sw->bs->opaque;
    unsigned in_table = entries_in_table(s);
    int ret = 0;

    for (unsigned i = 0; i < entries && ret == 0; i++) {
        uint64_t guest = (uint64_t)i << s->l1_shift;
        uint64_t table;

        ret = read_l2(sw, l1, i, &table);
        for (unsigned j = 0; table && j < in_table && ret == 0; j++) {
            ret = count_entry(sw, j, guest + ((uint64_t)j << s->cluster_bits),
                              addend);
        }
    }
    return ret;
}

int coroutine_fn qcow2_co_switch_count_tables(Qcow2Switch *sw,
                                              const uint64_t *l1,
                                              unsigned entries, int addend)
{
    const Qcow2State *s = sw->bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < entries && ret == 0; i++) {
        uint64_t table;

        ret = table_cluster(sw, l1, i, &table);
        if (ret == 0 && table) {
            ret = count_range(sw, table, s->cluster_size, addend);
        }
    }
    return ret;
}

/* --- new tables --- */

/* Clusters that follow each other and that neither the old counts nor the new
 * ones know of. */
static int64_t coroutine_fn place(Qcow2Switch *sw, uint64_t bytes)
{
    BlockDriverState *bs = sw->bs;
    const Qcow2State *s = bs->opaque;
    uint64_t clusters = qcow2_size_to_clusters(s, bytes);
    uint64_t first = qcow2_counts_find_free(sw->counts, sw->free_hint,
                                            clusters);
    int ret = qcow2_co_check_place(bs, first, clusters);

    for (uint64_t i = 0; i < clusters && ret == 0; i++) {
        ret = qcow2_counts_add(sw->counts, first + i, 1);
    }
    if (clusters == 1) {
        sw->free_hint = first + 1;
    }
    if (ret == 0) {
        qcow2_co_use_clusters(bs, first << s->cluster_bits,
                              clusters << s->cluster_bits);
    }
    return ret < 0 ? ret : (int64_t)(first << s->cluster_bits);
}

int64_t coroutine_fn qcow2_co_switch_write(Qcow2Switch *sw, const void *data,
                                           uint64_t bytes)
{
    int64_t offset = bytes ? place(sw, bytes) : 0;
    int ret;

    if (offset <= 0) {
        return offset;
    }
    ret = bdrv_co_pwrite(sw->bs->file, offset, bytes, data, 0);
    return ret < 0 ? ret : offset;
}

int64_t coroutine_fn qcow2_co_switch_write_l1(Qcow2Switch *sw,
                                              const uint64_t *l1,
                                              unsigned entries)
{
    Qcow2Table table = { .entries = l1, .count = entries };
    int64_t offset = entries ? place(sw, (uint64_t)entries * L1_ENTRY_BYTES)
                             : 0;
    int ret;

    if (offset <= 0) {
        return offset;
    }
    table.offset = offset;
    ret = qcow2_co_write_table(sw->bs, &table);
    return ret < 0 ? ret : offset;
}

/* What leads to a cluster once, if nobody else does. */
static uint64_t flag_of(Qcow2Switch *sw, uint64_t host)
{
    const Qcow2State *s = sw->bs->opaque;

    return qcow2_counts_get(sw->counts, host >> s->cluster_bits) == 1
               ? QCOW2_COPIED
               : 0;
}

/* Of the table in sw->l2. */
static int coroutine_fn set_flags(Qcow2Switch *sw, uint64_t guest,
                                  bool *changed)
{
    const Qcow2State *s = sw->bs->opaque;
    unsigned in_table = entries_in_table(s);
    int ret = 0;

    for (unsigned i = 0; i < in_table && ret == 0; i++) {
        uint64_t old = qcow2_l2_entry(s, sw->l2, i), entry, host;

        ret = data_cluster(sw, old, guest + ((uint64_t)i << s->cluster_bits),
                           &host);
        entry = (old & ~QCOW2_COPIED) | (host ? flag_of(sw, host) : 0);
        if (ret == 0 && entry != old) {
            qcow2_set_l2_entry(s, sw->l2, i, entry);
            *changed = true;
        }
    }
    return ret;
}

static int coroutine_fn renew_table(Qcow2Switch *sw, uint64_t *l1,
                                    unsigned index)
{
    const Qcow2State *s = sw->bs->opaque;
    bool changed = false;
    uint64_t old;
    int64_t offset;
    int ret = read_l2(sw, l1, index, &old);

    if (ret == 0 && old) {
        ret = set_flags(sw, (uint64_t)index << s->l1_shift, &changed);
    }
    if (ret < 0 || !changed) {
        return ret;
    }
    offset = qcow2_co_switch_write(sw, sw->l2, s->cluster_size);
    if (offset < 0) {
        return offset;
    }
    l1[index] = offset;
    qcow2_switch_give_up(sw, old, s->cluster_size, QCOW2_DISCARD_SNAPSHOT);
    return 0;
}

int coroutine_fn qcow2_co_switch_renew(Qcow2Switch *sw, uint64_t *l1,
                                       unsigned entries)
{
    int ret = 0;

    for (unsigned i = 0; i < entries && ret == 0; i++) {
        ret = renew_table(sw, l1, i);
    }
    return ret;
}

void qcow2_switch_flag_l1(Qcow2Switch *sw, uint64_t *l1, unsigned entries)
{
    for (unsigned i = 0; i < entries; i++) {
        uint64_t table = l1[i] & QCOW2_L1_OFFSET;

        l1[i] = table | (table ? flag_of(sw, table) : 0);
    }
}

/* --- the switch --- */

Qcow2Roots qcow2_get_roots(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return (Qcow2Roots){
        s->l1_offset, s->l1_entries, s->l1, bs->total_bytes,
        s->snapshots_offset, s->snapshots_bytes, s->snapshot_count,
        s->snapshots,
    };
}

static void swap_roots(BlockDriverState *bs, Qcow2Roots *roots)
{
    Qcow2State *s = bs->opaque;
    Qcow2Roots old = qcow2_get_roots(bs);

    s->l1_offset = roots->l1_offset;
    s->l1_entries = roots->l1_entries;
    s->l1 = roots->l1;
    bs->total_bytes = roots->disk_bytes;
    s->snapshots_offset = roots->snapshots_offset;
    s->snapshots_bytes = roots->snapshots_bytes;
    s->snapshot_count = roots->snapshot_count;
    s->snapshots = roots->snapshots;
    *roots = old;
    qcow2_overlap_changed(bs);
}

static int coroutine_fn change_header(BlockDriverState *bs, Qcow2Roots *roots,
                                      Qcow2Reftable *table)
{
    int ret;

    swap_roots(bs, roots);
    qcow2_swap_reftable(bs, table);
    ret = qcow2_co_change_header(bs);
    if (ret < 0) {
        qcow2_swap_reftable(bs, table);
        swap_roots(bs, roots);
        qcow2_co_restore_header(bs);
    }
    return ret;
}

static void give_up_reftable(Qcow2Switch *sw, const Qcow2Reftable *table)
{
    const Qcow2State *s = sw->bs->opaque;

    for (unsigned i = 0; i < table->entries; i++) {
        uint64_t offset = table->table[i] & QCOW2_REFTABLE_OFFSET;

        if (offset) {
            qcow2_switch_give_up(sw, offset, s->cluster_size,
                                 QCOW2_DISCARD_OTHER);
        }
    }
    qcow2_switch_give_up(sw, table->offset,
                         (uint64_t)table->clusters << s->cluster_bits,
                         QCOW2_DISCARD_OTHER);
}

/* Where that fails, there are leaks, and nobody has lost anything. */
static void coroutine_fn free_unused(Qcow2Switch *sw)
{
    BlockDriverState *bs = sw->bs;
    Qcow2State *s = bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < sw->unused->len; i++) {
        const Qcow2Unused *u = &g_array_index(sw->unused, Qcow2Unused, i);
        int one = qcow2_co_try_free_clusters(bs, u->offset, u->bytes, u->type);

        ret = ret < 0 ? ret : one;
    }
    if (ret < 0) {
        log_plain("qcow2_free_clusters failed: %s", g_strerror(-ret));
    }
    qcow2_cache_flush(s->refcount_cache);
}

int coroutine_fn qcow2_co_switch_commit(Qcow2Switch *sw, Qcow2Roots *roots)
{
    BlockDriverState *bs = sw->bs;
    Qcow2State *s = bs->opaque;
    Qcow2Reftable table;
    const char *what;
    int ret = qcow2_cache_empty(s->refcount_cache);

    if (ret == 0) {
        ret = qcow2_co_make_reftable(bs, sw->counts, &table, &what);
    }
    if (ret < 0) {
        return ret;
    }
    ret = change_header(bs, roots, &table);
    if (ret == 0) {
        give_up_reftable(sw, &table);
        free_unused(sw);
    }
    g_free(table.table);
    return ret;
}
