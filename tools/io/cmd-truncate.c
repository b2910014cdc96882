/* SPDX-License-Identifier: GPL-2.0-or-later */
/* truncate: makes the image longer or shorter. */
#include "args.h"
#include "image.h"
#include "request.h"
#include "tools/common/message.h"

#include <getopt.h>
#include <string.h>

typedef struct Truncate {
    BlockDriverState *bs;
    BlockTruncate to;
    bool ok;
    GError *error;
} Truncate;

static void coroutine_fn truncate_co(void *opaque)
{
    Truncate *truncate = opaque;

    truncate->ok = bdrv_co_truncate(truncate->bs, &truncate->to,
                                    &truncate->error);
}

static bool parse_prealloc(const char *text, BlockPrealloc *prealloc)
{
    for (unsigned i = 0; block_prealloc_names[i]; i++) {
        if (strcmp(text, block_prealloc_names[i]) == 0) {
            *prealloc = i;
            return true;
        }
    }
    error_report("Invalid preallocation mode '%s'", text);
    return false;
}

static bool run_truncate(Io *io, int argc, char **argv)
{
    Truncate truncate = { .bs = io->image->bs };
    int c;

    while ((c = getopt(argc, argv, "m:")) != -1) {
        if (c != 'm') {
            return io_usage(&io_cmd_truncate);
        }
        if (!parse_prealloc(optarg, &truncate.to.prealloc)) {
            return false;
        }
    }
    if (optind == argc) {
        return io_usage(&io_cmd_truncate);
    }
    if (!io_parse_size(argv[optind], &truncate.to.bytes)) {
        return false;
    }
    io_run_co(truncate_co, &truncate);
    if (!truncate.ok) {
        error_report_err(truncate.error);
    }
    return truncate.ok;
}

const IoCommand io_cmd_truncate = {
    .name = "truncate",
    .alias = "t",
    .args = "[-m prealloc_mode] off",
    .oneline = "truncates the current file at the given offset",
    .min_args = 1,
    .max_args = 3,
    .flags = IO_NEEDS_WRITABLE,
    .run = run_truncate,
};
