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

/* Whether @bs lives, and with it what lies below, in another thread than the
 * caller's. Context: home of one that is attached to it */
bool node_home_is_elsewhere(const BlockDriverState *bs);

/*
 * Runs @fn as a coroutine at the home of @bs and waits for its end: the way of
 * what is no request. Something above must keep @bs attached until then, as a
 * request on its way or a paused device do. Context: as above
 */
void coroutine_fn node_home_co_run(BlockDriverState *bs, CoroutineFn *fn,
                                   void *opaque);

/* The first context that comes is the node's home, and the driver's and its
 * children's, until the last one goes. Context: home of @ctx */
void node_home_attach(BlockDriverState *bs, AioContext *ctx);
void node_home_detach(BlockDriverState *bs, AioContext *ctx);

#endif
