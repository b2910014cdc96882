/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes what is needed to read and write an image that has been opened.
 * Called by the subcommands that copy or compare.
 */
#include "disk.h"

#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <stdlib.h>

/* Whatever a disk may want of addresses: a page, or a large block. */
#define BUFFER_ALIGNMENT 4096

static BlockBackend *new_backend(BlockDriverState *bs, bool writethrough,
                                 GError **error)
{
    BlockBackendOptions options = {
        .writable = !bs->read_only,
        .writethrough = writethrough,
        .block_size = 1,
    };

    return blk_new(bs, &options, error);
}

ImgDisk *img_disk_new(BlockDriverState *node, const char *name,
                      bool writethrough)
{
    g_autoptr(BlockDriverState) bs = node;
    GError *error = NULL;
    BlockBackend *blk;
    ImgDisk *disk;

    if (!bs) {
        return NULL;
    }
    blk = new_backend(bs, writethrough, &error);
    if (!blk) {
        error_reportf_err(error, "Could not open '%s': ", name);
        return NULL;
    }
    disk = g_new0(ImgDisk, 1);
    disk->name = name;
    disk->bs = g_steal_pointer(&bs);
    disk->blk = blk;
    disk->channel = blk_channel_new(blk, control_context());
    return disk;
}

void img_disk_free(ImgDisk *disk)
{
    if (!disk) {
        return;
    }
    blk_channel_free(disk->channel);
    blk_free(disk->blk);
    bdrv_unref(disk->bs);
    g_free(disk);
}

int64_t img_disk_length(const ImgDisk *disk)
{
    return blk_length(disk->blk);
}

typedef struct FlushCall {
    ImgDisk *disk;
    int ret;
} FlushCall;

static void coroutine_fn flush_entry(void *opaque)
{
    FlushCall *call = opaque;

    call->ret = blk_co_flush(call->disk->channel);
}

int img_disk_flush(ImgDisk *disk)
{
    FlushCall call = { .disk = disk };

    control_run_co(flush_entry, &call);
    return call.ret;
}

int64_t img_cluster_bytes(BlockDriverState *bs)
{
    BlockImageInfo info = { 0 };
    int64_t bytes = 0;

    if (bs->drv->image && bs->drv->image->info &&
        bs->drv->image->info(bs, &info, NULL)) {
        bytes = info.cluster_bytes;
        block_image_info_clear(&info);
    }
    return bytes;
}

void *img_buffer_new(size_t bytes)
{
    void *buffer = NULL;

    if (posix_memalign(&buffer, BUFFER_ALIGNMENT, MAX(bytes, 1)) != 0) {
        return NULL;
    }
    return buffer;
}

void img_buffer_free(void *buffer)
{
    free(buffer);
}
