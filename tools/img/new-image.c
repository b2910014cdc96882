/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes a new image: finds the drivers, checks the options against theirs,
 * looks at the backing file, prints "Formatting ..." and calls the format's
 * create(). Called by create, convert and dd.
 */
#include "new-image.h"

#include "tools/common/message.h"
#include "block/graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The two drivers that a new image needs. */
typedef struct Makers {
    const BlockDriver *format;
    const BlockDriver *protocol;
} Makers;

static bool can_create(const BlockDriver *drv)
{
    return drv->image && drv->image->create_options;
}

static bool find_format(const char *name, Makers *makers, GError **error)
{
    makers->format = bdrv_find_driver(name);
    if (!makers->format) {
        return error_setg(error, "Unknown file format '%s'", name);
    }
    return true;
}

static bool check_format(const Makers *makers, GError **error)
{
    if (!can_create(makers->format)) {
        return error_setg(error, "Format driver '%s' does not support image "
                          "creation", makers->format->name);
    }
    return true;
}

static bool find_protocol(const char *filename, Makers *makers,
                          GError **error)
{
    makers->protocol = bdrv_find_protocol(filename, error);
    if (!makers->protocol) {
        return false;
    }
    if (!can_create(makers->protocol)) {
        return error_setg(error, "Protocol driver '%s' does not support image "
                          "creation", makers->protocol->name);
    }
    return true;
}

static CreateOpts *known_options(const Makers *makers)
{
    return create_opts_new(makers->format->image->create_options,
                           makers->protocol->image->create_options);
}

static bool take_size(const NewImage *image, CreateOpts *opts, GError **error)
{
    g_autofree char *text = NULL;

    if (!image->has_size) {
        return true;
    }
    if (create_opts_get(opts, "size")) {
        return error_setg(error, "The image size must be specified only once");
    }
    text = g_strdup_printf("%" G_GINT64_FORMAT, image->bytes);
    return create_opts_set(opts, "size", text, error);
}

static bool take_backing(const NewImage *image, CreateOpts *opts,
                         GError **error)
{
    if (image->backing_file &&
        !create_opts_set(opts, "backing_file", image->backing_file, NULL)) {
        return error_setg(error, "Backing file not supported for file "
                          "format '%s'", image->format);
    }
    if (image->backing_format &&
        !create_opts_set(opts, "backing_fmt", image->backing_format, NULL)) {
        return error_setg(error, "Backing file format not supported for file "
                          "format '%s'", image->format);
    }
    return true;
}

static bool check_backing_name(const NewImage *image, const char *backing,
                               GError **error)
{
    if (*backing == '\0') {
        return error_setg(error, "Expected backing file name, got empty "
                          "string");
    }
    if (strcmp(backing, image->filename) == 0) {
        return error_setg(error, "Error: Trying to create an image with the "
                          "same filename as the backing file");
    }
    return true;
}

static BlockDriverState *open_backing(const NewImage *image,
                                      const CreateOpts *opts, GError **error)
{
    const char *backing = create_opts_get(opts, "backing_file");
    g_autofree char *path = NULL;
    BlockDriverState *bs;
    GError *reason = NULL;

    path = bdrv_backing_path(image->filename, backing, error);
    if (!path) {
        return NULL;
    }
    bs = bdrv_open_image(path, create_opts_get(opts, "backing_fmt"), NULL,
                         BDRV_OPEN_READ_ONLY, &reason);
    if (!bs) {
        error_setg(error, "%s\nCould not open backing image.", reason->message);
        g_error_free(reason);
    }
    return bs;
}

/* Looks at the backing file: it must be there, and lends us its size. */
static bool probe_backing(const NewImage *image, CreateOpts *opts,
                          char **advice, GError **error)
{
    g_autoptr(BlockDriverState) bs = open_backing(image, opts, error);
    g_autofree char *text = NULL;

    if (!bs) {
        return false;
    }
    if (!create_opts_get(opts, "backing_fmt")) {
        *advice = g_strdup_printf("Detected format of %s.", bs->drv->name);
        return error_setg(error, "Backing file specified without backing "
                          "format");
    }
    if (create_opts_get(opts, "size")) {
        return true;
    }
    text = g_strdup_printf("%" G_GINT64_FORMAT, bs->total_bytes);
    return create_opts_set(opts, "size", text, error);
}

