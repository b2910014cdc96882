/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discard, and what write-zeroes does to whole clusters: entries of L2 tables
 * change, host clusters are given up.
 *
 * How it works: a coroutine goes through the range in steps of whole L2
 * slices. It claims a step, changes its entries, then tells the data file of
 * host clusters that have become useless, run by run, and only then lets go
 * of the claim: nobody writes to such a cluster meanwhile. What was freed is
 * still counted then (see qcow2-frees.c), so nobody else gets it, either.
 */
#include "qcow2-discard.h"

#include <errno.h>

#include "qcow2-write.h"

/* Claimed at a time, unless a slice is for more. */
#define STEP_BYTES (256 * 1024 * 1024)

typedef struct HostRange {
    int64_t host, bytes;
} HostRange;

typedef struct Step {
    BlockDriverState *bs;
    const Qcow2Clearing *how;
    int64_t start, end;     /* of the guest's disk: whole clusters */
    Qcow2Claim claim;
    GArray *useless;        /* of HostRange */
} Step;

/* --- one entry --- */

typedef struct Entry {
    uint64_t entry, bitmap;
} Entry;

static bool entry_has_host(const Qcow2State *s, uint64_t entry)
{
    return !(entry & QCOW2_COMPRESSED) &&
           ((entry & QCOW2_L2_OFFSET) ||
            ((entry & QCOW2_COPIED) && qcow2_has_data_file(s)));
}

/* Reads as zeroes without asking anybody. */
static Entry zero_entry(const Qcow2State *s, uint64_t entry)
{
    if (qcow2_has_subclusters(s)) {
        return (Entry){ entry, QCOW2_BITMAP_ALL_ZEROES };
    }
    return (Entry){ s->version >= 3 ? entry | QCOW2_ZERO : 0, 0 };
}

/* What a cluster with @old looks like once it is cleared. */
static Entry cleared(const Step *step, Entry old)
{
    BlockDriverState *bs = step->bs;
    const Qcow2State *s = bs->opaque;
    bool has_host = entry_has_host(s, old.entry);
    bool allocated = has_host || (old.entry & QCOW2_COMPRESSED);

    if (step->how->full) {
        return (Entry){ 0, 0 };
    }
    if (has_host && step->how->keep_host) {
        return zero_entry(s, old.entry);
    }
    if (!step->how->zero && !allocated && !bs->backing) {
        return old;
    }
    return zero_entry(s, 0);
}

static bool keeps_host(const Qcow2State *s, Entry old, Entry new)
{
    return entry_has_host(s, old.entry) && entry_has_host(s, new.entry);
}

/* The next of the host's clusters that hold nothing of use. */
static void add_useless(Step *step, int64_t host, int64_t bytes)
{
    HostRange *last = step->useless->len
                          ? &g_array_index(step->useless, HostRange,
                                           step->useless->len - 1)
                          : NULL;
    HostRange next = { host, bytes };

    if (last && last->host + last->bytes == host) {
        last->bytes += bytes;
    } else {
        g_array_append_val(step->useless, next);
    }
}

/* Whether the file may forget what is at @host although the disk may still
 * have the old entry when power fails: then the guest reads zeroes there. It
 * must not where it would see the backing file's data instead; nor, in an image
 * that is corrupt, tables. */
static bool may_forget(const Step *step, int64_t host)
{
    BlockDriverState *bs = step->bs;
    const Qcow2State *s = bs->opaque;
    bool shows_backing = step->how->full && bs->backing_file;

    return !step->how->keep_data && !shows_backing &&
           s->pass_discard[step->how->type] &&
           (s->data_file != bs->file ||
            qcow2_overlaps(bs, 0, host, s->cluster_size) == 0);
}

/* A host cluster that nobody else has can be told of at once. */
static void give_up(Step *step, Entry old, Entry new)
{
    BlockDriverState *bs = step->bs;
    Qcow2State *s = bs->opaque;
    Qcow2DiscardType type = step->how->type;
    int64_t host = old.entry & QCOW2_L2_OFFSET;
    bool only_here = entry_has_host(s, old.entry) &&
                     (old.entry & QCOW2_COPIED);

    if (only_here && may_forget(step, host)) {
        add_useless(step, host, s->cluster_size);
        type = QCOW2_DISCARD_NEVER;
    }
    if (!keeps_host(s, old, new)) {
        qcow2_free_entry_later(bs, old.entry, type);
    }
}

/* Returns whether anything changed. */
static bool clear_entry(Step *step, void *slice, unsigned index)
{
    Qcow2State *s = step->bs->opaque;
    Entry old = { qcow2_l2_entry(s, slice, index),
                  qcow2_l2_bitmap(s, slice, index) };
    Entry new = cleared(step, old);

    if (old.entry == new.entry && old.bitmap == new.bitmap) {
        return false;
    }
    qcow2_set_l2_entry(s, slice, index, new.entry);
    if (qcow2_has_subclusters(s)) {
        qcow2_set_l2_bitmap(s, slice, index, new.bitmap);
    }
    give_up(step, old, new);
    return true;
}

/* --- a step --- */

/* Whether there is nothing to do where L1 has no table. */
static bool nothing_there(const Step *step, int64_t offset)
{
    const Qcow2State *s = step->bs->opaque;
    uint64_t index = (uint64_t)offset >> s->l1_shift;

    return (step->how->full || (!step->how->zero && !step->bs->backing)) &&
           (index >= s->l1_entries || !(s->l1[index] & QCOW2_L1_OFFSET));
}

