/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a format or protocol driver implements, and the node it works on.
 * For block/ only: devices see block-backend.h.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/options.h"
#include "block/request.h"

typedef struct BlockDriver BlockDriver;
typedef struct BlockDriverState BlockDriverState;

/* What a node asks of requests, and how it would like them. Bytes. */
typedef struct BlockLimits {
    uint32_t request_alignment;  /* offset and length; a power of 2, >= 1 */
    uint32_t memory_alignment;   /* buffers; a power of 2, >= 1 */
    uint32_t min_transfer;       /* granularity that costs no rewrite; 0: none */
    uint32_t opt_transfer;       /* best size; 0: none */
    uint32_t physical_block_size; /* 0: unknown */
    int64_t max_transfer;        /* 0: ENGINE_MAX_BYTES */
    unsigned max_iov;            /* 0: IOV_MAX */
    uint32_t discard_alignment;  /* granularity of deallocation; 0: unknown */
    bool can_discard;            /* discard does something */
    bool can_write_zeroes;       /* cheaper than writing zeroes */
} BlockLimits;

typedef enum BlockDetectZeroes {
    DETECT_ZEROES_OFF,
    DETECT_ZEROES_ON,
    DETECT_ZEROES_UNMAP,
} BlockDetectZeroes;

/*
 * A node of the block graph. Written by the main thread while it is opened,
 * closed or drained; read by every home thread in between.
 */
struct BlockDriverState {
    const BlockDriver *drv;
    char *node_name;
    unsigned refcount;         /* main thread */
    void *opaque;              /* drv->instance_size bytes */
    BlockDriverState *file;    /* the child, or NULL for a protocol node */
    int64_t total_bytes;
    BlockLimits limits;

    /* generic options */
    bool read_only;
    bool auto_read_only;       /* fall back to read-only when it must be */
    bool cache_direct;
    bool cache_no_flush;
    bool discard_unmap;        /* discard=unmap */
    bool force_share;
    BlockDetectZeroes detect_zeroes;

    struct NodeAlign *align;   /* range lock for read-modify-write; node.c */
};

struct BlockDriver {
    const char *name;          /* "file", "raw", ... */
    bool is_protocol;
    size_t instance_size;

    /*
     * Takes its options from @opts and opens. Formats find bs->file open.
     * Sets total_bytes and limits; may set read_only if auto_read_only. On
     * failure nothing stays open. Context: main
     */
    bool (*open)(BlockDriverState *bs, Options *opts, GError **error);

    /* No request is in flight, no context attached. Context: main */
    void (*close)(BlockDriverState *bs);

    /*
     * The thread of @ctx is going to submit requests / will not any more.
     * The place to make engines. Optional. Context: home of @ctx
     */
    void (*attach_context)(BlockDriverState *bs, AioContext *ctx);
    void (*detach_context)(BlockDriverState *bs, AioContext *ctx);

    /*
     * Takes the request: passes it on, splits or queues it. It completes
     * from the loop, never from inside. Checked before: range within
     * total_bytes, alignment as in limits (by node.c), not a write to a
     * read-only node. Context: home of req->ctx
     */
    void (*submit)(BlockDriverState *bs, BlockRequest *req);
};

/*
 * Hands @req to @bs: what node.c does for every driver (bounce what is
 * misaligned, read-modify-write, detect zeroes, ignored discards), then
 * drv->submit. Context: home of req->ctx
 */
void bdrv_submit(BlockDriverState *bs, BlockRequest *req);

/*
 * Before writes of less than request_alignment may come: makes the range lock
 * that serialises read-modify-write. @block_size is what the device will use.
 * Context: main, nothing in flight
 */
void bdrv_set_block_size(BlockDriverState *bs, uint32_t block_size);

/* Down the graph, children first. Context: home of @ctx */
void bdrv_attach_context(BlockDriverState *bs, AioContext *ctx);
void bdrv_detach_context(BlockDriverState *bs, AioContext *ctx);

/* By name, or NULL. The table is in block/drivers.c. Context: any */
const BlockDriver *bdrv_find_driver(const char *name);

#endif
