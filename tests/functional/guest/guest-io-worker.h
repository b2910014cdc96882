/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moves a range of a disk with many requests under way at once.
 *
 * vblk-guest-io describes a job and runs it here; the worker threads share
 * nothing but the job, which they only read, and the outcome.
 */
#ifndef VBLK_TESTS_GUEST_IO_WORKER_H
#define VBLK_TESTS_GUEST_IO_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum IoKind {
    IO_WRITE,  /* writes the pattern */
    IO_VERIFY, /* reads and compares with the pattern */
    IO_ZEROS,  /* reads and expects zeros */
} IoKind;

typedef struct IoJob {
    int fd;
    IoKind kind;
    uint64_t offset;   /* of the range on the disk; a multiple of @align */
    uint64_t bytes;    /* of the range; a multiple of @block */
    uint64_t block;    /* bytes of one request */
    uint64_t seed;     /* of the pattern */
    unsigned depth;    /* requests each thread keeps under way */
    unsigned threads;  /* each on a CPU of its own, so on a queue of its own */
    unsigned segments; /* memory pieces each request is made of */
    unsigned align;    /* logical block size: unit of segment lengths */
    bool random;       /* blocks in scattered instead of rising order */
} IoJob;

/*
 * Runs @job to its end. False and a sentence in @why at the first request that
 * failed or sector that differs.
 * Context: main
 */
bool io_job_run(const IoJob *job, char *why, size_t why_size);

#endif
