/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The slow path of a node's pipeline. Private to block/node*.c. */
#ifndef BLOCK_NODE_ALIGN_H
#define BLOCK_NODE_ALIGN_H

#include "block/driver.h"

/* Whether the driver takes @req as it is. In node.c. Context: any */
bool node_request_fits(const BlockDriverState *bs, const BlockRequest *req);

/*
 * Takes a read, write or write-zeroes that does not fit; allocates. A write
 * that needs to be widened fails with -EINVAL when the node has no range
 * lock. Completes from the loop. Context: home of req->ctx
 */
void node_align_submit(BlockDriverState *bs, BlockRequest *req);

static inline int64_t align_down(int64_t n, uint32_t alignment)
{
    return n & -(int64_t)alignment;
}

static inline int64_t align_up(int64_t n, uint32_t alignment)
{
    return align_down(n + alignment - 1, alignment);
}

#endif
