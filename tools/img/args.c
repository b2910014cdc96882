/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the options that the subcommands of vblk-img share, and the numbers
 * on its command line. Called by the subcommands.
 */
#include "args.h"

#include "img.h"
#include "tools/common/message.h"
#include "tools/common/objects.h"
#include "tools/common/size.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int img_bad_usage(const char *fmt, ...)
{
    va_list ap;
    g_autofree char *text = NULL;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_report("%s\nTry '%s --help' for more information", text,
                 g_get_prgname());
    return EXIT_FAILURE;
}

static int stop(ImgArgs *args, int status)
{
    args->status = status;
    return IMG_ARGS_STOP;
}

static int take_object(ImgArgs *args, const char *text)
{
    GError *error = NULL;

    if (object_help(text)) {
        return stop(args, EXIT_SUCCESS);
    }
    if (!object_add(text, &error)) {
        error_report_err(error);
        return stop(args, args->object_error ? args->object_error
                                             : EXIT_FAILURE);
    }
    return 0;
}

static int take_output(ImgArgs *args, const char *text)
{
    args->json = strcmp(text, "json") == 0;
    if (!args->json && strcmp(text, "human") != 0) {
        error_report("--output must be used with human or json as argument.");
        return stop(args, EXIT_FAILURE);
    }
    return 0;
}

static int take_aio(ImgArgs *args, const char *mode)
{
    if (!aio_mode_parse(mode, &args->aio)) {
        error_report("Invalid aio option: %s", mode);
        return stop(args, EXIT_FAILURE);
    }
    return 0;
}

/* Returns 0 when that was one of ours, else what img_getopt() returns. */
static int take(ImgArgs *args, int c)
{
    switch (c) {
    case 'f':
        args->format = optarg;
        return 0;
    case 't':
        args->cache = optarg;
        return 0;
    case 'T':
        args->src_cache = optarg;
        return 0;
    case 'i':
        return take_aio(args, optarg);
    case 'q':
        args->quiet = true;
        return 0;
    case 'p':
        args->progress = true;
        return 0;
    case 'U':
        args->force_share = true;
        return 0;
    case IMG_OPT_IMAGE_OPTS:
        args->image_opts = true;
        return 0;
    case IMG_OPT_OBJECT:
        return take_object(args, optarg);
    case IMG_OPT_OUTPUT:
        return take_output(args, optarg);
    default:
        return c;
    }
}

int img_getopt(int argc, char **argv, const char *letters,
               const struct option *words, ImgArgs *args)
{
    int c;

    do {
        c = getopt_long(argc, argv, letters, words, NULL);
        switch (c) {
        case ':':
            return stop(args, img_bad_usage("missing argument for option '%s'",
                                            argv[optind - 1]));
        case '?':
            return stop(args, img_bad_usage("unrecognized option '%s'",
                                            argv[optind - 1]));
        case 'h':
            img_help();
            return stop(args, EXIT_SUCCESS);
        default:
            c = take(args, c);
        }
    } while (c == 0);
    return c;
}

bool img_read_flags(const ImgArgs *args, unsigned *flags)
{
    bool writethrough;

    *flags = BDRV_OPEN_READ_ONLY | args->aio |
             (args->force_share ? BDRV_OPEN_SHARE : 0);
    if (!cache_mode_parse(args->src_cache, flags, &writethrough)) {
        error_report("Invalid source cache option: %s", args->src_cache);
        return false;
    }
    return true;
}

bool img_write_flags(const ImgArgs *args, unsigned *flags, bool *writethrough)
{
    *flags = args->aio;
    if (!cache_mode_parse(args->cache, flags, writethrough)) {
        error_report("Invalid cache option: %s", args->cache);
        return false;
    }
    return true;
}

BlockDriverState *img_open(const ImgArgs *args, const char *filename,
                           unsigned flags)
{
    GError *error = NULL;
    ImageName name = {
        .text = filename,
        .format = args->format,
        .image_opts = args->image_opts,
    };
    BlockDriverState *bs;

    if (args->image_opts && args->format) {
        error_report("--image-opts and --format are mutually exclusive");
        return NULL;
    }
    bs = image_open(&name, flags, &error);
    if (!bs && g_str_has_prefix(error->message, "--")) {
        error_report_err(error); /* the command line is wrong, no image */
    } else if (!bs) {
        error_reportf_err(error, "Could not open '%s': ", filename);
    }
    return bs;
}

bool img_parse_range(const char *name, const char *text, int64_t min,
                     int64_t max, int64_t *value)
{
    uint64_t number;
    int ret = size_from_text(text, &number);

    if (ret == -EINVAL) {
        error_report("Invalid %s specified. You may use k, M, G, T, P or E "
                     "suffixes for", name);
        error_report("kilobytes, megabytes, gigabytes, terabytes, petabytes "
                     "and exabytes.");
        return false;
    }
    if (size_has_hex_suffix(text)) {
        warn_report("Using a multiplier suffix on hex numbers is deprecated: "
                    "%s", text);
    }
    if (ret < 0 || number > INT64_MAX || (int64_t)number < min ||
        (int64_t)number > max) {
        error_report("Invalid %s specified. Must be between %" G_GINT64_FORMAT
                     " and %" G_GINT64_FORMAT ".", name, min, max);
        return false;
    }
    *value = number;
    return true;
}

bool img_parse_size(const char *name, const char *text, int64_t *value)
{
    return img_parse_range(name, text, 0, INT64_MAX, value);
}
