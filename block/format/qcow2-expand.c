/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns zero clusters into ordinary ones, for version 2, which has none.
 *
 * How it works: every L2 table that the active L1 table or one of a snapshot
 * leads to is changed once, in place. Where nothing shows through, a zero
 * cluster without a place becomes unallocated; else it gets a cluster full of
 * zeroes, which is counted as often as the table. The caches are empty
 * meanwhile.
 */
#include "qcow2-amend.h"

#include <errno.h>
#include <string.h>

#include "block/log.h"
#include "qcow2-error.h"

typedef int coroutine_fn L2Fn(void *opaque, uint64_t offset, void *l2);

/* --- all L2 tables --- */

typedef struct L2Visit {
    BlockDriverState *bs;
    GHashTable *seen;  /* offsets */
    void *l2;          /* a cluster */
    L2Fn *fn;
    void *opaque;
} L2Visit;

static int coroutine_fn visit_l2(L2Visit *v, uint64_t offset)
{
    const Qcow2State *s = v->bs->opaque;
    int ret;

    if (qcow2_offset_in_cluster(s, offset)) {
        return -EIO;
    }
    if (offset == 0 ||
        !g_hash_table_add(v->seen, g_memdup2(&offset, sizeof(offset)))) {
        return 0;
    }
    ret = qcow2_co_read_file(v->bs->file, offset, s->cluster_size, v->l2);
    return ret == 0 ? v->fn(v->opaque, offset, v->l2) : ret;
}

static int coroutine_fn visit_l1(L2Visit *v, uint64_t offset,
                                 uint64_t entries)
{
    g_autofree uint64_t *l1 = NULL;
    int ret = qcow2_co_read_table(v->bs->file, offset, entries, &l1);

    for (uint64_t i = 0; i < entries && ret == 0; i++) {
        ret = visit_l2(v, l1[i] & QCOW2_L1_OFFSET);
    }
    return ret;
}

static int coroutine_fn visit_snapshots(L2Visit *v)
{
    const Qcow2State *s = v->bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < s->snapshot_count && ret == 0; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        g_autoptr(GError) error = NULL;

        ret = qcow2_validate_snapshot_l1(v->bs, sn, &error);
        if (ret < 0) {
            log_error("%s", error->message);
        } else {
            ret = visit_l1(v, sn->l1_offset, sn->l1_entries);
        }
    }
    return ret;
}

/* Under s->lock. The caches have nothing that is not on the disk. */
static int coroutine_fn visit_all(BlockDriverState *bs, L2Fn *fn,
                                  void *opaque)
{
    Qcow2State *s = bs->opaque;
    L2Visit v = { .bs = bs, .fn = fn, .opaque = opaque };
    int ret = qcow2_cache_empty(s->l2_cache);

    v.seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    v.l2 = g_malloc(s->cluster_size);
    if (ret == 0) {
        ret = visit_l1(&v, s->l1_offset, s->l1_entries);
    }
    if (ret == 0) {
        ret = visit_snapshots(&v);
    }
    g_free(v.l2);
    g_hash_table_unref(v.seen);
    return ret;
}

static unsigned l2_entries(const Qcow2State *s)
{
    return s->cluster_size / s->l2_entry_bytes;
}

/* --- is anything compressed --- */

static int coroutine_fn find_compressed(void *opaque, uint64_t offset,
                                        void *l2)
{
    const Qcow2State *s = ((BlockDriverState *)opaque)->opaque;

    for (unsigned i = 0; i < l2_entries(s); i++) {
        if (qcow2_l2_entry(s, l2, i) & QCOW2_COMPRESSED) {
            return 1;
        }
    }
    return 0;
}

int coroutine_fn qcow2_co_has_compressed(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = qcow2_co_settle(bs);

    if (ret == 0) {
        co_mutex_lock(&s->lock);
        ret = visit_all(bs, find_compressed, bs);
        co_mutex_unlock(&s->lock);
    }
    return ret;
}

/* --- expanding --- */

typedef struct L2Expansion {
    BlockDriverState *bs;
    uint64_t refcount;   /* of the table at hand */
    GArray *freed;       /* uint64_t: clusters that it gave up */
    bool dirty;
} L2Expansion;

/* Whatever refers to the cluster does so through this table: then nobody else
 * sees what it has. */
