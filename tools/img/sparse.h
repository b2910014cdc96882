/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zeroes in a buffer that need not be written. All functions: Context: any. */
#ifndef TOOLS_IMG_SPARSE_H
#define TOOLS_IMG_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#define SPARSE_BLOCK 512

typedef struct SparseRule {
    int64_t min_bytes; /* of zeroes that are worth a hole amid data */
    int64_t alignment; /* holes begin and end there; a power of 2 */
} SparseRule;

/*
 * @buf holds @bytes of an image from @offset on, multiples of SPARSE_BLOCK.
 * Returns how many of the first of them are to be written, or to be left out,
 * as *@zero says.
 */
int64_t sparse_run(const SparseRule *rule, const uint8_t *buf, int64_t offset,
                   int64_t bytes, bool *zero);

/* How many of the first bytes of two buffers are in blocks that are all the
 * same, or all different, as *@same says. The last block may be shorter. */
int64_t sparse_compare(const uint8_t *a, const uint8_t *b, int64_t bytes,
                       bool *same);

/* Offset of the first block that is not all zeroes; -1 when there is none. */
int64_t sparse_find_data(const uint8_t *buf, int64_t bytes);

bool sparse_is_zero(const void *buf, int64_t bytes);

#endif
