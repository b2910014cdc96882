/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The image that convert writes: what it is to be like, its making, and what
 * it reads as before anything was copied. Called by convert.c.
 */
#include "convert.h"

#include "new-image.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <string.h>

void convert_target_clear(ConvertTarget *target)
{
    g_clear_pointer(&target->disk, img_disk_free);
    g_clear_pointer(&target->opts, create_opts_free);
}

static NewImage new_image(const ConvertArgs *args, int64_t bytes)
{
    return (NewImage){
        .filename = args->target,
        .format = args->out_format,
        .options = args->options,
        .backing_file = args->backing_file,
        .backing_format = args->backing_format,
        .bytes = bytes,
    };
}

/* --- before it is there --- */

static bool check_backing(const ConvertTarget *target,
                          const ConvertArgs *args)
{
    if (!target->backing_file) {
        return true;
    }
    if (args->n_sources > 1) {
        error_report("Having a backing file for the target makes no sense "
                     "when concatenating multiple input images");
        return false;
    }
    if (target->opts && !create_opts_get(target->opts, "backing_fmt")) {
        error_report("Use of backing file requires explicit backing format");
        return false;
    }
    return true;
}

static bool can_compress(const BlockDriver *drv)
{
    if (drv->image && drv->image->co_pwrite_compressed) {
        return true;
    }
    error_report("Compression not supported for this file format");
    return false;
}

static bool is_preallocated(const CreateOpts *opts)
{
    const char *mode = create_opts_get(opts, "preallocation");

    return mode && strcmp(mode, block_prealloc_names[PREALLOC_OFF]) != 0;
}

static bool check_compression(const ConvertTarget *target,
                              const ConvertArgs *args)
{
    if (!args->compress || !target->opts) {
        return true;
    }
    if (!can_compress(bdrv_find_driver(args->out_format))) {
        return false;
    }
    if (is_preallocated(target->opts)) {
        error_report("Compression and preallocation not supported at the same "
                     "time");
        return false;
    }
    return true;
}

bool convert_target_check(ConvertTarget *target, const ConvertArgs *args,
                          int64_t bytes)
{
    NewImage image = new_image(args, bytes);
    GError *error = NULL;

    target->backing_file = args->backing_file;
    if (!args->skip_create) {
        target->opts = new_image_options(&image, &error);
        if (!target->opts) {
            error_report_err(error);
            return false;
        }
        target->backing_file = create_opts_get(target->opts, "backing_file");
    }
    return check_backing(target, args) && check_compression(target, args);
}

/* --- making and opening --- */

static bool make(const ConvertTarget *target, const ConvertArgs *args,
                 int64_t bytes)
{
    NewImage image = new_image(args, bytes);
    GError *error = NULL;

    if (!target->opts || new_image_make(&image, target->opts, &error)) {
        return true;
    }
    error_reportf_err(error, "%s: error while converting %s: ", args->target,
                      args->out_format);
    return false;
}

static ImgDisk *open_target(const ConvertArgs *args, unsigned flags,
                            bool writethrough)
{
    ImgArgs img = {
        .format = args->out_format,
        .image_opts = args->target_image_opts,
    };

    if (args->sparse_bytes) {
        flags |= BDRV_OPEN_DISCARD;
    }
    return img_disk_new(img_open(&img, args->target, flags), args->target,
                        writethrough);
}

static bool check_opened(const ConvertTarget *target, const ConvertArgs *args,
                         int64_t bytes)
{
    BlockDriverState *bs = target->disk->bs;

    if (args->bitmaps && !convert_bitmaps_possible(bs)) {
        error_report("Format driver '%s' does not support bitmaps",
                     bs->drv->name);
        return false;
    }
    if (args->compress && !can_compress(bs->drv)) {
        return false;
    }
    if (args->skip_create && img_disk_length(target->disk) < bytes) {
        error_report("output file is smaller than input file");
        return false;
    }
    return true;
}

bool convert_target_open(ConvertTarget *target, const ConvertArgs *args,
                         int64_t bytes)
{
    unsigned flags;
    bool writethrough;

    if (!img_write_flags(&args->img, &flags, &writethrough) ||
        !make(target, args, bytes)) {
        return false;
    }
    target->disk = open_target(args, flags, writethrough);
    return target->disk && check_opened(target, args, bytes);
}

/* --- what it reads as --- */

/* A file that has just been made is empty; of a device or an export that was
 * taken over nobody knows. */
static bool is_in_new_files(const BlockDriverState *bs)
{
    if (bs->drv->is_protocol) {
        return bs->drv == &bdrv_file;
    }
    for (unsigned i = 0; i < bs->children->len; i++) {
        const BlockDriverState *child = bs->children->pdata[i];

        if (child != bs->backing && !is_in_new_files(child)) {
            return false;
        }
    }
    return true;
}

/* An image with clusters has none yet, unless it was asked to. */
static bool has_nothing(const ConvertTarget *target)
{
    return img_cluster_bytes(target->disk->bs) > 0 &&
           !is_preallocated(target->opts) &&
           !create_opts_get(target->opts, "data_file");
}

bool convert_target_is_zero(const ConvertTarget *target,
                            const ConvertArgs *args)
{
    if (args->skip_create) {
        return args->target_is_zero;
    }
    return args->sparse_bytes > 0 && !target->backing_file &&
           (has_nothing(target) || is_in_new_files(target->disk->bs));
}
