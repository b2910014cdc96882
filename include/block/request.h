/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockRequest: one request on its way from a device to the host's kernel.
 *
 * It lives in its device's pool and is passed down from layer to layer; a
 * layer that wants to see the result pushes a frame, and completing the
 * request pops one frame after the other on the way back up. Nothing is
 * allocated for it. Exactly one layer holds a request at a time; the holder
 * may change op, offset, bytes, iov and flags for those below and need not
 * restore them.
 */
#ifndef BLOCK_REQUEST_H
#define BLOCK_REQUEST_H

#include <stddef.h>

#include "block/engine.h"
#include "block/stats.h"

typedef struct BlockRequest BlockRequest;
typedef struct BlkChannel BlkChannel;

/* The write is stable when it completes. */
#define BLOCK_REQ_FUA       0x1
/* Write-zeroes may deallocate. */
#define BLOCK_REQ_MAY_UNMAP 0x2

#define BLOCK_REQUEST_MAX_FRAMES 8

/* @ret is 0 or a negative errno. Context: home, from the loop */
typedef void BlockCompletionFunc(BlockRequest *req, void *opaque, int ret);

typedef struct BlockFrame {
    BlockCompletionFunc *cb;
    void *opaque;
} BlockFrame;

struct BlockRequest {
    /* set by the device before blk_submit() */
    BlockOp op;
    unsigned flags;
    int64_t offset;          /* of the layer that holds the request */
    int64_t bytes;
    const struct iovec *iov; /* reads and writes: adds up to bytes; borrowed */
    unsigned niov;

    /* set by blk_submit() */
    BlkChannel *channel;     /* NULL: no device's, or of several channels */
    AioContext *ctx;         /* home of the request */
    int64_t start_ns;

    /* private to request.c */
    unsigned depth;
    BlockFrame frames[BLOCK_REQUEST_MAX_FRAMES];

    /*
     * Private to the protocol driver that ends the request's way, but for
     * engine.stats, which whoever makes the request sets: blk_submit(), or
     * node.c in a child's from its parent's.
     */
    void *protocol;
    EngineRequest engine;
};

/* The request that @engine_req is a part of. Context: any */
static inline BlockRequest *block_request_of_engine(EngineRequest *engine_req)
{
    return (BlockRequest *)((char *)engine_req -
                            offsetof(BlockRequest, engine));
}

/* Before the first use of a request; later uses need no new call.
 * Context: any */
void block_request_init(BlockRequest *req);

/* @cb will be called when the layers below are done. Context: home */
void block_request_push(BlockRequest *req, BlockCompletionFunc *cb,
                        void *opaque);

/* Pops the topmost frame and calls it: the request is its owner's again.
 * Only from the loop, never from inside a submit. Context: home */
void block_request_complete(BlockRequest *req, int ret);

/* Completes from the next round of the loop: for results that are known
 * inside submit. Uses req->engine's link; no allocation. Context: home */
void block_request_complete_later(BlockRequest *req, int ret);

#endif
