/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes that live in one thread. Private to block/node*.c. */
#ifndef BLOCK_NODE_HOME_H
#define BLOCK_NODE_HOME_H

#include "block/driver.h"

/*
 * Takes a request of another context than the node's home there and brings
 * the result back; allocates. Context: home of req->ctx
 */
void node_home_forward(BlockDriverState *bs, BlockRequest *req);

/* The first context that comes is the node's home, and the driver's and its
 * children's, until the last one goes. Context: home of @ctx */
void node_home_attach(BlockDriverState *bs, AioContext *ctx);
void node_home_detach(BlockDriverState *bs, AioContext *ctx);

#endif
