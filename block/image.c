/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done with an image and is the same for all drivers: resizing,
 * making its file, freeing what they say of themselves. For the tools and
 * for formats.
 */
#include "block/image.h"

#include <errno.h>
#include <string.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/error.h"
#include "block/graph.h"
#include "image-filename.h"
#include "node-home.h"
#include "node-options.h"

#define SECTOR 512

/* A GiB less than what fits, and a multiple of it, as in QEMU. */
#define IMAGE_MAX_BYTES (INT64_MAX & -(1LL << 30))

const char *const block_prealloc_names[] = {
    "off", "metadata", "falloc", "full", NULL,
};

void block_snapshot_free(void *snapshot)
{
    BlockSnapshot *sn = snapshot;

    g_free(sn->id);
    g_free(sn->name);
    g_free(sn);
}

void block_bitmap_info_free(void *bitmap)
{
    BlockBitmapInfo *info = bitmap;

    g_free(info->name);
    g_free(info);
}

void block_image_info_clear(BlockImageInfo *info)
{
    g_clear_pointer(&info->snapshots, g_ptr_array_unref);
    g_clear_pointer(&info->specific, json_object_unref);
}

/* --- resizing --- */

static bool check_truncate(const BlockDriverState *bs,
                           const BlockTruncate *to, GError **error)
{
    if (to->bytes < 0) {
        return error_setg(error, "Image size cannot be negative");
    }
    if (to->bytes > IMAGE_MAX_BYTES) {
        return error_setg(error, "Required too big image size, it must be "
                          "not greater than %" G_GINT64_FORMAT,
                          (gint64)IMAGE_MAX_BYTES);
    }
    if (bs->read_only) {
        return error_setg(error, "Image is read-only");
    }
    return true;
}

/* A longer backing file must not show where there was nothing before. */
static bool backing_would_show(const BlockDriverState *bs, int64_t bytes)
{
    return bs->backing && bytes > bs->total_bytes &&
           bs->backing->total_bytes > bs->total_bytes;
}

typedef struct TruncateVisit {
    BlockDriverState *bs;
    const BlockTruncate *to;
    GError **error;
    bool ok;
} TruncateVisit;

static void coroutine_fn truncate_entry(void *opaque)
{
    TruncateVisit *visit = opaque;

    visit->ok = bdrv_co_truncate(visit->bs, visit->to, visit->error);
}

static bool coroutine_fn truncate_filter(BlockDriverState *bs,
                                         const BlockTruncate *to,
                                         GError **error)
{
    if (!bs->drv->is_filter || !bs->file) {
        return error_setg(error,
                          "Image format driver does not support resize");
    }
    if (!bdrv_co_truncate(bs->file, to, error)) {
        return false;
    }
    bs->total_bytes = bs->file->total_bytes;
    return true;
}

bool coroutine_fn bdrv_co_truncate(BlockDriverState *bs,
                                   const BlockTruncate *to, GError **error)
{
    TruncateVisit visit = { .bs = bs, .to = to, .error = error };
    BlockTruncate how = *to;

    if (!check_truncate(bs, to, error)) {
        return false;
    }
    if (node_home_is_elsewhere(bs)) {
        node_home_co_run(bs, truncate_entry, &visit);
        return visit.ok;
    }
    how.zero |= backing_would_show(bs, to->bytes);
    return bs->drv->image && bs->drv->image->co_truncate
               ? bs->drv->image->co_truncate(bs, &how, error)
               : truncate_filter(bs, &how, error);
}

/* --- on the medium --- */

int64_t bdrv_allocated_bytes(BlockDriverState *bs)
{
    int64_t sum = 0;

    if (bs->drv->image && bs->drv->image->allocated_bytes) {
        return bs->drv->image->allocated_bytes(bs);
    }
    if (bs->drv->is_protocol) {
        return -ENOTSUP;
    }
    for (unsigned i = 0; i < bs->children->len; i++) {
        BlockDriverState *child = bs->children->pdata[i];
        int64_t bytes = child == bs->backing ? 0 : bdrv_allocated_bytes(child);

        if (bytes < 0) {
            return bytes;
        }
        sum += bytes;
    }
    return sum;
}

/* --- the state of a virtual machine --- */

typedef struct VmStateIo {
    BlockDriverState *bs;
    BlockOp op;
    int64_t offset, bytes;
    void *buf;
    int ret;
} VmStateIo;

static void coroutine_fn vmstate_entry(void *opaque)
{
    VmStateIo *io = opaque;

    io->ret = io->bs->drv->image->co_vmstate(io->bs, io->op, io->offset,
                                             io->bytes, io->buf);
}

