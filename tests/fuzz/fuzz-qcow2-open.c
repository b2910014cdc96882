/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images from strangers: opened read-only, looked at and read; then opened
 * for writing, written to all over, closed, and opened again.
 */
#include "fuzz-image.h"

#include "block/block-co.h"
#include "block/control.h"
#include "block/graph.h"
#include "block/image.h"
#include "fuzz.h"

/* How much of an image is looked at. */
#define STEPS    48
#define READ_MAX (64 * 1024)

static char buf[READ_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_image_init();
    return 0;
}

/* --- looking --- */

static void coroutine_fn look_at_status(BlockDriverState *bs)
{
    int64_t offset = 0;

    for (unsigned i = 0; i < STEPS && offset < bs->total_bytes; i++) {
        BlockStatus status;

        if (bdrv_co_block_status(bs, offset, bs->total_bytes - offset,
                                 &status) < 0) {
            return;
        }
        g_assert_cmpint(status.bytes, >, 0);
        offset += status.bytes;
    }
}

/* In steps that grow, so that the end is reached. */
static void coroutine_fn read_all_over(BlockDriverState *bs)
{
    int64_t offset = 0, step = 512;

    while (offset < bs->total_bytes) {
        bdrv_co_pread(bs, offset, MIN(bs->total_bytes - offset, READ_MAX),
                      buf);
        offset += step;
        step *= 2;
    }
}

static void coroutine_fn look_entry(void *opaque)
{
    look_at_status(opaque);
    read_all_over(opaque);
}

static bool look(void)
{
    BlockDriverState *bs = fuzz_image_open("\"read-only\":true,");
    BlockImageInfo info = { 0 };

    if (!bs) {
        return false;
    }
    if (bs->drv->image->info(bs, &info, NULL)) {
        block_image_info_clear(&info);
    }
    bdrv_run_co(bs, look_entry, bs);
    bdrv_unref(bs);
    return true;
}

/* --- writing --- */

static void coroutine_fn write_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    int64_t offset = 0, step = 4096;

    while (offset < bs->total_bytes) {
        int64_t bytes = MIN(bs->total_bytes - offset, 6000);

        bdrv_co_pwrite(bs, offset, bytes, buf, 0);
        bdrv_co_pwrite_zeroes(bs, offset, bytes / 2, BLOCK_REQ_MAY_UNMAP);
        bdrv_co_pdiscard(bs, offset + bytes / 2, bytes - bytes / 2);
        offset += step;
        step *= 2;
    }
    bdrv_co_flush(bs);
    bdrv_co_pwrite(bs, 0, MIN(bs->total_bytes, READ_MAX), buf, 0);
}

static void write_all_over(void)
{
    BlockDriverState *bs = fuzz_image_open("\"discard\":\"unmap\",");

    if (bs) {
        bdrv_run_co(bs, write_entry, bs);
        bdrv_unref(bs);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > FUZZ_IMAGE_MAX) {
        return 0;
    }
    fuzz_image_set(data, bytes);
    if (look()) {
        write_all_over();
        look();
    }
    return 0;
}
