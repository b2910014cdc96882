/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Debian's NBD servers beside a test. Failures assert. */
#ifndef TESTS_LIB_NBD_SERVER_H
#define TESTS_LIB_NBD_SERVER_H

#include <glib.h>
#include <stdbool.h>

typedef struct NbdServer NbdServer;

/*
 * "PROGRAM ARGS...", split at blanks; "@" stands for the path of a socket in a
 * directory of its own. It may not be listening yet: clients try again
 * (open-timeout). Killed and waited for when freed.
 */
NbdServer *nbd_server_start(const char *command, ...) G_GNUC_PRINTF(1, 2);
const char *nbd_server_socket(const NbdServer *server);
/* Stands still when this returns. */
void nbd_server_hold(NbdServer *server);
void nbd_server_go_on(NbdServer *server);
void nbd_server_kill(NbdServer *server);
void nbd_server_free(NbdServer *server);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(NbdServer, nbd_server_free)

#endif
