/* SPDX-License-Identifier: GPL-2.0-or-later */
/* length, flush and discard: what concerns an image as a whole, or a range
 * without data. */
#include "args.h"
#include "image.h"
#include "report.h"
#include "request.h"

#include <getopt.h>
#include <stdio.h>

static bool run_length(Io *io, int argc, char **argv)
{
    g_autofree char *text = io_bytes_to_str(io_image_length(io->image));

    printf("%s\n", text);
    return true;
}

static bool run_flush(Io *io, int argc, char **argv)
{
    IoResult result = io_request(io, &(BlockIo){ .op = BLOCK_FLUSH });

    return result.ret == 0;
}

static bool take_discard_options(int argc, char **argv, IoReport *report,
                                 bool *quiet)
{
    int c;

    while ((c = getopt(argc, argv, "Cq")) != -1) {
        switch (c) {
        case 'C':
            report->machine = true;
            break;
        case 'q':
            *quiet = true;
            break;
        default:
            return io_usage(&io_cmd_discard);
        }
    }
    return optind == argc - 2 || io_usage(&io_cmd_discard);
}

static bool run_discard(Io *io, int argc, char **argv)
{
    IoReport report = { .done = "discard" };
    bool quiet = false;
    IoResult result;

    if (!take_discard_options(argc, argv, &report, &quiet) ||
        !io_parse_size(argv[optind], &report.offset) ||
        !io_parse_length(argv[optind + 1], &report.bytes)) {
        return false;
    }
    result = io_request(io, &(BlockIo){ .op = BLOCK_DISCARD,
                                        .offset = report.offset,
                                        .bytes = report.bytes });
    if (result.ret < 0) {
        printf("discard failed: %s\n", g_strerror(-result.ret));
        return false;
    }
    report.elapsed_ns = result.elapsed_ns;
    if (!quiet) {
        io_report(&report);
    }
    return true;
}

const IoCommand io_cmd_length = {
    .name = "length",
    .alias = "l",
    .oneline = "gets the length of the current file",
    .run = run_length,
};

const IoCommand io_cmd_flush = {
    .name = "flush",
    .alias = "f",
    .oneline = "flush all in-core file state to disk",
    .run = run_flush,
};

const IoCommand io_cmd_discard = {
    .name = "discard",
    .alias = "d",
    .args = "[-Cq] off len",
    .oneline = "discards a number of bytes at a specified offset",
    .help =
"\n"
" Says that the contents of len bytes at off are not needed any more.\n"
"\n"
" Example:\n"
" 'discard 512 1k' - discards the second and third sector\n"
"\n"
" -C, -- prints bytes, operations, time and rates with commas between them\n"
" -q, -- prints nothing but errors\n"
"\n",
    .min_args = 2,
    .max_args = -1,
    .flags = IO_NEEDS_WRITABLE,
    .run = run_discard,
};
