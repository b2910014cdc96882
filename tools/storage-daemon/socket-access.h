/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --export socket-mode= and socket-owner=: who may connect. A socket is made
 * with mode 0600 for the daemon's own user; what is asked for beyond is given
 * when it listens. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_SOCKET_ACCESS_H
#define TOOLS_STORAGE_DAEMON_SOCKET_ACCESS_H

#include "block/options.h"

#include <sys/types.h>

typedef struct SocketAccess {
    bool set_mode, set_owner;
    mode_t mode;
    uid_t uid;
    gid_t gid; /* -1: as it is */
} SocketAccess;

/* Nothing is set when neither option is there. */
bool socket_access_take(SocketAccess *access, Options *opts, GError **error);

bool socket_access_apply(const SocketAccess *access, const char *path,
                         GError **error);

#endif
