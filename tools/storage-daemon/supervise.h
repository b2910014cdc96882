/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --supervise: a small parent that starts the server again when it crashes.
 *
 * The parent serves nobody and opens no image: what may go wrong goes wrong in
 * its child. It keeps the child's listening sockets, so that a front end that
 * comes back meets a socket while nobody serves it yet.
 */
#ifndef TOOLS_STORAGE_DAEMON_SUPERVISE_H
#define TOOLS_STORAGE_DAEMON_SUPERVISE_H

#include "cmdline.h"

#define SUPERVISE_MAX_CRASHES 10 /* unless --supervise=max-crashes= says */

/* "max-crashes=N", or "" for the default. */
bool supervise_parse(const char *text, unsigned *max_crashes, GError **error);

/* The parent's whole life; returns the exit status. @argv is main()'s. */
int supervise(const Cmdline *cmdline, char **argv);

/* --- Decisions; no side effects --- */

typedef struct SuperviseLife {
    int status;           /* of waitpid() */
    bool ready;           /* it had come to serve */
    bool first;           /* none before it had */
    bool stopping;        /* it was told to end */
    int64_t served_us;    /* after it was ready */
} SuperviseLife;

typedef struct SuperviseCount {
    unsigned crashes;     /* in a row, none long after the one before */
    unsigned failures;    /* of these in a row, before it was ready */
} SuperviseCount;

/* Whether there is to be another one, and the delay before it. Counts. */
bool supervise_again(const SuperviseLife *life, unsigned max_crashes,
                     SuperviseCount *count, int *delay_ms);

/* "was killed by signal 9 (Killed)"; caller frees. */
char *supervise_cause(int status);

#endif
