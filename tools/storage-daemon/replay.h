/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes again what monitors had added in the process before this one, once
 * the command line has been acted upon and the process is confined: a journal
 * gets no more than a client of a monitor would. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_REPLAY_H
#define TOOLS_STORAGE_DAEMON_REPLAY_H

#include "block/aio.h"
#include "block/error.h"

/* Whatever cannot be made is the error, but what was waiting already. */
#define REPLAY_ALL   0x1
/* Nodes and exports only: the other things are there. */
#define REPLAY_DISKS 0x2

/*
 * Without REPLAY_ALL what cannot be made now is tried again later, for as
 * long as nobody deletes it or adds another of its name; the rest is not held
 * up. @main_ctx is the caller's context.
 */
bool replay(AioContext *main_ctx, unsigned flags, GError **error);

/* Whether an export waits that has a kept socket of that name (notify.h). */
bool replay_waits_for_socket(const char *name);

/* Nothing is tried any more, or only not now. */
void replay_stop(void);
void replay_go_on(void);
/* Never again, and not by a process that follows: sockets go that were kept
 * for what waits. */
void replay_end(void);

#endif
