/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The raw format: guest offset is file offset, or a window of the file that
 * starts at "offset" and is "size" long. Alignment is its file's business.
 */
#include "block/debug.h"

#include <errno.h>
#include <inttypes.h>

#include "block/image.h"
#include "block/iov.h"

#define SECTOR 512

typedef struct RawState {
    int64_t offset;
    bool has_size; /* said by the user: it stays */
} RawState;

typedef struct RawOptions {
    int64_t offset;
    int64_t size; /* -1: to the end of the file */
} RawOptions;

static bool check_window(Options *opts, const RawOptions *window,
                         int64_t file_bytes, GError **error)
{
    if (window->offset > file_bytes) {
        return options_fail(opts, error,
                            "Offset (%" PRId64 ") cannot be greater than size "
                            "of the containing file (%" PRId64 ")",
                            window->offset, file_bytes);
    }
    if (window->size > file_bytes - window->offset) {
        return options_fail(opts, error,
                            "The sum of offset (%" PRId64 ") and size (%" PRId64
                            ") has to be smaller or equal to the actual size "
                            "of the containing file (%" PRId64 ")", window->offset,
                            window->size, file_bytes);
    }
    if (window->size > 0 && window->size % SECTOR) {
        return options_fail(opts, error, "Specified size is not multiple of %d",
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
    s->has_size = window.size >= 0;
    bs->total_bytes = window.size >= 0
                          ? window.size
                          : bs->file->total_bytes - window.offset;
    /* how large a block the file writes is still good to know above */
    bs->limits = bs->file->limits;
    /* the first sector is judged as a whole */
    bs->limits.request_alignment = bs->probed && !bs->read_only ? SECTOR : 1;
    bs->limits.memory_alignment = 1;
    /* aligned requests do not stay aligned */
    return s->offset % bs->file->limits.request_alignment == 0 ||
           bdrv_set_block_size(bs->file, 1, error);
}

/* The file may have another length than it had. */
static bool raw_activate(BlockDriverState *bs, GError **error)
{
    const RawState *s = bs->opaque;
    int64_t there = bs->file->total_bytes - s->offset;

    if (there < (s->has_size ? bs->total_bytes : 0)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "The file of node '%s' has become too short for its "
                    "offset and size", bs->node_name);
        return false;
    }
    if (!s->has_size) {
        bs->total_bytes = there;
    }
    return true;
}

/*
 * Nobody said that the image is raw. Whoever may write to it must not make it
 * something else to the next who looks: a qcow2 header, say, that names a
 * file of the host as its backing file. Only tools open images so; their
 * buffers, unlike a guest's, do not change after this look.
 */
static bool changes_format(const BlockRequest *req)
{
    uint8_t head[SECTOR];
    size_t bytes;

    if (req->op != BLOCK_WRITE || req->offset != 0) {
        return false;
    }
    bytes = iov_to_buf(req->iov, req->niov, 0, head, sizeof(head));
    return bdrv_probe(head, bytes, "") != &bdrv_raw ||
           bdrv_probe_foreign(head, bytes);
}

static void raw_submit(BlockDriverState *bs, BlockRequest *req)
{
    RawState *s = bs->opaque;

    if (G_UNLIKELY(bs->probed) && changes_format(req)) {
        block_request_complete_later(req, -EPERM);
        return;
    }
    if (req->op == BLOCK_READ) {
        bdrv_debug_event(bs->file, BLKDBG_READ_AIO);
    } else if (req->op == BLOCK_WRITE) {
        bdrv_debug_event(bs->file, BLKDBG_WRITE_AIO);
    }
    req->offset += s->offset;
    bdrv_submit(bs->file, req);
}

static const char *const raw_strong_options[] = {
    "offset", "size", NULL,
};

/* Everything is raw, if it is nothing else. */
static int raw_probe(const uint8_t *buf, size_t bytes, const char *filename)
{
    return 1;
}

static int coroutine_fn raw_co_block_status(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            BlockStatus *status)
{
    RawState *s = bs->opaque;

    return bdrv_co_block_status(bs->file, offset + s->offset, bytes, status);
}

static bool coroutine_fn raw_co_truncate(BlockDriverState *bs,
                                         const BlockTruncate *to,
                                         GError **error)
{
    RawState *s = bs->opaque;
    BlockTruncate file_to = *to;

    if (s->has_size) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "Cannot resize fixed-size raw disks");
        return false;
    }
    if (to->bytes > INT64_MAX - s->offset) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "Disk size too large for the chosen offset");
        return false;
    }
    file_to.bytes += s->offset;
    if (!bdrv_co_truncate(bs->file, &file_to, error)) {
        return false;
    }
    bs->total_bytes = bs->file->total_bytes - s->offset;
    return true;
}

static bool raw_create(const char *filename, Options *opts, GError **error)
{
    return bdrv_create_file(filename, opts, error);
}

static bool raw_measure(Options *opts, BlockDriverState *from,
                        BlockMeasure *measure, GError **error)
{
    int64_t bytes = from ? from->total_bytes : 0;

    if (!options_take_size(opts, "size", &bytes, error)) {
        return false;
    }
    bytes = MIN(bytes, INT64_MAX - SECTOR + 1);
    measure->required = (bytes + SECTOR - 1) & -(int64_t)SECTOR;
    measure->fully_allocated = measure->required;
    measure->bitmaps = -1;
    return true;
}

static const BlockOptionHelp raw_create_options[] = {
    { .name = "size", .type = BLOCK_OPTION_SIZE,
      .help = "Virtual disk size" },
    { .name = NULL },
};

static const BlockImageOps raw_image = {
    .probe = raw_probe,
    .create_options = raw_create_options,
    .create = raw_create,
    .measure = raw_measure,
    .co_block_status = raw_co_block_status,
    .co_truncate = raw_co_truncate,
};

const BlockDriver bdrv_raw = {
    .name = "raw",
    .strong_options = raw_strong_options,
    .image = &raw_image,
    .instance_size = sizeof(RawState),
    .open = raw_open,
    .activate = raw_activate,
    .submit = raw_submit,
};
