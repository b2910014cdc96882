/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the guest's disk longer or shorter.
 *
 * The size in the header changes in one write. What a longer disk needs, an
 * L1 table that reaches and clusters if they are wanted, is there before;
 * what a shorter one does not need is given up afterwards, so that a crash
 * leaves clusters that nobody reads.
 */
#include "qcow2-resize.h"

#include <errno.h>
#include <inttypes.h>

#include "qcow2-bitmap.h"
#include "qcow2-error.h"

#define SECTOR 512

/* --- may it be done --- */

static bool check_request(BlockDriverState *bs, const BlockTruncate *to,
                          GError **error)
{
    const Qcow2State *s = bs->opaque;
    bool shrinks = to->bytes < bs->total_bytes;

    if (!qcow2_may_change(bs, error)) {
        return false;
    }
    if (to->bytes < 0 || to->bytes % SECTOR) {
        return qcow2_error(error, "The new size must be a multiple of %u",
                           SECTOR);
    }
    if (s->version < 3 && s->snapshot_count) {
        return qcow2_error(error,
                           "Can't resize a v2 image which has snapshots");
    }
    if (shrinks && to->prealloc != PREALLOC_OFF) {
        return qcow2_error(error,
                           "Preallocation can't be used for shrinking an "
                           "image");
    }
    if (to->bytes == 0 && s->bitmap_count) {
        return qcow2_error(error, "An image with bitmaps cannot be resized to "
                           "nothing");
    }
    return qcow2_bitmaps_allow_resize(bs, error);
}

/* --- the size --- */

static int coroutine_fn write_header(BlockDriverState *bs)
{
    int ret = qcow2_co_write_header(bs);

    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}

static bool coroutine_fn begin(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = qcow2_bitmaps_begin_resize(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to update bitmap extension");
}

/* The header first, then the bitmaps, which are in use meanwhile. */
static bool coroutine_fn set_size(BlockDriverState *bs, int64_t bytes,
                                  GError **error)
{
    Qcow2State *s = bs->opaque;
    int64_t old = bs->total_bytes;
    int ret;

    bs->total_bytes = bytes;
    ret = write_header(bs);
    if (ret < 0) {
        bs->total_bytes = old;
        return qcow2_error_errno(error, ret,
                                 "Failed to update the image size");
    }
    co_mutex_lock(&s->lock);
    ret = qcow2_bitmaps_resize(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to update bitmap extension");
}

static bool coroutine_fn resize_data_file(BlockDriverState *bs,
                                          const BlockTruncate *to,
                                          GError **error)
{
    const Qcow2State *s = bs->opaque;
    BlockTruncate data = { .bytes = to->bytes, .exact = to->exact };

    return !qcow2_has_data_file(s) ||
           bdrv_co_truncate(s->data_file, &data, error);
}

/* All that the tables have from there on. Behind the disk that is the state
 * of a virtual machine: who applied a snapshot has it there. */
static bool coroutine_fn drop_clusters(BlockDriverState *bs, int64_t start,
                                       GError **error)
{
    const Qcow2State *s = bs->opaque;
    int64_t end = (int64_t)s->l1_entries << s->l1_shift;
    int ret = 0;

    start = qcow2_cluster_start(s, start + s->cluster_size - 1);
    if (start < end) {
        ret = qcow2_co_discard(bs, start, end - start, QCOW2_DISCARD_ALWAYS,
                               true);
    }
    return ret == 0 || qcow2_error_errno(error, ret, "Failed to discard "
                                         "cropped clusters");
}

/* --- longer --- */

/* The state of a virtual machine is not found any more where another end of
 * the disk has another place for it, and must not show as data. */
static bool coroutine_fn drop_state(BlockDriverState *bs, int64_t old,
                                    int64_t bytes, GError **error)
{
    const Qcow2State *s = bs->opaque;

    return qcow2_vm_state_offset_at(s, old) ==
               qcow2_vm_state_offset_at(s, bytes) ||
           drop_clusters(bs, old, error);
}

static bool coroutine_fn grow_l1(BlockDriverState *bs, int64_t bytes,
                                 GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = qcow2_co_grow_l1(bs, qcow2_l1_entries_for(s, bytes), true);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to grow the L1 table");
}

/* What the new part would show without being written to: the backing file,
 * or, in the last cluster, what was there before the disk was shrunk. */
static int64_t end_of_old_data(BlockDriverState *bs, const BlockTruncate *to,
                               int64_t old)
{
    const Qcow2State *s = bs->opaque;
    int64_t end = qcow2_cluster_start(s, old + s->cluster_size - 1);

    /* a backing file that is not open may have any length */
    if (to->zero || (bs->backing_file && !bs->backing)) {
        end = to->bytes;
    } else if (bs->backing) {
        end = MAX(end, bs->backing->total_bytes);
    }
    return MIN(end, to->bytes);
}

/* The rest of the cluster that the disk ended in is written to, so that it is
 * allocated like any other: with what it has in front of it. */
static int coroutine_fn preallocate_tail(BlockDriverState *bs, int64_t old,
                                         int64_t end)
{
    g_autofree void *zeroes = g_malloc0(end - old);

    return end > old ? bdrv_co_pwrite(bs, old, end - old, zeroes, 0) : 0;
}

static bool coroutine_fn preallocate(BlockDriverState *bs,
                                     const BlockTruncate *to, int64_t old,
                                     GError **error)
{
    const Qcow2State *s = bs->opaque;
    int64_t start = qcow2_cluster_start(s, old + s->cluster_size - 1);
    int ret = preallocate_tail(bs, old, MIN(start, to->bytes));

    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to allocate data clusters");
    }
    return start >= to->bytes ||
           qcow2_co_preallocate_mode(bs, start, to->bytes - start,
                                     to->prealloc, error);
}

/* The disk has its new size in memory, not yet on the disk. */
static bool coroutine_fn fill_new_part(BlockDriverState *bs,
                                       const BlockTruncate *to, int64_t old,
                                       GError **error)
{
    int64_t end = end_of_old_data(bs, to, old);
    int ret = 0;

    if (to->prealloc != PREALLOC_OFF && !preallocate(bs, to, old, error)) {
        return false;
    }
    if (end > old) {
        ret = bdrv_co_pwrite_zeroes(bs, old, end - old, 0);
    }
    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to zero out the new area");
    }
    ret = qcow2_co_flush_metadata(bs);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to flush the preallocated "
                             "area to disk");
}

