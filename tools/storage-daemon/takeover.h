/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --takeover: a new process, of a new version perhaps, goes on where a running
 * one stands, and no guest notices. Both have the option with the same path.
 * All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_TAKEOVER_H
#define TOOLS_STORAGE_DAEMON_TAKEOVER_H

#include "block/aio.h"
#include "block/handover.h"

/* What the option says: "PATH[,drain-timeout=SECONDS]". Before all else. */
bool takeover_configure(const char *text, GError **error);
const char *takeover_path(void);

/* --- The new process --- */

/*
 * Asks the process that listens there for what it has. *handover stays NULL
 * when there is none, or when a supervisor has kept the socket of one that
 * crashed.
 */
bool takeover_begin(Handover **handover, GError **error);

/* All that was handed over is open and stands still: from here on it is ours,
 * or, with @error, the old process's again. Nothing if it never was. @word is
 * for takeover_give() on the other side. */
bool takeover_commit(const char *word, GError **error);

/* It cannot be opened, for this reason: the old process goes on when this one
 * has ended. Nothing if there is none. */
void takeover_give_up(const char *reason);

/* It runs, and whoever looks after us has been told: the old process need not
 * wait any more. Nothing if there is none. */
void takeover_settled(void);

/* All of it runs: one line for the log. So many requests were submitted
 * again. */
void takeover_done(unsigned requests);

/* --- The old process --- */

/* Called from the main loop. */
typedef struct TakeoverEvents {
    AioFn *asked; /* there is a successor: all is to come to a stand */
    AioFn *gone;  /* it has not waited for that; there is none any more */
    AioFn *late;  /* it does not want to wait longer: takeover_refuse() */
} TakeoverEvents;

/* Waits for a successor. @events is borrowed. */
bool takeover_listen(AioContext *ctx, const TakeoverEvents *events,
                     void *opaque, GError **error);

/* All stands still: neither gone() nor late() follows. */
void takeover_drained(void);
/*
 * Gives it all that is in @handover, to which it adds its own. True: the
 * successor has it, and we have nothing any more; its word is the caller's.
 * False: it failed, and we go on with all of it. Waits for the other process.
 */
bool takeover_give(Handover *handover, char **word);
/*
 * Of a successor that has it all: whether the service manager that looks after
 * both has heard of it. If not it has died, and it is our end that has to look
 * like a failure, or nobody would be started in its place. Waits for it.
 */
bool takeover_is_known(void);
/* There is nothing to give at this moment. To a successor who has asked. */
void takeover_refuse(const char *reason);

/* No successor any more; the socket goes, unless it was given. */
void takeover_stop(void);

#endif
