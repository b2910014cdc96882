/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whoever started this process and wants to know how it fares: systemd
 * (sd_notify(3), its file descriptor store) or our own supervisor, which
 * speaks the same over a socket of its own. Nobody: all of this does nothing.
 *
 * What is kept in the store outlives this process, so that the next one finds
 * the listening sockets, and front ends always meet one. Context: main, all
 * of it.
 */
#ifndef TOOLS_STORAGE_DAEMON_NOTIFY_H
#define TOOLS_STORAGE_DAEMON_NOTIFY_H

#include <glib.h>
#include <stdbool.h>

/* The socket to the supervisor is inherited; this says which it is. */
#define NOTIFY_SUPERVISOR_ENV "VBLK_SUPERVISOR"

/* What the next process asks the supervisor for; how the answer ends. */
#define NOTIFY_GIVE "VBLK_FDSTORE=1"
#define NOTIFY_END  "."
/* With READY: what another process had before us is ours now. */
#define NOTIFY_TAKEN_OVER "VBLK_TAKEN_OVER"

/* Of one message of either side. */
#define NOTIFY_MAX_FDS   64
#define NOTIFY_MAX_NAME  200
#define NOTIFY_MAX_BYTES (NOTIFY_MAX_FDS * (NOTIFY_MAX_NAME + 1) + 64)

/* Whether our own supervisor runs us. */
bool notify_is_supervised(void);

/* Takes what the environment says, and the descriptors that were kept. Once,
 * before anything else is opened. */
void notify_open(void);
/* Whether there is somebody to be told. */
bool notify_is_open(void);
/* Closes what nobody took. */
void notify_close(void);

/* All is served; @taken_over: that another process served before. */
void notify_ready(bool taken_over);
void notify_stopping(void); /* nothing new is */
/* systemd has acted on what it was sent until now, by whomever, or does not
 * answer; once in a process. Waits for some seconds at most. */
void notify_wait_until_heard(void);

/* "listen-ID", with an id that any store takes. Caller frees. */
char *notify_fd_name(const char *kind, const char *id);

/* The descriptor kept under @name, now the caller's, or -1. It stays in the
 * store. */
int notify_take_fd(const char *name);
/* A copy is kept until it is forgotten or the service stops for good. */
void notify_store_fd(const char *name, int fd);
void notify_forget_fd(const char *name);
/* All that nobody took, unless it is @needed later on. */
void notify_forget_rest(bool (*needed)(const char *name));

/* --- What both sides of the supervisor's socket use --- */

/* One message; @fds stay the caller's. Never blocks; false with errno. */
bool notify_send(int sock, const char *text, const int *fds, unsigned n_fds);

/* One message, terminated by a zero: its length, 0 at the end, -1 with errno.
 * @fds has room for NOTIFY_MAX_FDS; they are the caller's, closed on exec. */
gssize notify_receive(int sock, char text[NOTIFY_MAX_BYTES + 1], int *fds,
                      unsigned *n_fds);

#endif
