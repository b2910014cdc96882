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

/* Drains, and neither reads nor works before it is resumed. A message at hand
 * is finished first. */
void vhost_user_session_pause(VhostUserSession *session);
/* Whether nothing moves any more, so that nothing is waited for. */
bool vhost_user_session_is_paused(const VhostUserSession *session);
/* Also one that has not stopped yet: then as soon as it has. Returns how many
 * requests were in flight, which are submitted again. */
unsigned vhost_user_session_resume(VhostUserSession *session);

/* Drains and puts the connection into @handover under the name @id; then
 * @closed as ever. */
void vhost_user_session_hand_over(VhostUserSession *session,
                                  Handover *handover, const char *id);

/* A session that another process has left; NULL without @error: none of that
 * name. It is paused; that it is resumed follows on
 * vhost_user_session_on_closed(). */
VhostUserSession *vhost_user_session_take_over(VirtIODevice *dev,
                                               AioContext *main_ctx,
                                               Handover *handover,
                                               const char *id,
                                               GError **error);
void vhost_user_session_on_closed(VhostUserSession *session, AioFn *closed,
                                  void *opaque);

/* Ends it: drains, then @closed as ever. May be called more than once. */
void vhost_user_session_close(VhostUserSession *session);

/* Whether there is a front end, and not only what it has left: that it has hung
 * up may still have to be read. */
bool vhost_user_session_connected(const VhostUserSession *session);

/* Tells the front end that config space changed, if it wants to know. */
void vhost_user_session_config_changed(VhostUserSession *session);

#endif
