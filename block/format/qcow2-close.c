/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stops writing to an image: bitmaps, tables and counts go to the disk, the
 * dirty bit is cleared, the file is cut to its length. Called by qcow2.c when
 * a node is closed, becomes read-only, or is given to another process.
 */
#include "qcow2-close.h"

#include "block/log.h"
#include "qcow2-error.h"

/* Whether the file is to be told anything that it has not been told. */
static bool has_changes(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return qcow2_is_unflushed(bs) || qcow2_l1_is_dirty(bs) ||
           qcow2_cache_is_dirty(s->l2_cache) ||
           qcow2_cache_is_dirty(s->refcount_cache);
}

static void coroutine_fn store_bitmaps(BlockDriverState *bs)
{
    g_autoptr(GError) error = NULL;

    if (!qcow2_co_bitmaps_store(bs, &error)) {
        log_error("%s", error->message);
    }
}

static int coroutine_fn finish_file(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = s->found_dirty ? 0 : qcow2_co_mark_clean(bs);

    return ret < 0 ? ret : qcow2_co_trim_file(bs);
}

/* --- for good --- */

static int coroutine_fn flush_last(BlockDriverState *bs, Qcow2Cache *cache,
                                   const char *what)
{
    Qcow2State *s = bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = qcow2_cache_flush(cache);
    co_mutex_unlock(&s->lock);
    if (ret < 0) {
        log_error("Failed to flush the %s cache: %s", what, g_strerror(-ret));
    }
    return ret;
}

/* Nobody comes after this: where it fails, each cache is tried once more, for
 * itself. A flush with no changes before it fails for nobody. */
static bool coroutine_fn settle_last(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int l2_ret, refcount_ret;

    if (!has_changes(bs)) {
        qcow2_co_flush_metadata(bs);
        return true;
    }
    if (qcow2_co_settle(bs) == 0) {
        return true;
    }
    l2_ret = flush_last(bs, s->l2_cache, "L2 table");
    refcount_ret = flush_last(bs, s->refcount_cache, "refcount block");
    return l2_ret == 0 && refcount_ret == 0;
}

/* An image that stays dirty, or longer than it has to be, is as good. */
static void coroutine_fn close_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    Qcow2State *s = bs->opaque;

    co_mutex_lock(&s->lock);
    qcow2_co_give_ahead_back(bs);
    co_mutex_unlock(&s->lock);
    store_bitmaps(bs);
    if (settle_last(bs)) {
        finish_file(bs);
    }
}

void qcow2_finish(BlockDriverState *bs)
{
    bdrv_run_co(bs, close_entry, bs);
}

/* --- for a while --- */

typedef struct StopCall {
    BlockDriverState *bs;
    int ret;
} StopCall;

/* All that is known is on the disk when it has ended. Whoever writes after
 * that, also when it failed, prepares the image for it again. */
static void coroutine_fn stop_entry(void *opaque)
{
    StopCall *call = opaque;
    BlockDriverState *bs = call->bs;
    Qcow2State *s = bs->opaque;

    s->write_ready = false;
    store_bitmaps(bs);
    call->ret = qcow2_co_settle(bs);
    if (call->ret == 0) {
        call->ret = finish_file(bs);
    }
}

bool qcow2_stop_writing(BlockDriverState *bs, GError **error)
{
    StopCall call = { .bs = bs };

    bdrv_run_co(bs, stop_entry, &call);
    return call.ret == 0 ||
           qcow2_error_errno(error, call.ret,
                             "Could not write the image's metadata");
}

/* Where the node is at home: there its timer is. */
static void coroutine_fn forget_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    Qcow2State *s = bs->opaque;

    aio_timer_disarm(&s->clean_timer);
    qcow2_decompressed_forget(bs);
    qcow2_free_bitmaps(bs);
    qcow2_free_snapshots(bs);
    g_clear_pointer(&s->write, qcow2_write_state_free);
    g_clear_pointer(&s->l2_cache, qcow2_cache_free);
    g_clear_pointer(&s->refcount_cache, qcow2_cache_free);
    g_clear_pointer(&s->l1, g_free);
    g_clear_pointer(&s->reftable, g_free);
    s->write_ready = false;
    s->holes_looked_for = false;
    s->found_dirty = false;
}

void qcow2_forget(BlockDriverState *bs)
{
    bdrv_run_co(bs, forget_entry, bs);
}
