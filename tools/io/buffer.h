/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that requests read into and write from. Context: main */
#ifndef TOOLS_IO_BUFFER_H
#define TOOLS_IO_BUFFER_H

#include "io.h"

#include <sys/uio.h>

/* What unwritten images are told from: buffers begin with these. */
#define IO_READ_FILL  0xab
#define IO_WRITE_FILL 0xcd

/* One stretch of memory in pieces. */
typedef struct IoBuffer {
    void *memory;      /* what was allocated */
    uint8_t *data;
    int64_t bytes;
    struct iovec *iov; /* adds up to bytes */
    unsigned niov;
} IoBuffer;

/* Fills @buffer with one piece of @bytes. There being no memory is shown. */
bool io_buffer_init(const Io *io, IoBuffer *buffer, int64_t bytes, int fill);

/* The same with one piece for each of @lengths, which ends with NULL; a
 * wrong one is shown. */
bool io_buffer_init_pieces(const Io *io, IoBuffer *buffer, char **lengths,
                           int fill);
void io_buffer_clear(IoBuffer *buffer);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(IoBuffer, io_buffer_clear)

/* Fills with a file's contents over and over; errors are shown. */
bool io_buffer_fill_from_file(IoBuffer *buffer, const char *filename);

/* Whether all of [start, start + bytes) is @pattern. */
bool io_buffer_matches(const IoBuffer *buffer, int64_t start, int64_t bytes,
                       int pattern);

/* Prints as hex and text; @offset is that of the first byte. */
void io_buffer_dump(const IoBuffer *buffer, int64_t offset);

#endif
