/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio_read, aio_write and aio_flush: requests that several of are under way.
 *
 * The first two return when the request has been sent and succeed whatever
 * becomes of it; what becomes of it is printed when a command waits.
 */
#include "args.h"
#include "buffer.h"
#include "report.h"
#include "request.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

/* Owns itself from its start to its report. */
typedef struct AioRequest {
    const IoCommand *command;
    BlockOp op;
    unsigned flags;
    IoBuffer buffer;
    int64_t offset;
    int64_t bytes;
    bool machine;
    bool quiet;
    bool dump;
    bool invalid;  /* -i */
    bool zeroes;
    bool unmap;
    int pattern;   /* -1: none */
} AioRequest;

static AioRequest *aio_request_new(const IoCommand *command, BlockOp op)
{
    AioRequest *aio = g_new0(AioRequest, 1);

    aio->command = command;
    aio->op = op;
    aio->pattern = -1;
    return aio;
}

static void aio_request_free(AioRequest *aio)
{
    io_buffer_clear(&aio->buffer);
    g_free(aio);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(AioRequest, aio_request_free)

static bool take_option(AioRequest *aio, int c)
{
    switch (c) {
    case 'C':
        aio->machine = true;
        return true;
    case 'f':
        aio->flags |= BLOCK_REQ_FUA;
        return true;
    case 'i':
        aio->invalid = true;
        return true;
    case 'P':
        return io_parse_pattern(optarg, &aio->pattern);
    case 'q':
        aio->quiet = true;
        return true;
    case 'u':
        aio->unmap = true;
        return true;
    case 'v':
        aio->dump = true;
        return true;
    case 'z':
        aio->zeroes = true;
        return true;
    default:
        return io_usage(aio->command);
    }
}

/* Up to the offset and lengths, which are left in argv from optind on. */
static bool take_options(AioRequest *aio, const char *letters, int argc,
                         char **argv)
{
    int c;

    while ((c = getopt(argc, argv, letters)) != -1) {
        if (!take_option(aio, c)) {
            return false;
        }
    }
    return optind <= argc - 2 || io_usage(aio->command);
}

static void report(const AioRequest *aio, const char *done,
                   const IoResult *result)
{
    io_report(&(IoReport){
        .done = done, .offset = aio->offset, .bytes = aio->bytes,
        .elapsed_ns = result->elapsed_ns, .machine = aio->machine,
    });
}

static void read_done(Io *io, void *opaque, const IoResult *result)
{
    g_autoptr(AioRequest) aio = opaque;

    if (result->ret < 0) {
        printf("readv failed: %s\n", g_strerror(-result->ret));
        return;
    }
    if (aio->pattern >= 0 &&
        !io_buffer_matches(&aio->buffer, 0, aio->bytes, aio->pattern)) {
        printf("Pattern verification failed at offset %" G_GINT64_FORMAT
               ", %" G_GINT64_FORMAT " bytes\n", aio->offset, aio->bytes);
    }
    if (aio->quiet) {
        return;
    }
    if (aio->dump) {
        io_buffer_dump(&aio->buffer, aio->offset);
    }
    report(aio, "read", result);
}

static void write_done(Io *io, void *opaque, const IoResult *result)
{
    g_autoptr(AioRequest) aio = opaque;

    if (result->ret < 0) {
        printf("aio_write failed: %s\n", g_strerror(-result->ret));
    } else if (!aio->quiet) {
        report(aio, "wrote", result);
    }
}

static void start(Io *io, AioRequest *aio, IoDoneFn *done)
{
    BlockIo request = {
        .op = aio->op, .flags = aio->flags, .offset = aio->offset,
        .bytes = aio->bytes, .iov = aio->buffer.iov,
        .niov = aio->buffer.niov,
    };

    io_request_start(io, &request, done, aio);
}

static bool run_aio_read(Io *io, int argc, char **argv)
{
    g_autoptr(AioRequest) aio = aio_request_new(&io_cmd_aio_read, BLOCK_READ);

    if (!take_options(aio, "CP:iqv", argc, argv)) {
        return false;
    }
    if (aio->invalid) {
        printf("injecting invalid read request\n");
        return true;
    }
    if (!io_parse_size(argv[optind], &aio->offset) ||
        !io_buffer_init_pieces(io, &aio->buffer, argv + optind + 1,
                               IO_READ_FILL)) {
        return false;
    }
    aio->bytes = aio->buffer.bytes;
    start(io, g_steal_pointer(&aio), read_done);
    return true;
}

static bool parse_write(const Io *io, AioRequest *aio, char **argv)
{
    int fill = aio->pattern < 0 ? IO_WRITE_FILL : aio->pattern;

    if (!io_parse_size(argv[0], &aio->offset)) {
        return false;
    }
    if (aio->zeroes) {
        aio->op = BLOCK_WRITE_ZEROES;
        aio->flags |= aio->unmap ? BLOCK_REQ_MAY_UNMAP : 0;
        return io_parse_size(argv[1], &aio->bytes);
    }
    if (!io_buffer_init_pieces(io, &aio->buffer, argv + 1, fill)) {
        return false;
    }
    aio->bytes = aio->buffer.bytes;
    return true;
}

static bool run_aio_write(Io *io, int argc, char **argv)
{
    g_autoptr(AioRequest) aio = aio_request_new(&io_cmd_aio_write,
                                                BLOCK_WRITE);

    if (!take_options(aio, "CfiP:quz", argc, argv)) {
        return false;
    }
    if (aio->invalid) {
        printf("injecting invalid write request\n");
        return true;
    }
    if (aio->zeroes && optind != argc - 2) {
        printf("-z supports only a single length parameter\n");
        return false;
    }
    if (aio->unmap && !aio->zeroes) {
        printf("-u requires -z to be specified\n");
        return false;
    }
    if (!parse_write(io, aio, argv + optind)) {
        return false;
    }
    start(io, g_steal_pointer(&aio), write_done);
    return true;
}

static bool run_aio_flush(Io *io, int argc, char **argv)
{
    io_request_wait_all(io);
    return true;
}

const IoCommand io_cmd_aio_read = {
    .name = "aio_read",
    .args = "[-Ciqv] [-P pattern] off len [len..]",
    .oneline = "asynchronously reads a number of bytes",
    .help =
"\n"
" Sends a request that reads at off into as many buffers as there are\n"
" lengths, and returns. The command succeeds once the request is sent; an\n"
" error or a pattern that does not match is printed when it is complete.\n"
" aio_flush waits for that.\n"
"\n"
" Example:\n"
" 'aio_read -v 512 1k 1k' - shows 2 kilobytes, read into two buffers\n"
"\n"
" -C, -- prints bytes, operations, time and rates with commas between them\n"
" -i, -- sends nothing: counted as an invalid request\n"
" -P, -- complains unless every byte is this one\n"
" -q, -- prints nothing but errors\n"
" -v, -- shows what was read\n"
"\n",
    .min_args = 2,
    .max_args = -1,
    .run = run_aio_read,
};

const IoCommand io_cmd_aio_write = {
    .name = "aio_write",
    .args = "[-Cfiquz] [-P pattern] off len [len..]",
    .oneline = "asynchronously writes a number of bytes",
    .help =
"\n"
" Sends a request that writes at off from as many buffers as there are\n"
" lengths, and returns. The command succeeds once the request is sent; an\n"
" error is printed when it is complete. aio_flush waits for that.\n"
"\n"
" Example:\n"
" 'aio_write 512 1k 1k' - writes 2 kilobytes from two buffers\n"
"\n"
" -C, -- prints bytes, operations, time and rates with commas between them\n"
" -f, -- the data is on stable storage when the request completes (FUA)\n"
" -i, -- sends nothing: counted as an invalid request\n"
" -P, -- writes this byte\n"
" -q, -- prints nothing but errors\n"
" -u, -- with -z: may deallocate\n"
" -z, -- writes zeroes without a buffer\n"
"\n",
    .min_args = 2,
    .max_args = -1,
    .flags = IO_NEEDS_WRITABLE,
    .run = run_aio_write,
};

const IoCommand io_cmd_aio_flush = {
    .name = "aio_flush",
    .oneline = "completes all outstanding aio requests",
    .run = run_aio_flush,
};
