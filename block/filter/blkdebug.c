/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkdebug: passes requests on to its image and, where a rule says so, makes
 * them fail or wait. For tests; each request is a coroutine of its own.
 *
 * The events that the node layer tells in QEMU are told here, around the
 * request: before a write, after it, before a flush.
 */
#include "blkdebug.h"

#include <errno.h>

#include "block/block-co.h"
#include "block/image.h"
#include "filter.h"

static void blkdebug_close(BlockDriverState *bs)
{
    BlkdebugState *s = bs->opaque;

    g_assert(!s->suspended);
    g_clear_pointer(&s->held, g_ptr_array_unref);
    g_ptr_array_unref(s->rules);
    g_free(s->config);
    pthread_cond_destroy(&s->stopped);
    pthread_mutex_destroy(&s->mutex);
}

static void set_limits(BlockDriverState *bs)
{
    BlkdebugState *s = bs->opaque;
    BlockLimits *limits = &bs->limits;

    limits->request_alignment = MAX(s->align, 1);
    if (s->max_transfer) {
        limits->max_transfer = s->max_transfer;
    }
    if (s->opt_discard) {
        limits->discard_alignment = s->opt_discard;
    }
}

static bool blkdebug_open(BlockDriverState *bs, Options *opts, GError **error)
{
    BlkdebugState *s = bs->opaque;
    g_autoptr(GPtrArray) tags = g_ptr_array_new();

    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->stopped, NULL);
    s->rules = g_ptr_array_new_with_free_func(blkdebug_rule_free);
    s->state = 1;
    if (!bdrv_open_child(bs, opts, "image", 0, &bs->file, error) ||
        !filter_open(bs, opts, error) ||
        !blkdebug_take_options(s, opts, error)) {
        blkdebug_close(bs);
        return false;
    }
    set_limits(bs);
    bs->debugged = true;
    blkdebug_process(s, BLKDBG_NONE, tags);
    return true;
}

static int coroutine_fn co_checked(BlockDriverState *bs, BlkdebugIo io,
                                   const BlockRequest *req)
{
    int ret = blkdebug_check(bs->opaque, io, req->offset, req->bytes);

    return ret < 0 ? ret : filter_co_pass(bs, req);
}

/* Passes on [offset, offset + bytes), which is aligned, in pieces of at most
 * @max bytes. */
static int coroutine_fn co_pieces(BlockDriverState *bs, BlkdebugIo io,
                                  const BlockRequest *req, int64_t max)
{
    BlockRequest piece = *req;
    int64_t end = req->offset + req->bytes;
    int ret = 0;

    while (ret == 0 && piece.offset < end) {
        piece.bytes = end - piece.offset;
        if (max > 0 && piece.bytes > max) {
            piece.bytes = max;
        }
        ret = co_checked(bs, io, &piece);
        if (ret == -ENOTSUP && io == BLKDEBUG_IO_WRITE_ZEROES) {
            ret = filter_co_write_zero_data(bs, piece.offset, piece.bytes,
                                            req->flags);
        }
        piece.offset += piece.bytes;
    }
    return ret;
}

static int64_t round_up(int64_t n, uint32_t unit)
{
    return unit ? (n + unit - 1) / unit * unit : n;
}

static int64_t round_down(int64_t n, uint32_t unit)
{
    return unit ? n / unit * unit : n;
}

/* What is less than opt-write-zero has to be written as data. */
static int coroutine_fn co_write_zeroes(BlockDriverState *bs,
                                        const BlockRequest *req)
{
    BlkdebugState *s = bs->opaque;
    BlockRequest inner = *req;
    int64_t end = req->offset + req->bytes;
    int64_t first = MIN(round_up(req->offset, s->opt_write_zero), end);
    int64_t last = MAX(round_down(end, s->opt_write_zero), first);
    int ret = 0;

    if (first > req->offset) {
        ret = filter_co_write_zero_data(bs, req->offset, first - req->offset,
                                        req->flags);
    }
    inner.offset = first;
    inner.bytes = last - first;
    if (ret == 0) {
        ret = co_pieces(bs, BLKDEBUG_IO_WRITE_ZEROES, &inner,
                        s->max_write_zero);
    }
    if (ret == 0 && end > last) {
        ret = filter_co_write_zero_data(bs, last, end - last, req->flags);
    }
    return ret;
}

