/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State of an nbd node. Private to block/protocol/nbd*.c. */
#ifndef BLOCK_PROTOCOL_NBD_H
#define BLOCK_PROTOCOL_NBD_H

#include <libnbd.h>

#include "block/coroutine.h"
#include "block/driver.h"

/* What the user asked for. */
typedef struct NbdTarget {
    char *host, *port;  /* TCP, or NULL */
    char *path;         /* UNIX socket, or NULL */
    char *export;       /* never NULL */
    uint64_t open_timeout_s;
    int64_t open_end_us; /* until then it may take; g_get_monotonic_time() */
    int open_error;      /* what the server said when the export was chosen */
    uint64_t reconnect_delay_s;
} NbdTarget;

typedef struct NbdTask NbdTask;

typedef struct NbdState {
    NbdTarget target;
    struct nbd_handle *nbd;  /* main; home while attached */

    /* constant once open: what the server can do */
    bool can_flush, can_fua, can_trim, can_zero, can_status;

    /* home, while attached */
    int epoll_fd;            /* tells which way the socket is ready */
    int watched_fd;          /* the one in it; -1: none */
    uint32_t watched_events;
    AioHandler *handler;     /* of epoll_fd */
    AioBH *bh;               /* tasks are done that no handler will finish */
    NbdTask *done, **done_tail; /* libnbd is through with them */
    bool lost;               /* the connection, and that was said */
} NbdState;

/* --- nbd-connect.c --- */

/* Takes the options and connects; sets total_bytes, limits and read_only.
 * Context: main */
bool nbd_node_connect(BlockDriverState *bs, Options *opts, GError **error);

/* Says goodbye without waiting for an answer. Context: main */
void nbd_node_disconnect(BlockDriverState *bs);

/* "nbd://host:port/export". Caller frees. Context: main */
char *nbd_node_exact_name(BlockDriverState *bs);

/* "host:port", or the path. Caller frees. Context: any */
char *nbd_target_name(const NbdTarget *target);

/* --- nbd-request.c --- */

/* Begins and ends watching the socket. Context: home */
void nbd_node_attach_context(BlockDriverState *bs, AioContext *ctx);
void nbd_node_detach_context(BlockDriverState *bs, AioContext *ctx);

void nbd_node_submit(BlockDriverState *bs, BlockRequest *req);

/* One extent that begins at @offset, as base:allocation has it: its length
 * and its LIBNBD_STATE_ flags. */
int coroutine_fn nbd_node_co_extent(BlockDriverState *bs, int64_t offset,
                               int64_t bytes, int64_t *length,
                               uint32_t *flags);

#endif
