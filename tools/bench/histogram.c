/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A log-linear histogram.
 *
 * How it works: values below 64 have a bucket each. A larger one with its
 * highest bit at position p is shifted right until 7 bits are left; the top
 * one is implied by p, the other six choose among the 64 buckets of p. 1000
 * (p = 9) is shifted by 3 to 125, thus bucket (9 - 6 + 1) * 64 + 61: the
 * values 1000 to 1007.
 */
#include "histogram.h"

#include <math.h>
#include <string.h>

#define PER_POWER (1u << HISTOGRAM_BITS)

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift, bucket;

    if (ns < PER_POWER) {
        return ns;
    }
    shift = 63 - __builtin_clzll(ns) - HISTOGRAM_BITS;
    bucket = (shift + 1) * PER_POWER + (ns >> shift) - PER_POWER;
    return MIN(bucket, HISTOGRAM_BUCKETS - 1);
}

/* The largest value of a bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    unsigned power = bucket / PER_POWER;
    unsigned shift;

    if (power == 0) {
        return bucket;
    }
    shift = power - 1;
    return (((uint64_t)PER_POWER + bucket % PER_POWER + 1) << shift) - 1;
}

void histogram_reset(Histogram *h)
{
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

void histogram_add(Histogram *h, uint64_t ns)
{
    h->count++;
    h->min = MIN(h->min, ns);
    h->max = MAX(h->max, ns);
    h->sum += ns;
    h->sum_squares += (double)ns * ns;
    h->buckets[bucket_of(ns)]++;
}

void histogram_merge(Histogram *sum, const Histogram *h)
{
    sum->count += h->count;
    sum->min = MIN(sum->min, h->min);
    sum->max = MAX(sum->max, h->max);
    sum->sum += h->sum;
    sum->sum_squares += h->sum_squares;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        sum->buckets[i] += h->buckets[i];
    }
}

double histogram_mean(const Histogram *h)
{
    return h->count ? h->sum / h->count : 0;
}

double histogram_stddev(const Histogram *h)
{
    double mean = histogram_mean(h);

    /* rounding may take equal values below 0 */
    return h->count ? sqrt(MAX(h->sum_squares / h->count - mean * mean, 0))
                    : 0;
}

uint64_t histogram_percentile(const Histogram *h, double percent)
{
    uint64_t rank = MAX(ceil(h->count * percent / 100), 1);
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && h->count; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            return MAX(MIN(bucket_end(i), h->max), h->min);
        }
    }
    return h->count ? h->max : 0;
}
