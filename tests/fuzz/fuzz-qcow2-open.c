/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images from strangers: opened read-only, looked at and read; then opened
 * for writing, written to all over, closed, and opened again.
 */
#include "tests/lib/test-disk.h"

#include <string.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/graph.h"
#include "block/image.h"
#include "block/log.h"
#include "fuzz.h"

#define IMAGE_MAX (1 << 20)
/* How far an image may grow, and how much of it is looked at. */
#define DISK_MAX  (8 << 20)
#define STEPS     48
#define READ_MAX  (64 * 1024)

#define AT_INCOMPATIBLE 79 /* low byte */
#define DATA_FILE_BIT   0x4

static TestDisk *image, *data_file;
static char buf[READ_MAX];

static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    test_disk_register();
    image = test_disk_new("image", 1);
    data_file = test_disk_new("data", 1);
    test_disk_set_limit(image, DISK_MAX);
    test_disk_set_limit(data_file, DISK_MAX);
    log_set_sink(ignore_line, NULL);
    return 0;
}

/* No name in the image is followed: all there is is given here. */
static BlockDriverState *open_image(const char *more)
{
    bool has_data = test_disk_bytes(image) > AT_INCOMPATIBLE &&
                    (test_disk_data(image)[AT_INCOMPATIBLE] & DATA_FILE_BIT);
    g_autofree char *text = g_strdup_printf(
        "{\"driver\":\"qcow2\",\"backing\":null,%s%s"
        "\"file\":{\"driver\":\"test-disk\",\"disk\":\"image\"}}",
        has_data ? "\"data-file\":{\"driver\":\"test-disk\","
                   "\"disk\":\"data\"}," : "", more);

    return bdrv_open(options_parse(text, "fuzz", NULL, NULL), NULL);
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
    BlockDriverState *bs = open_image("\"read-only\":true,");
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
    BlockDriverState *bs = open_image("\"discard\":\"unmap\",");

    if (bs) {
        bdrv_run_co(bs, write_entry, bs);
        bdrv_unref(bs);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > IMAGE_MAX) {
        return 0;
    }
    test_disk_set(image, data, bytes);
    test_disk_set(data_file, data, 0);
    if (look()) {
        write_all_over();
        look();
    }
    return 0;
}
