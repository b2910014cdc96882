/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's load on a daemon that proves what it reads: for tests that do
 * something to the daemon meanwhile. Whatever it is, every request comes back
 * once and without an error, and what was acknowledged is there.
 *
 * Each block has at most one request at a time, so that it is always known
 * what a read must find: what was written last, as the guest was told.
 */
#ifndef TESTS_QTEST_VERIFYING_LOAD_H
#define TESTS_QTEST_VERIFYING_LOAD_H

#include "servers.h"

#define LOAD_BLOCKS 64    /* of a queue; that many requests */
#define LOAD_QUEUES 4
#define LOAD_SLOW   150   /* writes a second, 15 of them at once */

typedef struct LoadBlock {
    GuestReq *data_req, *zero_req;
    GuestReq *req;    /* the one of these that is or was under way */
    unsigned queue;
    uint32_t acked;   /* number of the write the guest knows to be done */
    uint32_t sent;    /* of the one that is under way */
    bool busy;
} LoadBlock;

typedef struct Load {
    Service service;
    GuestBlk *guest;
    GRand *rand;
    LoadBlock blocks[LOAD_QUEUES][LOAD_BLOCKS];
    unsigned in_flight[LOAD_QUEUES];
    unsigned writes[LOAD_QUEUES]; /* of these */
    uint32_t serial;
    uint64_t verified; /* bytes */
    char *blockdev;    /* the server borrows it */
    unsigned requests, completed, written;
    unsigned zeroes;   /* of a hundred requests */
    unsigned max_writes; /* of a queue: reads go on beside slow ones */
    int64_t read_us;   /* when a read came back last */
    int64_t gap_us;    /* for how long none did, at most; to be reset */
} Load;

typedef struct LoadConf {
    const char *name;  /* the seed */
    const char *engine;
    bool packed;
    bool slow;         /* LOAD_SLOW writes a second: they complete out of
                          order */
    bool unmerged;     /* each write counts as one */
    bool below;        /* slow is what the image is on, not the image */
    bool qcow2;
    bool fixed;        /* register-buffers=on */
    bool supervise;
    bool takeover;
    bool qmp;          /* all of it comes from a monitor */
} LoadConf;

/* How often to do something that is done @n times: fewer with VBLK_FEW in the
 * environment, where each time takes long. */
unsigned load_times(unsigned n);

/* False, and the test is skipped, when something is missing. */
bool load_can_run(const LoadConf *conf);

/* Starts the daemon on a new image, and a guest on that. */
void load_start(Load *load, const LoadConf *conf);
/* Submits, kicks and takes back a few requests. */
void load_step(Load *load);
/* Takes back what is there. */
void load_reap(Load *load, unsigned queue);
/* Waits for all, ends the daemon, looks at the image. */
void load_stop(Load *load, const LoadConf *conf);

#endif
