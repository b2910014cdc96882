/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line as a list of words to act on. Parsing decides nothing:
 * setup.c acts on the list, in the order given.
 */
#ifndef TOOLS_STORAGE_DAEMON_CMDLINE_H
#define TOOLS_STORAGE_DAEMON_CMDLINE_H

#include <glib.h>
#include <stdbool.h>

typedef enum CmdlineOption {
    OPT_HELP = 'h',
    OPT_VERSION = 'V',
    OPT_ALLOW_PATH = 256,
    OPT_BLOCKDEV,
    OPT_CHARDEV,
    OPT_DAEMONIZE,
    OPT_DRIVE,
    OPT_EXPORT,
    OPT_MONITOR,
    OPT_NBD_SERVER,
    OPT_OBJECT,
    OPT_PIDFILE,
    OPT_RUN_WITH,
    OPT_SANDBOX,
    OPT_STATS,
    OPT_SUPERVISE,
    OPT_TAKEOVER,
    OPT_TRACE = 'T',
} CmdlineOption;

typedef struct CmdlineItem {
    CmdlineOption option;
    const char *value; /* points into argv; NULL for options without one */
} CmdlineItem;

typedef struct Cmdline {
    GArray *items;     /* CmdlineItem: what builds the graph, in order */
    bool help, version, daemonize, stats;
    const char *pidfile;
    const char *takeover;
    const char *supervise; /* its options, maybe none; NULL: not asked for */
} Cmdline;

/* False with @error when an option is unknown or lacks its value. */
bool cmdline_parse(int argc, char **argv, Cmdline *cmdline, GError **error);
void cmdline_clear(Cmdline *cmdline);

void help_print(void);
void help_print_objects(void);
void help_print_object(const char *type); /* one that there is */

#endif
