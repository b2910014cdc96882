/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --daemonize and --pidfile.
 *
 * The fork comes before anything is opened or any thread is made; the parent
 * waits until the child says that it is ready, so that a script may connect
 * as soon as the command returns.
 */
#ifndef TOOLS_STORAGE_DAEMON_BACKGROUND_H
#define TOOLS_STORAGE_DAEMON_BACKGROUND_H

#include <glib.h>
#include <stdbool.h>

/*
 * Forks. In the parent returns only to fail: it exits with 0 when the child
 * calls background_ready(), with 1 when the child ends before.
 */
bool background_start(GError **error);

/* Leaves the terminal and the folder; nothing when not started. */
bool background_leave(GError **error);

/* Lets the parent go; nothing when not started. */
void background_ready(void);
/* Leaves the terminal: for a process whose parent went to the background. */
bool background_detach(GError **error);

/* Writes the pid and keeps the file locked; fails when another process that
 * lives holds it. Removed by pidfile_remove(), if it still is this one. */
bool pidfile_write(const char *path, GError **error);
/* The same, in place of that of a process that is about to end. */
bool pidfile_replace(const char *path, GError **error);

/*
 * The same file from one process to the next, which may have no way to make
 * another: its descriptor and lock are handed over. pidfile_inherit() takes
 * @fd and says whether that is the file at @path; it is ours to write and to
 * remove from pidfile_take() on, and no longer after pidfile_given().
 */
int pidfile_fd_to_give(void); /* borrowed; -1: none */
bool pidfile_inherit(const char *path, int fd);
bool pidfile_is_inherited(void);
bool pidfile_take(GError **error);
void pidfile_given(void);

void pidfile_remove(void);

#endif
