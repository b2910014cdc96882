/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leaky buckets: how long a request has to wait for its limits.
 *
 * How it works: each request pours its bytes, or one operation, into a bucket
 * that leaks at the rate "avg". While the bucket holds more than it is large,
 * requests wait until it has leaked down to that; then one goes, and makes it
 * overflow again. So over time what goes is what leaks, and what fits into
 * the bucket is what may go at once:
 *
 *     no max                  what avg gives in 100 ms
 *     max                     max: a second's worth of the burst
 *     max, length of n        n * max; a second bucket leaks at the rate
 *                             "max" and holds 100 ms of that, so that the
 *                             burst goes no faster
 */
#include "block/throttle.h"

#include <math.h>

#define NS_PER_S 1e9

/* What may go at once is what the rate gives in a tenth of a second. */
#define SHORT_BURST 10.0

static void leak(const ThrottleConfig *config, ThrottleState *state,
                 int64_t now_ns)
{
    int64_t delta_ns = now_ns - state->leaked_ns;

    if (delta_ns <= 0) {
        return;
    }
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        const ThrottleRate *rate = &config->rates[i];
        ThrottleBucket *bucket = &state->buckets[i];
        double seconds = delta_ns / NS_PER_S;

        bucket->level = fmax(bucket->level - rate->avg * seconds, 0);
        bucket->burst_level = fmax(bucket->burst_level - rate->max * seconds,
                                   0);
    }
    state->leaked_ns = now_ns;
}

/* Until no more than @size of @level is left at @rate. */
static double overflow_ns(double level, double size, double rate)
{
    return level > size ? (level - size) / rate * NS_PER_S : 0;
}

/* How much may go at once. */
static double bucket_size(const ThrottleRate *rate)
{
    return rate->max ? (double)rate->max * rate->burst_length_s
                     : rate->avg / SHORT_BURST;
}

static double bucket_wait_ns(const ThrottleRate *rate,
                             const ThrottleBucket *bucket)
{
    double wait_ns;

    if (!rate->avg) {
        return 0;
    }
    wait_ns = overflow_ns(bucket->level, bucket_size(rate), rate->avg);
    if (rate->max && rate->burst_length_s > 1) {
        wait_ns = fmax(wait_ns, overflow_ns(bucket->burst_level,
                                            rate->max / SHORT_BURST,
                                            rate->max));
    }
    return wait_ns;
}

/* Those that a request of @direction pours into. */
static const ThrottleLimit limits[THROTTLE_DIRECTIONS][4] = {
    [THROTTLE_READ] = { THROTTLE_BPS_TOTAL, THROTTLE_BPS_READ,
                        THROTTLE_IOPS_TOTAL, THROTTLE_IOPS_READ },
    [THROTTLE_WRITE] = { THROTTLE_BPS_TOTAL, THROTTLE_BPS_WRITE,
                         THROTTLE_IOPS_TOTAL, THROTTLE_IOPS_WRITE },
};

int64_t throttle_wait_ns(const ThrottleConfig *config, ThrottleState *state,
                         ThrottleDirection direction, int64_t now_ns)
{
    double wait_ns = 0;

    leak(config, state, now_ns);
    for (unsigned i = 0; i < G_N_ELEMENTS(limits[direction]); i++) {
        ThrottleLimit limit = limits[direction][i];

        wait_ns = fmax(wait_ns, bucket_wait_ns(&config->rates[limit],
                                               &state->buckets[limit]));
    }
    /* whoever comes back after that finds no remainder of less than 1 ns */
    return wait_ns >= (double)(INT64_MAX / 2) ? INT64_MAX / 2
                                              : (int64_t)ceil(wait_ns);
}

void throttle_account(const ThrottleConfig *config, ThrottleState *state,
                      ThrottleDirection direction, int64_t bytes)
{
    double operations = 1;

    if (config->iops_size && bytes > (int64_t)config->iops_size) {
        operations = (double)bytes / config->iops_size;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(limits[direction]); i++) {
        ThrottleLimit limit = limits[direction][i];
        double amount = limit < THROTTLE_IOPS_TOTAL ? bytes : operations;

        state->buckets[limit].level += amount;
        state->buckets[limit].burst_level += amount;
    }
}

void throttle_clamp(const ThrottleConfig *config, ThrottleState *state,
                    int64_t now_ns)
{
    state->leaked_ns = MIN(state->leaked_ns, now_ns);
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        const ThrottleRate *rate = &config->rates[i];
        ThrottleBucket *bucket = &state->buckets[i];

        bucket->level = fmin(bucket->level, bucket_size(rate));
        bucket->burst_level = fmin(bucket->burst_level,
                                   rate->max / SHORT_BURST);
    }
}
