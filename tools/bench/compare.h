/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "vblk-bench compare SPEC": the rows of a SPEC, each on all servers, round
 * by round A B C A B C, so that a disturbance hits all alike.
 */
#ifndef TOOLS_BENCH_COMPARE_H
#define TOOLS_BENCH_COMPARE_H

#include "goal.h"
#include "spec.h"

#include <stdio.h>

typedef struct BenchCompare {
    /* what the command line says; NULL or 0: as the SPEC has it */
    char **rows, *row_text;    /* patterns */
    char **servers, *server_text;
    char **set;                /* variables */
    uint64_t rounds;
    int64_t runtime_ns;
    bool quick;                /* 1 round of 0.3 s: does it work at all? */
    bool list;                 /* print the rows, run nothing */
    bool help;
    bool json;
    int syscalls, eta;
    char *output;
    char *spec_path;
} BenchCompare;

/* What came of one row. */
typedef struct BenchRowResult {
    const BenchSpecRow *row;
    BenchJob *job;             /* without the servers' words */
    char *skipped;             /* why it was not run, or NULL */
    unsigned n_peers;
    BenchPeer *peers;          /* in the order of the SPEC */
    const BenchSpecServer **servers; /* of each peer */
    char **failures;           /* of each peer: why, or NULL */
    BenchResult **samples;     /* of each peer: its last run */
} BenchRowResult;

/* All of it: command line to exit status. Context: main, like the rest. */
int bench_compare_main(int argc, char **argv);

/* For compare-report.c and compare-json.c. */
void bench_compare_print_head(FILE *out, const BenchSpec *spec,
                              const BenchCompare *compare);
void bench_compare_print_row(FILE *out, const BenchSpec *spec,
                             const BenchRowResult *result);
void bench_compare_print_json(FILE *out, const BenchSpec *spec,
                              GPtrArray *results);

/* The goals of a row and those of all. Caller frees with g_strfreev(). */
char **bench_compare_goals(const BenchSpec *spec, const BenchSpecRow *row);

/* How many of these it missed. */
unsigned bench_compare_missed(const BenchSpec *spec,
                              const BenchRowResult *result);

/* The peer that @result's @i is measured against, or NULL. */
const BenchPeer *bench_compare_reference(const BenchRowResult *result,
                                         unsigned i);
/* The best bare peer, or NULL. */
const BenchPeer *bench_compare_bare(const BenchRowResult *result);

#endif
