/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --object: IOThreads by name; throttle groups. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_OBJECT_H
#define TOOLS_STORAGE_DAEMON_OBJECT_H

#include "block/iothread.h"

/* @text is the option's value. */
bool object_add(const char *text, GError **error);

/* Whether the value asks for help, which has then been printed. */
bool object_help(const char *text);

/* Borrowed; NULL with @error when there is none of that name. */
IOThread *object_find_iothread(const char *id, GError **error);

/* The one that exports without iothread= share; made on first use. */
IOThread *object_default_iothread(GError **error);

/* Nothing uses them any more. */
void object_free_all(void);

#endif
