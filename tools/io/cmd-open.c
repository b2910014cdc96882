/* SPDX-License-Identifier: GPL-2.0-or-later */
/* open and close. */
#include "args.h"
#include "image.h"

#include <getopt.h>
#include <stdio.h>

#include "tools/common/message.h"

static bool take_option(const Io *io, IoImageSpec *spec, int c)
{
    switch (c) {
    case 's':
        spec->snapshot = true;
        return true;
    case 'n':
        return io_image_spec_set_cache(spec, "none");
    case 'C':
        spec->flags |= BDRV_OPEN_COPY_ON_READ;
        return true;
    case 'r':
        spec->flags |= BDRV_OPEN_READ_ONLY;
        return true;
    case 'k':
        return io_image_spec_set_aio(spec, "native");
    case 't':
        return io_image_spec_set_cache(spec, optarg);
    case 'd':
        return io_image_spec_set_discard(spec, optarg);
    case 'i':
        return io_image_spec_set_aio(spec, optarg);
    case 'o':
        if (io->image_opts) {
            printf("--image-opts and 'open -o' are mutually exclusive\n");
            return false;
        }
        return io_image_spec_add_options(spec, "-o", optarg);
    case 'U':
        spec->flags |= BDRV_OPEN_SHARE;
        return true;
    default:
        return io_usage(&io_cmd_open);
    }
}

static bool take_name(const Io *io, IoImageSpec *spec, const char *name)
{
    if (io->image_opts) {
        return io_image_spec_add_options(spec, "--image-opts", name);
    }
    spec->filename = g_strdup(name);
    return true;
}

static bool run_open(Io *io, int argc, char **argv)
{
    g_auto(IoImageSpec) spec = IO_IMAGE_SPEC_INIT;
    int c;

    while ((c = getopt(argc, argv, "snCro:ki:t:d:U")) != -1) {
        if (!take_option(io, &spec, c)) {
            return false;
        }
    }
    if (optind < argc - 1) {
        return io_usage(&io_cmd_open);
    }
    if (io->image) {
        error_report("file open already, try 'help close'");
        return false;
    }
    if (optind == argc - 1 && !take_name(io, &spec, argv[optind])) {
        return false;
    }
    return io_open(io, &spec);
}

static bool run_close(Io *io, int argc, char **argv)
{
    io_close(io);
    return true;
}

const IoCommand io_cmd_open = {
    .name = "open",
    .alias = "o",
    .args = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
    .oneline = "open the file specified by path",
    .help =
"\n"
" Opens an image for the commands that follow.\n"
"\n"
" Example:\n"
" 'open -n -o driver=raw /tmp/data' - opens /tmp/data as it is, past the\n"
" page cache\n"
"\n"
" -r, -- for reading only\n"
" -s, -- what is written goes to a temporary file and is lost at the end\n"
" -C, -- copies to the image what is read from its backing file\n"
" -n, -- the same as -t none\n"
" -U, -- also while somebody else writes to it\n"
" -k, -- the same as -i native\n"
" -i, -- how files are read and written: threads, native or io_uring\n"
" -t, -- none, writeback, writethrough (the default), directsync or unsafe\n"
" -d, -- what becomes of discards: ignore or unmap (the default)\n"
" -o, -- options of the node, key=value,...\n"
"\n",
    .min_args = 1,
    .max_args = -1,
    .flags = IO_NEEDS_NO_IMAGE,
    .run = run_open,
};

const IoCommand io_cmd_close = {
    .name = "close",
    .alias = "c",
    .oneline = "close the current open file",
    .run = run_close,
};
