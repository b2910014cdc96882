/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --export: joins a node, a device and a socket. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_EXPORT_H
#define TOOLS_STORAGE_DAEMON_EXPORT_H

#include "block/aio.h"
#include "block/options.h"

/* Starts serving. @opts is consumed. */
bool export_add(Options *opts, AioContext *main_ctx, GError **error);

/* Print each export's statistics when its last request is done. */
#define EXPORT_STOP_STATS 0x1

/* Drains and closes them all; @done runs from the main loop when the last is
 * gone, at once when there are none. */
void export_stop_all(unsigned flags, AioFn *done, void *opaque);

/* One "stats: export=..." line each, and histograms, on stderr. */
void export_print_stats(void);

#endif
