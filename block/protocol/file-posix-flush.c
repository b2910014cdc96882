/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flushes of one file, from whatever thread: one fdatasync() at a time, and
 * one for all that came while the last was under way.
 *
 * Why not side by side: the kernel reports a write-back error once for each
 * open file. Of two that run together one gets it, and the other would say
 * that everything is well before the first could say otherwise.
 *
 * How it works: who finds nobody flushing starts. Who comes later waits; its
 * data may have missed the flush in progress. When that is done, all who wait
 * become the group of the next, which is sent by the thread of the first of
 * them. Each is completed in its own thread.
 */
#include "file-posix.h"

#include <errno.h>

void file_flush_init(FileFlush *flush)
{
    pthread_mutex_init(&flush->mutex, NULL);
    flush->busy = false;
    flush->waiting = NULL;
    flush->tail = &flush->waiting;
    flush->group = NULL;
}

void file_flush_destroy(FileFlush *flush)
{
    g_assert(!flush->busy && !flush->waiting);
    pthread_mutex_destroy(&flush->mutex);
}

/*
 * Whether the next fdatasync() tells the truth after one that failed. Through
 * the page cache it does not: pages that could not be written are clean now,
 * and the error has been reported. Direct writes left no pages behind when they
 * completed. What is still to do then is to flush the disk's cache, which the
 * next call asks for again, so that a path that was mended is good again; and
 * to write what the file system knows of the file. Of that
 *   - a lack of space is found before anything is given up;
 *   - ext4 and XFS change nothing behind the back of a completed write, and a
 *     journal that fails makes all that follows fail, too;
 *   - others may give up on parts of it (btrfs finishes a direct write's
 *     extents after it has completed), or write the data through a cache of
 *     their own (FUSE), and report that once.
 */
static bool can_be_repeated(const BlockDriverState *bs, int err)
{
    const FileState *s = bs->opaque;

    return bs->cache_direct &&
           (s->sync_repeats || err == -ENOSPC || err == -EDQUOT);
}

void file_sync_failed(BlockDriverState *bs, int err)
{
    FileState *s = bs->opaque;

    if (!can_be_repeated(bs, err)) {
        file_flag_set(&s->flush_failed);
    }
}

static void flush_cb(EngineRequest *engine_req, int ret);

/* @opaque leads the group; it and flush->group wait for the result.
 * Context: home of the leader */
static void flush_start(void *opaque)
{
    BlockRequest *req = opaque;

    req->engine.op = ENGINE_FDSYNC;
    req->engine.flags = 0;
    req->engine.cb = flush_cb;
    file_engine_submit(req->protocol, req);
}

static void complete_fn(void *opaque)
{
    BlockRequest *req = opaque;

    block_request_complete(req, req->engine.work.ret);
}

/* The link of a member is read before it is given away. */
static void complete_group(const AioContext *ctx, EngineRequest *group,
                           int ret)
{
    while (group) {
        BlockRequest *req = block_request_of_engine(group);

        group = group->next;
        if (req->ctx == ctx) {
            block_request_complete(req, ret);
        } else {
            req->engine.work.ret = ret;
            aio_bh_once(req->ctx, complete_fn, req);
        }
    }
}

/* Makes those who wait the next group. Returns its leader, or NULL. */
static BlockRequest *next_group(FileFlush *flush)
{
    EngineRequest *leader;

    pthread_mutex_lock(&flush->mutex);
    leader = flush->waiting;
    flush->waiting = NULL;
    flush->tail = &flush->waiting;
    flush->group = leader ? leader->next : NULL;
    flush->busy = leader != NULL;
    pthread_mutex_unlock(&flush->mutex);
    return leader ? block_request_of_engine(leader) : NULL;
}

static void flush_cb(EngineRequest *engine_req, int ret)
{
    BlockRequest *req = block_request_of_engine(engine_req);
    BlockDriverState *bs = req->protocol;
    FileState *s = bs->opaque;
    EngineRequest *group = s->flush.group;
    AioContext *ctx = req->ctx;
    BlockRequest *leader;

    if (ret < 0) {
        file_sync_failed(bs, ret);
    } else if (file_flag(&s->flush_failed)) {
        ret = -EIO;
    }
    leader = next_group(&s->flush);
    if (leader && leader->ctx == ctx) {
        flush_start(leader);
    } else if (leader) {
        aio_bh_once(leader->ctx, flush_start, leader);
    }
    block_request_complete(req, ret);
    complete_group(ctx, group, ret);
}

void file_flush_submit(BlockDriverState *bs, BlockRequest *req)
{
    FileState *s = bs->opaque;
    FileFlush *flush = &s->flush;
    bool starts;

    if (bs->cache_no_flush) {
        block_request_complete_later(req, 0);
        return;
    }
    if (file_flag(&s->flush_failed)) {
        block_request_complete_later(req, -EIO);
        return;
    }
    pthread_mutex_lock(&flush->mutex);
    starts = !flush->busy;
    flush->busy = true;
    if (!starts) {
        req->engine.next = NULL;
        *flush->tail = &req->engine;
        flush->tail = &req->engine.next;
    }
    pthread_mutex_unlock(&flush->mutex);
    if (starts) {
        flush_start(req);
    }
}
