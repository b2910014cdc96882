/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads of a run, and what they share: the phase that the main thread
 * sets, and the first thing that went wrong, which ends all of them.
 */
#ifndef TOOLS_BENCH_CREW_H
#define TOOLS_BENCH_CREW_H

#include "worker.h"

typedef enum BenchPhase {
    BENCH_PHASE_RAMP,      /* runs, nothing is recorded */
    BENCH_PHASE_MEASURE,   /* runs and records */
    BENCH_PHASE_AFTER,     /* runs on, for figures that disturb */
    BENCH_PHASE_STOP,      /* finishes what is in flight, verifies, ends */
} BenchPhase;

struct BenchCrew {
    const BenchJob *job;
    int phase;             /* atomic: BenchPhase; the main thread sets it */
    int failed;            /* atomic */
    int n_running;         /* atomic: workers that still do the job */
    int n_alive;           /* atomic: those and the ones that check */
    int done_fd;           /* eventfd: one of the two changed */
    int64_t start_ns;      /* of what is measured, for rate_iops */
    GMutex lock;           /* of error */
    GError *error;
    GPtrArray *threads;
};

void bench_crew_init(BenchCrew *crew, const BenchJob *job);
void bench_crew_fini(BenchCrew *crew); /* frees no error: somebody took it */

/*
 * Each of @workers runs until it ends. They have a thread each, but where
 * completions are polled for there are no more threads than CPUs: threads that
 * spin must not wait for each other's time slices. Context: main
 */
void bench_crew_start(BenchCrew *crew, BenchWorker *workers, unsigned n);
void bench_crew_join(BenchCrew *crew);

/* Ends all workers; the first error is kept. Takes @error. Context: any */
void bench_crew_fail(BenchCrew *crew, GError *error);

/* One of n_running and n_alive; wakes the main thread. Context: any */
void bench_crew_count_down(BenchCrew *crew, int *counter);

#endif
