/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Latencies in buckets whose width grows with their value: 64 buckets for
 * each power of two, so that any percentile is known to within 1/64 at a cost
 * of a few instructions a request and no memory that grows.
 *
 * One thread adds; histograms of several threads are merged when they rest.
 */
#ifndef TOOLS_BENCH_HISTOGRAM_H
#define TOOLS_BENCH_HISTOGRAM_H

#include <glib.h>
#include <stdint.h>

#define HISTOGRAM_BITS   6                     /* 64 buckets a power of two */
#define HISTOGRAM_POWERS 36                    /* up to 2^41 ns: 36 minutes */
#define HISTOGRAM_BUCKETS (HISTOGRAM_POWERS << HISTOGRAM_BITS)

typedef struct Histogram {
    uint64_t count;
    uint64_t min, max;
    double sum, sum_squares;
    uint64_t buckets[HISTOGRAM_BUCKETS];
} Histogram;

/* Context: any, like all of these: the caller owns the histogram. */
void histogram_reset(Histogram *h);
void histogram_add(Histogram *h, uint64_t ns);
void histogram_merge(Histogram *sum, const Histogram *h);

/* 0 when it is empty. */
double histogram_mean(const Histogram *h);
double histogram_stddev(const Histogram *h);

/*
 * The smallest value that @percent of all are not above, rounded up to the
 * end of its bucket and never above the largest one seen.
 */
uint64_t histogram_percentile(const Histogram *h, double percent);

#endif
