/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a worker drives: a disk with queues, behind a vhost-user-blk server
 * (guest-disk.c) or as a bare file (bare-*.c). The same loop runs over all of
 * them, so that they can be compared.
 *
 * A disk is opened and closed by the main thread; each queue is used by one
 * worker. An error on the way leaves requests in flight; closing copes.
 */
#ifndef TOOLS_BENCH_DISK_H
#define TOOLS_BENCH_DISK_H

#include "job.h"

typedef struct BenchIo {
    uint64_t offset;
    uint32_t bytes;
    bool write;
    bool busy;             /* the worker's: in flight */
    uint32_t generation;   /* the verifier's */
    int64_t start_ns;
    uint8_t *data;         /* made by the disk */
    int error;             /* negative errno, 0: as it should be */
} BenchIo;

/* What BenchIo.error holds beside what the kernel or the device says. */
#define BENCH_ERROR_NO_STATUS  (-EBADMSG) /* the status was not written */
#define BENCH_ERROR_USED_LEN   (-EPROTO)  /* the used length is wrong */
#define BENCH_ERROR_SHORT      (-ENODATA) /* bytes are missing */

typedef struct BenchQueue BenchQueue;

typedef struct BenchQueueOps {
    /* In the worker's thread, before all else. */
    bool (*attach)(BenchQueue *queue, GError **error);
    /* Prepares one request, which has an io of this queue to itself. */
    void (*add)(BenchQueue *queue, BenchIo *io);
    /* Hands over what was added. */
    bool (*submit)(BenchQueue *queue, GError **error);
    /*
     * Takes up to @max completed requests, waiting for one (or, where that
     * saves system calls, for @min) at most @timeout_ns. Returns how many, 0
     * when time is up, -1 on an error.
     */
    int (*reap)(BenchQueue *queue, unsigned min, BenchIo **done, unsigned max,
                int64_t timeout_ns, GError **error);
} BenchQueueOps;

struct BenchQueue {
    const BenchQueueOps *ops;
    unsigned depth;
    BenchIo **ios;         /* @depth of them */
    /* Written by the worker, read by the main thread: stats_add(). */
    uint64_t submits;      /* calls of submit() */
    uint64_t kicks;        /* of these, with a notification or system call */
    uint64_t interrupts;
};

typedef struct BenchDisk BenchDisk;

struct BenchDisk {
    void (*close)(BenchDisk *disk);
    /* Asks the other side to finish and give back its queues. May be NULL. */
    bool (*stop)(BenchDisk *disk, GError **error);
    int64_t capacity;
    bool read_only;
    int server_pid;        /* -1: none */
    int watch_fd;          /* hangs up when the server dies; or -1 */
    char *about;           /* "split ring of 128, event index" */
    unsigned n_queues;
    BenchQueue **queues;
};

BenchDisk *bench_disk_open_guest(const BenchJob *job, const char *socket,
                                 GError **error);
BenchDisk *bench_disk_open_bare(const BenchJob *job, const char *filename,
                                GError **error);

int64_t bench_now_ns(void);

#endif
