/* SPDX-License-Identifier: GPL-2.0-or-later */
/* info: what the image's format says of itself. */
#include "image.h"
#include "report.h"

#include <stdio.h>

#include "block/driver.h"
#include "tools/common/message.h"
#include "tools/common/specific-info.h"

/* Sizes, which a node without any of its own has from its file. False without
 * an error for one that has nothing to say. */
static bool get_info(BlockDriverState *bs, BlockImageInfo *info,
                     GError **error)
{
    const BlockDriver *drv = bs->drv;
    bool ok;

    if (drv->image && drv->image->info) {
        return drv->image->info(bs, info, error);
    }
    if (bs->file && (drv->is_filter || drv == &bdrv_raw)) {
        ok = get_info(bs->file, info, error);
        g_clear_pointer(&info->specific, json_object_unref);
        return ok;
    }
    return drv == &bdrv_file || drv == &bdrv_host_device;
}

static void show_sizes(const BlockImageInfo *info)
{
    g_autofree char *cluster = io_bytes_to_str(info->cluster_bytes);
    g_autofree char *vm_state = io_bytes_to_str(info->vm_state_offset);

    printf("cluster size: %s\n", cluster);
    printf("vm state offset: %s\n", vm_state);
}

static bool run_info(Io *io, int argc, char **argv)
{
    const BlockDriver *drv = io->image->bs->drv;
    BlockImageInfo info = { 0 };
    GError *error = NULL;

    printf("format name: %s\n", drv->name);
    if (drv->is_protocol) {
        printf("format name: %s\n", drv->name);
    }
    if (!get_info(io->image->bs, &info, &error)) {
        if (error) {
            error_report_err(error);
        }
        return false;
    }
    show_sizes(&info);
    if (info.specific) {
        specific_info_print(info.specific);
    }
    block_image_info_clear(&info);
    return true;
}

const IoCommand io_cmd_info = {
    .name = "info",
    .alias = "i",
    .oneline = "prints information about the current file",
    .run = run_info,
};
