/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preallocation in its modes, for new images and for the new part of a
 * resized one: metadata is qcow2-write.c's work; falloc and full also make
 * the host allocate what the clusters lie on.
 */
#include "qcow2.h"

#include <errno.h>

#include "qcow2-error.h"

#define FULL_CHUNK (1024 * 1024)

static int coroutine_fn write_full(BlockDriverState *file, int64_t offset,
                                   int64_t bytes)
{
    g_autofree void *zeroes = g_malloc0(FULL_CHUNK);
    int ret = 0;

    while (bytes > 0 && ret == 0) {
        int64_t part = MIN(bytes, FULL_CHUNK);

        ret = bdrv_co_pwrite(file, offset, part, zeroes, 0);
        offset += part;
        bytes -= part;
    }
    return ret;
}

static int coroutine_fn back_extent(BlockDriverState *bs,
                                    const Qcow2Extent *extent,
                                    BlockPrealloc mode)
{
    Qcow2State *s = bs->opaque;

    if (extent->kind != QCOW2_NORMAL && extent->kind != QCOW2_ZERO_ALLOC) {
        return 0;
    }
    /* without leave to unmap, zeroes are written by allocating: fallocate */
    return mode == PREALLOC_FALLOC
               ? bdrv_co_pwrite_zeroes(s->data_file, extent->host,
                                       extent->bytes, 0)
               : write_full(s->data_file, extent->host, extent->bytes);
}

static int coroutine_fn back_all(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes, BlockPrealloc mode)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    while (bytes > 0 && ret == 0) {
        Qcow2Extent extent;

        co_mutex_lock(&s->lock);
        ret = qcow2_co_map(bs, offset, bytes, &extent);
        co_mutex_unlock(&s->lock);
        if (ret < 0) {
            break;
        }
        ret = back_extent(bs, &extent, mode);
        offset += extent.bytes;
        bytes -= extent.bytes;
    }
    return ret;
}

bool coroutine_fn qcow2_co_preallocate_mode(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            BlockPrealloc mode,
                                            GError **error)
{
    int ret = qcow2_co_preallocate(bs, offset, bytes, error);

    if (ret < 0) {
        return false;
    }
    if (mode == PREALLOC_METADATA) {
        return true;
    }
    ret = back_all(bs, offset, bytes, mode);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to allocate data clusters");
}
