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

/* The device rests while @bs, which it keeps open, is inactive: from now on.
 * Both are borrowed. */
Activation *activation_new(BlockDriverState *bs, VirtIOBlock *vblk);
void activation_free(Activation *activation);

/*
 * blockdev-set-active. @bs NULL: all nodes there are, but for inactivating
 * only those that no other node uses, with what they are made of. Waits for
 * requests in flight.
 */
bool activation_set(BlockDriverState *bs, bool active, GError **error);

#endif
