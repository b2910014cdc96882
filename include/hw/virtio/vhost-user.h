/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vhost-user back end: serves one device on one socket.
 *
 * The socket is read in the main thread; the queues run in the device's
 * threads. One front end at a time, any number one after the other.
 */
#ifndef HW_VIRTIO_VHOST_USER_H
#define HW_VIRTIO_VHOST_USER_H

#include "hw/virtio/device.h"

typedef struct VhostUserServer VhostUserServer;

/*
 * Listens on the UNIX socket @path. A stale socket file is replaced; one that
 * somebody listens on is an error, as is a path that is too long.
 * @main_ctx is the caller's context. Context: main
 */
VhostUserServer *vhost_user_server_new_path(VirtIODevice *dev,
                                            AioContext *main_ctx,
                                            const char *path, GError **error);

/*
 * The same with @fd, a socket that a process before us has bound there and
 * that was kept for us; takes it. NULL, without an error, when it is not that.
 * Context: main
 */
VhostUserServer *vhost_user_server_new_kept(VirtIODevice *dev,
                                            AioContext *main_ctx,
                                            const char *path, int fd);

/* What it listens on, borrowed, or -1. Context: main */
int vhost_user_server_listen_fd(const VhostUserServer *server);

/* Serves @fd: a listening UNIX socket, or a connected one, after which there
 * is no other connection. Takes @fd, also on failure. Context: main */
VhostUserServer *vhost_user_server_new_fd(VirtIODevice *dev,
                                          AioContext *main_ctx, int fd,
                                          GError **error);

/*
 * Stops listening, drains all queues, closes the connection, removes the
 * socket file it made, frees the server, then calls @done from the main loop.
 * Context: main
 */
void vhost_user_server_stop(VhostUserServer *server, AioFn *done,
                            void *opaque);

/*
 * Drains all queues, reads no message and accepts nobody until it is resumed;
 * the front end notices nothing. Requests that wait below for nothing but time
 * are not waited for where the front end keeps a record of them.
 * Context: main
 */
void vhost_user_server_pause(VhostUserServer *server);
/* Whether all of it stands still by now; this changes in the main loop's
 * rounds only. Context: main */
bool vhost_user_server_is_paused(const VhostUserServer *server);
/*
 * It goes on: at once if it stands still, else as soon as it has drained.
 * Returns how many requests were in flight and are submitted again.
 * Context: main
 */
unsigned vhost_user_server_resume(VhostUserServer *server);

/*
 * Drains all queues and puts what another process needs to go on, the
 * connection and the listening socket among it, into @handover under the name
 * @id; frees the server, then calls @done from the main loop. The front end
 * notices nothing, nor does the socket file go. Context: main
 */
void vhost_user_server_hand_over(VhostUserServer *server, Handover *handover,
                                 const char *id, AioFn *done, void *opaque);

/* Whether there is a server of that name. Context: main */
bool vhost_user_server_in_handover(const Handover *handover, const char *id);

/*
 * The other end of that: a server that is paused. @path as for
 * vhost_user_server_new_path(), NULL: any; it is an error when the socket is
 * elsewhere. One that is stopped before it was resumed leaves everything to
 * the process it took it from. Context: main
 */
VhostUserServer *vhost_user_server_take_over(VirtIODevice *dev,
                                             AioContext *main_ctx,
                                             const char *path,
                                             Handover *handover,
                                             const char *id, GError **error);

/* Whether a front end is connected: one that has just hung up is not. Context:
 * main */
bool vhost_user_server_connected(const VhostUserServer *server);
/* Whether there is one, or requests of one that has gone; the next one waits.
 * Context: main */
bool vhost_user_server_is_busy(const VhostUserServer *server);

#endif
