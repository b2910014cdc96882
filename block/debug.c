/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of the debug events, the way from a node to the blkdebug that lies at
 * or below it, and from what a test driver has seen to the program.
 *
 * Called by vblk-io for breakpoints; calls the driver's BlockDebugOps.
 */
#include "block/debug.h"

#include <errno.h>

#include "block/log.h"

const char *const blkdebug_event_names[] = {
    [BLKDBG_L1_UPDATE] = "l1_update",
    [BLKDBG_L1_GROW_ALLOC_TABLE] = "l1_grow_alloc_table",
    [BLKDBG_L1_GROW_WRITE_TABLE] = "l1_grow_write_table",
    [BLKDBG_L1_GROW_ACTIVATE_TABLE] = "l1_grow_activate_table",
    [BLKDBG_L2_LOAD] = "l2_load",
    [BLKDBG_L2_UPDATE] = "l2_update",
    [BLKDBG_L2_UPDATE_COMPRESSED] = "l2_update_compressed",
    [BLKDBG_L2_ALLOC_COW_READ] = "l2_alloc_cow_read",
    [BLKDBG_L2_ALLOC_WRITE] = "l2_alloc_write",
    [BLKDBG_READ_AIO] = "read_aio",
    [BLKDBG_READ_BACKING_AIO] = "read_backing_aio",
    [BLKDBG_READ_COMPRESSED] = "read_compressed",
    [BLKDBG_WRITE_AIO] = "write_aio",
    [BLKDBG_WRITE_COMPRESSED] = "write_compressed",
    [BLKDBG_VMSTATE_LOAD] = "vmstate_load",
    [BLKDBG_VMSTATE_SAVE] = "vmstate_save",
    [BLKDBG_COW_READ] = "cow_read",
    [BLKDBG_COW_WRITE] = "cow_write",
    [BLKDBG_REFTABLE_LOAD] = "reftable_load",
    [BLKDBG_REFTABLE_GROW] = "reftable_grow",
    [BLKDBG_REFTABLE_UPDATE] = "reftable_update",
    [BLKDBG_REFBLOCK_LOAD] = "refblock_load",
    [BLKDBG_REFBLOCK_UPDATE] = "refblock_update",
    [BLKDBG_REFBLOCK_UPDATE_PART] = "refblock_update_part",
    [BLKDBG_REFBLOCK_ALLOC] = "refblock_alloc",
    [BLKDBG_REFBLOCK_ALLOC_HOOKUP] = "refblock_alloc_hookup",
    [BLKDBG_REFBLOCK_ALLOC_WRITE] = "refblock_alloc_write",
    [BLKDBG_REFBLOCK_ALLOC_WRITE_BLOCKS] = "refblock_alloc_write_blocks",
    [BLKDBG_REFBLOCK_ALLOC_WRITE_TABLE] = "refblock_alloc_write_table",
    [BLKDBG_REFBLOCK_ALLOC_SWITCH_TABLE] = "refblock_alloc_switch_table",
    [BLKDBG_CLUSTER_ALLOC] = "cluster_alloc",
    [BLKDBG_CLUSTER_ALLOC_BYTES] = "cluster_alloc_bytes",
    [BLKDBG_CLUSTER_FREE] = "cluster_free",
    [BLKDBG_FLUSH_TO_OS] = "flush_to_os",
    [BLKDBG_FLUSH_TO_DISK] = "flush_to_disk",
    [BLKDBG_PWRITEV_RMW_HEAD] = "pwritev_rmw_head",
    [BLKDBG_PWRITEV_RMW_AFTER_HEAD] = "pwritev_rmw_after_head",
    [BLKDBG_PWRITEV_RMW_TAIL] = "pwritev_rmw_tail",
    [BLKDBG_PWRITEV_RMW_AFTER_TAIL] = "pwritev_rmw_after_tail",
    [BLKDBG_PWRITEV] = "pwritev",
    [BLKDBG_PWRITEV_ZERO] = "pwritev_zero",
    [BLKDBG_PWRITEV_DONE] = "pwritev_done",
    [BLKDBG_EMPTY_IMAGE_PREPARE] = "empty_image_prepare",
    [BLKDBG_L1_SHRINK_WRITE_TABLE] = "l1_shrink_write_table",
    [BLKDBG_L1_SHRINK_FREE_L2_CLUSTERS] = "l1_shrink_free_l2_clusters",
    [BLKDBG_COR_WRITE] = "cor_write",
    [BLKDBG_CLUSTER_ALLOC_SPACE] = "cluster_alloc_space",
    [BLKDBG_NONE] = "none",
    [BLKDBG__COUNT] = NULL,
};

static BdrvDebugReportFn *report_fn;

void bdrv_debug_set_report(BdrvDebugReportFn *fn)
{
    report_fn = fn;
}

void bdrv_debug_report(const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    if (!report_fn) {
        return;
    }
    va_start(args, fmt);
    line = g_strdup_vprintf(fmt, args);
    va_end(args);
    report_fn(line);
}

static BdrvMismatchFn *mismatch_fn;

void bdrv_debug_set_mismatch(BdrvMismatchFn *fn)
{
    mismatch_fn = fn;
}

void bdrv_debug_mismatch(const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    va_start(args, fmt);
    line = g_strdup_vprintf(fmt, args);
    va_end(args);
    log_plain("%s", line);
    if (mismatch_fn) {
        mismatch_fn();
    }
}

static BlockDriverState *find_debugged(BlockDriverState *bs)
{
    while (bs && !bs->debugged) {
        bs = bs->file;
    }
    return bs;
}

int bdrv_debug_breakpoint(BlockDriverState *bs, const char *event,
                          const char *tag)
{
    BlockDriverState *found = find_debugged(bs);

    if (!found) {
        return -ENOTSUP;
    }
    for (unsigned i = 0; i < BLKDBG__COUNT; i++) {
        if (g_str_equal(blkdebug_event_names[i], event)) {
            found->drv->debug->add_breakpoint(found, i, tag);
            return 0;
        }
    }
    return -ENOENT;
}

int bdrv_debug_remove_breakpoint(BlockDriverState *bs, const char *tag)
{
    BlockDriverState *found = find_debugged(bs);

    if (!found) {
        return -ENOTSUP;
    }
    return found->drv->debug->remove_breakpoint(found, tag) ? 0 : -ENOENT;
}

int bdrv_debug_resume(BlockDriverState *bs, const char *tag)
{
    BlockDriverState *found = find_debugged(bs);

    if (!found) {
        return -ENOTSUP;
    }
    return found->drv->debug->resume(found, tag) ? 0 : -ENOENT;
}

bool bdrv_debug_is_suspended(BlockDriverState *bs, const char *tag)
{
    BlockDriverState *found = find_debugged(bs);

    return found && found->drv->debug->is_suspended(found, tag);
}

void bdrv_debug_wait_suspended(BlockDriverState *bs, const char *tag)
{
    BlockDriverState *found = find_debugged(bs);

    if (found) {
        found->drv->debug->wait_suspended(found, tag);
    }
}