static bool coroutine_fn grow(BlockDriverState *bs, const BlockTruncate *to,
                              GError **error)
{
    Qcow2State *s = bs->opaque;
    int64_t old = bs->total_bytes;
    bool tracking, ok;

    if (!resize_data_file(bs, to, error) ||
        !drop_state(bs, old, to->bytes, error) ||
        !grow_l1(bs, to->bytes, error) ||
        !qcow2_co_bitmaps_before_write(bs, error)) {
        return false;
    }
    /* what is done to the new part is nothing that the guest has written */
    tracking = s->tracking;
    s->tracking = false;
    bs->total_bytes = to->bytes;
    ok = fill_new_part(bs, to, old, error);
    bs->total_bytes = old;
    s->tracking = tracking;
    return ok && begin(bs, error) && set_size(bs, to->bytes, error);
}

/* --- shorter --- */

static bool coroutine_fn shrink(BlockDriverState *bs, const BlockTruncate *to,
                                GError **error)
{
    const Qcow2State *s = bs->opaque;

    return begin(bs, error) && set_size(bs, to->bytes, error) &&
           drop_clusters(bs, to->bytes, error) &&
           qcow2_co_shrink_tables(bs, qcow2_l1_entries_for(s, to->bytes),
                                  error) &&
           resize_data_file(bs, to, error);
}

/* What the tables say and what is in a raw data file is to be the same: as when
 * such an image is made, there is a place for everything. */
static BlockTruncate allocate_raw(BlockDriverState *bs,
                                  const BlockTruncate *to)
{
    const Qcow2State *s = bs->opaque;
    BlockTruncate all = *to;

    if (qcow2_has_data_file(s) && qcow2_data_file_is_raw(s) &&
        all.prealloc == PREALLOC_OFF) {
        all.prealloc = PREALLOC_METADATA;
    }
    return all;
}

bool coroutine_fn qcow2_co_truncate(BlockDriverState *bs,
                                    const BlockTruncate *to, GError **error)
{
    BlockTruncate longer;

    if (!check_request(bs, to, error)) {
        return false;
    }
    if (to->bytes < bs->total_bytes) {
        return shrink(bs, to, error);
    }
    longer = allocate_raw(bs, to);
    return to->bytes == bs->total_bytes || grow(bs, &longer, error);
}
