/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps one queue busy and takes the times. Runs in a thread of its crew, in
 * the phases that the crew is in; counters can be read at any time,
 * histograms once the worker has ended.
 */
#ifndef TOOLS_BENCH_WORKER_H
#define TOOLS_BENCH_WORKER_H

#include "disk.h"
#include "histogram.h"
#include "pattern.h"
#include "verify.h"

typedef struct BenchCrew BenchCrew;

typedef struct BenchWorker {
    BenchCrew *crew;
    BenchQueue *queue;
    unsigned index;
    BenchPattern pattern;
    BenchVerifier *verifier; /* NULL: none */
    BenchIo **idle;        /* stack */
    BenchIo **done;        /* what reap() returns */
    unsigned n_idle;
    bool checking;         /* reads back what it wrote */
    bool last;             /* nothing more to submit */
    unsigned need;         /* completions before the next submission */
    unsigned n_vain;       /* looks at the ring that found nothing */
    uint64_t check_block;
    uint64_t issued;
    int64_t first_ns, progress_ns;
    /* Read by the main thread: stats_read(). */
    uint64_t completed[2]; /* requests read, written, in any phase */
    uint64_t verified;
    /* Recorded in BENCH_PHASE_MEASURE; [0] reads, [1] writes */
    Histogram histograms[2];
} BenchWorker;

/* Drives the queue @queue of @disk; @index tells it from all others. Context:
 * main, all of these. */
bool bench_worker_init(BenchWorker *worker, BenchCrew *crew, unsigned index,
                       BenchDisk *disk, unsigned queue, GError **error);
void bench_worker_fini(BenchWorker *worker);

/* In the thread that will step it, first. */
void bench_worker_begin(BenchWorker *worker);

/*
 * Submits what may be, and waits up to @timeout_ns for a completion; 0: looks
 * whether there is one. False: the worker has ended.
 */
bool bench_worker_step(BenchWorker *worker, int64_t timeout_ns);

/* The request in flight for longest, or NULL. After the worker has ended. */
const BenchIo *bench_worker_oldest(const BenchWorker *worker);

/* "queue 0: read of 4096 bytes at offset 8192"; the caller frees. */
char *bench_io_describe(unsigned queue, const BenchIo *io);

#endif
