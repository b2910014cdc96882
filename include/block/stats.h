/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Statistics of one channel, or the sum of several. Plain counters: written
 * by one thread with relaxed atomics, read by any.
 */
#ifndef BLOCK_STATS_H
#define BLOCK_STATS_H

#include "block/engine.h"

/* Bucket i holds latencies of [2^i, 2^(i+1)) us; the first also less. */
#define BLOCK_LATENCY_BUCKETS 24

/* What a guest can ask of a disk. */
typedef enum BlockOp {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
    BLOCK_OP__COUNT
} BlockOp;

typedef struct BlockStats {
    uint64_t requests[BLOCK_OP__COUNT]; /* as the guest sent them */
    uint64_t bytes[BLOCK_OP__COUNT];
    uint64_t merged;      /* guest requests that rode along with another */
    uint64_t errors;      /* guest requests that failed */
    uint64_t invalid;     /* of these, refused before any I/O */
    uint64_t latency[BLOCK_LATENCY_BUCKETS];
    uint64_t latency_ns;  /* sum */
    uint64_t notifications; /* interrupts sent to the guest */
    uint64_t kicks;         /* times the guest's notifications woke us */
    EngineStats engine;
} BlockStats;

/* One writer; readers elsewhere. */
static inline void stats_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t stats_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void block_stats_latency(BlockStats *stats, int64_t ns);

/* *sum += *stats. Context: any */
void block_stats_accumulate(BlockStats *sum, const BlockStats *stats);

/*
 * "requests=N reads=N ... submit_calls=N ...", one line without newline:
 * what --stats prints behind "stats: export=ID ". Caller frees.
 */
char *block_stats_line(const BlockStats *stats);

/* Histograms for people: several lines, each indented by two. Caller frees. */
char *block_stats_histograms(const BlockStats *stats);

#endif
