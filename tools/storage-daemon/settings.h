/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What monitors have configured is kept, so that the process that follows
 * this one, after a crash or by --takeover, has it as well. Nobody follows:
 * all of this does nothing. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_SETTINGS_H
#define TOOLS_STORAGE_DAEMON_SETTINGS_H

#include "changes.h"
#include "block/handover.h"

/* --- At the start --- */

/* @wanted: that there will be something, and somebody. Finds what a process
 * that crashed has left. */
void settings_start(bool wanted);
/* The same from the process that hands over. */
bool settings_take_over(Handover *handover, GError **error);
/* It is this process's now: from here on each change is saved. */
void settings_keep(void);

Changes *settings_changes(void); /* for replay.c */

/* Whether the command line's is to be left out. */
bool settings_is_deleted(ChangeKind kind, const char *id);

/* --- For each command --- */

/*
 * Before it is carried out: *change is to be given to settings_added() if it
 * succeeds, and freed if not. NULL: it is not kept. Fails when it could not
 * be.
 */
bool settings_prepare(ChangeKind kind, const Options *args, Change **change,
                      GError **error);
/* Before it is answered: takes @change. */
void settings_added(Change *change);
void settings_deleted(ChangeKind kind, const char *id);

/* What waits to be made again is not to be: false if there is no such. */
bool settings_give_up(ChangeKind kind, const char *id);

/* What waited is there, or is not wanted any more. */
void settings_save(void);

/* --- At the end --- */

bool settings_hand_over(Handover *handover, GError **error);
/* Nobody is to find them: the service ends. */
void settings_drop(void);
void settings_stop(void);

#endif
