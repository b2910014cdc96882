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
    if (!aio_mode_parse(mode, &spec->flags)) {
        error_report("Invalid aio option: %s", mode);
        return false;
    }
    return true;
}

bool io_image_spec_add_options(IoImageSpec *spec, const char *option,
                               const char *text)
{
    GError *error = NULL;
    Options *opts = options_parse(text, option, NULL, &error);

    if (!opts) {
        error_report_err(error);
        return false;
    }
    options_set_what(opts, "");
    if (spec->opts) {
        options_join(opts, spec->opts);
        options_free(spec->opts);
    }
    spec->opts = opts;
    return true;
}

void io_image_spec_copy(IoImageSpec *to, const IoImageSpec *from)
{
    *to = *from;
    to->filename = g_strdup(from->filename);
    to->opts = from->opts ? io_options_dup(from->opts) : NULL;
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

static bool attach(IoImage *image, const IoImageSpec *spec, GError **error)
{
    image->blk = new_backend(spec, image->bs, error);
    if (!image->blk) {
        return false;
    }
    image->channel = blk_channel_new(image->blk, control_context());
    return true;
}

static void detach(IoImage *image)
{
    g_clear_pointer(&image->channel, blk_channel_free);
    g_clear_pointer(&image->blk, blk_free);
}

IoImage *io_image_open(IoImageSpec *spec, GError **error)
{
    BlockDriverState *bs = open_node(spec, error);
    IoImage *image;

    if (!bs) {
        return NULL;
    }
    image = g_new0(IoImage, 1);
    image->bs = bs;
    if (!attach(image, spec, error)) {
        bdrv_unref(bs);
        g_free(image);
        return NULL;
    }
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
    detach(image);
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

/* A back end keeps what it allows: there is a new one in any case. */
bool io_image_change(IoImage *image, IoImageSpec *spec, GError **error)
{
    bool ok;

    detach(image);
    ok = bdrv_reopen(image->bs, spec->flags, error);
    if (ok) {
        io_image_spec_clear(&image->spec);
        image->spec = *spec;
        memset(spec, 0, sizeof(*spec));
    }
    if (!attach(image, &image->spec, NULL)) {
        g_assert_not_reached(); /* it could be attached before */
    }
    return ok;
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
