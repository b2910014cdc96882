/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --chardev socket. Private to monitor/. Context: main */
#ifndef MONITOR_CHARDEV_SOCKET_H
#define MONITOR_CHARDEV_SOCKET_H

#include "block/options.h"

#include <sys/stat.h>

typedef struct ChardevSocket {
    char *path;            /* absolute; NULL: came as a descriptor */
    char *given;           /* as the user wrote it */
    int listen_fd;         /* or -1: */
    int fd;                /* connected from the start */
    bool owns_path;
    struct stat identity;  /* of the socket file that is ours */
} ChardevSocket;

/* Listens, or connects (server=off), for the chardev @id. Takes the rest of
 * @opts. */
ChardevSocket *chardev_socket_open(const char *id, Options *opts,
                                   GError **error);
void chardev_socket_free(ChardevSocket *s);

/* The next client, or -1 with errno. */
int chardev_socket_accept(ChardevSocket *s);

/* As query-chardev shows it. Caller frees. */
char *chardev_socket_name(const ChardevSocket *s, bool connected);

#endif
