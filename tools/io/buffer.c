/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Buffers: makes them, fills them, checks what was read against a pattern,
 * shows it. Called by the commands that read and write.
 */
#include "buffer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "tools/common/message.h"

/* What any O_DIRECT asks for; how far -m keeps away from that. */
#define ALIGNMENT 4096
#define MISALIGN  16

static bool allocate(const Io *io, IoBuffer *buffer, int64_t bytes, int fill)
{
    unsigned skip = io->misalign ? MISALIGN : 0;
    int ret = posix_memalign(&buffer->memory, ALIGNMENT,
                             MAX(bytes + skip, 1));

    if (ret) {
        buffer->memory = NULL;
        error_report("cannot allocate %" G_GINT64_FORMAT " bytes: %s", bytes,
                     g_strerror(ret));
        return false;
    }
    buffer->data = (uint8_t *)buffer->memory + skip;
    buffer->bytes = bytes;
    memset(buffer->data, fill, bytes);
    return true;
}

bool io_buffer_init(const Io *io, IoBuffer *buffer, int64_t bytes, int fill)
{
    if (!allocate(io, buffer, bytes, fill)) {
        return false;
    }
    buffer->niov = 1;
    buffer->iov = g_new(struct iovec, 1);
    buffer->iov[0].iov_base = buffer->data;
    buffer->iov[0].iov_len = bytes;
    return true;
}

static bool parse_piece(const char *text, int64_t *bytes)
{
    if (!io_parse_size(text, bytes)) {
        return false;
    }
    if (*bytes > IO_MAX_BYTES) {
        printf("Argument '%s' exceeds maximum size %" G_GINT64_FORMAT "\n",
               text, IO_MAX_BYTES);
        return false;
    }
    return true;
}

static bool parse_pieces(IoBuffer *buffer, char **lengths, int64_t *total)
{
    *total = 0;
    for (unsigned i = 0; i < buffer->niov; i++) {
        int64_t bytes;

        if (!parse_piece(lengths[i], &bytes)) {
            return false;
        }
        *total += bytes;
        if (*total > IO_MAX_BYTES) {
            printf("The total number of bytes exceed the maximum size %"
                   G_GINT64_FORMAT "\n", IO_MAX_BYTES);
            return false;
        }
        buffer->iov[i].iov_len = bytes;
    }
    return true;
}

bool io_buffer_init_pieces(const Io *io, IoBuffer *buffer, char **lengths,
                           int fill)
{
    int64_t total;
    uint8_t *pos;

    buffer->niov = g_strv_length(lengths);
    buffer->iov = g_new0(struct iovec, buffer->niov);
    if (!parse_pieces(buffer, lengths, &total) ||
        !allocate(io, buffer, total, fill)) {
        return false;
    }
    pos = buffer->data;
    for (unsigned i = 0; i < buffer->niov; i++) {
        buffer->iov[i].iov_base = pos;
        pos += buffer->iov[i].iov_len;
    }
    return true;
}

void io_buffer_clear(IoBuffer *buffer)
{
    free(buffer->memory);
    g_free(buffer->iov);
    *buffer = (IoBuffer){ 0 };
}

static bool read_some(IoBuffer *buffer, FILE *file, const char *filename,
                      size_t *bytes)
{
    *bytes = fread(buffer->data, 1, buffer->bytes, file);
    if (ferror(file)) {
        fprintf(stderr, "%s: %s\n", filename, g_strerror(errno));
        return false;
    }
    if (*bytes == 0) {
        fprintf(stderr, "%s: file is empty\n", filename);
        return false;
    }
    return true;
}

static void repeat(IoBuffer *buffer, size_t bytes)
{
    for (size_t done = bytes; done < (size_t)buffer->bytes; ) {
        size_t more = MIN(bytes, buffer->bytes - done);

        memcpy(buffer->data + done, buffer->data, more);
        done += more;
    }
}

bool io_buffer_fill_from_file(IoBuffer *buffer, const char *filename)
{
    FILE *file = fopen(filename, "re");
    size_t bytes;
    bool ok;

    if (!file) {
        fprintf(stderr, "%s: %s\n", filename, g_strerror(errno));
        return false;
    }
    ok = read_some(buffer, file, filename, &bytes);
    fclose(file);
    if (ok) {
        repeat(buffer, bytes);
    }
    return ok;
}

bool io_buffer_matches(const IoBuffer *buffer, int64_t start, int64_t bytes,
                       int pattern)
{
    const uint8_t *data = buffer->data + start;

    return bytes == 0 ||
           (data[0] == pattern && memcmp(data, data + 1, bytes - 1) == 0);
}

static void dump_line(const uint8_t *data, unsigned bytes, uint64_t offset)
{
    printf("%08" G_GINT64_MODIFIER "x:  ", offset);
    for (unsigned i = 0; i < bytes; i++) {
        printf("%02x ", data[i]);
    }
    putchar(' ');
    for (unsigned i = 0; i < bytes; i++) {
        putchar(g_ascii_isalnum(data[i]) ? data[i] : '.');
    }
    putchar('\n');
}

void io_buffer_dump(const IoBuffer *buffer, int64_t offset)
{
    for (int64_t pos = 0; pos < buffer->bytes; pos += 16) {
        dump_line(buffer->data + pos, MIN(buffer->bytes - pos, 16),
                  (uint64_t)offset + pos);
    }
}