static int coroutine_fn is_ours(L2Expansion *e, uint64_t host)
{
    const Qcow2State *s = e->bs->opaque;
    uint64_t refcount;
    int ret = qcow2_co_get_refcount(e->bs, host >> s->cluster_bits,
                                    &refcount);

    return ret < 0 ? ret : refcount == e->refcount;
}

static int64_t coroutine_fn new_cluster(L2Expansion *e)
{
    const Qcow2State *s = e->bs->opaque;
    int64_t host = qcow2_co_alloc_clusters(e->bs, s->cluster_size);
    int ret = 0;

    if (host > 0 && e->refcount > 1) {
        ret = qcow2_co_update_refcount(e->bs, host, s->cluster_size,
                                       e->refcount - 1, false,
                                       QCOW2_DISCARD_NEVER);
    }
    return ret < 0 ? ret : host;
}

/* A place for the zeroes of an entry, the one that it has if possible. */
static int64_t coroutine_fn find_place(L2Expansion *e, uint64_t host)
{
    const Qcow2State *s = e->bs->opaque;
    int ret;

    if (host == 0) {
        return new_cluster(e);
    }
    if (qcow2_offset_in_cluster(s, host)) {
        return -EIO;
    }
    ret = is_ours(e, host);
    if (ret != 0) {
        return ret < 0 ? ret : (int64_t)host;
    }
    g_array_append_val(e->freed, host);
    return new_cluster(e);
}

static int coroutine_fn expand_entry(L2Expansion *e, void *l2, unsigned index)
{
    const Qcow2State *s = e->bs->opaque;
    uint64_t entry = qcow2_l2_entry(s, l2, index);
    uint64_t old = entry & QCOW2_L2_OFFSET;
    int64_t host = 0;
    int ret = 0;

    if ((entry & QCOW2_COMPRESSED) || !(entry & QCOW2_ZERO)) {
        return 0;
    }
    if (old || e->bs->backing_file) {
        host = find_place(e, old);
        ret = host < 0 ? host : qcow2_co_check_overlap(e->bs, 0, host,
                                                       s->cluster_size);
    }
    if (ret == 0 && host) {
        ret = bdrv_co_pwrite_zeroes(e->bs->file, host, s->cluster_size, 0);
    }
    if (ret == 0) {
        qcow2_set_l2_entry(s, l2, index,
                           host ? host | (e->refcount == 1 ? QCOW2_COPIED : 0)
                                : 0);
        e->dirty = true;
    }
    return ret;
}

/* Counts and zeroes first, then the table, then what it gave up. */
static int coroutine_fn write_l2(L2Expansion *e, uint64_t offset,
                                 const void *l2)
{
    Qcow2State *s = e->bs->opaque;
    int ret = qcow2_cache_flush(s->refcount_cache);

    if (ret == 0) {
        ret = bdrv_co_pwrite(e->bs->file, offset, s->cluster_size, l2, 0);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(e->bs->file);
    }
    for (unsigned i = 0; i < e->freed->len && ret == 0; i++) {
        ret = qcow2_co_update_refcount(e->bs,
                                       g_array_index(e->freed, uint64_t, i),
                                       s->cluster_size, e->refcount, true,
                                       QCOW2_DISCARD_OTHER);
    }
    return ret;
}

static int coroutine_fn expand_l2(void *opaque, uint64_t offset, void *l2)
{
    L2Expansion *e = opaque;
    const Qcow2State *s = e->bs->opaque;
    int ret = qcow2_co_get_refcount(e->bs, offset >> s->cluster_bits,
                                    &e->refcount);

    g_array_set_size(e->freed, 0);
    e->dirty = false;
    if (ret == 0 && e->refcount == 0) {
        return -EIO;
    }
    for (unsigned i = 0; i < l2_entries(s) && ret == 0; i++) {
        ret = expand_entry(e, l2, i);
    }
    return ret == 0 && e->dirty ? write_l2(e, offset, l2) : ret;
}

int coroutine_fn qcow2_co_expand_zeroes(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    L2Expansion e = {
        .bs = bs,
        .freed = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
    };
    int ret = qcow2_co_settle(bs);

    if (ret == 0) {
        co_mutex_lock(&s->lock);
        ret = visit_all(bs, expand_l2, &e);
        co_mutex_unlock(&s->lock);
    }
    g_array_unref(e.freed);
    return ret == 0 ? qcow2_co_settle(bs) : ret;
}
