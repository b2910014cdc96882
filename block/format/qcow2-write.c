/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes that need more than one child request: the queue in front of the
 * tables, and completion behind them.
 *
 * How it works: what a burst of requests brings is queued. At the end of the
 * burst a bottom half starts a coroutine, one at a time, that works for all of
 * them while it has the tables:
 *
 *     submit --> pending --> plan --> data is written, without the lock
 *                                        |
 *     complete <-- finished <-- link <-- done
 *
 * Runs whose data got to the disk in the same round are linked in one go, too.
 * A write that touches what somebody has claimed waits for that and goes back
 * to pending. One with FUA, or one that gave up much, is completed by another
 * coroutine, which flushes for all that there are; so is one whose guest must
 * find it after a crash of ours, but there the tables need only be written.
 * That clusters are counted ahead for such guests (qcow2-ahead.c), a write
 * waits for now and then.
 */
#include "qcow2-write.h"

#include <errno.h>

#include "block/log.h"
#include "block/plug.h"

/* --- the state --- */

Qcow2WriteState *qcow2_write_state_new(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = g_new0(Qcow2WriteState, 1);

    w->bs = bs;
    qcow2_write_list_init(&w->pending);
    qcow2_write_list_init(&w->finished);
    qcow2_write_list_init(&w->to_flush);
    w->burst = g_ptr_array_new();
    co_mutex_init(&w->prepare_lock);
    co_mutex_init(&w->compressed_lock);
    w->claims = qcow2_claims_new();
    w->l1_dirty = g_array_new(false, false, sizeof(unsigned));
    qcow2_run_list_init(&w->done);
    qcow2_run_list_init(&w->cow_queue);
    qcow2_grow_init(w);
    w->frees = qcow2_frees_new();
    w->oldest_epoch = g_new0(Qcow2Epoch, 1);
    s->epoch = w->oldest_epoch;
    return w;
}

void qcow2_write_state_free(Qcow2WriteState *w)
{
    Qcow2State *s;

    if (!w) {
        return;
    }
    g_assert(!w->working && !w->flushing && !w->pending.head);
    g_assert(g_tree_nnodes(w->claims) == 0 && w->cow_bytes == 0);
    s = w->bs->opaque;
    while (w->oldest_epoch) {
        Qcow2Epoch *epoch = w->oldest_epoch;

        g_assert(epoch->in_flight == 0);
        w->oldest_epoch = epoch->next;
        g_free(epoch);
    }
    s->epoch = NULL;
    qcow2_overlap_free(w);
    g_array_free(w->frees, true);
    g_array_free(w->l1_dirty, true);
    g_tree_destroy(w->claims);
    g_ptr_array_free(w->burst, true);
    g_free(w);
}

/* --- pieces --- */

Qcow2Piece *qcow2_piece_new(Qcow2Write *write)
{
    Qcow2Piece *piece = &write->first;

    if (piece->write) {
        piece = g_slice_new0(Qcow2Piece);
    }
    piece->write = write;
    write->pieces++;
    return piece;
}

static void write_part_done(Qcow2WriteState *w, Qcow2Write *write, int ret)
{
    if (ret < 0 && write->ret == 0) {
        write->ret = ret;
    }
    if (--write->pieces == 0) {
        qcow2_write_list_add(&w->finished, write);
    }
}

void qcow2_piece_done(Qcow2WriteState *w, Qcow2Piece *piece, int ret)
{
    Qcow2Write *write = piece->write;

    if (piece != &write->first) {
        g_slice_free(Qcow2Piece, piece);
    }
    write_part_done(w, write, ret);
}

void qcow2_write_planned(Qcow2WriteState *w, Qcow2Write *write, int ret)
{
    write_part_done(w, write, ret);
}

/* --- completion --- */

static void complete(Qcow2Write *write)
{
    BlockRequest *req = write->req;
    int ret = write->ret;

    if (write->epoch) {
        qcow2_epoch_leave(write->epoch);
    }
    g_slice_free(Qcow2Write, write);
    block_request_complete(req, ret);
}

static void complete_list(Qcow2WriteList *list)
{
    AioContext *ctx = aio_context_current();
    Qcow2Write *write = list->head;

    qcow2_write_list_init(list);
    blk_io_plug(ctx);
    while (write) {
        Qcow2Write *next = write->next;

        complete(write);
        write = next;
    }
    blk_io_unplug(ctx);
}

/* Counting ahead takes a flush, which nobody has to wait for but one, so that
 * something is in flight meanwhile. */
static void coroutine_fn fill_entry(void *opaque)
{
    Qcow2Write *write = opaque;

    qcow2_co_fill_ahead(write->bs);
    complete(write);
}

static void fill_ahead(Qcow2WriteList *list)
{
    Qcow2Write *write = list->head;

    if (write->ret == 0 && qcow2_ahead_is_low(write->bs)) {
        list->head = write->next;
        coroutine_enter(coroutine_new(fill_entry, write));
    }
}

static void coroutine_fn flush_entry(void *opaque)
{
    Qcow2WriteState *w = opaque;

    while (w->to_flush.head) {
        Qcow2WriteList list = w->to_flush;
        bool all = w->flush_all;
        int ret;

        qcow2_write_list_init(&w->to_flush);
        w->flush_all = false;
        ret = all ? qcow2_co_flush_for_guest(w->bs)
                  : qcow2_co_write_tables(w->bs);
        for (Qcow2Write *write = list.head; write; write = write->next) {
            write->ret = ret;
        }
        fill_ahead(&list);
        complete_list(&list);
    }
    w->flushing = false;
}

static void flush_bh(void *opaque)
{
    coroutine_enter(coroutine_new(flush_entry, opaque));
}

