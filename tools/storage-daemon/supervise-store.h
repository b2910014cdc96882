/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the supervisor keeps for its servers. Private to supervise*.c. */
#ifndef TOOLS_STORAGE_DAEMON_SUPERVISE_STORE_H
#define TOOLS_STORAGE_DAEMON_SUPERVISE_STORE_H

#include <glib.h>
#include <stdbool.h>

typedef struct SuperviseStore SuperviseStore;

SuperviseStore *supervise_store_new(void);
void supervise_store_free(SuperviseStore *store); /* closes all */

typedef enum SuperviseEvent {
    SUPERVISE_NOTHING, /* done with, or none of our business */
    SUPERVISE_READY,
    SUPERVISE_TAKEN_OVER, /* ready, in place of another process */
    SUPERVISE_STOPPING,
    SUPERVISE_GONE,    /* the server has closed its end */
} SuperviseEvent;

/* Reads one message of the server's and does what it asks of the store. */
SuperviseEvent supervise_store_message(SuperviseStore *store, int sock);

#endif
