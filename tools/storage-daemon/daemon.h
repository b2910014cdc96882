/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of the process's life: main.c starts it and ends it, setup.c does
 * what the command line says, settle.c makes a service of it, succession.c has
 * it follow another process and be followed by one.
 * All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_DAEMON_H
#define TOOLS_STORAGE_DAEMON_DAEMON_H

#include "cmdline.h"
#include "sandbox.h"
#include "block/aio.h"
#include "block/handover.h"
#include "block/options.h"

typedef struct Daemon {
    AioContext *ctx;
    Cmdline cmdline;
    Sandbox sandbox;
    int signal_fd;
    AioHandler *signal_handler;
    bool supervised;   /* by our own --supervise */
    bool stop_asked;
    bool stopped;
    Handover *handover; /* on its way to another process, or from one */
    bool draining;      /* exports come to a stand, to be put into it */
    bool drained;       /* and all exports are in it */
    bool taking_back;   /* objects are there already */
    bool failed;
} Daemon;

/* --- main.c --- */

/* Drains and ends everything; the second time it only says what it is waiting
 * for. Also for QMP's quit. */
void daemon_stop(void *opaque);

/* --- setup.c --- */

/* Before anything is opened: it matters to what is. */
bool setup_confinement(Daemon *daemon, GError **error);

/* All items of the command line in their order, or, while daemon->taking_back,
 * those that open disks. What monitors have deleted is left out. */
bool setup_items(Daemon *daemon, GError **error);
/* One of them: opens it, unless a monitor has deleted it in a process before
 * this one. Take @opts. */
bool setup_node(Options *opts, GError **error);
bool setup_export(Options *opts, AioContext *main_ctx, GError **error);

/* --- settle.c --- */

/* What the command line says is open: pid file, background, confinement. */
bool settle(Daemon *daemon, GError **error);
/* For whoever waits for it. */
void settle_ready(const Daemon *daemon, bool taken_over);

/* --- succession.c --- */

/* Nobody configures anything before all of it is there: from the first to the
 * last call here. */
void succession_prepare(Daemon *daemon);
/* Opens all that is on the command line: with --takeover what there is to take
 * over. *taken_over then, and it stands still. */
bool succession_open(Daemon *daemon, bool *taken_over, GError **error);
/* After settle(): what monitors had added, in a process before this one. */
bool succession_open_added(Daemon *daemon, GError **error);
/* Nothing can fail any more: what stands still, goes on here. */
bool succession_take_over(Daemon *daemon, GError **error);
void succession_admit_monitors(void);

/* After each round of the main loop: when all exports stand still, hands all
 * over, or takes it back. Not within a callback of the loop: it waits for the
 * other process. */
void succession_step(Daemon *daemon);

#endif
