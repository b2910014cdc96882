/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * null-co and null-aio: a disk that forgets what is written to it, for
 * measuring everything above it. Both names mean the same here.
 *
 * Reads leave the buffer as it is, or zero it with read-zeroes=on. With
 * latency-ns every request takes that long: as it is the same for all, they
 * wait in a queue, and one timer stands at its head.
 */
#include "block/driver.h"

#include "block/image.h"
#include "block/iov.h"
#include "block/plug.h"
#include "home-list.h"

#define NULL_DEFAULT_SIZE (1LL << 30)

typedef struct NullState {
    int64_t latency_ns;
    bool read_zeroes;
    HomeList homes;
} NullState;

typedef struct NullHome {
    HomeEntry entry;
    AioTimer timer;       /* armed while the queue is not empty */
    EngineRequest *head;  /* in order of deadline, which is in offset */
    EngineRequest **tail;
} NullHome;

static bool null_open(BlockDriverState *bs, Options *opts, GError **error)
{
    NullState *s = bs->opaque;
    uint64_t latency_ns = 0;

    bs->total_bytes = NULL_DEFAULT_SIZE;
    if (!options_take_size(opts, "size", &bs->total_bytes, error) ||
        !options_take_uint(opts, "latency-ns", INT64_MAX / 2, &latency_ns,
                           error) ||
        !options_take_bool(opts, "read-zeroes", &s->read_zeroes, error)) {
        return false;
    }
    s->latency_ns = latency_ns;
    bs->limits.can_discard = true;
    bs->limits.can_write_zeroes = true;
    return true;
}

static void null_close(BlockDriverState *bs)
{
    NullState *s = bs->opaque;

    home_list_free(&s->homes);
}

static void null_timer_fn(void *opaque)
{
    NullHome *home = opaque;
    AioContext *ctx = home->entry.ctx;
    int64_t now_ns = aio_context_now_ns(ctx);

    blk_io_plug(ctx);
    while (home->head && home->head->offset <= now_ns) {
        EngineRequest *engine_req = home->head;

        home->head = engine_req->next;
        if (!home->head) {
            home->tail = &home->head;
        }
        block_request_complete(block_request_of_engine(engine_req), 0);
    }
    blk_io_unplug(ctx);
    if (home->head) {
        aio_timer_arm(&home->timer, home->head->offset);
    }
}

static void null_attach_context(BlockDriverState *bs, AioContext *ctx)
{
    NullState *s = bs->opaque;
    bool first;
    NullHome *home = home_list_attach(&s->homes, ctx, sizeof(*home), &first);

    if (first) {
        aio_timer_init(&home->timer, ctx, null_timer_fn, home);
        home->head = NULL;
        home->tail = &home->head;
    }
}

static void null_detach_context(BlockDriverState *bs, AioContext *ctx)
{
    NullState *s = bs->opaque;
    NullHome *home = home_list_detach(&s->homes, ctx);

    g_assert(!home || !home->head);
}

static void null_submit_late(NullState *s, BlockRequest *req)
{
    NullHome *home = home_list_find(&s->homes, req->ctx);
    EngineRequest *engine_req = &req->engine;

    engine_req->offset = aio_context_now_ns(req->ctx) + s->latency_ns;
    engine_req->next = NULL;
    if (!home->head) {
        aio_timer_arm(&home->timer, engine_req->offset);
    }
    *home->tail = engine_req;
    home->tail = &engine_req->next;
}

static void null_submit(BlockDriverState *bs, BlockRequest *req)
{
    NullState *s = bs->opaque;

    if (req->op == BLOCK_READ && s->read_zeroes) {
        iov_memset(req->iov, req->niov, 0, 0, req->bytes);
    }
    if (s->latency_ns == 0) {
        block_request_complete_later(req, 0);
    } else {
        null_submit_late(s, req);
    }
}

static int coroutine_fn null_co_block_status(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             BlockStatus *status)
{
    NullState *s = bs->opaque;

    status->flags = BLOCK_STATUS_OFFSET | BLOCK_STATUS_ALLOCATED |
                    (s->read_zeroes ? BLOCK_STATUS_ZERO : 0);
    status->bytes = bytes;
    status->map = offset;
    status->file = bs;
    return 0;
}

static bool coroutine_fn null_co_truncate(BlockDriverState *bs,
                                          const BlockTruncate *to,
                                          GError **error)
{
    bs->total_bytes = to->bytes;
    return true;
}

static int64_t null_allocated_bytes(BlockDriverState *bs)
{
    return 0;
}

static const BlockImageOps null_image = {
    .co_block_status = null_co_block_status,
    .co_truncate = null_co_truncate,
    .allocated_bytes = null_allocated_bytes,
};

static const char *const null_strong_options[] = {
    "size", "read-zeroes", NULL,
};

static char *null_exact_name(BlockDriverState *bs)
{
    return json_object_get_size(bs->full_options) == 1
               ? g_strconcat(bs->drv->name, "://", NULL)
               : NULL;
}

const BlockDriver bdrv_null_co = {
    .name = "null-co",
    .is_protocol = true,
    .instance_size = sizeof(NullState),
    .image = &null_image,
    .strong_options = null_strong_options,
    .exact_name = null_exact_name,
    .open = null_open,
    .close = null_close,
    .attach_context = null_attach_context,
    .detach_context = null_detach_context,
    .submit = null_submit,
};

const BlockDriver bdrv_null_aio = {
    .name = "null-aio",
    .is_protocol = true,
    .instance_size = sizeof(NullState),
    .image = &null_image,
    .strong_options = null_strong_options,
    .exact_name = null_exact_name,
    .open = null_open,
    .close = null_close,
    .attach_context = null_attach_context,
    .detach_context = null_detach_context,
    .submit = null_submit,
};
