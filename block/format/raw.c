/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The raw format: guest offset is file offset, or a window of the file that
 * starts at "offset" and is "size" long. Alignment is its file's business.
 */
#include "block/driver.h"

#include <inttypes.h>

#define SECTOR 512

typedef struct RawState {
    int64_t offset;
} RawState;

typedef struct RawOptions {
    int64_t offset;
    int64_t size; /* -1: to the end of the file */
} RawOptions;

static bool raw_error(Options *opts, GError **error, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

static bool raw_error(Options *opts, GError **error, const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: %s",
                options_what(opts), text);
    return false;
}

static bool check_window(Options *opts, const RawOptions *window,
                         int64_t file_bytes, GError **error)
{
    if (window->offset > file_bytes) {
        return raw_error(opts, error,
                         "Offset (%" PRId64 ") cannot be greater than size of "
                         "the containing file (%" PRId64 ")", window->offset,
                         file_bytes);
    }
    if (window->size > file_bytes - window->offset) {
        return raw_error(opts, error,
                         "The sum of offset (%" PRId64 ") and size (%" PRId64
                         ") has to be smaller or equal to the actual size of "
                         "the containing file (%" PRId64 ")", window->offset,
                         window->size, file_bytes);
    }
    if (window->offset % SECTOR) {
        return raw_error(opts, error, "Specified offset is not multiple of %d",
                         SECTOR);
    }
    if (window->size > 0 && window->size % SECTOR) {
        return raw_error(opts, error, "Specified size is not multiple of %d",
                         SECTOR);
    }
    return true;
}

static bool raw_open(BlockDriverState *bs, Options *opts, GError **error)
{
    RawState *s = bs->opaque;
    RawOptions window = { .size = -1 };

    if (!options_take_size(opts, "offset", &window.offset, error) ||
        !options_take_size(opts, "size", &window.size, error) ||
        !check_window(opts, &window, bs->file->total_bytes, error)) {
        return false;
    }
    s->offset = window.offset;
    bs->total_bytes = window.size >= 0
                          ? window.size
                          : bs->file->total_bytes - window.offset;
    /* how large a block the file writes is still good to know above */
    bs->limits = bs->file->limits;
    bs->limits.request_alignment = 1;
    bs->limits.memory_alignment = 1;
    /* aligned requests do not stay aligned */
    return s->offset % bs->file->limits.request_alignment == 0 ||
           bdrv_set_block_size(bs->file, SECTOR, error);
}

static void raw_submit(BlockDriverState *bs, BlockRequest *req)
{
    RawState *s = bs->opaque;

    req->offset += s->offset;
    bdrv_submit(bs->file, req);
}

const BlockDriver bdrv_raw = {
    .name = "raw",
    .instance_size = sizeof(RawState),
    .open = raw_open,
    .submit = raw_submit,
};
