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

static bool coroutine_fn copy_counts(BlockDriverState *bs,
                                     Qcow2Counts *counts, unsigned new_bits,
                                     GError **error)
{
    const Qcow2State *s = bs->opaque;
    uint64_t cluster, count;
    int ret = qcow2_co_copy_counts(bs, counts, &cluster, &count);

    switch (ret) {
    case 0:
        return true;
    case -ERANGE:
        return qcow2_error(error, "Cannot decrease refcount entry width to "
                           "%u bits: Cluster at offset %#" PRIx64
                           " has a refcount of %" PRIu64, new_bits,
                           cluster << s->cluster_bits, count);
    case -ENOMEM:
        return qcow2_error_errno(error, ret,
                                 "Failed to allocate the new reftable");
    default:
        return qcow2_error_errno(error, ret, "Failed to retrieve refblock");
    }
}

static void set_order(Qcow2State *s, unsigned order)
{
    s->refcount_order = order;
    s->refcount_bits = 1U << order;
    s->refcount_max = UINT64_MAX >> (64 - s->refcount_bits);
    s->refcount_block_bits = s->cluster_bits + 3 - order;
}

/* The header says both at once, the width and where the table is. */
static int coroutine_fn switch_to(BlockDriverState *bs, unsigned old_order,
                                  Qcow2Reftable *table)
{
    int ret;

    qcow2_swap_reftable(bs, table);
    ret = qcow2_co_change_header(bs);
    if (ret < 0) {
        qcow2_swap_reftable(bs, table);
        set_order(bs->opaque, old_order);
        qcow2_co_restore_header(bs);
    } else {
        qcow2_co_free_reftable(bs, table);
    }
    g_free(table->table);
    return ret;
}

static bool coroutine_fn replace_tables(BlockDriverState *bs, unsigned order,
                                        Qcow2Counts *counts, GError **error)
{
    Qcow2State *s = bs->opaque;
    unsigned old_order = s->refcount_order;
    Qcow2Reftable table;
    const char *what;
    int ret = qcow2_cache_empty(s->refcount_cache);

    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to flush the refblock cache");
    }
    set_order(s, order);
    ret = qcow2_co_make_reftable(bs, counts, &table, &what);
    if (ret < 0) {
        set_order(s, old_order);
    } else {
        what = "setting reftable";
        ret = switch_to(bs, old_order, &table);
    }
    return ret == 0 || qcow2_error_errno(error, ret, "Failed %s", what);
}

bool coroutine_fn qcow2_co_set_refcount_order(BlockDriverState *bs,
                                              unsigned order, GError **error)
{
    Qcow2State *s = bs->opaque;
    unsigned bits = 1U << order;
    int64_t room = qcow2_counts_room(bs);
    Qcow2Counts *counts;
    int ret = qcow2_co_settle(bs);
    bool ok;

    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to flush the refblock cache");
    }
    counts = qcow2_counts_new(UINT64_MAX >> (64 - bits), &room);
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
