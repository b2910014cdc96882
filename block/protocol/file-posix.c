/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "file" and "host_device" drivers: hands a request to the engine that
 * the user chose, or to a worker what no engine knows.
 *
 * Called by block/node.c, which has aligned the request. The one rule: after
 * written data was lost, no flush may succeed.
 */
#include "file-posix.h"

#include <errno.h>

typedef struct FileHome {
    HomeEntry entry;
    Engine *engine;
    NowaitMap *nowait;   /* or NULL */
    AutoFile *auto_file; /* or NULL */
} FileHome;

/* What the file is like now, for its home in @ctx. */
static void file_home_fill(FileState *s, FileHome *home, AioContext *ctx)
{
    home->engine = engine_get(ctx, s->aio);
    home->nowait = s->facts.nowait ? nowait_map_new() : NULL;
    home->auto_file = s->aio == ENGINE_AUTO ? auto_file_new(ctx, &s->facts)
                                            : NULL;
}

static void file_home_clear(FileHome *home)
{
    g_clear_pointer(&home->nowait, nowait_map_free);
    g_clear_pointer(&home->auto_file, auto_file_free);
}

static void file_attach_context(BlockDriverState *bs, AioContext *ctx)
{
    FileState *s = bs->opaque;
    bool first;
    FileHome *home = home_list_attach(&s->homes, ctx, sizeof(*home), &first);

    if (first) {
        file_home_fill(s, home, ctx);
    }
}

static void file_detach_context(BlockDriverState *bs, AioContext *ctx)
{
    FileState *s = bs->opaque;
    FileHome *home = home_list_detach(&s->homes, ctx);

    if (home) {
        file_home_clear(home);
    }
}

static void file_home_refresh(void *opaque)
{
    BlockDriverState *bs = opaque;
    FileState *s = bs->opaque;
    AioContext *ctx = aio_context_current();
    FileHome *home = home_list_find(&s->homes, ctx);

    file_home_clear(home);
    file_home_fill(s, home, ctx);
}

void file_refresh_homes(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    for (HomeEntry *entry = s->homes.head; entry; entry = entry->next) {
        if (entry->ctx) {
            aio_bh_run_sync(entry->ctx, file_home_refresh, bs);
        }
    }
}

static void file_read_cb(EngineRequest *engine_req, int ret)
{
    block_request_complete(block_request_of_engine(engine_req), ret);
}

/* The same write without the flag has room: then it was the flag's work, the
 * report of what had been cached before, that failed for lack of space. */
static void file_write_alone_cb(EngineRequest *engine_req, int ret)
{
    BlockRequest *req = block_request_of_engine(engine_req);

    if (ret == 0) {
        file_sync_failed(req->protocol, -ENOSPC);
    }
    block_request_complete(req, ret < 0 ? ret : -ENOSPC);
}

/*
 * A synchronous write through the page cache reports, and thereby forgets,
 * errors of everything that was cached before it. Where there is no space it
 * may be the write itself that has none, which harms nobody else and will be
 * made again when there is: that takes another try to tell. Returns whether
 * there is one.
 */
static bool file_fua_failed(BlockDriverState *bs, BlockRequest *req, int err)
{
    if (err == -ENOSPC || err == -EDQUOT) {
        req->engine.flags &= ~ENGINE_FUA;
        req->engine.cb = file_write_alone_cb;
        file_engine_submit(bs, req);
        return true;
    }
    if (err == -EIO) {
        file_sync_failed(bs, err);
    }
    return false;
}

static void file_write_cb(EngineRequest *engine_req, int ret)
{
    BlockRequest *req = block_request_of_engine(engine_req);
    BlockDriverState *bs = req->protocol;
    int64_t end = engine_req->offset + (int64_t)engine_req->bytes;

    if (G_UNLIKELY(ret < 0) && (engine_req->flags & ENGINE_FUA) &&
        !bs->cache_direct && file_fua_failed(bs, req, ret)) {
        return;
    }
    if (ret == 0 && end > bs->total_bytes) {
        if (!bs->grows) {
            file_worker_cut_tail(bs, req);
            return;
        }
        bs->total_bytes = end;
    }
    block_request_complete(req, ret);
}

void file_engine_submit(BlockDriverState *bs, BlockRequest *req)
{
    FileState *s = bs->opaque;
    FileHome *home = home_list_find(&s->homes, req->ctx);
    EngineRequest *engine_req = &req->engine;

    engine_req->flags |= s->facts.in_memory ? ENGINE_IN_MEMORY : 0;
    engine_req->fd = s->fd;
    engine_req->max_batch = s->max_batch;
    engine_req->nowait = home->nowait;
    engine_req->auto_file = home->auto_file;
    engine_req->offset = req->offset;
    engine_req->bytes = req->bytes;
    engine_req->iov = req->iov;
    engine_req->niov = req->niov;
    engine_submit(home->engine, engine_req);
}

static void file_submit_write(BlockDriverState *bs, BlockRequest *req)
{
    bool fua = (req->flags & BLOCK_REQ_FUA) && !bs->cache_no_flush;

    req->engine.op = ENGINE_WRITE;
    req->engine.flags = fua ? ENGINE_FUA : 0;
    req->engine.cb = file_write_cb;
    file_engine_submit(bs, req);
}

static void file_submit_discard(BlockDriverState *bs, BlockRequest *req)
{
    FileState *s = bs->opaque;

    /* advisory: a file that cannot has lost nothing */
    if (file_flag(s->is_device ? &s->no_discard : &s->no_punch_hole)) {
        block_request_complete_later(req, 0);
    } else {
        file_worker_submit(bs, req);
    }
}

static void file_submit(BlockDriverState *bs, BlockRequest *req)
{
    req->protocol = bs;
    switch (req->op) {
    case BLOCK_READ:
        req->engine.op = ENGINE_READ;
        req->engine.flags = bs->cache_direct ? 0 : ENGINE_NOWAIT_READ;
        req->engine.cb = file_read_cb;
        file_engine_submit(bs, req);
        break;
    case BLOCK_WRITE:
        file_submit_write(bs, req);
        break;
    case BLOCK_FLUSH:
        file_flush_submit(bs, req);
        break;
    case BLOCK_DISCARD:
        file_submit_discard(bs, req);
        break;
    case BLOCK_WRITE_ZEROES:
        file_worker_submit(bs, req);
        break;
    default:
        g_assert_not_reached();
    }
}

const BlockDriver bdrv_file = {
    .name = "file",
    .image = &file_image,
    .claim = file_claim,
    .unclaim = file_unclaim,
    .hand_over = file_hand_over,
    .reopen = file_reopen,
    .activate = file_activate,
    .inactivate = file_inactivate,
    .is_protocol = true,
    .instance_size = sizeof(FileState),
    .open = file_open,
    .close = file_close,
    .attach_context = file_attach_context,
    .detach_context = file_detach_context,
    .submit = file_submit,
};

const BlockDriver bdrv_host_device = {
    .name = "host_device",
    .image = &host_device_image,
    .claim = file_claim,
    .unclaim = file_unclaim,
    .hand_over = file_hand_over,
    .reopen = file_reopen,
    .activate = file_activate,
    .inactivate = file_inactivate,
    .is_protocol = true,
    .instance_size = sizeof(FileState),
    .open = host_device_open,
    .close = file_close,
    .attach_context = file_attach_context,
    .detach_context = file_detach_context,
    .submit = file_submit,
};
