/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UNIX sockets that listen, and their files: of front ends and of monitors.
 * Context: main, all of it. */
#ifndef BLOCK_LISTENER_H
#define BLOCK_LISTENER_H

#include <stdbool.h>
#include <sys/stat.h>

/* Whether @fd listens on the socket that is at @path: bound under this very
 * name, which still is a socket. Fills *@identity. */
bool listener_is_at(int fd, const char *path, struct stat *identity);

/* The next client, or -1 with errno set. */
int listener_accept(int fd);

/* Listens no more: closes @fd, and removes the file of its socket if it is
 * still there. */
void listener_close(int fd);

/* Removes the socket file, unless another has taken its place. */
void listener_unlink(const char *path, const struct stat *identity);

#endif
