/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --object: IOThreads by name; throttle groups. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_OBJECT_H
#define TOOLS_STORAGE_DAEMON_OBJECT_H

#include "block/iothread.h"
#include "block/options.h"

/* The one that exports without iothread= share; made on first use. */
#define OBJECT_DEFAULT_IOTHREAD "vblk-io"

/* @opts are taken from. */
bool object_add(Options *opts, GError **error);
bool object_type_exists(const char *type);

/* Ids of iothreads, then of throttle groups. */
typedef void ObjectFn(void *opaque, const char *id);
void object_foreach(ObjectFn *fn, void *opaque);

/* Whether the value asks for help, which has then been printed. */
bool object_help(const char *text);

/* Borrowed; NULL with @error when there is none of that name. */
IOThread *object_find_iothread(const char *id, GError **error);

/* The same without an error. */
IOThread *object_lookup_iothread(const char *id);

/* One that no export uses. */
void object_del_iothread(const char *id);

/* The one without a name of the user's. */
IOThread *object_default_iothread(GError **error);

/* Nothing uses them any more. */
void object_free_all(void);

#endif
