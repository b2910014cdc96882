/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The figures that runs are compared by, and what several rounds make of one.
 */
#ifndef TOOLS_BENCH_METRIC_H
#define TOOLS_BENCH_METRIC_H

#include "run.h"

typedef enum BenchMetric {
    BENCH_IOPS,
    BENCH_MEAN,        /* us */
    BENCH_P50,
    BENCH_P99,
    BENCH_P999,
    BENCH_CPU,         /* us a request */
    BENCH_SYSCALLS,    /* a request */
    BENCH_SWITCHES,    /* context switches a request */
    BENCH_HOST_IOS,    /* the disk's requests for one of the guest's */
    BENCH_MEMORY,      /* private bytes */
    BENCH_PEAK,        /* bytes, guest memory included */
    BENCH_IDLE,        /* CPUs of the idle server */
    BENCH_METRICS
} BenchMetric;

/* Context: any, all of these. */
const char *bench_metric_name(BenchMetric metric);
bool bench_metric_find(const char *name, BenchMetric *metric);
bool bench_metric_more_is_better(BenchMetric metric);

/* NAN when it is not known. */
double bench_metric_value(BenchMetric metric, const BenchResult *result);

/* One metric over the rounds. */
typedef struct BenchSeries {
    unsigned n;
    double values[100];
} BenchSeries;

#define BENCH_MAX_ROUNDS 100

/* NAN of an empty series, or of one with unknown values. */
double bench_series_median(const BenchSeries *series);
double bench_series_min(const BenchSeries *series);
double bench_series_max(const BenchSeries *series);
/* Half of the way from the smallest to the largest, in parts of the median. */
double bench_series_spread(const BenchSeries *series);

/* The median of the quotients of each round: a disturbance that lasts a
 * round hits both. */
double bench_series_ratio(const BenchSeries *a, const BenchSeries *b);

#endif
