/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One job: what is done to the disk, and how the guest that does it is built.
 * The words are fio's where fio has one. Taken from a command line and from
 * the rows of a SPEC alike.
 */
#ifndef TOOLS_BENCH_JOB_H
#define TOOLS_BENCH_JOB_H

#include "block/options.h"

#define BENCH_NS        INT64_C(1000000000)
#define BENCH_MAX_JOBS  64
#define BENCH_MAX_DEPTH 4096
#define BENCH_MAX_BS    (16 << 20)

typedef enum BenchRw {
    BENCH_READ,
    BENCH_WRITE,
    BENCH_RANDREAD,
    BENCH_RANDWRITE,
    BENCH_RW,
    BENCH_RANDRW,
} BenchRw;

typedef enum BenchVerify {
    BENCH_VERIFY_NONE,
    BENCH_VERIFY_META,    /* the mark at the start of each sector */
    BENCH_VERIFY_PATTERN, /* every byte */
} BenchVerify;

typedef enum BenchBare {
    BENCH_BARE_NO,
    BENCH_BARE_LIBAIO,
    BENCH_BARE_IO_URING,
} BenchBare;

/* A feature of the ring: asked for, forbidden, or taken when it is there. */
typedef enum BenchFeature {
    BENCH_OFF,
    BENCH_ON,
    BENCH_AUTO,
} BenchFeature;

typedef struct BenchJob {
    char *name;
    int rw;                   /* BenchRw */
    int64_t bs;
    uint64_t iodepth;         /* of each job */
    uint64_t numjobs;         /* queues, each with a thread */
    uint64_t rwmixread;       /* percent */
    int64_t runtime_ns;       /* 0: until size or number_ios is done */
    int64_t ramp_ns;          /* before anything is counted */
    int64_t offset, size;     /* the part of the disk; 0: to its end */
    uint64_t number_ios;      /* of each job; 0: no such limit */
    uint64_t rate_iops;       /* of each job; 0: no such limit */
    uint64_t iodepth_batch;   /* requests a submission; 0: what is free */
    uint64_t complete_min;    /* completions before the next submission */
    uint64_t randseed;
    int verify;               /* BenchVerify */
    bool do_verify;           /* read back what was written at the end */
    int64_t timeout_ns;       /* a request may take that long */
    char *cpus_allowed;       /* of the guest's threads; NULL: all */
    /* the guest */
    uint64_t queue_size;      /* 0: as iodepth needs it */
    int packed, event_idx, indirect; /* BenchFeature */
    int inflight;             /* BenchFeature: the guest means to go on when
                                 the server dies */
    bool hugepages;
    bool poll;                /* for completions, with interrupts off */
    int64_t segment;          /* bytes a descriptor; 0: bs */
    /* no guest at all */
    int bare;                 /* BenchBare */
    bool direct;
    bool fixedbufs;           /* io_uring: registered buffers */
} BenchJob;

/* Defaults. Context: main, like the rest. */
BenchJob *bench_job_new(void);
BenchJob *bench_job_copy(const BenchJob *job);
void bench_job_free(BenchJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchJob, bench_job_free)

/* Takes the words of a job out of @opts; what they do not name stays. */
bool bench_job_take(BenchJob *job, Options *opts, GError **error);

/* Whether the job as a whole makes sense; gives it an end if it has none. */
bool bench_job_check(BenchJob *job, GError **error);

bool bench_job_reads(const BenchJob *job);
bool bench_job_writes(const BenchJob *job);
bool bench_job_is_random(const BenchJob *job);
const char *bench_job_rw_name(const BenchJob *job);
const char *bench_job_bare_name(const BenchJob *job);

/* "5", "0.5", "500ms", "2m" */
bool bench_take_duration(Options *opts, const char *key, int64_t *ns,
                         GError **error);

#endif
