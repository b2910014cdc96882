/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults by chance: every system call of the data path, and what came of it,
 * may be refused, cut short, delayed or turned into an error. A seed decides
 * which kinds there are this time, and how often.
 *
 * Replaces the table in block/engine/syscalls.h as tests/lib/faults.h does;
 * unlike that, it is for any number of threads. What bypasses the table (the
 * calls of file-posix-worker.c) asks fault_storm_range(), if the test has the
 * linker redirect it.
 */
#ifndef TESTS_LIB_FAULT_STORM_H
#define TESTS_LIB_FAULT_STORM_H

#include <stdbool.h>
#include <stdint.h>

typedef enum FaultKind {
    FAULT_REFUSED,     /* submission: EAGAIN, EBUSY, ENOMEM, EINTR */
    FAULT_PARTIAL,     /* submission: some of the requests */
    FAULT_SHORT,       /* fewer bytes than asked for */
    FAULT_EINTR,
    FAULT_EAGAIN,
    FAULT_EIO,         /* nothing was done, or all of it */
    FAULT_TORN,        /* a part was written, and then EIO */
    FAULT_ENOSPC,
    FAULT_NO_DSYNC,    /* RWF_DSYNC: EOPNOTSUPP */
    FAULT_DELAY,       /* in a worker: others overtake */
    FAULT_RANGE,       /* fallocate() and ftruncate() */
    FAULT_FLUSH,       /* fdatasync() says EIO */
    FAULT_SETUP,       /* an engine, or a feature of it, is refused */
    FAULT_NO_THREAD,   /* pthread_create() says EAGAIN */
    FAULT__COUNT
} FaultKind;

/* Makes a plan of @seed and lets it rule engines that are made from now on;
 * what these do is not disturbed before fault_storm_begin(). No engine works
 * during either call. */
void fault_storm_plan(uint32_t seed);
void fault_storm_begin(void);
/* Changes the plan, before it begins. */
void fault_storm_set_odds(FaultKind kind, unsigned in_1000);
/* Nothing fails any more. The counts go on. */
void fault_storm_end(void);

/* For fallocate() and its like: an errno, or 0: let it pass. Context: any */
int fault_storm_range(void);

/* The plan has a kind of fault. */
bool fault_storm_has(FaultKind kind);

/* Since the program started. */
uint64_t fault_storm_injected(FaultKind kind);
const char *fault_storm_name(FaultKind kind);

#endif
