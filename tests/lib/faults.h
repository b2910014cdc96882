/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel does seldom, on demand: refused, partial, short and failed
 * I/O, and counts of the system calls that engines make.
 *
 * Replaces the table in block/engine/syscalls.h. Plain fields are for the
 * test's thread to set while no engine works; counters may be bumped by
 * workers.
 */
#ifndef TESTS_LIB_FAULTS_H
#define TESTS_LIB_FAULTS_H

#include "block/engine/syscalls.h"

typedef struct Faults {
    /*
     * Asked before each io_submit() and io_uring submit, with the number of
     * the call (from 0) and how many requests it hands over. Returns how many
     * of these the kernel shall see, or a negative errno. NULL: all.
     */
    int (*submit)(unsigned call, unsigned n);
    /* Alters what an attempt came to. NULL: nothing. May run in a worker. */
    ssize_t (*result)(const EngineRequest *req, ssize_t res);
    int setup_events_left; /* io_setup() says -EAGAIN for more than this */
    int uring_init_err;    /* io_uring's set-up fails with this */
    unsigned uring_flags_refused; /* -EINVAL for any of these IORING_SETUP_ */
    int uring_register_refused; /* io_uring_register() of this fails ... */
    int uring_register_err;     /* ... with this; 0: none does */
    bool refuse_aio_fdsync; /* io_submit() knows no IOCB_CMD_FDSYNC */
    bool refuse_aio_flags;  /* io_submit() knows no RWF_ flags */
    unsigned threads_left;  /* pthread_create() says EAGAIN after these */

    struct io_uring *uring; /* the last one that was made */

    /* counters; workers add to the last five */
    unsigned submit_calls;
    unsigned setup_calls;
    unsigned buffer_updates; /* of the table of a ring, tried */
    unsigned futex_wakes;
    unsigned threads_made;
    unsigned preads;
    unsigned pwrites;
    unsigned fdatasyncs;
    unsigned nowait_reads;
    unsigned dsync_writes;
} Faults;

extern Faults faults;

/* Nothing is refused, all counters are 0, the table is in place. */
void faults_reset(void);

/* For counters that workers add to. */
static inline unsigned faults_read(const unsigned *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Lines that went to the log since faults_capture_log(). */
void faults_capture_log(void);
unsigned faults_log_lines(void);
const char *faults_log_line(unsigned i);

#endif
