/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small helpers on scatter-gather lists. All of them: Context: any */
#ifndef BLOCK_IOV_H
#define BLOCK_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* Sum of the lengths; saturates at SIZE_MAX. */
size_t iov_size(const struct iovec *iov, unsigned niov);

/* Copies up to @bytes starting @offset bytes into the list. Returns how many
 * were there to copy. */
size_t iov_to_buf(const struct iovec *iov, unsigned niov, size_t offset,
                  void *buf, size_t bytes);
size_t iov_from_buf(const struct iovec *iov, unsigned niov, size_t offset,
                    const void *buf, size_t bytes);

/* Fills up to @bytes starting @offset bytes into the list with @byte. */
size_t iov_memset(const struct iovec *iov, unsigned niov, size_t offset,
                  int byte, size_t bytes);

/*
 * Describes @bytes starting @offset bytes into @iov in @dst, which has room
 * for @niov elements. Returns the number of elements written.
 */
unsigned iov_slice(struct iovec *dst, const struct iovec *iov, unsigned niov,
                   size_t offset, size_t bytes);

/* Whether every base and length is a multiple of @alignment (a power of 2). */
bool iov_is_aligned(const struct iovec *iov, unsigned niov, size_t alignment);

/* Whether all bytes are zero; reads the buffers at memory speed. */
bool iov_is_zero(const struct iovec *iov, unsigned niov);

#endif
