/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors: where clients come from that speak QMP. They live in the main
 * thread, hold no lock and never wait for a client. All functions:
 * Context: main.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "block/aio.h"
#include "block/handover.h"

/*
 * --chardev: "socket,id=...,path=...[,server=on|off][,wait=on|off]" or
 * "stdio,id=...". A socket that listens takes one client after the other.
 * @main_ctx is the caller's context.
 */
bool chardev_add(const char *text, AioContext *main_ctx, GError **error);

/* --monitor: "chardev=...[,mode=control][,pretty=on|off]". Starts at once,
 * unless all are held. */
bool monitor_add(const char *text, GError **error);

/* Until monitor_go_on() no client is greeted and no command is read; events go
 * on. What clients say waits in their sockets. */
void monitor_hold(void);
void monitor_go_on(void);

/*
 * From one process to the next, while they are held: the first one leaves its
 * sockets. If it is to go on after all, nothing has happened to them; if not,
 * monitor_given() says so, and the socket files stay when all is closed. The
 * second one finds them in monitor_add(), and with monitor_go_on() its clients
 * go on; what nobody has found is closed by monitor_take_over_end().
 */
bool monitor_hand_over(Handover *handover, GError **error);
void monitor_given(void);
bool monitor_take_over(Handover *handover, GError **error);
void monitor_take_over_end(void);

/* Who keeps what sockets listen on, by their chardevs' ids, for a process that
 * comes after this one; borrowed for good. */
typedef struct MonitorKeeper {
    int (*take)(const char *id); /* the caller's, or -1 */
    void (*keep)(const char *id, int listen_fd);
    void (*forget)(const char *id);
} MonitorKeeper;
void monitor_set_keeper(const MonitorKeeper *keeper);

/* Calls @fn with the path of each socket file that will be removed. */
void chardev_each_socket(void (*fn)(const char *path, void *opaque),
                         void *opaque);

/* Sends what can be sent without waiting, closes and frees all of them. */
void monitor_close_all(void);

#endif
