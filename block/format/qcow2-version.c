/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From version 2 to 3 and back. Up is a matter of the header, and of snapshots
 * that have to tell the size of their disk; down, all that version 2 cannot
 * say has to go first.
 */
#include "qcow2-amend.h"

#include <errno.h>
#include <inttypes.h>

#include "qcow2-error.h"
#include "qcow2-snapshot.h"

static bool coroutine_fn write_header(BlockDriverState *bs, GError **error)
{
    int ret = qcow2_co_write_header(bs);

    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    return ret == 0 || qcow2_error_errno(error, ret,
                                         "Failed to update the image header");
}

/* --- up --- */

static bool need_new_table(const Qcow2State *s)
{
    for (unsigned i = 0; i < s->snapshot_count; i++) {
        if (s->snapshots[i].extra_bytes < QCOW2_SNAPSHOT_EXTRA_V3) {
            return true;
        }
    }
    return false;
}

bool coroutine_fn qcow2_co_upgrade(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    if (need_new_table(s)) {
        co_mutex_lock(&s->lock);
        ret = qcow2_co_write_snapshots(bs);
        co_mutex_unlock(&s->lock);
    }
    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to update the snapshot table");
    }
    s->version = 3;
    if (!write_header(bs, error)) {
        s->version = 2;
        return false;
    }
    return true;
}

/* --- down --- */

/* Version 2 has no room for more of VM state, and other disk sizes are not
 * to be expected there. */
static bool snapshots_allow(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < s->snapshot_count; i++) {
        if (s->snapshots[i].vm_state_bytes > UINT32_MAX ||
            s->snapshots[i].disk_bytes != (uint64_t)bs->total_bytes) {
            return false;
        }
    }
    return true;
}

static bool check_image(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    if (s->refcount_bits != 16) {
        return qcow2_error(error, "compat=0.10 requires refcount_bits=16");
    }
    if (qcow2_has_data_file(s)) {
        return qcow2_error(error,
                           "Cannot downgrade an image with a data file");
    }
    return snapshots_allow(bs) ||
           qcow2_error(error, "Internal snapshots prevent downgrade of image");
}

/* What no cluster uses is no obstacle. */
static bool coroutine_fn drop_compression_type(BlockDriverState *bs,
                                               GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret;

    if (s->compression == QCOW2_COMPRESSION_ZLIB) {
        return true;
    }
    ret = qcow2_co_has_compressed(bs);
    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Failed to check block status");
    }
    if (ret > 0) {
        return qcow2_error(error, "Cannot downgrade an image with zstd "
                           "compression type and existing compressed "
                           "clusters");
    }
    s->compression = QCOW2_COMPRESSION_ZLIB;
    s->incompatible &= ~QCOW2_INCOMPAT_COMPRESSION;
    return true;
}

static bool coroutine_fn drop_bitmaps(BlockDriverState *bs, GError **error)
{
    g_autoptr(GPtrArray) bitmaps = qcow2_bitmap_list(bs);

    for (unsigned i = 0; bitmaps && i < bitmaps->len; i++) {
        const BlockBitmapInfo *info = bitmaps->pdata[i];

        if (!qcow2_co_bitmap_remove(bs, info->name, error)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn drop_features(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret = qcow2_co_mark_clean(bs);

    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to make the image clean");
    }
    if (!drop_compression_type(bs, error)) {
        return false;
    }
    if (s->incompatible) {
        return qcow2_error(error, "Cannot downgrade an image with "
                           "incompatible features 0x%" PRIx64 " set",
                           s->incompatible);
    }
    ret = qcow2_co_expand_zeroes(bs);
    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to turn zero into data clusters");
    }
    return drop_bitmaps(bs, error);
}

bool coroutine_fn qcow2_co_downgrade(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;

    if (!check_image(bs, error) || !drop_features(bs, error)) {
        return false;
    }
    s->version = 2;
    s->compatible = 0;
    s->autoclear = 0;
    s->use_lazy_refcounts = false;
    if (!write_header(bs, error)) {
        s->version = 3;
        return false;
    }
    return true;
}
