/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that keeps one queue busy and takes the times.
 *
 * Workers run through the phases that the main thread sets; counters can be
 * read at any time, histograms once the worker has ended. What goes wrong
 * first, in whichever thread, ends all of them.
 */
#ifndef TOOLS_BENCH_WORKER_H
#define TOOLS_BENCH_WORKER_H

#include "disk.h"
#include "histogram.h"
#include "pattern.h"
#include "verify.h"

typedef enum BenchPhase {
    BENCH_PHASE_RAMP,      /* runs, nothing is recorded */
    BENCH_PHASE_MEASURE,   /* runs and records */
    BENCH_PHASE_AFTER,     /* runs on, for figures that disturb */
    BENCH_PHASE_STOP,      /* finishes what is in flight, verifies, ends */
} BenchPhase;

typedef struct BenchCrew {
    const BenchJob *job;
    int phase;             /* atomic: BenchPhase; the main thread sets it */
    int failed;            /* atomic */
    int n_running;         /* atomic: workers that still do the job */
    int n_alive;           /* atomic: those and the ones that check */
    int done_fd;           /* eventfd: one of the two changed */
    int64_t start_ns;      /* of what is measured, for rate_iops */
    GMutex lock;           /* of error */
    GError *error;
} BenchCrew;

typedef struct BenchWorker {
    BenchCrew *crew;
    BenchQueue *queue;
    unsigned index;
    GThread *thread;
    BenchPattern pattern;
    BenchVerifier *verifier; /* NULL: none */
    BenchIo **idle;        /* stack */
    BenchIo **done;        /* what reap() returns */
    unsigned n_idle;
    bool checking;         /* reads back what it wrote */
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
void bench_worker_start(BenchWorker *worker);
void bench_worker_join(BenchWorker *worker);
void bench_worker_fini(BenchWorker *worker);

/* The request in flight for longest, or NULL. After the worker has ended. */
const BenchIo *bench_worker_oldest(const BenchWorker *worker);

/* Ends all workers; the first error is kept. Takes @error. Context: any */
void bench_crew_fail(BenchCrew *crew, GError *error);

/* "queue 0: read of 4096 bytes at offset 8192"; the caller frees. */
char *bench_io_describe(unsigned queue, const BenchIo *io);

#endif
