/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images from strangers in the hands of somebody who repairs them, takes
 * snapshots, adds bitmaps and changes their size. Whatever is done to an image
 * without errors, it has none afterwards.
 *
 * Input: the image; its last bytes also say what is done.
 */
#include "fuzz-image.h"

#include "block/block-co.h"
#include "block/control.h"
#include "block/graph.h"
#include "block/image.h"
#include "fuzz.h"

#include <string.h>

#define STEPS 4

typedef enum Step {
    STEP_SNAPSHOT, STEP_APPLY, STEP_DELETE, STEP_ADD_BITMAP,
    STEP_REMOVE_BITMAP, STEP_CLEAR_BITMAP, STEP_RESIZE, STEP_WRITE,
    STEP_EMPTY, STEP_BACKING, STEP__COUNT
} Step;

static uint8_t buf[4096];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_image_init();
    return 0;
}

/* --- Checks --- */

typedef struct Checking {
    BlockDriverState *bs;
    BlockCheck check;
    bool done;
} Checking;

static void ignore_report(void *opaque, const char *line)
{
}

static void coroutine_fn check_entry(void *opaque)
{
    Checking *checking = opaque;
    BlockDriverState *bs = checking->bs;

    checking->done = bs->drv->image->co_check(bs, &checking->check, NULL);
}

/* True when the image could be checked all over; *bad: it has errors left
 * that are more than leaks. */
static bool check(BlockDriverState *bs, unsigned fix, bool *bad)
{
    Checking checking = {
        .bs = bs, .check = { .fix = fix, .report = ignore_report },
    };

    bdrv_run_co(bs, check_entry, &checking);
    *bad = checking.check.corruptions > 0;
    return checking.done && checking.check.check_errors == 0;
}

/* Opened, checked with @fix, closed. False when that cannot be done. */
static bool check_closed(unsigned fix, bool *bad)
{
    BlockDriverState *bs = fuzz_image_open(fix ? "" : "\"read-only\":true,");
    bool ok;

    if (!bs) {
        return false;
    }
    ok = check(bs, fix, bad);
    bdrv_unref(bs);
    return ok;
}

/* --- What people do to images --- */

typedef struct Doing {
    BlockDriverState *bs;
    unsigned step;
    uint8_t how;
} Doing;

/* Of an image's first snapshot, or what one may be called. */
static char *snapshot_name(BlockDriverState *bs)
{
    g_autoptr(GPtrArray) list = bs->drv->image->snapshot_list(bs);
    const BlockSnapshot *first = list && list->len ? list->pdata[0] : NULL;

    return g_strdup(first ? first->id : "1");
}

static char *bitmap_name(BlockDriverState *bs)
{
    g_autoptr(GPtrArray) list = bs->drv->image->bitmap_list(bs);
    const BlockBitmapInfo *first = list && list->len ? list->pdata[0] : NULL;

    return g_strdup(first ? first->name : "b");
}

static void coroutine_fn take_snapshot(BlockDriverState *bs, uint8_t how)
{
    g_autofree char *name = g_strdup_printf("s%u", how);
    BlockSnapshot snapshot = { .name = name, .icount = UINT64_MAX };

    bs->drv->image->co_snapshot_create(bs, &snapshot, NULL);
    g_free(snapshot.id);
}

static void coroutine_fn resize(BlockDriverState *bs, uint8_t how)
{
    BlockTruncate to = {
        .bytes = how & 1 ? bs->total_bytes + how * 512
                         : bs->total_bytes / 512 / (1 + how % 5) * 512,
        .exact = true,
        .prealloc = how % 3 ? PREALLOC_OFF : PREALLOC_METADATA,
    };

    bdrv_co_truncate(bs, &to, NULL);
}

static void coroutine_fn write_some(BlockDriverState *bs, uint8_t how)
{
    int64_t offset = (int64_t)how * 1000;

    if (offset + (int64_t)sizeof(buf) <= bs->total_bytes) {
        bdrv_co_pwrite(bs, offset, sizeof(buf), buf, 0);
        bdrv_co_pdiscard(bs, offset, sizeof(buf) / 2);
    }
}

static void coroutine_fn do_entry(void *opaque)
{
    const Doing *doing = opaque;
    BlockDriverState *bs = doing->bs;
    const BlockImageOps *ops = bs->drv->image;
    g_autofree char *snapshot = snapshot_name(bs);
    g_autofree char *bitmap = bitmap_name(bs);

    switch (doing->step) {
    case STEP_SNAPSHOT:
        take_snapshot(bs, doing->how);
        break;
    case STEP_APPLY:
        ops->co_snapshot_apply(bs, snapshot, NULL);
        break;
    case STEP_DELETE:
        ops->co_snapshot_delete(bs, snapshot, NULL);
        break;
    case STEP_ADD_BITMAP:
        ops->co_bitmap_add(bs, "new", 512u << doing->how % 8, NULL);
        break;
    case STEP_REMOVE_BITMAP:
        ops->co_bitmap_remove(bs, bitmap, NULL);
        break;
    case STEP_CLEAR_BITMAP:
        ops->co_bitmap_clear(bs, bitmap, NULL);
        break;
    case STEP_RESIZE:
        resize(bs, doing->how);
        break;
    case STEP_WRITE:
        write_some(bs, doing->how);
        break;
    case STEP_EMPTY:
        ops->co_make_empty(bs);
        break;
    default:
        ops->co_change_backing(bs, doing->how & 1 ? "base" : NULL,
                               doing->how & 1 ? "raw" : NULL, NULL);
    }
}

/* Each with the image opened for it, as the tools do. */
static bool act(uint8_t what)
{
    Doing doing = {
        .bs = fuzz_image_open("\"discard\":\"unmap\","),
        .step = what % STEP__COUNT,
        .how = what,
    };

    if (!doing.bs) {
        return false;
    }
    bdrv_run_co(doing.bs, do_entry, &doing);
    bdrv_unref(doing.bs);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    bool bad = true, good;

    if (bytes > FUZZ_IMAGE_MAX || bytes < STEPS) {
        return 0;
    }
    fuzz_image_set(data, bytes);
    check_closed(0, &bad);
    good = check_closed(BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS,
                        &bad) && !bad;
    if (good) {
        /* what was repaired is whole */
        g_assert(!check_closed(0, &bad) || !bad);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        if (!act(data[bytes - 1 - i])) {
            break;
        }
        if (good) {
            g_assert(!check_closed(0, &bad) || !bad);
        }
    }
    return 0;
}
