/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors: where clients come from that speak QMP. They live in the main
 * thread, hold no lock and never wait for a client. All functions:
 * Context: main.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "block/aio.h"

/*
 * --chardev: "socket,id=...,path=...[,server=on|off][,wait=on|off]" or
 * "stdio,id=...". A socket that listens takes one client after the other.
 * @main_ctx is the caller's context.
 */
bool chardev_add(const char *text, AioContext *main_ctx, GError **error);

/* --monitor: "chardev=...[,mode=control][,pretty=on|off]". Starts at once. */
bool monitor_add(const char *text, GError **error);

/* Calls @fn with the path of each socket file that will be removed. */
void chardev_each_socket(void (*fn)(const char *path, void *opaque),
                         void *opaque);

/* No command is read any more; events go on. */
void monitor_stop_reading(void);

/* Sends what can be sent without waiting, closes and frees all of them. */
void monitor_close_all(void);

#endif
