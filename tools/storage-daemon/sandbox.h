/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --sandbox, --allow-path and --run-with: what the process gives up once
 * everything on its command line is open. See docs/security.rst.
 *
 * From sandbox_enter() on the process has the files it has opened and no way
 * to more: no capability, no program to run, no path to open, no socket to
 * make. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_SANDBOX_H
#define TOOLS_STORAGE_DAEMON_SANDBOX_H

#include <glib.h>
#include <stdbool.h>

typedef enum SandboxMode {
    SANDBOX_AUTO, /* as much as the host can do; off under a sanitizer, and
                     where a monitor may ask for any path */
    SANDBOX_ON,   /* all of it, or the daemon does not start */
    SANDBOX_OFF,
} SandboxMode;

typedef struct Sandbox {
    SandboxMode mode;
    bool has_monitor;
    char *user;             /* NAME or UID:GID to become, or NULL */
    GPtrArray *allowed;     /* of char *: trees in which paths stay allowed */
    GPtrArray *removable;   /* of char *: files that are removed at exit */
} Sandbox;

void sandbox_init(Sandbox *sandbox);
void sandbox_clear(Sandbox *sandbox);

/* The values of the options --sandbox, --run-with and --allow-path. */
bool sandbox_parse(Sandbox *sandbox, const char *text, GError **error);
bool sandbox_parse_run_with(Sandbox *sandbox, const char *text,
                            GError **error);
bool sandbox_allow_path(Sandbox *sandbox, const char *path, GError **error);

/* Whether sandbox_enter() will do more than become the user. */
bool sandbox_is_wanted(const Sandbox *sandbox);

/* This file may be unlinked later on. */
void sandbox_may_remove(Sandbox *sandbox, const char *path);

/*
 * Becomes the user, and gives up the rest, in every thread there is. Threads
 * that are made later inherit it. A failure with SANDBOX_AUTO is one warning;
 * one to become the user is always an error. There is no way back, also not
 * from half of it.
 */
bool sandbox_enter(const Sandbox *sandbox, GError **error);

/* Soft limits for open files and locked memory become the hard ones. */
void sandbox_raise_limits(void);

#endif