static bool check_backing(const NewImage *image, CreateOpts *opts,
                          char **advice, GError **error)
{
    const char *backing = create_opts_get(opts, "backing_file");

    if (backing && !check_backing_name(image, backing, error)) {
        return false;
    }
    if (backing && !image->trust_backing) {
        return probe_backing(image, opts, advice, error);
    }
    if (backing && !create_opts_get(opts, "backing_fmt")) {
        return error_setg(error, "Backing file specified without backing "
                          "format");
    }
    return true;
}

static CreateOpts *take_options(const NewImage *image, const Makers *makers,
                                char **advice, GError **error)
{
    g_autoptr(CreateOpts) opts = known_options(makers);

    if (!create_opts_parse(opts, image->options, error) ||
        !take_size(image, opts, error) || !take_backing(image, opts, error) ||
        !check_backing(image, opts, advice, error)) {
        return NULL;
    }
    if (!create_opts_get(opts, "size")) {
        error_setg(error, "Image creation needs a size parameter");
        return NULL;
    }
    return g_steal_pointer(&opts);
}

/* Whatever the driver was at when it got EFBIG, it is the size that has to be
 * another. */
static void word_too_large(const NewImage *image, const CreateOpts *opts,
                           GError **error)
{
    const char *hint = create_opts_knows(opts, "cluster_size")
                           ? " (try using a larger cluster size)" : "";

    if (g_str_has_suffix((*error)->message, g_strerror(EFBIG))) {
        g_clear_error(error);
        error_setg(error, "The image size is too large for file format '%s'%s",
                   image->format, hint);
    }
}

bool new_image_make(const NewImage *image, const CreateOpts *opts,
                    GError **error)
{
    g_autoptr(Options) options = create_opts_to_options(opts, "");

    return bdrv_create(bdrv_find_driver(image->format), image->filename,
                       options, error);
}

static bool create(const NewImage *image, const CreateOpts *opts,
                   GError **error)
{
    GError *reason = NULL;

    if (new_image_make(image, opts, &reason)) {
        return true;
    }
    word_too_large(image, opts, &reason);
    g_propagate_error(error, reason);
    return false;
}

bool new_image_create(const NewImage *image, char **advice, GError **error)
{
    g_autoptr(CreateOpts) opts = NULL;
    Makers makers;

    *advice = NULL;
    if (!find_format(image->format, &makers, error) ||
        !find_protocol(image->filename, &makers, error) ||
        !check_format(&makers, error)) {
        return false;
    }
    opts = take_options(image, &makers, advice, error);
    if (!opts) {
        return false;
    }
    if (!image->quiet) {
        g_autofree char *text = create_opts_to_text(opts);

        printf("Formatting '%s', fmt=%s%s\n", image->filename, image->format,
               text);
        fflush(stdout);
    }
    return create(image, opts, error);
}

CreateOpts *new_image_options(const NewImage *image, GError **error)
{
    g_autoptr(CreateOpts) opts = NULL;
    g_autofree char *size = NULL;
    Makers makers;

    if (!find_format(image->format, &makers, error) ||
        !find_protocol(image->filename, &makers, error) ||
        !check_format(&makers, error)) {
        return NULL;
    }
    opts = known_options(&makers);
    size = g_strdup_printf("%" G_GINT64_FORMAT, image->bytes);
    if (!create_opts_parse(opts, image->options, error) ||
        !create_opts_set(opts, "size", size, error) ||
        !take_backing(image, opts, error)) {
        return NULL;
    }
    return g_steal_pointer(&opts);
}

static int complain(GError *error)
{
    error_report_err(error);
    return EXIT_FAILURE;
}

int new_image_help(const char *filename, const char *format)
{
    g_autoptr(CreateOpts) opts = NULL;
    GError *error = NULL;
    Makers makers;

    if (!find_format(format, &makers, &error) ||
        !check_format(&makers, &error)) {
        return complain(error);
    }
    if (!filename) {
        opts = create_opts_new(makers.format->image->create_options, NULL);
        printf("Supported %s options:\n", format);
        create_opts_print_help(opts);
        printf("\nThe protocol level may support further options.\n"
               "Specify the target filename to include those options.\n");
        return EXIT_SUCCESS;
    }
    if (!find_protocol(filename, &makers, &error)) {
        return complain(error);
    }
    opts = known_options(&makers);
    printf("Supported options:\n");
    create_opts_print_help(opts);
    return EXIT_SUCCESS;
}
