/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preallocation in its modes, for new images and for the new part of a
 * resized one: that clusters are allocated is qcow2-preallocate.c's work; here
 * they come to read as zeroes, and falloc and full make the host allocate what
 * they lie on.
 */
#include "qcow2.h"

#include <errno.h>

#include "qcow2-error.h"

typedef struct Qcow2Backing {
    BlockPrealloc mode;
    int64_t file_end; /* behind it the file read as zeroes before */
} Qcow2Backing;

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

/* Whether it has a place on the host: a subcluster may, though it is not
 * allocated. */
static bool has_place(const Qcow2Extent *extent)
{
    return extent->kind == QCOW2_NORMAL || extent->kind == QCOW2_ZERO_ALLOC ||
           (extent->kind == QCOW2_UNALLOCATED && extent->host);
}

static int coroutine_fn back_extent(BlockDriverState *bs,
                                    const Qcow2Extent *extent,
                                    const Qcow2Backing *backing)
{
    Qcow2State *s = bs->opaque;

    if (!has_place(extent)) {
        return 0;
    }
    switch (backing->mode) {
    case PREALLOC_FULL:
        return write_full(s->data_file, extent->host, extent->bytes);
    case PREALLOC_FALLOC:
        /* without leave to unmap, zeroes are written by allocating */
        return bdrv_co_pwrite_zeroes(s->data_file, extent->host,
                                     extent->bytes, 0);
    default:
        /* a cluster that is used anew has something in it */
        return extent->host >= backing->file_end
                   ? 0
                   : bdrv_co_pwrite_zeroes(s->data_file, extent->host,
                                           extent->bytes,
                                           BLOCK_REQ_MAY_UNMAP);
    }
}

static int coroutine_fn back_all(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes, const Qcow2Backing *backing)
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
        ret = back_extent(bs, &extent, backing);
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
    const Qcow2State *s = bs->opaque;
    Qcow2Backing backing = { mode, qcow2_has_data_file(s)
                                       ? 0
                                       : bs->file->total_bytes };
    int ret = qcow2_co_preallocate(bs, offset, bytes, error);

    if (ret < 0) {
        return false;
    }
    ret = back_all(bs, offset, bytes, &backing);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to allocate data clusters");
}
