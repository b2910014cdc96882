/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vhost-user-blk server for tests: in a thread of this process, or the
 * storage daemon as a program, when VBLK_STORAGE_DAEMON says where it is.
 */
#ifndef TESTS_LIB_BLK_SERVER_H
#define TESTS_LIB_BLK_SERVER_H

#include "blk-rig.h"

typedef struct BlkServer BlkServer;

typedef struct BlkServerConf {
    const char *blockdev;      /* its node-name is "n0" */
    unsigned num_queues;       /* 0: 1 */
    unsigned n_iothreads;      /* 0: all in the main thread */
    const char *serial;
    bool read_only;
    bool register_buffers;
    bool program;              /* the daemon */
    const char *object;        /* its --object, or NULL */
    bool supervise;            /* by itself: --supervise */
    const char *export;        /* more of its --export: ",werror=..."; or NULL */
    bool monitor;              /* gets one */
    bool takeover;             /* may be taken over from */
    const char *takeover_options; /* more of its --takeover; or NULL */
    bool qmp;                  /* hears all of it from its monitor */
    bool confined;             /* then: in the sandbox */
} BlkServerConf;

/* Whether there is a daemon to test. */
bool blk_server_have_program(void);

/* Returns once somebody listens on the socket. */
BlkServer *blk_server_new(const BlkServerConf *conf);

/* Asks it to stop, waits until it has, asserts that it ended well. */
void blk_server_free(BlkServer *server);

/* The program has ended well, and none has taken over. */
void blk_server_forget(BlkServer *server);

/* The program, and nothing in it, is given time to say goodbye: it is gone on
 * return. */
void blk_server_kill(BlkServer *server);
/* The program is asked to stop, and must end well. */
void blk_server_stop(BlkServer *server);
/* Another process in its place; returns once it listens. Supervised ones do
 * that themselves. */
void blk_server_restart(BlkServer *server);

/*
 * Another process of the program, with @extra (NULL: none) on its command
 * line, is to take over. While it does, the caller looks after the guest; it
 * goes on as long as both live.
 */
void blk_server_take_over_begin(BlkServer *server, const char *extra);
bool blk_server_taking_over(BlkServer *server);
void blk_server_kill_successor(BlkServer *server);
/* All that it said; it is dead. Caller frees. */
char *blk_server_successor_said(BlkServer *server);
/* Whether the old one has ended, which it has to with status 0. */
bool blk_server_has_left(BlkServer *server);
/* What the new one says, if it took over and lived to tell. */
typedef struct BlkTakeover {
    int64_t us;      /* for how long disks stood still; -1: it did not */
    unsigned waited; /* requests that the old one had not begun */
} BlkTakeover;
/* The server is now the one that lives; false: neither. */
bool blk_server_take_over_end(BlkServer *server, BlkTakeover *takeover);

const char *blk_server_path(const BlkServer *server);
const char *blk_server_monitor(const BlkServer *server); /* its socket */
/* The process that serves. */
GPid blk_server_pid(const BlkServer *server);

#endif
