/* SPDX-License-Identifier: GPL-2.0-or-later */
/* write and writev: write a pattern, a file's contents or zeroes. */
#include "args.h"
#include "buffer.h"
#include "image.h"
#include "report.h"
#include "request.h"
#include "special.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

typedef struct WriteArgs {
    bool vmstate;
    bool compressed;
    bool machine;
    bool fua;
    bool no_fallback;
    bool quiet;
    bool unmap;
    bool zeroes;
    int pattern;          /* -1: none was given */
    const char *file;     /* or NULL */
    int64_t offset;
    int64_t bytes;
} WriteArgs;

#define WRITE_ARGS_INIT { .pattern = -1 }

static bool take_option(const IoCommand *command, WriteArgs *args, int c)
{
    switch (c) {
    case 'b':
        args->vmstate = true;
        return true;
    case 'c':
        args->compressed = true;
        return true;
    case 'C':
        args->machine = true;
        return true;
    case 'f':
        args->fua = true;
        return true;
    case 'n':
        args->no_fallback = true;
        return true;
    case 'p':
        return true;
    case 'P':
        return io_parse_pattern(optarg, &args->pattern);
    case 'q':
        args->quiet = true;
        return true;
    case 's':
        args->file = optarg;
        return true;
    case 'u':
        args->unmap = true;
        return true;
    case 'z':
        args->zeroes = true;
        return true;
    default:
        return io_usage(command);
    }
}

static bool take_options(const IoCommand *command, const char *letters,
                         int argc, char **argv, WriteArgs *args)
{
    int c;

    while ((c = getopt(argc, argv, letters)) != -1) {
        if (!take_option(command, args, c)) {
            return false;
        }
    }
    return true;
}

static const char *conflict(const WriteArgs *args)
{
    if (args->vmstate && args->zeroes) {
        return "-b and -z cannot be specified at the same time";
    }
    if (args->fua && (args->vmstate || args->compressed)) {
        return "-f and -b or -c cannot be specified at the same time";
    }
    if (args->no_fallback && !args->zeroes) {
        return "-n requires -z to be specified";
    }
    if (args->unmap && !args->zeroes) {
        return "-u requires -z to be specified";
    }
    if (args->zeroes + (args->pattern >= 0) + (args->file != NULL) > 1) {
        return "Only one of -z, -P, and -s can be specified at the same time";
    }
    return NULL;
}

static bool parse_bytes(WriteArgs *args, const char *text)
{
    if (!args->zeroes) {
        return io_parse_length(text, &args->bytes);
    }
    if (!io_parse_size(text, &args->bytes)) {
        return false;
    }
    if (args->bytes > IO_MAX_BYTES && !args->no_fallback) {
        printf("length cannot exceed %" G_GINT64_FORMAT " without -n, given "
               "%s\n", IO_MAX_BYTES, text);
        return false;
    }
    return true;
}

static bool parse_range(WriteArgs *args, char **argv)
{
    if (!io_parse_size(argv[0], &args->offset) ||
        !parse_bytes(args, argv[1])) {
        return false;
    }
    return (!args->vmstate && !args->compressed) ||
           (io_check_sector_aligned("offset", args->offset) &&
            io_check_sector_aligned("count", args->bytes));
}

static IoResult send(Io *io, const WriteArgs *args, const IoBuffer *buffer)
{
    BlockIo request = {
        .op = args->zeroes ? BLOCK_WRITE_ZEROES : BLOCK_WRITE,
        .flags = (args->fua ? BLOCK_REQ_FUA : 0) |
                 (args->unmap ? BLOCK_REQ_MAY_UNMAP : 0),
        .offset = args->offset, .bytes = args->bytes,
        .iov = buffer->iov, .niov = buffer->niov,
    };

    if (args->vmstate || args->compressed) {
        return io_request_special(io, args->vmstate ? IO_SAVE_VMSTATE
                                                    : IO_WRITE_COMPRESSED,
                                  args->offset, args->bytes, buffer->data);
    }
    if (args->no_fallback && !blk_geometry(io->image->blk).write_zeroes) {
        return (IoResult){ .ret = -ENOTSUP };
    }
    return io_request(io, &request);
}

