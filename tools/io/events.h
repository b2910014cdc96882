/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the control thread has to tell the main thread, in the order in which
 * it happened: a request has completed, a line is to be shown.
 *
 * Only the main thread prints, and only when a command waits or when the user
 * does: the output of a script does not depend on how fast its requests are.
 */
#ifndef TOOLS_IO_EVENTS_H
#define TOOLS_IO_EVENTS_H

#include <glib.h>
#include <stdbool.h>

/* Runs in the main thread. */
typedef void EventFn(void *opaque);

bool events_init(GError **error); /* Context: main, first of all */
void events_free(void);           /* Context: main, no other thread left */

/* Context: any */
void events_push(EventFn *fn, void *opaque);
void events_push_line(const char *line);

/* Takes the lines out of turn; what else waits keeps its place. Context: any,
 * while the main thread waits for the caller and for no event */
GPtrArray *events_take_lines(void);
/* Shows them; consumes @lines. Context: main */
void events_show_lines(GPtrArray *lines);

/* Runs one event; waits for it. Context: main */
void events_wait_one(void);
/* Runs events one by one until one of them has set *@done. Context: main */
void events_wait(const bool *done);
/* Runs those that are there. Context: main */
void events_run(void);
/* Readable while there are any. Context: main */
int events_fd(void);

#endif
