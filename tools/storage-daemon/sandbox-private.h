/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parts of the sandbox, for sandbox.c. Each does one thing to the process
 * or to the calling thread. All return false with @error unless it says
 * otherwise. Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_SANDBOX_PRIVATE_H
#define TOOLS_STORAGE_DAEMON_SANDBOX_PRIVATE_H

#include <glib.h>
#include <stdbool.h>

/* --- sandbox-filter.c: system calls --- */

#define SANDBOX_FILTER_PATHS  0x1 /* paths are opened, sockets made by name */
#define SANDBOX_FILTER_REMOVE 0x2 /* files are removed */
#define SANDBOX_FILTER_DEBUG  0x4 /* what the runtime of a sanitizer needs */

/* Installs the filter in all threads, which have no_new_privs. */
bool sandbox_filter_install(unsigned flags, GError **error);

/* --- sandbox-trap.c: SIGSYS --- */

/* A refused call ends the process with a line that names it. */
void sandbox_trap_install(void);

/* What a thread is asked to do: 0 or errno. Async-signal-safe. */
typedef int SandboxThreadFn(void *opaque);

/* --- sandbox-threads.c --- */

/* Runs @fn in every thread of the process but the kernel's own. */
bool sandbox_in_all_threads(SandboxThreadFn *fn, void *opaque, GError **error);

/* Of sandbox-trap.c's handler: another thread asked for it. */
void sandbox_thread_asked(void);

/* --- sandbox-paths.c: Landlock --- */

/* The ruleset's descriptor; -1 with @error. No path may be opened but below
 * @allowed, no file removed but from the folders of @removable. */
int sandbox_paths_new(const GPtrArray *allowed, const GPtrArray *removable,
                      GError **error);
/* Applies it to the calling thread, which has no_new_privs. */
int sandbox_paths_apply(int ruleset); /* 0 or errno; async-signal-safe */

/* --- sandbox-user.c --- */

bool sandbox_user_become(const char *user, GError **error);
/* Of the calling thread: 0 or errno; async-signal-safe. */
int sandbox_drop_capabilities(void);

/* --- sandbox-limits.c --- */

/* Closes what was inherited and is nobody's: what is still to be inherited
 * by others, since everything of ours is closed on exec. */
void sandbox_close_inherited(void);

#endif
