/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The private socket between a process and the one that takes over from it:
 * who may use it, and how records travel. Private to takeover*.c.
 *
 *     new                            old
 *     hello (version, drain-ms) --->  drains, closes its images
 *     <-----------  records with descriptors, then end; or refused
 *     ready  ---------------------->
 *     <-------------------  commit
 *     settled  ------------------->   ends
 *
 * Who is to serve is decided at one place: the old process serves until it has
 * sent "commit", the new one from when it has that. When the connection ends
 * before, the old process goes on.
 */
#ifndef TOOLS_STORAGE_DAEMON_TAKEOVER_SOCKET_H
#define TOOLS_STORAGE_DAEMON_TAKEOVER_SOCKET_H

#include "block/handover.h"

#include <sys/types.h>

/* Of the records: both sides must have the same. */
#define TAKEOVER_VERSION 3

/* Listens at @path, mode 0600, in place of a stale socket. -1 with @error. */
int takeover_socket_listen(const char *path, GError **error);

/* The next successor, or -1: nobody, or somebody who may not. Its process is
 * in *pid. */
int takeover_socket_accept(int listen_fd, pid_t *pid);

/* The running process. -1 without @error: there is
 * none; with @error: there is, and it is not to be trusted. */
int takeover_socket_connect(const char *path, GError **error);

/* The first word, with the version, and for how long others may be kept
 * waiting by an export that does not drain. Where that is missing *drain_ms
 * stays as it is, and who does not know it ignores it: version 3 began
 * without. */
bool takeover_say_hello(int sock, uint64_t drain_ms, GError **error);
bool takeover_hear_hello(int sock, int timeout_ms, uint64_t *drain_ms,
                         GError **error);

/* Any other word as a record, with a value. */
bool takeover_say(int sock, const char *word, const char *value,
                  GError **error);
/* Waits @timeout_ms for one and expects it to be @word; its value is the
 * caller's. "refused" is an error with the value as its reason. */
bool takeover_hear(int sock, const char *word, int timeout_ms, char **value,
                   GError **error);

/* All records, then "end". */
bool takeover_send_all(int sock, const Handover *handover, GError **error);
/* All up to "end". Each may take @timeout_ms. */
Handover *takeover_receive_all(int sock, int timeout_ms, GError **error);

#endif
