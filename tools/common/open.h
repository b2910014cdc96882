/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the tools' command lines name images and cache modes.
 */
#ifndef TOOLS_COMMON_OPEN_H
#define TOOLS_COMMON_OPEN_H

#include "block/image.h"

/* An image as the user gave it. Strings are borrowed. */
typedef struct ImageName {
    const char *text;   /* a file name or, with image_opts, key=value,... */
    const char *format; /* -f, or NULL */
    const char *aio;    /* -i: how its file is read and written, or NULL */
    bool image_opts;
} ImageName;

/*
 * Opens @name with BDRV_OPEN_ flags; returns a reference. The message of the
 * error does not begin with the image's name: the tools have their own ways
 * to put it there. Context: main
 */
BlockDriverState *image_open(const ImageName *name, unsigned flags,
                             GError **error);

/*
 * "none", "writeback", "writethrough", "directsync" or "unsafe", and "off",
 * which is "none". Changes the flags that a mode decides. Returns false for
 * any other word. Context: any
 */
bool cache_mode_parse(const char *mode, unsigned *flags, bool *writethrough);

/* "auto", "threads", "native" or "io_uring": the flags that say so. Returns false for
 * any other word. Context: any */
bool aio_mode_parse(const char *mode, unsigned *flags);

#endif
