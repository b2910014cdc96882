/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An open image that requests go to from coroutines of the control thread.
 */
#ifndef TOOLS_IMG_DISK_H
#define TOOLS_IMG_DISK_H

#include "block/block-co.h"
#include "block/image.h"

typedef struct ImgDisk {
    const char *name;       /* as on the command line, borrowed */
    BlockDriverState *bs;   /* a reference */
    BlockBackend *blk;
    BlkChannel *channel;
} ImgDisk;

/*
 * Consumes the reference to @bs, of which NULL is one that could not be
 * opened; can be written to if @bs can. NULL: reported. Context: main
 */
ImgDisk *img_disk_new(BlockDriverState *bs, const char *name,
                      bool writethrough);

/* Nothing is in flight. Context: main */
void img_disk_free(ImgDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImgDisk, img_disk_free)

/* Bytes. Context: any */
int64_t img_disk_length(const ImgDisk *disk);

/* What was written is on stable storage, unless its cache mode is unsafe.
 * Returns 0 or a negative errno. Context: main */
int img_disk_flush(ImgDisk *disk);

/* Of the image's clusters; 0: it has none. Context: main */
int64_t img_cluster_bytes(BlockDriverState *bs);

/* A buffer that suits all disks; g_free() is not for it. The message for
 * the user is the caller's when it is NULL. Context: any */
void *img_buffer_new(size_t bytes);
void img_buffer_free(void *buffer);

#endif
