/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: what a device sees of a disk. Range checks, the write cache,
 * statistics and the count of requests in flight are here.
 *
 * A device submits through channels, one for each of its queues; a channel
 * belongs to one AioContext, so that queues share nothing.
 */
#ifndef BLOCK_BLOCK_BACKEND_H
#define BLOCK_BLOCK_BACKEND_H

#include "block/request.h"
#include "block/stats.h"

typedef struct BlockBackend BlockBackend;
typedef struct BlockDriverState BlockDriverState;

typedef struct BlockBackendOptions {
    bool writable;
    bool writethrough;      /* every write is FUA, whatever the guest says */
    uint32_t block_size;    /* logical, of the device */
    bool allow_inactive;    /* the node may be, or become, inactive: the caller
                               sends nothing then */
} BlockBackendOptions;

/* What a device may tell its guest. Bytes; 0: unknown. */
typedef struct BlkGeometry {
    uint32_t physical_block_size;
    uint32_t min_io_size;
    uint32_t opt_io_size;
    uint32_t discard_granularity;
    bool discard;           /* worth offering */
    bool write_zeroes;
} BlkGeometry;

/*
 * Takes a reference to @bs. Fails when @bs is read-only and @writable is
 * asked for, when it is inactive and may not be, or when its length is not a
 * multiple of the block size.
 * Context: main
 */
BlockBackend *blk_new(BlockDriverState *bs, const BlockBackendOptions *options,
                      GError **error);
void blk_free(BlockBackend *blk); /* no channel left; Context: main */

int64_t blk_length(const BlockBackend *blk);           /* Context: any */
bool blk_is_writable(const BlockBackend *blk);         /* Context: any */
const char *blk_node_name(const BlockBackend *blk);    /* Context: any */
BlkGeometry blk_geometry(const BlockBackend *blk);     /* Context: any */
int64_t blk_max_transfer(const BlockBackend *blk);     /* Context: any */
unsigned blk_max_iov(const BlockBackend *blk);         /* Context: any */

/* When off, writes submitted from now on are stable when they complete.
 * Context: any */
void blk_set_write_cache(BlockBackend *blk, bool on);
bool blk_write_cache(const BlockBackend *blk);

/* The guest goes on when this process dies (or no longer does): what is
 * acknowledged from now on is in the kernel's hands, not only in a node's
 * memory. Context: main, nothing is in flight */
void blk_set_outlived(BlockBackend *blk, bool on);

/* Attaches the graph to @ctx; waits for its thread. Context: main */
BlkChannel *blk_channel_new(BlockBackend *blk, AioContext *ctx);
/* Nothing is in flight. Waits for its thread. Context: main */
void blk_channel_free(BlkChannel *channel);

/*
 * Submits. The caller has pushed its completion frame. A request out of
 * range, or a write to a read-only disk, or anything to an inactive one,
 * completes with -EIO / -EPERM and reaches no driver. Completes from the loop.
 * Context: home
 */
void blk_submit(BlkChannel *channel, BlockRequest *req);

/*
 * Memory of the guest that buffers of requests will lie in, as
 * engine_memory_add() has it. Nothing is in flight when it is unregistered.
 * Context: home
 */
void blk_channel_register_buf(BlkChannel *channel, void *host, size_t bytes);
void blk_channel_unregister_buf(BlkChannel *channel, void *host,
                                size_t bytes);

/* Calls @fn from the loop, or at once, when nothing is in flight: the device
 * has stopped submitting, but for what it submits from a completion, which is
 * waited for, too. One drain at a time. Context: home */
void blk_channel_drain(BlkChannel *channel, AioFn *fn, void *opaque);

/*
 * Until the next drain has ended: requests that only wait for their turn, in a
 * throttle group, complete with -ECANCELED, undone; so do those that get there
 * later. What a driver works on already goes on. Context: home
 */
void blk_channel_cancel(BlkChannel *channel);
bool blk_channel_is_cancelled(const BlkChannel *channel); /* Context: any */

unsigned blk_channel_in_flight(const BlkChannel *channel); /* Context: any */
/* Sum over channels. Context: main */
unsigned blk_in_flight(const BlockBackend *blk);

/*
 * Counted here is what blk_submit() gets, by request and by failure. A device
 * that folds guest requests together adds those to requests[] and merged; one
 * that retries the members of a failed one takes that one out of requests[],
 * bytes[] and errors first. Context: home to write
 */
BlockStats *blk_channel_stats(BlkChannel *channel);

/* Sum over all channels, past ones included; figures of a running channel may
 * be a moment old. Context: main */
void blk_get_stats(BlockBackend *blk, BlockStats *stats);

#endif