/* Of a discard, no request crosses a multiple of opt-discard but those that
 * begin and end at one; what is below may use the rest or not. */
static int coroutine_fn co_discard(BlockDriverState *bs,
                                   const BlockRequest *req)
{
    BlkdebugState *s = bs->opaque;
    int64_t end = req->offset + req->bytes;
    int64_t first = MIN(round_up(req->offset, s->opt_discard), end);
    int64_t last = MAX(round_down(end, s->opt_discard), first);
    const int64_t cuts[] = { req->offset, first, last, end };
    int ret = 0;

    for (unsigned i = 0; i + 1 < G_N_ELEMENTS(cuts) && ret == 0; i++) {
        BlockRequest part = *req;

        part.offset = cuts[i];
        part.bytes = cuts[i + 1] - cuts[i];
        ret = co_pieces(bs, BLKDEBUG_IO_DISCARD, &part, s->max_discard);
    }
    return ret == -ENOTSUP ? 0 : ret; /* a discard is advice */
}

static int coroutine_fn co_modify(BlockDriverState *bs,
                                  const BlockRequest *req)
{
    BlkdebugState *s = bs->opaque;
    bool zeroes = req->op == BLOCK_WRITE_ZEROES;
    int ret;

    blkdebug_co_event(s, zeroes ? BLKDBG_PWRITEV_ZERO : BLKDBG_PWRITEV);
    ret = zeroes ? co_write_zeroes(bs, req)
                 : co_checked(bs, BLKDEBUG_IO_WRITE, req);
    blkdebug_co_event(s, BLKDBG_PWRITEV_DONE);
    return ret;
}

static int coroutine_fn co_request(BlockDriverState *bs,
                                   const BlockRequest *req)
{
    BlkdebugState *s = bs->opaque;

    blkdebug_co_held(s);
    switch (req->op) {
    case BLOCK_READ:
        return co_checked(bs, BLKDEBUG_IO_READ, req);
    case BLOCK_FLUSH:
        blkdebug_co_event(s, BLKDBG_FLUSH_TO_DISK);
        return co_checked(bs, BLKDEBUG_IO_FLUSH,
                          &(BlockRequest){ .op = BLOCK_FLUSH });
    case BLOCK_DISCARD:
        return co_discard(bs, req);
    default:
        return co_modify(bs, req);
    }
}

static void blkdebug_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit_co(bs, req, co_request);
}

static int coroutine_fn blkdebug_co_block_status(BlockDriverState *bs,
                                                 int64_t offset,
                                                 int64_t bytes,
                                                 BlockStatus *status)
{
    int ret = blkdebug_check(bs->opaque, BLKDEBUG_IO_BLOCK_STATUS, offset,
                             bytes);

    return ret < 0 ? ret : bdrv_co_block_status(bs->file, offset, bytes,
                                                status);
}

static const BlockImageOps blkdebug_image = {
    .co_block_status = blkdebug_co_block_status,
};

static const char *const blkdebug_strong_options[] = {
    "config", "inject-error.", "set-state.", "align", "max-transfer",
    "opt-write-zero", "max-write-zero", "opt-discard", "max-discard", NULL,
};

/* "blkdebug:config:image", which has no place for other options. */
static char *blkdebug_exact_name(BlockDriverState *bs)
{
    const BlkdebugState *s = bs->opaque;
    unsigned members = json_object_has_member(bs->full_options, "config") + 2;

    if (json_object_get_size(bs->full_options) != members ||
        g_str_has_prefix(bs->file->filename, "json:")) {
        return NULL;
    }
    return g_strdup_printf("blkdebug:%s:%s", s->config ? s->config : "",
                           bs->file->filename);
}

const BlockDriver bdrv_blkdebug = {
    .name = "blkdebug",
    .is_protocol = true,
    .is_filter = true,
    .one_home = true,
    .instance_size = sizeof(BlkdebugState),
    .image = &blkdebug_image,
    .debug = &blkdebug_debug_ops,
    .strong_options = blkdebug_strong_options,
    .exact_name = blkdebug_exact_name,
    .open = blkdebug_open,
    .close = blkdebug_close,
    .submit = blkdebug_submit,
};
