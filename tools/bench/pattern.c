/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequences of requests. The generator is xorshift64*: fast, and the same
 * everywhere.
 */
#include "pattern.h"

#include <gio/gio.h>

static uint64_t random64(BenchPattern *pattern)
{
    uint64_t x = pattern->rng;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    pattern->rng = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Without the bias and the division of a remainder. */
static uint64_t random_below(BenchPattern *pattern, uint64_t n)
{
    return (unsigned __int128)random64(pattern) * n >> 64;
}

static bool is_divided(const BenchJob *job)
{
    return !bench_job_is_random(job) || job->verify != BENCH_VERIFY_NONE;
}

static unsigned read_percent(const BenchJob *job)
{
    return !bench_job_writes(job) ? 100
         : !bench_job_reads(job) ? 0 : job->rwmixread;
}

bool bench_pattern_init(BenchPattern *pattern, const BenchJob *job,
                        unsigned worker, int64_t capacity, GError **error)
{
    int64_t size = job->size ? job->size : capacity - job->offset;
    uint64_t blocks;

    if (job->offset >= capacity || size > capacity - job->offset) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "offset %" G_GINT64_FORMAT " and size %" G_GINT64_FORMAT
                    " reach beyond the disk's %" G_GINT64_FORMAT " bytes",
                    job->offset, size, capacity);
        return false;
    }
    blocks = size / job->bs;
    pattern->start = job->offset;
    if (is_divided(job)) {
        blocks /= job->numjobs;
        pattern->start += worker * blocks * job->bs;
    }
    /* A verifying worker has no two requests on a block. */
    if (blocks == 0 ||
        (job->verify != BENCH_VERIFY_NONE && blocks < 2 * job->iodepth)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%" G_GINT64_FORMAT " bytes are too few for bs=%"
                    G_GINT64_FORMAT " iodepth=%" G_GUINT64_FORMAT
                    " numjobs=%" G_GUINT64_FORMAT, size, job->bs,
                    job->iodepth, job->numjobs);
        return false;
    }
    pattern->n_blocks = blocks;
    pattern->block_bytes = job->bs;
    pattern->next = 0;
    pattern->random = bench_job_is_random(job);
    pattern->read_percent = read_percent(job);
    /* never 0; neighbouring seeds drift apart within a few steps */
    pattern->rng = (job->randseed * BENCH_MAX_JOBS + worker + 1) *
                   UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (unsigned i = 0; i < 16; i++) {
        random64(pattern);
    }
    return true;
}

void bench_pattern_next(BenchPattern *pattern, BenchIo *io)
{
    uint64_t block;

    if (pattern->random) {
        block = random_below(pattern, pattern->n_blocks);
    } else {
        block = pattern->next;
        if (++pattern->next == pattern->n_blocks) {
            pattern->next = 0;
        }
    }
    io->offset = pattern->start + block * pattern->block_bytes;
    io->write = pattern->read_percent == 0 ||
                (pattern->read_percent < 100 &&
                 random_below(pattern, 100) >= pattern->read_percent);
}
