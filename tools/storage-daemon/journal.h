/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text that outlives the process that wrote it, in a file without a name: a
 * memfd that a supervisor, systemd or the next process keeps. A writer may be
 * killed at any moment; a reader finds the last text that was written in
 * whole. What it reads is somebody else's word. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_JOURNAL_H
#define TOOLS_STORAGE_DAEMON_JOURNAL_H

#include <glib.h>
#include <stdbool.h>

#define JOURNAL_MAX_BYTES (64 * 1024 * 1024)

typedef struct Journal Journal;

/* An empty one. */
Journal *journal_new(GError **error);
/* The one that another process has written; takes @fd, also on failure. It is
 * an error if that is no memfd. */
Journal *journal_open(int fd, GError **error);
void journal_free(Journal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Journal, journal_free)

int journal_fd(const Journal *journal); /* borrowed */

/* The text, "" when none was ever written. Caller frees. */
char *journal_read(Journal *journal, GError **error);

/* @text in place of what is there: on return it is what a reader finds. On
 * failure that is the one before. */
bool journal_write(Journal *journal, const char *text, GError **error);

#endif