/* Those that have to wait for a flush are put aside. */
static void put_aside(Qcow2WriteState *w)
{
    bool pressing = qcow2_frees_pressing(w);
    bool behind = qcow2_tables_are_behind(w->bs);
    Qcow2WriteList now;
    Qcow2Write *next;

    qcow2_write_list_init(&now);
    for (Qcow2Write *write = w->finished.head; write; write = next) {
        bool flush = write->ret == 0 && (write->fua || pressing);
        bool wait = flush || (write->ret == 0 && behind);

        next = write->next;
        w->flush_all |= flush;
        qcow2_write_list_add(wait ? &w->to_flush : &now, write);
    }
    w->finished = now;
    if (!now.head) {
        qcow2_write_list_init(&w->finished);
    }
    if (w->to_flush.head && !w->flushing) {
        w->flushing = true;
        aio_bh_once(aio_context_current(), flush_bh, w);
    }
}

void qcow2_complete_finished(Qcow2WriteState *w)
{
    if (w->finished.head) {
        put_aside(w);
        complete_list(&w->finished);
    }
}

/* --- the queue --- */

static int coroutine_fn prepare_first(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    g_autoptr(GError) error = NULL;

    if (s->write_ready) {
        return 0; /* somebody else was faster */
    }
    if (!qcow2_co_bitmaps_before_write(bs, &error)) {
        log_warn("%s", error->message);
        return -EIO;
    }
    s->write_ready = true;
    return 0;
}

static bool has_to_be_dirty(const Qcow2State *s)
{
    return s->use_lazy_refcounts && !qcow2_counts_may_lag(s);
}

/* The bit is in memory while it is being written: nobody takes it for more
 * than that. */
static int coroutine_fn make_dirty(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret;

    s->dirty_stable = false;
    ret = qcow2_co_mark_dirty(bs);
    s->dirty_stable = ret == 0;
    return ret;
}

int coroutine_fn qcow2_co_prepare_write(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    if (s->broken) {
        return -ENOMEDIUM;
    }
    if (s->write_ready && !has_to_be_dirty(s)) {
        return 0;
    }
    co_mutex_lock(&s->write->prepare_lock);
    ret = prepare_first(bs);
    if (ret == 0 && has_to_be_dirty(s)) {
        ret = make_dirty(bs);
    }
    co_mutex_unlock(&s->write->prepare_lock);
    return ret;
}

static void fail_pending(Qcow2WriteState *w, int ret)
{
    for (Qcow2Write *write = w->pending.head; write; write = write->next) {
        write->ret = ret;
    }
    *w->finished.tail = w->pending.head;
    if (w->pending.head) {
        w->finished.tail = w->pending.tail;
    }
    qcow2_write_list_init(&w->pending);
}

static void coroutine_fn work_entry(void *opaque)
{
    Qcow2WriteState *w = opaque;
    Qcow2State *s = w->bs->opaque;

    while (w->pending.head || w->done.head) {
        int ret = w->pending.head ? qcow2_co_prepare_write(w->bs) : 0;

        co_mutex_lock(&s->lock);
        qcow2_co_link_runs(w->bs);
        if (ret < 0) {
            fail_pending(w, ret);
        } else {
            qcow2_co_plan_writes(w->bs);
        }
        co_mutex_unlock(&s->lock);
        qcow2_complete_finished(w);
    }
    w->working = false;
}

static void work_bh(void *opaque)
{
    coroutine_enter(coroutine_new(work_entry, opaque));
}

void qcow2_write_kick(Qcow2WriteState *w)
{
    if (!w->working) {
        w->working = true;
        aio_bh_once(aio_context_current(), work_bh, w);
    }
}

static void wake_write(Qcow2Waiter *waiter)
{
    Qcow2Write *write = (Qcow2Write *)((char *)waiter -
                                       offsetof(Qcow2Write, waiter));
    BlockDriverState *bs = write->bs;
    Qcow2State *s = bs->opaque;

    qcow2_write_list_add(&s->write->pending, write);
    qcow2_write_kick(s->write);
}

void qcow2_write_submit(BlockDriverState *bs, BlockRequest *req)
{
    Qcow2State *s = bs->opaque;
    Qcow2Write *write = g_slice_new0(Qcow2Write);

    write->bs = bs;
    write->req = req;
    write->offset = req->offset;
    write->bytes = req->bytes;
    write->fua = req->flags & BLOCK_REQ_FUA;
    write->waiter.wake = wake_write;
    req->flags &= ~BLOCK_REQ_FUA;
    qcow2_write_list_add(&s->write->pending, write);
    qcow2_write_kick(s->write);
}

/* --- for coroutines --- */

typedef struct CoWrite {
    Coroutine *co;
    int ret;
} CoWrite;

static void co_write_cb(BlockRequest *req, void *opaque, int ret)
{
    CoWrite *call = opaque;

    call->ret = ret;
    coroutine_enter(call->co);
}

int coroutine_fn qcow2_co_write(BlockDriverState *bs, const BlockIo *io)
{
    CoWrite call = { .co = coroutine_self() };
    BlockRequest req = {
        .op = BLOCK_WRITE,
        .offset = io->offset,
        .bytes = io->bytes,
        .iov = io->iov,
        .niov = io->niov,
        .ctx = aio_context_current(),
    };

    if (io->bytes == 0) {
        return 0;
    }
    block_request_init(&req);
    req.flags = io->flags;
    req.engine.stats = &bs->stats;
    block_request_push(&req, co_write_cb, &call);
    qcow2_write_submit(bs, &req);
    coroutine_yield();
    return call.ret;
}
