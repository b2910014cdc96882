/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data that tells where it belongs, and a memory of what was written last.
 *
 * Each sector of 512 bytes starts with a mark: magic, seed of the job, place,
 * and how many times its block was written; the rest follows from these. So
 * a read finds data of another place, of an older write, and none at all. A
 * later run with the same seed can check what an earlier one left.
 */
#ifndef TOOLS_BENCH_VERIFY_H
#define TOOLS_BENCH_VERIFY_H

#include "pattern.h"

typedef struct BenchVerifier BenchVerifier;

/* For the area of @pattern. Context: main; what follows: the worker's. */
BenchVerifier *bench_verifier_new(const BenchJob *job,
                                  const BenchPattern *pattern, GError **error);
void bench_verifier_free(BenchVerifier *v);

/* Whether a request is in flight on io's block. */
bool bench_verifier_is_busy(const BenchVerifier *v, const BenchIo *io);

/* Before it is submitted: fills a write's data. */
void bench_verifier_begin(BenchVerifier *v, BenchIo *io);

/* When it is done: checks a read's data. NULL, or what is wrong with it;
 * the caller frees. */
char *bench_verifier_end(BenchVerifier *v, const BenchIo *io);

/* Finds the next block written in this run, from *@block on; false: none. */
bool bench_verifier_next_written(const BenchVerifier *v, uint64_t *block,
                                 BenchIo *io);

#endif
