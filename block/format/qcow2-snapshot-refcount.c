/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts all that an L1 table leads to once less, in place: what deleting a
 * snapshot comes to where there is no room for new tables. Sets QCOW2_COPIED
 * to the truth. Under s->lock, with nothing else in flight.
 */
#include "qcow2-snapshot.h"
#include "qcow2-write.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct Walk {
    BlockDriverState *bs;
    bool uncount;   /* or flags only */
} Walk;

static int coroutine_fn uncount(Walk *walk, int64_t host, uint64_t bytes)
{
    return walk->uncount
               ? qcow2_co_update_refcount(walk->bs, host, bytes, 1, true,
                                          QCOW2_DISCARD_SNAPSHOT)
               : 0;
}

static int coroutine_fn count_and_flag(Walk *walk, int64_t host,
                                       uint64_t *entry)
{
    const Qcow2State *s = walk->bs->opaque;
    uint64_t count;
    int ret = uncount(walk, host, s->cluster_size);

    if (ret == 0) {
        ret = qcow2_co_get_refcount(walk->bs, host >> s->cluster_bits,
                                    &count);
    }
    if (ret == 0) {
        *entry = (*entry & ~QCOW2_COPIED) | (count == 1 ? QCOW2_COPIED : 0);
    }
    return ret;
}

static int coroutine_fn walk_entry(Walk *walk, uint64_t *entry,
                                   uint64_t guest)
{
    const Qcow2State *s = walk->bs->opaque;
    uint64_t host;
    unsigned bytes;

    if (*entry & QCOW2_COMPRESSED) {
        *entry &= ~QCOW2_COPIED;
        qcow2_parse_compressed(s, *entry, &host, &bytes);
        return uncount(walk, host, bytes);
    }
    host = *entry & QCOW2_L2_OFFSET;
    if (host & (s->cluster_size - 1)) {
        qcow2_co_signal_corruption(walk->bs, true, -1,
                                   "Cluster allocation offset %#" PRIx64
                                   " unaligned (guest offset: %#" PRIx64 ")",
                                   host, guest);
        return -EIO;
    }
    return host ? count_and_flag(walk, host, entry) : 0;
}

/* @slice is pinned. */
static int coroutine_fn walk_slice(Walk *walk, void *slice, uint64_t guest)
{
    Qcow2State *s = walk->bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < s->l2_slice_entries && ret == 0; i++) {
        uint64_t old = qcow2_l2_entry(s, slice, i), entry = old;

        ret = walk_entry(walk, &entry,
                         guest + ((uint64_t)i << s->cluster_bits));
        if (ret == 0 && entry != old) {
            qcow2_set_l2_entry(s, slice, i, entry);
            qcow2_mark_l2_entries(walk->bs, slice, i, 1);
        }
    }
    return ret;
}

static int coroutine_fn walk_table(Walk *walk, uint64_t table, uint64_t guest)
{
    Qcow2State *s = walk->bs->opaque;
    uint64_t step = (uint64_t)s->l2_slice_entries * s->l2_entry_bytes;
    uint64_t guest_step = (uint64_t)s->l2_slice_entries << s->cluster_bits;
    int ret = 0;

    for (uint64_t at = 0; at < (uint64_t)s->cluster_size && ret == 0;
         at += step) {
        void *slice;

        ret = qcow2_cache_get(s->l2_cache, table + at, &slice);
        if (ret == 0) {
            ret = walk_slice(walk, slice, guest + at / step * guest_step);
            qcow2_cache_put(s->l2_cache, &slice);
        }
    }
    return ret;
}

static int coroutine_fn walk_l1(Walk *walk, uint64_t *l1, unsigned entries,
                                bool *changed)
{
    const Qcow2State *s = walk->bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < entries && ret == 0; i++) {
        uint64_t old = l1[i], table = old & QCOW2_L1_OFFSET;

        if (!table) {
            continue;
        }
        if (table & (s->cluster_size - 1)) {
            qcow2_co_signal_corruption(walk->bs, true, -1,
                                       "L2 table offset %#" PRIx64
                                       " unaligned (L1 index: %#x)", table,
                                       i);
            return -EIO;
        }
        ret = walk_table(walk, table, (uint64_t)i << s->l1_shift);
        if (ret == 0) {
            ret = count_and_flag(walk, table, &l1[i]);
        }
        *changed |= l1[i] != old;
    }
    return ret;
}

int coroutine_fn qcow2_co_uncount_snapshot(BlockDriverState *bs,
                                           const Qcow2Snapshot *sn)
{
    g_autofree uint64_t *l1 = NULL;
    Walk walk = { .bs = bs, .uncount = true };
    bool changed = false; /* that table goes */
    int ret = qcow2_co_read_table(bs->file, sn->l1_offset, sn->l1_entries,
                                  &l1);

    return ret == 0 ? walk_l1(&walk, l1, sn->l1_entries, &changed) : ret;
}

int coroutine_fn qcow2_co_flag_active(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    Walk walk = { .bs = bs };
    bool changed = false;
    int ret = walk_l1(&walk, s->l1, s->l1_entries, &changed);

    if (ret < 0 || !changed) {
        return ret;
    }
    ret = qcow2_cache_flush(s->refcount_cache);
    return ret < 0 ? ret : qcow2_co_write_table(bs, &(Qcow2Table){
                               .entries = s->l1,
                               .count = s->l1_entries,
                               .offset = s->l1_offset,
                               .kind = QCOW2_OL_ACTIVE_L1 });
}
