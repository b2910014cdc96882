/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The UNIX socket of a vhost-user server. Context: main, all of it. */
#ifndef VHOST_USER_SOCKET_H
#define VHOST_USER_SOCKET_H

#include <glib.h>
#include <stdbool.h>
#include <sys/stat.h>

/*
 * Binds a listening socket at @path, mode 0600, in place of a stale one; -1
 * with @error when somebody listens there, when it is no socket, or the path
 * is too long. @identity tells the file from another at the same place.
 */
int vhost_user_socket_listen(const char *path, struct stat *identity,
                             GError **error);

/* 1: @fd is a UNIX stream socket that listens; 0: one that is connected;
 * -1: neither, and @error says so. */
int vhost_user_socket_is_listening(int fd, GError **error);

#endif
