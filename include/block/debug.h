/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Points in the life of an image at which the blkdebug driver can make
 * requests fail or wait: drivers say when they pass one, the tools say where
 * to stop. The names are QEMU's, in its configuration files, too.
 */
#ifndef BLOCK_DEBUG_H
#define BLOCK_DEBUG_H

#include "block/coroutine.h"
#include "block/driver.h"

typedef enum BlkdebugEvent {
    BLKDBG_L1_UPDATE,
    BLKDBG_L1_GROW_ALLOC_TABLE,
    BLKDBG_L1_GROW_WRITE_TABLE,
    BLKDBG_L1_GROW_ACTIVATE_TABLE,
    BLKDBG_L2_LOAD,
    BLKDBG_L2_UPDATE,
    BLKDBG_L2_UPDATE_COMPRESSED,
    BLKDBG_L2_ALLOC_COW_READ,
    BLKDBG_L2_ALLOC_WRITE,
    BLKDBG_READ_AIO,
    BLKDBG_READ_BACKING_AIO,
    BLKDBG_READ_COMPRESSED,
    BLKDBG_WRITE_AIO,
    BLKDBG_WRITE_COMPRESSED,
    BLKDBG_VMSTATE_LOAD,
    BLKDBG_VMSTATE_SAVE,
    BLKDBG_COW_READ,
    BLKDBG_COW_WRITE,
    BLKDBG_REFTABLE_LOAD,
    BLKDBG_REFTABLE_GROW,
    BLKDBG_REFTABLE_UPDATE,
    BLKDBG_REFBLOCK_LOAD,
    BLKDBG_REFBLOCK_UPDATE,
    BLKDBG_REFBLOCK_UPDATE_PART,
    BLKDBG_REFBLOCK_ALLOC,
    BLKDBG_REFBLOCK_ALLOC_HOOKUP,
    BLKDBG_REFBLOCK_ALLOC_WRITE,
    BLKDBG_REFBLOCK_ALLOC_WRITE_BLOCKS,
    BLKDBG_REFBLOCK_ALLOC_WRITE_TABLE,
    BLKDBG_REFBLOCK_ALLOC_SWITCH_TABLE,
    BLKDBG_CLUSTER_ALLOC,
    BLKDBG_CLUSTER_ALLOC_BYTES,
    BLKDBG_CLUSTER_FREE,
    BLKDBG_FLUSH_TO_OS,
    BLKDBG_FLUSH_TO_DISK,
    BLKDBG_PWRITEV_RMW_HEAD,
    BLKDBG_PWRITEV_RMW_AFTER_HEAD,
    BLKDBG_PWRITEV_RMW_TAIL,
    BLKDBG_PWRITEV_RMW_AFTER_TAIL,
    BLKDBG_PWRITEV,
    BLKDBG_PWRITEV_ZERO,
    BLKDBG_PWRITEV_DONE,
    BLKDBG_EMPTY_IMAGE_PREPARE,
    BLKDBG_L1_SHRINK_WRITE_TABLE,
    BLKDBG_L1_SHRINK_FREE_L2_CLUSTERS,
    BLKDBG_COR_WRITE,
    BLKDBG_CLUSTER_ALLOC_SPACE,
    BLKDBG_NONE,  /* once, when the blkdebug node is made */
    BLKDBG__COUNT
} BlkdebugEvent;

/* "l1_update", ...; NULL at the end. */
extern const char *const blkdebug_event_names[];

/* What a driver with bs->debugged does; the functions below say when. */
typedef struct BlockDebugOps {
    void (*event)(BlockDriverState *bs, BlkdebugEvent event);
    void coroutine_fn (*co_event)(BlockDriverState *bs, BlkdebugEvent event);
    void (*add_breakpoint)(BlockDriverState *bs, BlkdebugEvent event,
                           const char *tag);
    bool (*remove_breakpoint)(BlockDriverState *bs, const char *tag);
    bool (*resume)(BlockDriverState *bs, const char *tag);
    bool (*is_suspended)(BlockDriverState *bs, const char *tag);
    void (*wait_suspended)(BlockDriverState *bs, const char *tag);
} BlockDebugOps;

/*
 * A driver's submit() passes @event and is about to send @bs, one of its
 * children, the request that the event is about: with a breakpoint there it
 * is the next request that comes to @bs which waits. Context: home
 *
 * FLUSH_TO_OS is told by node.c, PWRITEV_RMW_* by node-align.c, and PWRITEV,
 * PWRITEV_ZERO, PWRITEV_DONE and FLUSH_TO_DISK by blkdebug itself.
 */
static inline void bdrv_debug_event(BlockDriverState *bs, BlkdebugEvent event)
{
    if (G_UNLIKELY(bs->debugged)) {
        bs->drv->debug->event(bs, event);
    }
}

/*
 * The same for a coroutine that works on @bs, whether it is about to send a
 * request or not: with a breakpoint there it waits in this function. Nobody
 * else may enter it meanwhile. Context: home
 */
static inline void coroutine_fn bdrv_co_debug_event(BlockDriverState *bs,
                                                    BlkdebugEvent event)
{
    if (G_UNLIKELY(bs->debugged)) {
        bs->drv->debug->co_event(bs, event);
    }
}

/*
 * Where "blkdebug: Suspended request 'A'" and the like go, one line without
 * newline from any thread; NULL, the default: nowhere. Context: main, before
 * there are nodes
 */
typedef void BdrvDebugReportFn(const char *line);
void bdrv_debug_set_report(BdrvDebugReportFn *fn);
void bdrv_debug_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/*
 * The two images of a blkverify node differ: a line has been logged. A
 * program sets what ends it, as QEMU's do; without, or if that returns, the
 * request fails with -EIO. Called in any thread. Context: main, before there
 * are nodes
 */
typedef void BdrvMismatchFn(void);
void bdrv_debug_set_mismatch(BdrvMismatchFn *fn);
void bdrv_debug_mismatch(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/*
 * What "break", "remove_break", "resume" and "wait_break" of vblk-io do; on
 * the first blkdebug from @bs downwards.
 */

/* The next request that comes to @event stops there, under the name of @tag.
 * 0, -ENOENT: no such event, -ENOTSUP: no blkdebug. Context: main */
int bdrv_debug_breakpoint(BlockDriverState *bs, const char *event,
                          const char *tag);

/* Forgets breakpoints of that name and lets their requests go. 0, -ENOTSUP;
 * -ENOENT: there was none, or requests had stopped at all of them and go on
 * now, which QEMU does not tell apart either. Context: main */
int bdrv_debug_remove_breakpoint(BlockDriverState *bs, const char *tag);

/* Lets one request that stopped at @tag go on.
 * 0, -ENOENT: none, -ENOTSUP. Context: main */
int bdrv_debug_resume(BlockDriverState *bs, const char *tag);

/* Whether a request stands at @tag. Context: any */
bool bdrv_debug_is_suspended(BlockDriverState *bs, const char *tag);

/* Sleeps until a request stands at @tag; at once without a blkdebug.
 * Context: main, with the node at home in another thread */
void bdrv_debug_wait_suspended(BlockDriverState *bs, const char *tag);

#endif
