/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that a coroutine waits for: what format drivers send their
 * children while they work on metadata, and what the tools do everything
 * with. The fast path of a device does not come here.
 *
 * All of them run in the calling thread's AioContext, to which the node is
 * attached, and return 0 or a negative errno.
 */
#ifndef BLOCK_BLOCK_CO_H
#define BLOCK_BLOCK_CO_H

#include "block/block-backend.h"
#include "block/coroutine.h"
#include "block/request.h"

/* A request by value; buffers are borrowed until the call returns. */
typedef struct BlockIo {
    BlockOp op;
    unsigned flags;          /* BLOCK_REQ_ */
    int64_t offset;
    int64_t bytes;
    const struct iovec *iov; /* reads and writes: adds up to bytes */
    unsigned niov;
} BlockIo;

/*
 * To a node, as a format driver does to its child. The caller has checked the
 * range; a node that grows may be written to past its end.
 */
int coroutine_fn bdrv_co_io(BlockDriverState *bs, const BlockIo *io);

/*
 * Sends @count of them, bounded in number but side by side, and waits for all.
 * Returns 0, or what the first of @ios that failed has failed with.
 */
int coroutine_fn bdrv_co_io_all(BlockDriverState *bs, const BlockIo *ios,
                                unsigned count);

int coroutine_fn bdrv_co_pread(BlockDriverState *bs, int64_t offset,
                               int64_t bytes, void *buf);
int coroutine_fn bdrv_co_pwrite(BlockDriverState *bs, int64_t offset,
                                int64_t bytes, const void *buf,
                                unsigned flags);
int coroutine_fn bdrv_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, unsigned flags);
int coroutine_fn bdrv_co_pdiscard(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes);
int coroutine_fn bdrv_co_flush(BlockDriverState *bs);

/* To a disk, as a device does: ranges are checked, statistics kept. The
 * channel's context is the caller's. */
int coroutine_fn blk_co_io(BlkChannel *channel, const BlockIo *io);

int coroutine_fn blk_co_pread(BlkChannel *channel, int64_t offset,
                              int64_t bytes, void *buf);
int coroutine_fn blk_co_pwrite(BlkChannel *channel, int64_t offset,
                               int64_t bytes, const void *buf,
                               unsigned flags);
int coroutine_fn blk_co_pwrite_zeroes(BlkChannel *channel, int64_t offset,
                                      int64_t bytes, unsigned flags);
int coroutine_fn blk_co_pdiscard(BlkChannel *channel, int64_t offset,
                                 int64_t bytes);
int coroutine_fn blk_co_flush(BlkChannel *channel);

#endif
