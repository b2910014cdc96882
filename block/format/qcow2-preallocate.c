/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gives clusters to a part of the guest's disk before anything is written
 * there: preallocation of metadata. What the part read as is not kept: it is
 * all zeroes, where the file can have them without writing them.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <inttypes.h>

/* Clusters of one L2 slice that are linked in a row to @host. */
static int coroutine_fn link_clusters(BlockDriverState *bs, int64_t offset,
                                      int64_t host, uint64_t clusters)
{
    Qcow2State *s = bs->opaque;
    unsigned index;
    void *slice;
    int ret = qcow2_co_get_l2_slice(bs, offset, &slice, &index);

    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = 0; i < clusters; i++) {
        qcow2_set_l2_entry(s, slice, index + i,
                           (host + (i << s->cluster_bits)) | QCOW2_COPIED);
        if (qcow2_has_subclusters(s)) {
            /* the backing file goes on showing */
            qcow2_set_l2_bitmap(s, slice, index + i,
                                bs->backing_file ? 0
                                                 : QCOW2_BITMAP_ALL_ALLOCATED);
        }
    }
    qcow2_mark_l2_entries(bs, slice, index, clusters);
    qcow2_cache_put(s->l2_cache, &slice);
    return 0;
}

/* From @offset on, how many clusters of @max in its slice have no entry; or
 * have, when it has one: then *empty is false. */
static int coroutine_fn count_empty(BlockDriverState *bs, int64_t offset,
                                    uint64_t max, uint64_t *count,
                                    bool *empty)
{
    Qcow2State *s = bs->opaque;
    unsigned index;
    void *slice;
    int ret = qcow2_co_get_l2_slice(bs, offset, &slice, &index);

    if (ret < 0) {
        return ret;
    }
    max = MIN(max, s->l2_slice_entries - index);
    *empty = qcow2_l2_entry(s, slice, index) == 0;
    for (*count = 1; *count < max; ++*count) {
        if ((qcow2_l2_entry(s, slice, index + *count) == 0) != *empty) {
            break;
        }
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return 0;
}

/* The file reaches up to @end. */
static int coroutine_fn make_room(BlockDriverState *bs, int64_t end)
{
    BlockTruncate to = { .bytes = end };

    if (!bs->file->grows || bs->file->total_bytes >= end ||
        bdrv_co_truncate(bs->file, &to, NULL)) {
        return 0;
    }
    return -ENOSPC;
}

/* What others have left in the clusters must not show, as far as that does
 * not take as long as writing. */
static int coroutine_fn clear_clusters(BlockDriverState *bs, int64_t host,
                                       int64_t bytes)
{
    return bs->file->limits.can_write_zeroes
               ? bdrv_co_pwrite_zeroes(bs->file, host, bytes, 0)
               : 0;
}

static int coroutine_fn link_new(BlockDriverState *bs, int64_t offset,
                                 const Qcow2Found *found)
{
    const Qcow2State *s = bs->opaque;
    int64_t host = found->first << s->cluster_bits;
    int64_t bytes = found->clusters << s->cluster_bits;
    bool fresh = qcow2_co_use_clusters(bs, host, bytes);
    int ret = make_room(bs, host + bytes);

    if (ret == 0 && !fresh) {
        ret = clear_clusters(bs, host, bytes);
    }
    if (ret == 0) {
        ret = qcow2_co_order_l2(bs);
    }
    if (ret == 0) {
        ret = link_clusters(bs, offset, host, found->clusters);
    }
    if (ret < 0) {
        qcow2_co_free_clusters(bs, host, bytes, QCOW2_DISCARD_NEVER);
    }
    return ret;
}

static int coroutine_fn give_clusters(BlockDriverState *bs, int64_t offset,
                                      uint64_t *clusters)
{
    Qcow2Found found;
    int ret;

    if (qcow2_has_data_file(bs->opaque)) {
        return link_clusters(bs, offset, offset, *clusters);
    }
    ret = qcow2_co_alloc_some(bs, *clusters, &found);
    if (ret < 0) {
        return ret;
    }
    *clusters = found.clusters;
    return link_new(bs, offset, &found);
}

/* The next clusters, at most @max, of one slice; *done says how many. */
static int coroutine_fn preallocate_some(BlockDriverState *bs, int64_t offset,
                                         uint64_t max, uint64_t *done)
{
    bool empty;
    int ret = qcow2_co_make_l2(bs, offset);

    if (ret == 0) {
        ret = count_empty(bs, offset, max, done, &empty);
    }
    if (ret == 0 && empty) {
        ret = give_clusters(bs, offset, done);
    }
    return ret;
}

static int coroutine_fn preallocate(BlockDriverState *bs, int64_t offset,
                                    int64_t bytes)
{
    Qcow2State *s = bs->opaque;
    int64_t start = qcow2_cluster_start(s, offset);
    uint64_t left = qcow2_size_to_clusters(s, offset + bytes - start);
    int ret = qcow2_co_prepare_write(bs);

    while (ret == 0 && left > 0) {
        uint64_t done = 0;

        co_mutex_lock(&s->lock);
        qcow2_co_wait_claims(bs, start,
                             start + ((int64_t)left << s->cluster_bits));
        ret = preallocate_some(bs, start, left, &done);
        co_mutex_unlock(&s->lock);
        start += done << s->cluster_bits;
        left -= done;
    }
    return ret;
}

/* Clusters of a data file are as the guest's are. */
static bool coroutine_fn lengthen_data_file(BlockDriverState *bs, int64_t end,
                                            GError **error)
{
    const Qcow2State *s = bs->opaque;
    BlockTruncate to = { .bytes = end };

    return !qcow2_has_data_file(s) || !s->data_file->grows ||
           s->data_file->total_bytes >= end ||
           bdrv_co_truncate(s->data_file, &to, error);
}

int coroutine_fn qcow2_co_preallocate(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, GError **error)
{
    int ret = preallocate(bs, offset, bytes);

    if (ret < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-ret),
                    "Could not preallocate clusters: %s", g_strerror(-ret));
        return ret;
    }
    return lengthen_data_file(bs, offset + bytes, error) ? 0 : -EIO;
}
