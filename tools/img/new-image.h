/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new image: what create, convert and dd ask for. All: Context: main.
 */
#ifndef TOOLS_IMG_NEW_IMAGE_H
#define TOOLS_IMG_NEW_IMAGE_H

#include "create-opts.h"

/* Strings are borrowed; NULL: not given. */
typedef struct NewImage {
    const char *filename;
    const char *format;
    const char *options;        /* "a=b,c=d" */
    const char *backing_file;
    const char *backing_format;
    int64_t bytes;              /* if has_size */
    bool has_size;
    bool trust_backing;         /* -u: do not look at the backing file */
    bool quiet;                 /* no line "Formatting ..." */
} NewImage;

/*
 * Without a size the image gets its backing file's. *@advice is what to show
 * behind the error, as it is and without a newline, as qemu-img does; or
 * NULL. Caller frees.
 */
bool new_image_create(const NewImage *image, char **advice, GError **error);

/*
 * The same in two steps for programs that copy an image, which look at the
 * options themselves: what @image says, checked against what the drivers
 * know, with image->bytes as the size whatever else the options say. The
 * backing file is not looked at.
 */
CreateOpts *new_image_options(const NewImage *image, GError **error);
bool new_image_make(const NewImage *image, const CreateOpts *opts,
                    GError **error);

/* Explains the options of @format, and of the file where @filename is not
 * NULL. Returns what to exit with. */
int new_image_help(const char *filename, const char *format);

#endif
