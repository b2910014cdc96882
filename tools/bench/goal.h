/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a row of a SPEC is to reach: "vblk-* iops >= 1.3 qsd-*" (the best of
 * ours has 1.3 times the IOPS of the best of theirs), "vblk-native syscalls
 * <= 0.3" (without a peer: the figure itself).
 */
#ifndef TOOLS_BENCH_GOAL_H
#define TOOLS_BENCH_GOAL_H

#include "metric.h"

typedef struct BenchGoal {
    char *who, *peer;      /* patterns; peer may be NULL */
    BenchMetric metric;
    bool at_least;         /* else at most */
    double factor;
} BenchGoal;

typedef enum BenchVerdict {
    BENCH_REACHED,
    BENCH_MISSED,
    BENCH_NOT_JUDGED,      /* a figure or a peer is missing */
} BenchVerdict;

/* The series of all runs of one server in a row. */
typedef struct BenchPeer {
    const char *name;
    BenchSeries series[BENCH_METRICS];
} BenchPeer;

/* Context: any, all of these. */
bool bench_goal_parse(const char *text, BenchGoal *goal, GError **error);
void bench_goal_clear(BenchGoal *goal);

/* The one of @peers matching @pattern that is best by the median, or NULL. */
const BenchPeer *bench_best_peer(const BenchPeer *peers, unsigned n,
                                 const char *pattern, BenchMetric metric);

/* *value: what there is, to be compared with goal->factor. */
BenchVerdict bench_goal_judge(const BenchGoal *goal, const BenchPeer *peers,
                              unsigned n, double *value);

#endif