static bool write_buffer(Io *io, const WriteArgs *args, const char *name,
                         const IoBuffer *buffer)
{
    IoReport report = {
        .done = "wrote", .offset = args->offset, .bytes = args->bytes,
        .machine = args->machine,
    };
    IoResult result = send(io, args, buffer);

    if (result.ret < 0) {
        printf("%s failed: %s\n", name, g_strerror(-result.ret));
        return false;
    }
    if (!args->quiet) {
        report.elapsed_ns = result.elapsed_ns;
        io_report(&report);
    }
    return true;
}

static bool fill(const Io *io, const WriteArgs *args, IoBuffer *buffer)
{
    int pattern = args->pattern < 0 ? IO_WRITE_FILL : args->pattern;

    return args->zeroes ||
           (io_buffer_init(io, buffer, args->bytes, pattern) &&
            (!args->file || io_buffer_fill_from_file(buffer, args->file)));
}

static bool run_write(Io *io, int argc, char **argv)
{
    g_auto(IoBuffer) buffer = { 0 };
    WriteArgs args = WRITE_ARGS_INIT;
    const char *wrong;

    if (!take_options(&io_cmd_write, "bcCfnpP:qs:uz", argc, argv, &args)) {
        return false;
    }
    if (optind != argc - 2) {
        return io_usage(&io_cmd_write);
    }
    wrong = conflict(&args);
    if (wrong) {
        printf("%s\n", wrong);
        return false;
    }
    return parse_range(&args, argv + optind) && fill(io, &args, &buffer) &&
           write_buffer(io, &args, "write", &buffer);
}

static bool run_writev(Io *io, int argc, char **argv)
{
    g_auto(IoBuffer) buffer = { 0 };
    WriteArgs args = WRITE_ARGS_INIT;

    if (!take_options(&io_cmd_writev, "CfqP:", argc, argv, &args)) {
        return false;
    }
    if (optind > argc - 2) {
        return io_usage(&io_cmd_writev);
    }
    if (!io_parse_size(argv[optind], &args.offset) ||
        !io_buffer_init_pieces(io, &buffer, argv + optind + 1,
                               args.pattern < 0 ? IO_WRITE_FILL
                                                : args.pattern)) {
        return false;
    }
    args.bytes = buffer.bytes;
    return write_buffer(io, &args, "writev", &buffer);
}

const IoCommand io_cmd_write = {
    .name = "write",
    .alias = "w",
    .args = "[-bcCfnquz] [-P pattern | -s source_file] off len",
    .oneline = "writes a number of bytes at a specified offset",
    .help =
"\n"
" Writes len bytes at off from one buffer, which is full of 0xcd unless -P\n"
" or -s say otherwise.\n"
"\n"
" Example:\n"
" 'write -P 7 512 1k' - fills the second and third sector with sevens\n"
"\n"
" -b, -- writes to the saved state of a virtual machine, not the disk\n"
" -c, -- writes compressed\n"
" -C, -- prints bytes, operations, time and rates with commas between them\n"
" -f, -- the data is on stable storage when the command ends (FUA)\n"
" -n, -- with -z: fails where zeroes would have to be written out\n"
" -p, -- does nothing, for old scripts\n"
" -P, -- writes this byte\n"
" -q, -- prints nothing but errors\n"
" -s, -- writes the contents of this file, over and over\n"
" -u, -- with -z: may deallocate\n"
" -z, -- writes zeroes without a buffer\n"
"\n",
    .min_args = 2,
    .max_args = -1,
    .flags = IO_NEEDS_WRITABLE,
    .run = run_write,
};

const IoCommand io_cmd_writev = {
    .name = "writev",
    .args = "[-Cfq] [-P pattern] off len [len..]",
    .oneline = "writes a number of bytes at a specified offset",
    .help =
"\n"
" Writes at off from as many buffers as there are lengths, in one request.\n"
" The buffers are full of 0xcd unless -P says otherwise.\n"
"\n"
" Example:\n"
" 'writev 512 1k 1k' - writes 2 kilobytes from two buffers\n"
"\n"
" -C, -- prints bytes, operations, time and rates with commas between them\n"
" -f, -- the data is on stable storage when the command ends (FUA)\n"
" -P, -- writes this byte\n"
" -q, -- prints nothing but errors\n"
"\n",
    .min_args = 2,
    .max_args = -1,
    .flags = IO_NEEDS_WRITABLE,
    .run = run_writev,
};
