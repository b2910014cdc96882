/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes the width of reference counts: reads all of them, writes them anew
 * in other places and gives up the old tables.
 */
#include "qcow2-amend.h"

#include <errno.h>
#include <inttypes.h>

#include "qcow2-error.h"
#include "qcow2-rebuild.h"

/* --- reading them --- */

static bool copy_block(const Qcow2State *s, uint64_t index, const void *block,
                       Qcow2Counts *counts, unsigned new_bits, GError **error)
{
    uint64_t max = UINT64_MAX >> (64 - new_bits);

    for (uint64_t i = 0; i < UINT64_C(1) << s->refcount_block_bits; i++) {
        uint64_t cluster = (index << s->refcount_block_bits) + i;
        uint64_t count = qcow2_refcount_at(s, block, i);

        if (count > max) {
            return qcow2_error(error, "Cannot decrease refcount entry width "
                               "to %u bits: Cluster at offset %#" PRIx64
                               " has a refcount of %" PRIu64, new_bits,
                               cluster << s->cluster_bits, count);
        }
        if (count && qcow2_counts_add(counts, cluster, count) < 0) {
            return qcow2_error_errno(error, -ENOMEM,
                                     "Failed to allocate the new reftable");
        }
    }
    return true;
}

static bool coroutine_fn copy_counts(BlockDriverState *bs,
                                     Qcow2Counts *counts, unsigned new_bits,
                                     GError **error)
{
    Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < s->reftable_entries; i++) {
        uint64_t offset = s->reftable[i] & QCOW2_REFTABLE_OFFSET;
        void *block;
        bool ok;
        int ret;

        if (offset == 0) {
            continue;
        }
        ret = qcow2_offset_in_cluster(s, offset)
                  ? -EIO
                  : qcow2_cache_get(s->refcount_cache, offset, &block);
        if (ret < 0) {
            return qcow2_error_errno(error, ret,
                                     "Failed to retrieve refblock");
        }
        ok = copy_block(s, i, block, counts, new_bits, error);
        qcow2_cache_put(s->refcount_cache, &block);
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* --- writing them --- */

static void set_order(Qcow2State *s, unsigned order)
{
    s->refcount_order = order;
    s->refcount_bits = 1U << order;
    s->refcount_max = UINT64_MAX >> (64 - s->refcount_bits);
    s->refcount_block_bits = s->cluster_bits + 3 - order;
}

/* Where the tables are that the new ones replace. */
typedef struct OldTables {
    uint64_t offset;
    unsigned clusters, entries;
    uint64_t *blocks;
} OldTables;

static void coroutine_fn free_old(BlockDriverState *bs, const OldTables *old)
{
    const Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < old->entries; i++) {
        uint64_t offset = old->blocks[i] & QCOW2_REFTABLE_OFFSET;

        if (offset) {
            qcow2_co_free_clusters(bs, offset, s->cluster_size,
                                   QCOW2_DISCARD_OTHER);
        }
    }
    qcow2_co_free_clusters(bs, old->offset,
                           (uint64_t)old->clusters << s->cluster_bits,
                           QCOW2_DISCARD_OTHER);
}

static bool coroutine_fn replace_tables(BlockDriverState *bs, unsigned order,
                                        Qcow2Counts *counts, GError **error)
{
    Qcow2State *s = bs->opaque;
    unsigned old_order = s->refcount_order;
    OldTables old = { s->reftable_offset, s->reftable_clusters,
                      s->reftable_entries };
    const char *what;
    int ret = qcow2_cache_empty(s->refcount_cache);

    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to flush the refblock cache");
    }
    old.blocks = g_memdup2(s->reftable, old.entries * sizeof(uint64_t));
    set_order(s, order);
    ret = qcow2_co_rebuild_refcounts(bs, counts, &what);
    if (ret < 0) {
        set_order(s, old_order);
        qcow2_error_errno(error, ret, "Failed %s", what);
    } else {
        free_old(bs, &old);
    }
    g_free(old.blocks);
    return ret == 0;
}

bool coroutine_fn qcow2_co_set_refcount_order(BlockDriverState *bs,
                                              unsigned order, GError **error)
{
    Qcow2State *s = bs->opaque;
    unsigned bits = 1U << order;
    Qcow2Counts *counts;
    int ret = qcow2_co_settle(bs);
    bool ok;

    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to flush the refblock cache");
    }
    counts = qcow2_counts_new(UINT64_MAX >> (64 - bits));
    co_mutex_lock(&s->lock);
    ok = copy_counts(bs, counts, bits, error) &&
         replace_tables(bs, order, counts, error);
    co_mutex_unlock(&s->lock);
    qcow2_counts_free(counts);
    if (!ok) {
        return false;
    }
    ret = qcow2_co_flush_metadata(bs);
    return ret == 0 || qcow2_error_errno(error, ret,
                                         "Failed to flush the refblock cache");
}
