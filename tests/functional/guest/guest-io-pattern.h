/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Test data whose every sector says where it belongs.
 *
 * The worker fills what it writes and checks what it has read with these; the
 * content follows from offset and seed alone, so that any process, in the
 * guest or on the host, can check it later.
 */
#ifndef VBLK_TESTS_GUEST_IO_PATTERN_H
#define VBLK_TESTS_GUEST_IO_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_SECTOR 512

/*
 * Fills @bytes at @buffer with what belongs at @offset of the disk.
 * @offset and @bytes are multiples of PATTERN_SECTOR.
 * Context: any
 */
void pattern_fill(void *buffer, uint64_t offset, size_t bytes, uint64_t seed);

/*
 * Returns @bytes when all is right, else the position in @buffer of the first
 * sector that differs; @why then holds what was found there.
 * Context: any
 */
size_t pattern_check(const void *buffer, uint64_t offset, size_t bytes,
                     uint64_t seed, char *why, size_t why_size);

/*
 * The same for a range that must read as zeros.
 * Context: any
 */
size_t pattern_check_zero(const void *buffer, size_t bytes,
                          char *why, size_t why_size);

#endif
