/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The image that the commands work on. Context: main, unless said. */
#ifndef TOOLS_IO_IMAGE_H
#define TOOLS_IO_IMAGE_H

#include "io.h"

#include "block/block-co.h"
#include "block/image.h"

/* How an image is opened, and with what it can be opened again. */
typedef struct IoImageSpec {
    char *filename;     /* NULL: the options say it all */
    Options *opts;      /* or NULL */
    unsigned flags;     /* BDRV_OPEN_ */
    bool writethrough;
    bool snapshot;      /* -s: what is written goes to a temporary file */
} IoImageSpec;

/* With what qemu-io opens an image when nobody says otherwise. */
#define IO_IMAGE_SPEC_INIT { .flags = BDRV_OPEN_DISCARD, .writethrough = true }

struct IoImage {
    IoImageSpec spec;
    BlockDriverState *bs;
    BlockBackend *blk;
    BlkChannel *channel; /* home: the control thread */
    GPtrArray *tags;     /* of breakpoints that were set, owned */
};

/* Opens what @spec describes, which it takes over if that succeeds. */
IoImage *io_image_open(IoImageSpec *spec, GError **error);

/* Nothing is in flight. NULL: does nothing. */
void io_image_close(IoImage *image);

void io_image_spec_clear(IoImageSpec *spec);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(IoImageSpec, io_image_spec_clear)

/* Parses options and adds them: they go before those that are there. Shows
 * what is wrong with them; @option is where they came from. */
bool io_image_spec_add_options(IoImageSpec *spec, const char *option,
                               const char *text);

/* @to is empty. */
void io_image_spec_copy(IoImageSpec *to, const IoImageSpec *from);

/* Changes access and cache mode to those of @spec, which it takes over;
 * otherwise that describes the image as it is. On failure nothing has
 * changed. Nothing is in flight. */
bool io_image_change(IoImage *image, IoImageSpec *spec, GError **error);

/* A copy of @opts. */
Options *io_options_dup(const Options *opts);

/* Opens for the user: shows what is wrong. @io has no image yet; @spec is
 * cleared in any case. */
bool io_open(Io *io, IoImageSpec *spec);

/* Waits for what is in flight and closes. */
void io_close(Io *io);

/* The words of -t, -d and -i; shown when they are wrong. */
bool io_image_spec_set_cache(IoImageSpec *spec, const char *mode);
bool io_image_spec_set_discard(IoImageSpec *spec, const char *mode);
bool io_image_spec_set_aio(IoImageSpec *spec, const char *mode);

/* In bytes, whole sectors. */
int64_t io_image_length(const IoImage *image);

/* One request, with a part of its own for a last sector that is not whole.
 * Context: the control thread */
int coroutine_fn io_image_co_request(IoImage *image, const BlockIo *request);

#endif
