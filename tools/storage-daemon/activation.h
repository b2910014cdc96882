/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports whose nodes may be inactive: what a guest sends meanwhile stays in
 * its rings. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_ACTIVATION_H
#define TOOLS_STORAGE_DAEMON_ACTIVATION_H

#include "block/graph.h"
#include "hw/block/virtio-blk.h"

typedef struct Activation Activation;

typedef struct ActivationConf {
    const char *name;     /* "export 'e0'"; this and all else is borrowed */
    BlockDriverState *bs; /* that the device keeps open */
    VirtIOBlock *vblk;
    AioContext *ctx;      /* the main thread's */
    bool automatic;       /* the node is active while the guest has rings */
} ActivationConf;

/* The device rests while its node is inactive: from now on. */
Activation *activation_new(const ActivationConf *conf);
void activation_free(Activation *activation);

/* VirtIOBlockConf.set_running: an automatic one makes the node what that
 * wants. What fails is tried again until it succeeds, or is not wanted. */
void activation_set_running(Activation *activation, bool running);
/* The same once more: when it was not told for a while. */
void activation_follow(Activation *activation);

/* Whether an automatic export decides about @bs. */
bool activation_is_automatic(const BlockDriverState *bs);

/*
 * blockdev-set-active. @bs NULL: all nodes there are, but for inactivating
 * only those that no other node uses, with what they are made of. Waits for
 * requests in flight. Automatic exports go by it until their guests stop or
 * start their rings.
 */
bool activation_set(BlockDriverState *bs, bool active, GError **error);

#endif
