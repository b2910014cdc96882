/* SPDX-License-Identifier: GPL-2.0-or-later */
/* read and readv: read a stretch, compare it with a pattern, show it. */
#include "args.h"
#include "buffer.h"
#include "report.h"
#include "request.h"
#include "special.h"

#include <getopt.h>
#include <stdio.h>

typedef struct ReadArgs {
    bool vmstate;
    bool machine;
    bool quiet;
    bool dump;
    int pattern;            /* -1: none */
    int64_t pattern_start;  /* in what was read */
    int64_t pattern_bytes;  /* -1: to the end */
    bool part;              /* -s or -l was given */
    int64_t offset;
} ReadArgs;

#define READ_ARGS_INIT { .pattern = -1, .pattern_bytes = -1 }

static bool take_part(ReadArgs *args, int64_t *value)
{
    args->part = true;
    return io_parse_size(optarg, value);
}

/* Those that both commands have fall through to the end. */
static bool take_option(const IoCommand *command, ReadArgs *args, int c)
{
    switch (c) {
    case 'b':
        args->vmstate = true;
        return true;
    case 'C':
        args->machine = true;
        return true;
    case 'l':
        return take_part(args, &args->pattern_bytes);
    case 'p':
        return true;
    case 'P':
        return io_parse_pattern(optarg, &args->pattern);
    case 'q':
        args->quiet = true;
        return true;
    case 's':
        return take_part(args, &args->pattern_start);
    case 'v':
        args->dump = true;
        return true;
    default:
        return io_usage(command);
    }
}

static bool take_options(const IoCommand *command, const char *letters,
                         int argc, char **argv, ReadArgs *args)
{
    int c;

    while ((c = getopt(argc, argv, letters)) != -1) {
        if (!take_option(command, args, c)) {
            return false;
        }
    }
    return true;
}

static bool check(const ReadArgs *args, const IoBuffer *buffer)
{
    int64_t bytes = args->pattern_bytes;

    if (args->pattern < 0) {
        return true;
    }
    if (bytes < 0) {
        bytes = buffer->bytes - args->pattern_start;
    }
    if (io_buffer_matches(buffer, args->pattern_start, bytes,
                          args->pattern)) {
        return true;
    }
    printf("Pattern verification failed at offset %" G_GINT64_FORMAT
           ", %" G_GINT64_FORMAT " bytes\n",
           args->offset + args->pattern_start, bytes);
    return false;
}

static IoResult send(Io *io, const ReadArgs *args, const IoBuffer *buffer)
{
    BlockIo request = {
        .op = BLOCK_READ, .offset = args->offset, .bytes = buffer->bytes,
        .iov = buffer->iov, .niov = buffer->niov,
    };

    return args->vmstate ? io_request_special(io, IO_LOAD_VMSTATE,
                                              args->offset, buffer->bytes,
                                              buffer->data)
                         : io_request(io, &request);
}

static bool read_buffer(Io *io, const ReadArgs *args, const char *name,
                        IoBuffer *buffer)
{
    IoReport report = {
        .done = "read", .offset = args->offset, .bytes = buffer->bytes,
        .machine = args->machine,
    };
    IoResult result = send(io, args, buffer);
    bool ok;

    if (result.ret < 0) {
        printf("%s failed: %s\n", name, g_strerror(-result.ret));
        return false;
    }
    ok = check(args, buffer);
    if (args->quiet) {
        return ok;
    }
    if (args->dump) {
        io_buffer_dump(buffer, args->offset);
    }
    report.elapsed_ns = result.elapsed_ns;
    io_report(&report);
    return ok;
}

static bool check_part(const ReadArgs *args, int64_t bytes)
{
    int64_t part = args->pattern_bytes < 0 ? 0 : args->pattern_bytes;

    if (args->pattern_start <= bytes && part <= bytes - args->pattern_start) {
        return true;
    }
    printf("pattern verification range exceeds end of read data\n");
    return false;
}

static bool run_read(Io *io, int argc, char **argv)
{
    g_auto(IoBuffer) buffer = { 0 };
    ReadArgs args = READ_ARGS_INIT;
    int64_t bytes;

    if (!take_options(&io_cmd_read, "bCl:pP:qs:v", argc, argv, &args)) {
        return false;
    }
    if (optind != argc - 2) {
        return io_usage(&io_cmd_read);
    }
    if (!io_parse_size(argv[optind], &args.offset) ||
        !io_parse_length(argv[optind + 1], &bytes)) {
        return false;
    }
    if (args.part && args.pattern < 0) {
        return io_usage(&io_cmd_read);
    }
    if (!check_part(&args, bytes) ||
        (args.vmstate &&
         (!io_check_sector_aligned("offset", args.offset) ||
          !io_check_sector_aligned("count", bytes)))) {
        return false;
    }
    return io_buffer_init(io, &buffer, bytes, IO_READ_FILL) &&
           read_buffer(io, &args, "read", &buffer);
}

static bool run_readv(Io *io, int argc, char **argv)
{
    g_auto(IoBuffer) buffer = { 0 };
    ReadArgs args = READ_ARGS_INIT;

    if (!take_options(&io_cmd_readv, "CP:qv", argc, argv, &args)) {
        return false;
    }
    if (optind > argc - 2) {
        return io_usage(&io_cmd_readv);
    }
    return io_parse_size(argv[optind], &args.offset) &&
           io_buffer_init_pieces(io, &buffer, argv + optind + 1,
                                 IO_READ_FILL) &&
           read_buffer(io, &args, "readv", &buffer);
}

const IoCommand io_cmd_read = {
    .name = "read",
    .alias = "r",
    .args = "[-abCqv] [-P pattern [-s off] [-l len]] off len",
    .oneline = "reads a number of bytes at a specified offset",
    .help =
"\n"
" Reads len bytes at off into one buffer.\n"
"\n"
" Example:\n"
" 'read -v 512 1k' - shows the second and third sector\n"
"\n"
" -b, -- reads the saved state of a virtual machine, not the disk\n"
" -C, -- prints bytes, operations, time and rates with commas between them\n"
" -l, -- with -P: this many bytes have the pattern\n"
" -p, -- does nothing, for old scripts\n"
" -P, -- fails unless every byte is this one\n"
" -q, -- prints nothing but errors\n"
" -s, -- with -P: the pattern begins here, counted from off\n"
" -v, -- shows what was read\n"
"\n",
    .min_args = 2,
    .max_args = -1,
    .run = run_read,
};

const IoCommand io_cmd_readv = {
    .name = "readv",
    .args = "[-Cqv] [-P pattern] off len [len..]",
    .oneline = "reads a number of bytes at a specified offset",
    .help =
"\n"
" Reads at off into as many buffers as there are lengths, in one request.\n"
"\n"
" Example:\n"
" 'readv -v 512 1k 1k' - shows 2 kilobytes, read into two buffers\n"
"\n"
" -C, -- prints bytes, operations, time and rates with commas between them\n"
" -P, -- fails unless every byte is this one\n"
" -q, -- prints nothing but errors\n"
" -v, -- shows what was read\n"
"\n",
    .min_args = 2,
    .max_args = -1,
    .run = run_readv,
};
