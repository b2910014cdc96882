/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens and closes the image: what is named on the command line becomes a
 * node, a back end and a channel of the control thread.
 */
#include "image.h"

#include <errno.h>
#include <string.h>

#include "block/control.h"
#include "block/debug.h"
#include "block/graph.h"
#include "request.h"
#include "snapshot.h"
#include "tools/common/message.h"
#include "tools/common/open.h"

void io_image_spec_clear(IoImageSpec *spec)
{
    g_clear_pointer(&spec->filename, g_free);
    g_clear_pointer(&spec->opts, options_free);
}

Options *io_options_dup(const Options *opts)
{
    Options *copy = options_new(options_what(opts));

    options_join(copy, opts);
    return copy;
}

bool io_image_spec_set_cache(IoImageSpec *spec, const char *mode)
{
    if (cache_mode_parse(mode, &spec->flags, &spec->writethrough)) {
        return true;
    }
    error_report("Invalid cache option: %s", mode);
    return false;
}

bool io_image_spec_set_discard(IoImageSpec *spec, const char *mode)
{
    spec->flags &= ~BDRV_OPEN_DISCARD;
    if (strcmp(mode, "unmap") == 0 || strcmp(mode, "on") == 0) {
        spec->flags |= BDRV_OPEN_DISCARD;
        return true;
    }
    if (strcmp(mode, "ignore") == 0 || strcmp(mode, "off") == 0) {
        return true;
    }
    error_report("Invalid discard option: %s", mode);
    return false;
}

bool io_image_spec_set_aio(IoImageSpec *spec, const char *mode)
{
    spec->flags &= ~(BDRV_OPEN_NATIVE_AIO | BDRV_OPEN_IO_URING);
    if (strcmp(mode, "native") == 0) {
        spec->flags |= BDRV_OPEN_NATIVE_AIO;
    } else if (strcmp(mode, "io_uring") == 0) {
        spec->flags |= BDRV_OPEN_IO_URING;
    } else if (strcmp(mode, "threads") != 0) {
        error_report("Invalid aio option: %s", mode);
        return false;
    }
    return true;
}

static BlockDriverState *open_node(const IoImageSpec *spec, GError **error)
{
    Options *opts;

    if (spec->filename && spec->opts &&
        options_has(spec->opts, "file.filename")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Can't specify 'file' and 'filename' options at the same "
                    "time");
        return NULL;
    }
    if (spec->snapshot) {
        return io_snapshot_open(spec, error);
    }
    opts = spec->opts ? io_options_dup(spec->opts) : NULL;
    return bdrv_open_image(spec->filename, NULL, opts, spec->flags, error);
}

static BlockBackend *new_backend(const IoImageSpec *spec,
                                 BlockDriverState *bs, GError **error)
{
    BlockBackendOptions options = {
        .writable = !bs->read_only,
        .writethrough = spec->writethrough,
        .block_size = 1,
    };

    if (bs->read_only && !(spec->flags & BDRV_OPEN_READ_ONLY)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_ROFS,
                    "Block node is read-only");
        return NULL;
    }
    return blk_new(bs, &options, error);
}

IoImage *io_image_open(IoImageSpec *spec, GError **error)
{
    g_autoptr(BlockDriverState) bs = open_node(spec, error);
    BlockBackend *blk = bs ? new_backend(spec, bs, error) : NULL;
    IoImage *image;

    if (!blk) {
        return NULL;
    }
    image = g_new0(IoImage, 1);
    image->bs = g_steal_pointer(&bs);
    image->blk = blk;
    image->channel = blk_channel_new(blk, control_context());
    image->tags = g_ptr_array_new_with_free_func(g_free);
    image->spec = *spec;
    memset(spec, 0, sizeof(*spec));
    return image;
}

void io_image_close(IoImage *image)
{
    if (!image) {
        return;
    }
    blk_channel_free(image->channel);
    blk_free(image->blk);
    bdrv_unref(image->bs);
    g_ptr_array_unref(image->tags);
    io_image_spec_clear(&image->spec);
    g_free(image);
}

bool io_open(Io *io, IoImageSpec *spec)
{
    g_autofree char *filename = g_strdup(spec->filename);
    GError *error = NULL;

    io->image = io_image_open(spec, &error);
    io_image_spec_clear(spec);
    if (io->image) {
        return true;
    }
    if (filename) {
        error_reportf_err(error, "can't open device %s: ", filename);
    } else {
        error_reportf_err(error, "can't open: ");
    }
    return false;
}

/* Nobody will resume what stands at a breakpoint now. */
static void remove_breakpoints(const IoImage *image)
{
    for (unsigned i = 0; i < image->tags->len; i++) {
        bdrv_debug_remove_breakpoint(image->bs, image->tags->pdata[i]);
    }
}

void io_close(Io *io)
{
    if (io->image) {
        remove_breakpoints(io->image);
    }
    io_request_wait_all(io);
    g_clear_pointer(&io->image, io_image_close);
}

int64_t io_image_length(const IoImage *image)
{
    return (blk_length(image->blk) + 511) & ~INT64_C(511);
}

int coroutine_fn io_image_co_request(IoImage *image, const BlockIo *request)
{
    if (request->niov > IO_MAX_IOV) {
        return -EINVAL;
    }
    return blk_co_io(image->channel, request);
}