/* Behind the L2 table that @offset is in. */
static int64_t next_table(const Qcow2State *s, int64_t offset)
{
    int64_t table = 1LL << s->l1_shift;

    return (offset & ~(table - 1)) + table;
}

/* From *offset to the end of its slice or of the step. */
static int coroutine_fn clear_slice(Step *step, int64_t *offset)
{
    BlockDriverState *bs = step->bs;
    Qcow2State *s = bs->opaque;
    bool changed = false;
    unsigned index, first;
    void *slice;
    int ret = qcow2_co_make_l2(bs, *offset);

    if (ret == 0) {
        ret = qcow2_co_get_l2_slice(bs, *offset, &slice, &index);
    }
    if (ret < 0) {
        return ret;
    }
    first = index;
    for (; index < s->l2_slice_entries && *offset < step->end; index++) {
        changed |= clear_entry(step, slice, index);
        *offset += s->cluster_size;
    }
    if (changed) {
        qcow2_mark_l2_entries(bs, slice, first, index - first);
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return 0;
}

static int coroutine_fn clear_entries(Step *step)
{
    const Qcow2State *s = step->bs->opaque;
    int64_t offset = step->start;
    int ret = 0;

    while (ret == 0 && offset < step->end) {
        if (nothing_there(step, offset)) {
            offset = next_table(s, offset);
        } else {
            ret = clear_slice(step, &offset);
        }
    }
    return ret;
}

/* Advice: that it is not taken is no error. */
static void coroutine_fn tell_file(Step *step)
{
    Qcow2State *s = step->bs->opaque;

    for (unsigned i = 0; i < step->useless->len; i++) {
        HostRange range = g_array_index(step->useless, HostRange, i);

        bdrv_co_pdiscard(s->data_file, range.host, range.bytes);
    }
}

static int coroutine_fn clear_step(Step *step)
{
    BlockDriverState *bs = step->bs;
    Qcow2State *s = bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    qcow2_co_wait_claims(bs, step->start, step->end);
    qcow2_claim_add(s->write, &step->claim, step->start, step->end);
    if (step->how->prepare) {
        co_mutex_unlock(&s->lock);
        ret = step->how->prepare(bs, step->start, step->end - step->start,
                                 step->how->flags);
        co_mutex_lock(&s->lock);
        if (ret < 0) {
            goto out;
        }
    }
    ret = clear_entries(step);
out:
    co_mutex_unlock(&s->lock);
    tell_file(step);
    qcow2_claim_remove(s->write, &step->claim);
    return ret;
}

static int64_t step_bytes(const Qcow2State *s)
{
    return MAX(STEP_BYTES, (int64_t)s->l2_slice_entries << s->cluster_bits);
}

int coroutine_fn qcow2_co_clear_clusters(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes,
                                         const Qcow2Clearing *how)
{
    Qcow2State *s = bs->opaque;
    Qcow2Epoch *epoch = qcow2_epoch_enter(s);
    int64_t end = qcow2_size_to_clusters(s, offset + bytes)
                  << s->cluster_bits;
    int64_t most = step_bytes(s);
    Step step = { .bs = bs, .how = how };
    int ret = 0;

    g_assert(qcow2_offset_in_cluster(s, offset) == 0);
    step.useless = g_array_new(false, false, sizeof(HostRange));
    while (ret == 0 && offset < end) {
        if (nothing_there(&step, offset)) {
            offset = next_table(s, offset); /* a disk may be of 1 EiB */
            continue;
        }
        step.start = offset;
        step.end = MIN(end, (offset & ~(most - 1)) + most);
        g_array_set_size(step.useless, 0);
        ret = clear_step(&step);
        offset = step.end;
    }
    g_array_free(step.useless, true);
    qcow2_epoch_leave(epoch);
    if (ret == 0 && qcow2_frees_pressing(s->write)) {
        ret = qcow2_co_flush_metadata(bs);
    } else if (ret == 0 && qcow2_tables_are_behind(bs)) {
        ret = qcow2_co_write_tables(bs);
    }
    return ret;
}

/* --- discard --- */

int coroutine_fn qcow2_co_discard(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes, Qcow2DiscardType type,
                                  bool full)
{
    const Qcow2State *s = bs->opaque;
    int ret = qcow2_co_prepare_write(bs);

    return ret < 0 ? ret
                   : qcow2_co_clear_clusters(bs, offset, bytes,
                                             &(Qcow2Clearing){
                                                 .type = type,
                                                 .full = full,
                                                 .keep_host =
                                                     !full &&
                                                     s->discard_no_unref,
                                             });
}

/* Clusters that are inside, the one at the end of the disk included. */
static void inner_clusters(BlockDriverState *bs, int64_t *offset,
                           int64_t *bytes)
{
    const Qcow2State *s = bs->opaque;
    int64_t end = *offset + *bytes;
    int64_t start = qcow2_cluster_start(s, *offset + s->cluster_size - 1);

    if (end < bs->total_bytes) {
        end = qcow2_cluster_start(s, end);
    }
    *offset = start;
    *bytes = MAX(end - start, 0);
}

/* Of version 2 nothing can say that a cluster is not the backing file's. */
static int coroutine_fn discard_request(BlockDriverState *bs,
                                        const BlockRequest *req)
{
    const Qcow2State *s = bs->opaque;
    int64_t offset = req->offset, bytes = req->bytes;

    inner_clusters(bs, &offset, &bytes);
    if (bytes == 0 || (s->version < 3 && bs->backing)) {
        return 0;
    }
    return qcow2_co_discard(bs, offset, bytes, QCOW2_DISCARD_REQUEST, false);
}

void qcow2_discard_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit_co(bs, req, discard_request);
}
