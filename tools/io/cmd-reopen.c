/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reopen: changes how the open image is accessed, cached and configured.
 *
 * Access and caching change in place. Anything else closes the image and opens
 * it again; when that fails it is opened as it was, so that the user keeps it.
 */
#include "args.h"
#include "image.h"
#include "reopen.h"
#include "request.h"

#include <getopt.h>

#include "block/graph.h"
#include "tools/common/message.h"

typedef struct ReopenArgs {
    IoImageSpec spec;   /* flags and cache mode as they will be; opts: the new
                           ones alone, or NULL */
    bool access_set;    /* -r or -w */
    bool cache_set;     /* -c */
} ReopenArgs;

static void reopen_args_clear(ReopenArgs *args)
{
    io_image_spec_clear(&args->spec);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ReopenArgs, reopen_args_clear)

static bool set_access(ReopenArgs *args, unsigned flag)
{
    if (args->access_set) {
        error_report("Only one -r/-w option may be given");
        return false;
    }
    args->access_set = true;
    args->spec.flags = (args->spec.flags & ~BDRV_OPEN_READ_ONLY) | flag;
    return true;
}

static bool take_option(ReopenArgs *args, int c)
{
    switch (c) {
    case 'c':
        args->cache_set = true;
        return io_image_spec_set_cache(&args->spec, optarg);
    case 'o':
        return io_image_spec_add_options(&args->spec, "-o", optarg);
    case 'r':
        return set_access(args, BDRV_OPEN_READ_ONLY);
    case 'w':
        return set_access(args, 0);
    default:
        return io_usage(&io_cmd_reopen);
    }
}

static bool check_conflicts(const ReopenArgs *args)
{
    const Options *opts = args->spec.opts;

    if (args->access_set && options_has(opts, "read-only")) {
        error_report("Cannot set both -r/-w and 'read-only'");
        return false;
    }
    if (args->cache_set && (options_has(opts, "cache.direct") ||
                            options_has(opts, "cache.no-flush"))) {
        error_report("Cannot set both -c and the cache options");
        return false;
    }
    return true;
}

static bool take_flag(IoImageSpec *spec, const char *key, unsigned flag,
                      GError **error)
{
    bool on = spec->flags & flag;

    if (!options_take_bool(spec->opts, key, &on, error)) {
        return false;
    }
    spec->flags = on ? spec->flags | flag : spec->flags & ~flag;
    return true;
}

/* What flags can say they say. */
static bool take_flags(const Io *io, IoImageSpec *spec, GError **error)
{
    bool read_only = false;

    if (options_has(spec->opts, "read-only")) {
        if (!options_take_bool(spec->opts, "read-only", &read_only, error)) {
            return false;
        }
        if (read_only && blk_is_writable(io->image->blk)) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        "Read-only block node '%s' cannot support read-write "
                        "users", io->image->bs->node_name);
            return false;
        }
        spec->flags &= ~BDRV_OPEN_READ_ONLY;
        spec->flags |= read_only ? BDRV_OPEN_READ_ONLY : 0;
    }
    return take_flag(spec, "cache.direct", BDRV_OPEN_DIRECT, error) &&
           take_flag(spec, "cache.no-flush", BDRV_OPEN_NO_FLUSH, error);
}

/* Later reopens, with options or without, take flags from where the last one
 * left them. */
static void forget_flags(Options *opts)
{
    bool ignored;

    options_take_bool(opts, "read-only", &ignored, NULL);
    options_take_bool(opts, "cache.direct", &ignored, NULL);
    options_take_bool(opts, "cache.no-flush", &ignored, NULL);
}

static bool open_anew(Io *io, IoImageSpec *spec, GError **error)
{
    IoImageSpec old = { 0 };

    if (io->image->spec.snapshot) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Cannot change options of a temporary snapshot");
        return false;
    }
    io_image_spec_copy(&old, &io->image->spec);
    io_image_close(io->image);
    io->image = io_image_open(spec, error);
    if (!io->image) {
        GError *again = NULL;

        io->image = io_image_open(&old, &again);
        if (!io->image) {
            error_reportf_err(again, "the image cannot be opened again: ");
        }
        io_image_spec_clear(&old);
        return false;
    }
    io_image_spec_clear(&old);
    return true;
}

static bool reopen(Io *io, ReopenArgs *args, GError **error)
{
    IoImageSpec *spec = &args->spec;
    const IoImageSpec *old = &io->image->spec;
    g_autoptr(Options) was = old->opts ? io_options_dup(old->opts)
                                       : options_new("");
    g_autofree char *left = NULL;

    if (!take_flags(io, spec, error) ||
        !io_reopen_check(io->image->bs, was, spec->opts, error)) {
        return false;
    }
    forget_flags(was);
    left = options_first_key(spec->opts);
    io_reopen_join(spec->opts, g_steal_pointer(&was));
    spec->filename = g_strdup(old->filename);
    spec->snapshot = old->snapshot;
    return left ? open_anew(io, spec, error)
                : io_image_change(io->image, spec, error);
}

/* Options without a name of their own begin errors with ": ". */
static void show_error(GError *error)
{
    const char *text = error->message;

    error_report("%s", g_str_has_prefix(text, ": ") ? text + 2 : text);
    g_error_free(error);
}

static bool run_reopen(Io *io, int argc, char **argv)
{
    g_auto(ReopenArgs) args = { 0 };
    GError *error = NULL;
    int c;

    args.spec.flags = io->image->spec.flags;
    args.spec.writethrough = io->image->spec.writethrough;
    while ((c = getopt(argc, argv, "c:o:rw")) != -1) {
        if (!take_option(&args, c)) {
            return false;
        }
    }
    if (optind != argc) {
        return io_usage(&io_cmd_reopen);
    }
    if (!args.spec.opts) {
        args.spec.opts = options_new("");
    }
    if (!check_conflicts(&args)) {
        return false;
    }
    io_request_wait_all(io);
    if (!reopen(io, &args, &error)) {
        show_error(error);
        return false;
    }
    return true;
}

const IoCommand io_cmd_reopen = {
    .name = "reopen",
    .args = "[(-r|-w)] [-c cache] [-o options]",
    .oneline = "reopens an image with new options",
    .help =
"\n"
" Changes how the open image is accessed, cached or configured.\n"
"\n"
" Example:\n"
" 'reopen -o lazy-refcounts=on' - from now on a qcow2 image counts lazily\n"
"\n"
" -r, -- for reading only\n"
" -w, -- for reading and writing\n"
" -c, -- none, writeback, writethrough, directsync or unsafe\n"
" -o, -- options of the node, key=value,...\n"
"\n",
    .max_args = -1,
    .run = run_reopen,
};
