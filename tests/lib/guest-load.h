/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Load for storms: a guest that sends random requests on all its queues and
 * knows, from a model of the disk, what each of them may find. Requests in
 * flight never overlap. A test steps the load, does something unkind to the
 * device, and goes on; what is wrong with a result asserts.
 *
 * Used by one thread, the one that drives the guest.
 */
#ifndef TESTS_LIB_GUEST_LOAD_H
#define TESTS_LIB_GUEST_LOAD_H

#include "guest-blk.h"

typedef struct GuestLoad GuestLoad;

typedef struct GuestLoadConf {
    unsigned queues;     /* at most GUEST_BLK_MAX_QUEUES */
    unsigned depth;      /* requests of a queue; at least 8 */
    int64_t bytes;       /* of the disk, which reads as zeroes at first */
    uint32_t seed;
    bool may_fail;       /* requests may end with IOERR */
    bool no_ranges;      /* neither discards nor zeroes */
    bool large;          /* some requests are of more than 1 MiB; needs memory
                            for that, and a disk of 4 MiB */
    bool neighbours;     /* half of the requests begin where the last ended */
    unsigned (*log_at)(void); /* how long the log of the disk below is; or
                            NULL: nobody will cut it */
} GuestLoadConf;

typedef struct GuestLoadCounts {
    uint64_t requests;   /* sent */
    uint64_t completed;  /* and came back; failed ones among them */
    uint64_t failed;
    uint64_t flushes_failed;
    uint64_t lost;       /* in flight when the ring went away */
    uint64_t verified;   /* bytes that were compared with the model */
} GuestLoadCounts;

GuestLoad *guest_load_new(const GuestLoadConf *conf);
void guest_load_free(GuestLoad *load);

/* A guest whose rings are empty; its memory must have room for the load's
 * requests: about 24 KiB each. Ends the use of the one before. */
void guest_load_attach(GuestLoad *load, GuestBlk *guest);

/* Sends some on each queue that runs and takes back what is there. */
void guest_load_step(GuestLoad *load);
/* Takes back only. */
void guest_load_reap(GuestLoad *load);
/* Until nothing is in flight. */
void guest_load_wait(GuestLoad *load);
/* The device has been reset, or has gone: what is in flight comes back no
 * more, and may or may not have been done. */
void guest_load_forget(GuestLoad *load);

/* Writes that are sent from now on, and are done before it is over, outlast a
 * cut as soon as they are done; false at first. */
void guest_load_set_writethrough(GuestLoad *load, bool on);

/* Whether the load may use a queue; true at first. */
void guest_load_set_running(GuestLoad *load, unsigned queue, bool running);

unsigned guest_load_in_flight(const GuestLoad *load);
/* Reads all of the disk through queue 0, compares, and takes what was found
 * for granted. Nothing is in flight; no read may fail. */
void guest_load_check(GuestLoad *load);
/* The same with contents that the caller has read elsewhere. */
void guest_load_check_against(GuestLoad *load, const void *contents);

/* The same for what a cut leaves of the disk when its log is @at long. Nothing
 * is taken for granted. Returns the number of sectors that were promised. */
unsigned guest_load_check_cut(GuestLoad *load, const void *contents,
                              unsigned at);
/* Places in the log where a promise had just been made: a flush had come back,
 * or a write that was to outlast a cut. Of unsigned; borrowed. */
const GArray *guest_load_promises(const GuestLoad *load);

const GuestLoadCounts *guest_load_counts(const GuestLoad *load);

/* All of the guest's memory as it is now, rings and all, for a test to see
 * that nobody writes to it. @bytes gets its size. */
void *guest_load_snapshot(GuestLoad *load, size_t *bytes);
/* Asserts that nothing has changed; frees the snapshot. */
void guest_load_expect_untouched(GuestLoad *load, void *snapshot);

#endif
