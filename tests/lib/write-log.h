/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every write, range and flush that reaches a file, in the order in which they
 * began and ended, and what may be left of the file when power fails at any
 * moment of that. Raw images lie on engines and a kernel, not on a disk in
 * memory: this stands between engine and kernel.
 *
 * Replaces the table in block/engine/syscalls.h; for any number of threads.
 * What bypasses that table comes here if the test has the linker wrap
 * fallocate64, ftruncate64, pwritev64 and fdatasync, as
 * virtio-blk-power-cut-test does. One file at a time is written.
 *
 * What the kernel does seldom is done often: transfers come back short, and
 * RWF_DSYNC is refused.
 */
#ifndef TESTS_LIB_WRITE_LOG_H
#define TESTS_LIB_WRITE_LOG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct WriteLogConf {
    const char *path;       /* of the file, which is all zeroes */
    int64_t bytes;          /* its length */
    uint32_t seed;
    unsigned short_odds;    /* in 1000: a transfer is cut short */
    unsigned no_dsync_odds; /* in 1000: RWF_DSYNC is refused */
} WriteLogConf;

/* How much of what was noted. */
typedef struct WriteLogCounts {
    uint64_t writes;        /* RWF_DSYNC ones among them */
    uint64_t dsync_writes;
    uint64_t flushes;
    uint64_t ranges;        /* punched, zeroed */
    uint64_t lengths;       /* the file was cut */
    uint64_t shortened;     /* transfers */
    uint64_t refused;       /* RWF_DSYNC */
} WriteLogCounts;

/* Notes from now on, with engines that are made from now on. */
void write_log_start(const WriteLogConf *conf);
/* Nothing is under way any more. The log stays until the next start. */
void write_log_stop(void);
/* Frees what is left. */
void write_log_free(void);

/* Places in it so far: one for each beginning, one for each end.
 * Context: any */
unsigned write_log_length(void);

/*
 * What may be left if power fails when the log is @length long. What had been
 * written before a flush began that has ended is there, and so is what was
 * written with RWF_DSYNC; anything else is there, or not, or in part, sector
 * by sector; what was done at the same time was done in any order.
 */
GByteArray *write_log_cut(unsigned length, GRand *rand);

/* All of it: what the file should contain now. */
GByteArray *write_log_replay(void);

/* Since the program started. */
const WriteLogCounts *write_log_counts(void);

#endif
