/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens the images of a tool's command line: a file name, or with
 * --image-opts the options of a node. Calls bdrv_open_image().
 */
#include "open.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned flags;
    bool writethrough;
} cache_modes[] = {
    { "none", BDRV_OPEN_DIRECT, false },
    { "off", BDRV_OPEN_DIRECT, false },
    { "writeback", 0, false },
    { "unsafe", BDRV_OPEN_NO_FLUSH, false },
    { "writethrough", 0, true },
    { "directsync", BDRV_OPEN_DIRECT, true },
};

bool cache_mode_parse(const char *mode, unsigned *flags, bool *writethrough)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cache_modes); i++) {
        if (strcmp(mode, cache_modes[i].name) == 0) {
            *flags &= ~(BDRV_OPEN_DIRECT | BDRV_OPEN_NO_FLUSH);
            *flags |= cache_modes[i].flags;
            *writethrough = cache_modes[i].writethrough;
            return true;
        }
    }
    return false;
}

bool aio_mode_parse(const char *mode, unsigned *flags)
{
    static const struct {
        const char *name;
        unsigned flags;
    } modes[] = {
        { "auto", 0 },
        { "threads", BDRV_OPEN_THREADS },
        { "native", BDRV_OPEN_NATIVE_AIO },
        { "io_uring", BDRV_OPEN_IO_URING },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(mode, modes[i].name) == 0) {
            *flags &= ~BDRV_OPEN_AIO_MASK;
            *flags |= modes[i].flags;
            return true;
        }
    }
    return false;
}

/* A single word names a node, and there is none that a tool has not made. */
static bool check_image_opts(const char *text, GError **error)
{
    if (*text && !strpbrk(text, "=,")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Cannot find device='%s' nor node-name='%s'", text, text);
        return false;
    }
    return true;
}

static bool check_share(const Options *opts, unsigned flags, GError **error)
{
    const char *given = options_peek_str(opts, "force-share");

    if ((flags & BDRV_OPEN_SHARE) && given && strcmp(given, "on") != 0) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--force-share/-U conflicts with image options");
        return false;
    }
    return true;
}

static Options *parse_image_opts(const char *text, unsigned flags,
                                 GError **error)
{
    g_autoptr(Options) opts = NULL;

    if (!check_image_opts(text, error)) {
        return NULL;
    }
    opts = options_parse(text, "--image-opts", NULL, error);
    if (!opts || !check_share(opts, flags, error)) {
        return NULL;
    }
    return g_steal_pointer(&opts);
}

BlockDriverState *image_open(const ImageName *name, unsigned flags,
                             GError **error)
{
    Options *opts = name->image_opts
                        ? parse_image_opts(name->text, flags, error)
                        : options_new("");

    if (!opts) {
        return NULL;
    }
    if (name->aio) {
        options_set_str(opts, "file.aio", name->aio);
    }
    return bdrv_open_image(name->image_opts ? NULL : name->text,
                           name->format, opts, flags, error);
}
