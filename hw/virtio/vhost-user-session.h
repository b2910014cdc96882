/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One front end's connection, from accept to its last drained request.
 * Context: main, all of it.
 */
#ifndef SESSION_H
#define SESSION_H

#include "hw/virtio/device.h"

typedef struct VhostUserSession VhostUserSession;

/*
 * Serves @fd, which it takes. @closed is called from the main loop after the
 * connection has ended, its rings have drained and the session is freed.
 */
VhostUserSession *vhost_user_session_new(VirtIODevice *dev,
                                         AioContext *main_ctx, int fd,
                                         AioFn *closed, void *opaque);

/* Ends it: drains, then @closed as ever. May be called more than once. */
void vhost_user_session_close(VhostUserSession *session);

/* Tells the front end that config space changed, if it wants to know. */
void vhost_user_session_config_changed(VhostUserSession *session);

#endif
