/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What there is to tell of one image, for vblk-img's info and for QMP. All functions: Context: main.
 */
#ifndef TOOLS_COMMON_IMAGE_INFO_H
#define TOOLS_COMMON_IMAGE_INFO_H

#include "block/image.h"

typedef struct ImageInfo {
    char *filename;
    char *format;
    int64_t virtual_bytes;
    int64_t actual_bytes;    /* negative: nobody knows */
    bool has_driver_info;    /* the driver had something to say, below */
    BlockImageInfo driver;
    char *backing_file;      /* as the image names it, or NULL */
    char *backing_path;      /* where that is, or NULL */
    char *backing_format;    /* or NULL */
} ImageInfo;

/* NULL with @error when the driver cannot tell what it should know. */
ImageInfo *image_info_new(BlockDriverState *bs, GError **error);
void image_info_free(ImageInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageInfo, image_info_free)

/* Caller frees. */
JsonNode *image_info_to_json(const ImageInfo *info);

#endif
