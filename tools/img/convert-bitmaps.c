/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * convert --bitmaps: the persistent bitmaps of the source enter the target.
 * Called by convert.c.
 */
#include "convert.h"

#include "block/control.h"
#include "tools/common/message.h"

#include <stdio.h>

/* NULL: the image cannot have any. */
static GPtrArray *list_bitmaps(BlockDriverState *bs)
{
    const BlockImageOps *ops = bs->drv->image;

    return ops && ops->bitmap_list ? ops->bitmap_list(bs) : NULL;
}

bool convert_bitmaps_possible(BlockDriverState *bs)
{
    g_autoptr(GPtrArray) list = list_bitmaps(bs);

    return list != NULL;
}

bool convert_bitmaps_check(BlockDriverState *source, const ConvertArgs *args)
{
    g_autoptr(GPtrArray) list = NULL;

    if (!args->bitmaps) {
        return true;
    }
    if (args->n_sources > 1) {
        error_report("Copying bitmaps only possible with single source");
        return false;
    }
    list = list_bitmaps(source);
    if (!list) {
        error_report("Source lacks bitmap support");
        return false;
    }
    /* youngest first, as qemu-img names them */
    for (unsigned i = list->len; i > 0 && !args->skip_broken_bitmaps; i--) {
        const BlockBitmapInfo *info = list->pdata[i - 1];

        if (info->in_use) {
            error_report("Cannot copy inconsistent bitmap '%s'", info->name);
            fprintf(stderr, "Try --skip-broken-bitmaps, or use '%s bitmap "
                    "--remove' to delete it\n", g_get_prgname());
            return false;
        }
    }
    return true;
}

typedef struct BitmapCopy {
    BlockDriverState *source, *target;
    const BlockBitmapInfo *info;
    const char *failed; /* what could not be done */
    GError *error;
} BitmapCopy;

/* What is not loaded automatically is not recording. */
static void coroutine_fn copy_entry(void *opaque)
{
    BitmapCopy *copy = opaque;
    const BlockImageOps *ops = copy->target->drv->image;
    const BlockBitmapInfo *info = copy->info;

    copy->failed = "create";
    if (!ops->co_bitmap_add(copy->target, info->name, info->granularity,
                            &copy->error)) {
        return;
    }
    copy->failed = "populate";
    if (ops->co_bitmap_merge(copy->target, info->name, copy->source,
                             info->name, &copy->error) &&
        (info->autoload || ops->co_bitmap_enable(copy->target, info->name,
                                                 false, &copy->error))) {
        copy->failed = NULL;
    }
}

static bool copy_bitmap(BitmapCopy *copy)
{
    control_run_co(copy_entry, copy);
    if (copy->failed) {
        error_reportf_err(copy->error, "Failed to %s bitmap %s: ",
                          copy->failed, copy->info->name);
    }
    return !copy->failed;
}

static void warn_skipped(const GPtrArray *list)
{
    for (unsigned i = list->len; i > 0; i--) {
        const BlockBitmapInfo *info = list->pdata[i - 1];

        if (info->in_use) {
            warn_report("Skipping inconsistent bitmap '%s'", info->name);
        }
    }
}

bool convert_bitmaps_copy(BlockDriverState *source, BlockDriverState *target)
{
    g_autoptr(GPtrArray) list = list_bitmaps(source);

    warn_skipped(list);
    for (unsigned i = 0; i < list->len; i++) {
        BitmapCopy copy = {
            .source = source,
            .target = target,
            .info = list->pdata[i],
        };

        if (!copy.info->in_use && !copy_bitmap(&copy)) {
            return false;
        }
    }
    return true;
}
