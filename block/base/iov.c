/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scatter-gather lists: measure, copy, slice. Used by the device model for
 * headers and by the nodes for bounce buffers.
 */
#include "block/iov.h"

#include <stdint.h>
#include <string.h>

size_t iov_size(const struct iovec *iov, unsigned niov)
{
    size_t sum = 0;

    for (unsigned i = 0; i < niov; i++) {
        if (__builtin_add_overflow(sum, iov[i].iov_len, &sum)) {
            return SIZE_MAX;
        }
    }
    return sum;
}

/* One walk for all three kinds of copy: what to do with each piece. */
typedef void IovPieceFn(char *piece, size_t bytes, void *opaque);

static inline size_t iov_walk(const struct iovec *iov, unsigned niov,
                              size_t offset, size_t bytes, IovPieceFn *fn,
                              void *opaque)
{
    size_t done = 0;

    for (unsigned i = 0; i < niov && done < bytes; i++) {
        size_t len = iov[i].iov_len;

        if (offset >= len) {
            offset -= len;
            continue;
        }
        len -= offset;
        if (len > bytes - done) {
            len = bytes - done;
        }
        fn((char *)iov[i].iov_base + offset, len, opaque);
        offset = 0;
        done += len;
    }
    return done;
}

static void piece_to_buf(char *piece, size_t bytes, void *opaque)
{
    char **buf = opaque;

    memcpy(*buf, piece, bytes);
    *buf += bytes;
}

static void piece_from_buf(char *piece, size_t bytes, void *opaque)
{
    const char **buf = opaque;

    memcpy(piece, *buf, bytes);
    *buf += bytes;
}

static void piece_memset(char *piece, size_t bytes, void *opaque)
{
    memset(piece, *(int *)opaque, bytes);
}

size_t iov_to_buf(const struct iovec *iov, unsigned niov, size_t offset,
                  void *buf, size_t bytes)
{
    return iov_walk(iov, niov, offset, bytes, piece_to_buf, &buf);
}

size_t iov_from_buf(const struct iovec *iov, unsigned niov, size_t offset,
                    const void *buf, size_t bytes)
{
    return iov_walk(iov, niov, offset, bytes, piece_from_buf, &buf);
}

size_t iov_memset(const struct iovec *iov, unsigned niov, size_t offset,
                  int byte, size_t bytes)
{
    return iov_walk(iov, niov, offset, bytes, piece_memset, &byte);
}

unsigned iov_slice(struct iovec *dst, const struct iovec *iov, unsigned niov,
                   size_t offset, size_t bytes)
{
    unsigned n = 0;

    for (unsigned i = 0; i < niov && bytes; i++) {
        size_t len = iov[i].iov_len;

        if (offset >= len) {
            offset -= len;
            continue;
        }
        len -= offset;
        if (len > bytes) {
            len = bytes;
        }
        dst[n].iov_base = (char *)iov[i].iov_base + offset;
        dst[n].iov_len = len;
        n++;
        bytes -= len;
        offset = 0;
    }
    return n;
}

bool iov_is_aligned(const struct iovec *iov, unsigned niov, size_t alignment)
{
    uintptr_t bits = 0;

    for (unsigned i = 0; i < niov; i++) {
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    }
    return (bits & (alignment - 1)) == 0;
}

static bool buffer_is_zero(const char *buf, size_t bytes)
{
    /* memcmp() against itself, shifted by the part already known to be zero:
     * runs at the C library's vector speed. */
    size_t head = bytes < 16 ? bytes : 16;

    for (size_t i = 0; i < head; i++) {
        if (buf[i]) {
            return false;
        }
    }
    return bytes <= head || memcmp(buf, buf + head, bytes - head) == 0;
}

bool iov_is_zero(const struct iovec *iov, unsigned niov)
{
    for (unsigned i = 0; i < niov; i++) {
        if (!buffer_is_zero(iov[i].iov_base, iov[i].iov_len)) {
            return false;
        }
    }
    return true;
}
