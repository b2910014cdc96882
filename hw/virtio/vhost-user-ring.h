/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One vring of a vhost-user connection: what the front end has said about it,
 * and the virtqueue made of that while it runs. Context: main, all of it; the
 * queue's own thread is reached from here.
 *
 *   state     may be changed                          virtqueue
 *   STOPPED   everything                              none
 *   RUNNING   call, error, log flag                   the device's
 *   STOPPING  nothing: messages wait                  the device's, draining
 */
#ifndef VHOST_USER_RING_H
#define VHOST_USER_RING_H

#include "hw/virtio/device.h"
#include "inflight.h"
#include "vhost-user-message.h"

typedef enum VhostUserRingState {
    VHOST_USER_RING_STOPPED,
    VHOST_USER_RING_RUNNING,
    VHOST_USER_RING_STOPPING,
} VhostUserRingState;

/* What a ring takes from its connection when it starts. */
typedef struct VhostUserRingEnv {
    uint64_t features;
    GuestMemory *memory; /* NULL: none yet */
    DirtyLog *log;       /* NULL: none */
    Inflight *inflight;  /* NULL: what is in flight is not recorded */
} VhostUserRingEnv;

typedef struct VhostUserRing {
    VirtIODevice *dev;
    AioContext *main_ctx;
    unsigned index;
    char *name; /* "export 'e0' queue 2" */

    /* as the front end set it */
    unsigned num;   /* 0: not yet */
    bool have_addr;
    VhostUserVringAddr addr;
    uint32_t base;
    int kick_fd;
    int call_fd;
    int error_fd;
    bool enabled;

    VhostUserRingState state;
    VirtQueue *vq;  /* unless STOPPED */
    unsigned resubmits; /* what its last start found in flight */
    bool broken;    /* by its guest: not started again before a new kick fd */
    bool failed;    /* to start: not tried again before something changes */
    bool resumes;   /* set before it is stopped: whoever starts it again has
                       the record of what is in flight */
    bool settled;   /* stopped so that nothing of it is in flight any more */
    AioFn *stopped; /* when STOPPING ends */
    void *stopped_opaque;
} VhostUserRing;

void vhost_user_ring_init(VhostUserRing *ring, VirtIODevice *dev,
                          AioContext *main_ctx, unsigned index);
/* Closes its descriptors. STOPPED. */
void vhost_user_ring_clear(VhostUserRing *ring);

/* To the state after init, but for the call and error descriptors, which the
 * front end does not send again. STOPPED. */
void vhost_user_ring_reset(VhostUserRing *ring);

/* Setters: each fails with @error when the value is bad or the state is
 * wrong, and takes the descriptor in any case. */
bool vhost_user_ring_set_num(VhostUserRing *ring, unsigned num,
                             GError **error);
bool vhost_user_ring_set_base(VhostUserRing *ring, uint32_t base,
                              GError **error);
bool vhost_user_ring_set_addr(VhostUserRing *ring,
                              const VhostUserRingEnv *env,
                              const VhostUserVringAddr *addr, GError **error);
bool vhost_user_ring_set_kick(VhostUserRing *ring, int fd, GError **error);
bool vhost_user_ring_set_call(VhostUserRing *ring, int fd, GError **error);
bool vhost_user_ring_set_error(VhostUserRing *ring, int fd, GError **error);

/* The kick is gone: the front end took the ring back. STOPPED. */
void vhost_user_ring_drop_kick(VhostUserRing *ring);

/* Whether it has all it needs to start, and is worth trying. */
bool vhost_user_ring_can_start(const VhostUserRing *ring,
                               const VhostUserRingEnv *env);

/* Makes the virtqueue and hands it to the device; returns when the device
 * has looked at it. On failure the ring is marked failed. */
bool vhost_user_ring_start(VhostUserRing *ring, const VhostUserRingEnv *env,
                           GError **error);

/* Asks the device to drain; @fn is called from the main loop when the ring is
 * STOPPED and its base is known. RUNNING. */
void vhost_user_ring_stop(VhostUserRing *ring, AioFn *fn, void *opaque);

/* Logging was switched, or has a new log. RUNNING. */
void vhost_user_ring_update_log(VhostUserRing *ring,
                                const VhostUserRingEnv *env);

#endif