static int coroutine_fn co_vmstate(VmStateIo *io)
{
    g_assert(io->offset >= 0 && io->bytes >= 0);
    while (io->bs && !(io->bs->drv->image && io->bs->drv->image->co_vmstate)) {
        io->bs = io->bs->file;
    }
    if (!io->bs) {
        return -ENOTSUP;
    }
    if (io->op == BLOCK_WRITE && io->bs->read_only) {
        return -EPERM;
    }
    if (io->bytes > 0 && node_home_is_elsewhere(io->bs)) {
        node_home_co_run(io->bs, vmstate_entry, io);
    } else if (io->bytes > 0) {
        vmstate_entry(io);
    }
    return io->ret;
}

int coroutine_fn bdrv_co_load_vmstate(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, void *buf)
{
    return co_vmstate(&(VmStateIo){ .bs = bs, .op = BLOCK_READ,
                                    .offset = offset, .bytes = bytes,
                                    .buf = buf });
}

int coroutine_fn bdrv_co_save_vmstate(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, const void *buf)
{
    return co_vmstate(&(VmStateIo){ .bs = bs, .op = BLOCK_WRITE,
                                    .offset = offset, .bytes = bytes,
                                    .buf = (void *)buf });
}

/* --- the file of a new image --- */

const BlockDriver *bdrv_find_protocol(const char *filename, GError **error)
{
    g_autoptr(Options) opts = image_filename_options(filename, error);
    const char *name = opts ? options_peek_str(opts, "driver") : NULL;
    const BlockDriver *drv = name ? bdrv_find_driver(name) : NULL;

    if (name && !drv) {
        error_setg(error, "Unknown protocol '%s'", name);
    }
    return drv;
}

/* The image takes the place of what is there: a device, an NBD export. */
typedef struct CreateOver {
    BlockDriverState *bs;
    int64_t bytes;
    GError *error;
} CreateOver;

static void coroutine_fn create_over_entry(void *opaque)
{
    CreateOver *over = opaque;
    BlockTruncate to = { .bytes = over->bytes };
    int ret;

    if (over->bytes > over->bs->total_bytes &&
        !bdrv_co_truncate(over->bs, &to, &over->error)) {
        return;
    }
    /* whatever format was there is not there any more */
    ret = bdrv_co_pwrite_zeroes(over->bs, 0,
                                MIN(over->bs->total_bytes, SECTOR), 0);
    if (ret < 0) {
        error_setg(&over->error, "Failed to clear the new image's first "
                   "sector: %s", g_strerror(-ret));
    }
}

static bool take_over_options(Options *opts, int64_t *bytes, GError **error)
{
    g_autofree char *prealloc = NULL;
    g_autofree char *left = NULL;

    if (!options_take_size(opts, "size", bytes, error) ||
        !options_take_str(opts, "preallocation", &prealloc, error)) {
        return false;
    }
    left = options_first_key(opts);
    if (left) {
        return error_setg(error, "Invalid parameter '%s'", left);
    }
    if (prealloc && !g_str_equal(prealloc, "off")) {
        return error_setg(error, "Unsupported preallocation mode '%s'",
                          prealloc);
    }
    return true;
}

static bool create_over(const BlockDriver *drv, const char *filename,
                        Options *opts, GError **error)
{
    NodeSpec spec = { .is_file = true, .flags = BDRV_OPEN_SECTORS };
    g_autoptr(Options) named = image_filename_options(filename, error);
    g_autoptr(BlockDriverState) bs = NULL;
    CreateOver over = { 0 };

    if (!named || !take_over_options(opts, &over.bytes, error)) {
        return false;
    }
    options_set_str(named, "driver", drv->name);
    bs = image_open_node(g_steal_pointer(&named), &spec, error);
    if (!bs) {
        image_strip_what(error);
        g_prefix_error(error, "Protocol driver '%s' does not support image "
                       "creation, and opening the image failed: ", drv->name);
        return false;
    }
    if (!bdrv_set_block_size(bs, SECTOR, error)) {
        return false;
    }
    over.bs = bs;
    bdrv_run_co(bs, create_over_entry, &over);
    if (over.error) {
        g_propagate_error(error, over.error);
        return false;
    }
    return true;
}

bool bdrv_create(const BlockDriver *drv, const char *filename, Options *opts,
                 GError **error)
{
    bool ok;

    options_set_what(opts, "");
    if (drv->image && drv->image->create) {
        ok = drv->image->create(filename, opts, error);
    } else if (drv->image && drv->image->create_options) {
        ok = create_over(drv, filename, opts, error);
    } else {
        return error_setg(error, "%s driver '%s' does not support image "
                          "creation", drv->is_protocol ? "Protocol"
                                                       : "Format",
                          drv->name);
    }
    if (!ok) {
        image_strip_what(error);
    }
    return ok;
}

bool bdrv_create_file(const char *filename, Options *opts, GError **error)
{
    g_autoptr(Options) named = image_filename_options(filename, error);
    const BlockDriver *drv = named ? bdrv_find_protocol(filename, error)
                                   : NULL;
    const char *path = named ? options_peek_str(named, "filename") : NULL;
    bool has_create = drv && drv->image && drv->image->create;

    return drv && bdrv_create(drv, has_create && path ? path : filename, opts,
                              error);
}
