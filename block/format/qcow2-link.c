/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the tables lead to clusters that have got their data. Under s->lock.
 *
 * Order on the disk: refcounts before the L2 tables that use the clusters; and
 * data before them where these replace something that a crash must not lose,
 * which is anything but zeroes by zeroes. What the tables led to before is
 * free later. A run whose data failed changes nothing.
 */
#include "qcow2-write.h"

#include <errno.h>

int coroutine_fn qcow2_co_order_l2(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    if (qcow2_counts_may_lag(s)) {
        return 0;
    }
    return qcow2_cache_set_dependency(s->l2_cache, s->refcount_cache);
}

void qcow2_mark_l2_dirty(BlockDriverState *bs, void *slice)
{
    Qcow2State *s = bs->opaque;

    qcow2_cache_mark_dirty(s->l2_cache, slice);
    s->write->changes++;
}

void qcow2_mark_l2_entries(BlockDriverState *bs, void *slice, unsigned first,
                           unsigned count)
{
    Qcow2State *s = bs->opaque;

    qcow2_cache_mark_part(s->l2_cache, slice,
                          (size_t)first * s->l2_entry_bytes,
                          (size_t)count * s->l2_entry_bytes);
    s->write->changes++;
}

/* What the bitmap of a cluster says once [from, to) of it is allocated. */
static void link_bitmap(const Qcow2State *s, void *slice, unsigned index,
                        uint64_t mask)
{
    uint64_t old = qcow2_l2_bitmap(s, slice, index);

    if (qcow2_l2_entry(s, slice, index) & QCOW2_COMPRESSED) {
        old = 0;
    }
    qcow2_set_l2_bitmap(s, slice, index, (old | mask) & ~(mask << 32));
}

/* The cluster at @start of the guest's disk. */
static void link_cluster(const Qcow2Run *run, void *slice, unsigned index,
                         int64_t start)
{
    BlockDriverState *bs = run->bs;
    Qcow2State *s = bs->opaque;
    uint64_t old = qcow2_l2_entry(s, slice, index);
    int64_t from = MAX(run->guest - start, 0);
    int64_t to = MIN(run->end - start, s->cluster_size);
    uint64_t entry = old & ~QCOW2_ZERO;

    if (run->place == QCOW2_NEW) {
        entry = (run->host + (start - run->guest)) | QCOW2_COPIED;
    }
    if (qcow2_has_subclusters(s)) {
        link_bitmap(s, slice, index, qcow2_subcluster_mask(s, from, to));
    }
    qcow2_set_l2_entry(s, slice, index, entry);
    if (run->place == QCOW2_NEW) {
        qcow2_free_entry_later(bs, old, QCOW2_DISCARD_OTHER);
    }
}

/* What of the run is in the slice for *start, which moves on behind it. */
static int coroutine_fn link_slice(const Qcow2Run *run, int64_t *start)
{
    Qcow2State *s = run->bs->opaque;
    unsigned index, first;
    void *slice;
    int ret = qcow2_co_get_l2_slice(run->bs, *start, &slice, &index);

    if (ret < 0) {
        return ret;
    }
    first = index;
    for (; index < s->l2_slice_entries && *start < run->end; index++) {
        link_cluster(run, slice, index, *start);
        *start += s->cluster_size;
    }
    qcow2_mark_l2_entries(run->bs, slice, first, index - first);
    qcow2_cache_put(s->l2_cache, &slice);
    return 0;
}

/* Clusters from @start on that are in no table. */
static void coroutine_fn give_up(const Qcow2Run *run, int64_t start)
{
    Qcow2State *s = run->bs->opaque;
    int64_t host = run->host + (start - run->guest);

    if (run->place == QCOW2_NEW && !qcow2_has_data_file(s) &&
        start < run->end) {
        qcow2_co_free_clusters(run->bs, host, run->end - start,
                               QCOW2_DISCARD_NEVER);
    }
}

static int coroutine_fn link_run(Qcow2Run *run)
{
    Qcow2State *s = run->bs->opaque;
    int64_t start = qcow2_cluster_start(s, run->guest);
    int ret = run->ret;

    if (ret == 0 && !(run->fresh && run->zero_source)) {
        qcow2_cache_depends_on_flush(s->l2_cache);
    }
    while (ret == 0 && start < run->end) {
        ret = link_slice(run, &start);
    }
    if (ret < 0) {
        give_up(run, start);
    }
    return ret;
}

static void finish_run(Qcow2Run *run, int ret)
{
    Qcow2State *s = run->bs->opaque;
    Qcow2Piece *next;

    qcow2_claim_remove(s->write, &run->claim);
    for (Qcow2Piece *piece = run->pieces.head; piece; piece = next) {
        next = piece->next;
        qcow2_piece_done(s->write, piece, ret);
    }
    g_slice_free(Qcow2Run, run);
}

void coroutine_fn qcow2_co_link_runs(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    Qcow2Run *run;

    while ((run = qcow2_run_list_take(&w->done))) {
        if (run->ret == 0 && !run->counted) {
            run->ret = qcow2_co_order_l2(bs);
        }
        finish_run(run, link_run(run));
    }
}
