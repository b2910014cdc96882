/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which request comes next: place and direction. Each worker has its own, and
 * the same seed gives the same sequence.
 */
#ifndef TOOLS_BENCH_PATTERN_H
#define TOOLS_BENCH_PATTERN_H

#include "disk.h"

typedef struct BenchPattern {
    uint64_t start;        /* of this worker's part of the disk */
    uint64_t n_blocks;     /* of job->bs */
    uint64_t block_bytes;
    uint64_t next;         /* sequential */
    uint64_t rng;
    bool random;
    unsigned read_percent;
} BenchPattern;

/*
 * Random jobs all cover the whole area; sequential and verifying ones get a
 * part each. Fails when the area is not on the disk or has no room.
 * Context: main
 */
bool bench_pattern_init(BenchPattern *pattern, const BenchJob *job,
                        unsigned worker, int64_t capacity, GError **error);

/* Fills offset and write. Context: any: the worker's */
void bench_pattern_next(BenchPattern *pattern, BenchIo *io);

#endif
