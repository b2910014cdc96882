/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * After a disk was shrunk: gives up L2 tables that map nothing any more and
 * refcount blocks that count nothing, and cuts the file behind the last
 * cluster that is in use.
 */
#include "qcow2-resize.h"

#include <errno.h>

#include "block/log.h"
#include "qcow2-error.h"
#include "qcow2-write.h"

/* --- L2 tables --- */

/* It is empty, since the clusters that it mapped were discarded. */
static int coroutine_fn drop_l2_table(BlockDriverState *bs, unsigned index)
{
    Qcow2State *s = bs->opaque;
    uint64_t entry = s->l1[index];
    uint64_t offset = entry & QCOW2_L1_OFFSET;
    int ret;

    if (offset == 0 || qcow2_offset_in_cluster(s, offset)) {
        return offset == 0 ? 0 : -EIO;
    }
    s->l1[index] = 0;
    ret = qcow2_co_write_l1_entry(bs, index);
    if (ret < 0) {
        s->l1[index] = entry;
        return ret;
    }
    /* one that a snapshot has as well stays as it is */
    if (entry & QCOW2_COPIED) {
        qcow2_cache_forget(s->l2_cache, offset, s->cluster_size);
    }
    qcow2_free_later(bs, offset, s->cluster_size, QCOW2_DISCARD_ALWAYS);
    return 0;
}

/* --- refcount blocks --- */

/* 1 when all counts of @block are 0 but perhaps its own, 0 when not, or a
 * negative errno. */
static int coroutine_fn block_is_idle(BlockDriverState *bs, uint64_t index)
{
    Qcow2State *s = bs->opaque;
    uint64_t offset = s->reftable[index] & QCOW2_REFTABLE_OFFSET;
    uint64_t first = index << s->refcount_block_bits;
    uint64_t self = offset >> s->cluster_bits;
    void *block;
    int ret = qcow2_cache_get(s->refcount_cache, offset, &block);

    if (ret < 0) {
        return ret;
    }
    ret = 1;
    for (uint64_t i = 0; i < UINT64_C(1) << s->refcount_block_bits; i++) {
        if (first + i != self && qcow2_refcount_at(s, block, i)) {
            ret = 0;
            break;
        }
    }
    qcow2_cache_put(s->refcount_cache, &block);
    return ret;
}

/* Not in the table any more: its cluster is counted by another one, or by
 * nobody. */
static int coroutine_fn drop_block(BlockDriverState *bs, uint64_t index)
{
    Qcow2State *s = bs->opaque;
    uint64_t entry = s->reftable[index];
    uint64_t offset = entry & QCOW2_REFTABLE_OFFSET;
    int ret;

    s->reftable[index] = 0;
    ret = qcow2_co_write_reftable_entry(bs, index);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret < 0) {
        s->reftable[index] = entry;
        return ret;
    }
    qcow2_cache_forget(s->refcount_cache, offset, s->cluster_size);
    if (offset >> (s->cluster_bits + s->refcount_block_bits) != index) {
        qcow2_co_free_clusters(bs, offset, s->cluster_size,
                               QCOW2_DISCARD_ALWAYS);
    }
    return 0;
}

static int coroutine_fn drop_idle_blocks(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    for (uint64_t i = s->reftable_entries; i > 1; i--) {
        uint64_t entry = s->reftable[i - 1];
        int ret;

        if (entry == 0) {
            continue;
        }
        if (entry & (s->cluster_size - 1)) {
            return -EIO;
        }
        ret = block_is_idle(bs, i - 1);
        if (ret == 1) {
            ret = drop_block(bs, i - 1);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* --- the file --- */

static bool coroutine_fn cut_file(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    uint64_t cluster = qcow2_size_to_clusters(s, bs->file->total_bytes);
    BlockTruncate to = { 0 };
    g_autoptr(GError) why = NULL;
    int ret = 0;

    co_mutex_lock(&s->lock);
    for (uint64_t count = 0; cluster > 0 && ret == 0; cluster--) {
        ret = qcow2_co_get_refcount(bs, cluster - 1, &count);
        if (count > 0) {
            break;
        }
    }
    co_mutex_unlock(&s->lock);
    if (ret < 0 || cluster == 0) {
        return qcow2_error_errno(error, ret < 0 ? ret : -EIO,
                                 "Failed to find the last cluster");
    }
    to.bytes = (int64_t)(cluster << s->cluster_bits);
    if (to.bytes < bs->file->total_bytes &&
        !bdrv_co_truncate(bs->file, &to, &why)) {
        log_warn("Failed to truncate the tail of the image: %s",
                 why->message);
    }
    qcow2_grow_init(s->write);
    return true;
}

bool coroutine_fn qcow2_co_shrink_tables(BlockDriverState *bs, unsigned first,
                                         GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    co_mutex_lock(&s->lock);
    for (unsigned i = first; i < s->l1_entries && ret == 0; i++) {
        ret = drop_l2_table(bs, i);
    }
    co_mutex_unlock(&s->lock);
    if (ret == 0) {
        ret = qcow2_co_settle(bs);
    }
    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Failed to reduce the number of "
                                 "L2 tables");
    }
    co_mutex_lock(&s->lock);
    ret = drop_idle_blocks(bs);
    co_mutex_unlock(&s->lock);
    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Failed to discard unused "
                                 "refblocks");
    }
    return cut_file(bs, error);
}

int coroutine_fn qcow2_co_make_empty(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    int ret;

    if (!qcow2_may_change(bs, NULL)) {
        return -ENOMEDIUM;
    }
    /* behind the disk as well, where the state of a virtual machine is */
    ret = qcow2_co_discard(bs, 0, (int64_t)s->l1_entries << s->l1_shift,
                           QCOW2_DISCARD_SNAPSHOT, true);
    if (ret < 0) {
        return ret;
    }
    return qcow2_co_shrink_tables(bs, 0, NULL) ? 0 : -EIO;
}
