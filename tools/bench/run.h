/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One run: a server or a file, a job, and what came of it.
 */
#ifndef TOOLS_BENCH_RUN_H
#define TOOLS_BENCH_RUN_H

#include "histogram.h"
#include "job.h"
#include "procfs.h"

typedef struct BenchTarget {
    const char *socket;        /* of a server that runs; or */
    const char *command;       /* a template to start one from; or neither */
    const char *export;        /* of command: see server.h; may be NULL */
    unsigned exports;          /* all loaded at once; 0: 1 */
    char **images;             /* of the exports; may be NULL */
    const char *server_cpus;   /* of command; may be NULL */
    const char *filename;      /* job->bare: the file. Else, if not NULL,
                                  where the disk's figures come from */
    int pid;                   /* 0: who listens on the socket */
} BenchTarget;

typedef struct BenchResult {
    char *about;               /* how the disk was driven */
    int64_t elapsed_ns;
    int64_t bytes;             /* of one request */
    Histogram latency[2];      /* reads, writes */
    uint64_t verified;         /* requests */
    double submits, kicks, interrupts; /* a request */
    int64_t client_cpu_ns;
    char *untidy;              /* how the server failed to end, or NULL */
    bool has_server;
    int server_pid;
    ProcessFigures server;     /* differences, but for memory and threads */
    double syscalls;           /* a request; negative: not known */
    double idle_cpu;           /* CPUs; negative: not asked for */
    bool has_disk;
    DiskFigures disk;          /* differences */
} BenchResult;

/* For whoever shows how far it got; all since the run began. */
typedef struct BenchProgress {
    int64_t now_ns, end_ns;    /* end 0: unknown */
    uint64_t completed[2];
    const char *phase;
} BenchProgress;

typedef struct BenchOptions {
    int syscalls;              /* BenchFeature; on: while it is measured */
    int64_t idle_ns;           /* watched after the job; 0: not at all */
    void (*progress_cb)(const BenchProgress *progress, void *opaque);
    void *opaque;
} BenchOptions;

/* Requests of a result, both directions. */
uint64_t bench_result_requests(const BenchResult *result);

/*
 * Context: main. NULL with an error that names the request it happened on
 * where there was one; never waits longer than job->timeout_ns for anything.
 */
BenchResult *bench_run(const BenchJob *job, const BenchTarget *target,
                       const BenchOptions *options, GError **error);
void bench_result_free(BenchResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchResult, bench_result_free)

#endif
