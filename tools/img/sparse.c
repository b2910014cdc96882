/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decides what of a buffer is written and what becomes a hole; compares
 * buffers block by block. Called by the copying and comparing subcommands.
 *
 * How it works: a buffer is taken apart into runs of blocks that are zero and
 * runs that are not. Where a run of zeroes begins or ends within a unit of
 * the alignment, that unit is data as a whole. Runs of zeroes that are too
 * short are written together with the data on both sides:
 *
 *     blocks     d d 0 0 d 0 0 0 0 0 0 0 0 0 d d
 *     written    [-------------]                [--...   4 blocks a unit,
 *                                                        4 zeroes are a hole
 */
#include "sparse.h"

#include "block/iov.h"

#include <glib.h>
#include <string.h>

bool sparse_is_zero(const void *buf, int64_t bytes)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = bytes };

    return iov_is_zero(&iov, 1);
}

static bool block_is_zero(const uint8_t *buf, int64_t bytes)
{
    return sparse_is_zero(buf, MIN(bytes, SPARSE_BLOCK));
}

/* The first blocks that are alike, wherever they end. */
static int64_t plain_run(const uint8_t *buf, int64_t bytes, bool zero)
{
    int64_t end = SPARSE_BLOCK;

    while (end < bytes && block_is_zero(buf + end, bytes - end) == zero) {
        end += SPARSE_BLOCK;
    }
    return MIN(end, bytes);
}

/* The same, in units of the alignment. */
static int64_t aligned_run(const SparseRule *rule, const uint8_t *buf,
                           int64_t offset, int64_t bytes, bool *zero)
{
    int64_t end, tail;

    *zero = block_is_zero(buf, bytes);
    end = plain_run(buf, bytes, *zero);
    tail = (offset + end) & (rule->alignment - 1);
    if (end == bytes || tail == 0) {
        return end;
    }
    if (*zero && end <= tail) { /* data begins in the unit it began in */
        *zero = false;
    }
    return *zero ? end - tail : MIN(end + rule->alignment - tail, bytes);
}

int64_t sparse_run(const SparseRule *rule, const uint8_t *buf, int64_t offset,
                   int64_t bytes, bool *zero)
{
    int64_t end = aligned_run(rule, buf, offset, bytes, zero);
    int64_t pos = end;

    while (!*zero && pos < bytes) {
        bool hole;
        int64_t run = aligned_run(rule, buf + pos, offset + pos, bytes - pos,
                                  &hole);

        if (hole && run >= rule->min_bytes) {
            break;
        }
        pos += run;
        if (!hole) {
            end = pos;
        }
    }
    return end;
}

static bool same_block(const uint8_t *a, const uint8_t *b, int64_t bytes)
{
    return memcmp(a, b, MIN(bytes, SPARSE_BLOCK)) == 0;
}

int64_t sparse_compare(const uint8_t *a, const uint8_t *b, int64_t bytes,
                       bool *same)
{
    int64_t end = SPARSE_BLOCK;

    *same = same_block(a, b, bytes);
    while (end < bytes && same_block(a + end, b + end, bytes - end) == *same) {
        end += SPARSE_BLOCK;
    }
    return MIN(end, bytes);
}

int64_t sparse_find_data(const uint8_t *buf, int64_t bytes)
{
    for (int64_t pos = 0; pos < bytes; pos += SPARSE_BLOCK) {
        if (!block_is_zero(buf + pos, bytes - pos)) {
            return pos;
        }
    }
    return -1;
}
