/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 driver: opens and closes images and decides where a request goes.
 *
 * A read or write whose mapping is in memory and that lies in one allocated
 * stretch of the data file is passed on with another offset. Everything else
 * has to wait for something, in a coroutine of qcow2-read.c, qcow2-write.c
 * and so on. docs/qcow2.rst shows the whole.
 */
#include "qcow2.h"

#include <errno.h>
#include <string.h>

#include "block/debug.h"
#include "block/log.h"
#include "qcow2-close.h"
#include "qcow2-error.h"

#define NS_PER_S 1000000000LL

/* --- requests --- */

/* Clusters are not used anew while a request is on its way to them. */
static void pass_on(BlockDriverState *bs, BlockRequest *req, int64_t host)
{
    Qcow2State *s = bs->opaque;

    block_request_push(req, qcow2_epoch_cb, qcow2_epoch_enter(s));
    req->offset = host;
    bdrv_submit(s->data_file, req);
}

/* Where the one stretch of the data file begins that the request is; -1 when
 * there is none, or it is not known without waiting. */
static inline int64_t find_host(BlockDriverState *bs, const BlockRequest *req,
                                bool *in_place)
{
    const Qcow2State *s = bs->opaque;
    uint64_t entry = qcow2_plain_entry(s, req->offset, req->bytes);
    Qcow2Extent extent;

    if (G_LIKELY(entry)) {
        *in_place = entry & QCOW2_COPIED;
        return (entry & QCOW2_L2_OFFSET) +
               qcow2_offset_in_cluster(s, req->offset);
    }
    if (qcow2_map_cached(bs, req->offset, req->bytes, &extent) != 1 ||
        extent.kind != QCOW2_NORMAL || extent.bytes < req->bytes) {
        return -1;
    }
    *in_place = extent.in_place;
    return extent.host;
}

static void submit_read(BlockDriverState *bs, BlockRequest *req)
{
    const Qcow2State *s = bs->opaque;
    bool in_place;
    int64_t host = find_host(bs, req, &in_place);

    if (G_UNLIKELY(host < 0 ||
                   host > s->data_file->total_bytes - req->bytes)) {
        qcow2_read_submit(bs, req);
        return;
    }
    bdrv_debug_event(bs->file, BLKDBG_READ_AIO);
    pass_on(bs, req, host);
}

/* Whether a write to the data may pass as it is. What leads to the cluster may
 * not be in the file yet: it could be acknowledged before that is. */
static bool may_overwrite(BlockDriverState *bs, const BlockRequest *req,
                          int64_t host)
{
    const Qcow2State *s = bs->opaque;

    if (!s->write_ready || qcow2_tables_are_behind(bs) ||
        ((req->flags & BLOCK_REQ_FUA) && qcow2_is_unflushed(bs))) {
        return false;
    }
    return s->data_file != bs->file ||
           (!(s->overlap_check & QCOW2_OL_INACTIVE_L2) &&
            !qcow2_overlaps(bs, 0, host, req->bytes));
}

static void submit_write(BlockDriverState *bs, BlockRequest *req)
{
    bool in_place;
    int64_t host = find_host(bs, req, &in_place);

    if (G_UNLIKELY(host < 0 || !in_place ||
                   !may_overwrite(bs, req, host))) {
        qcow2_write_submit(bs, req);
        return;
    }
    bdrv_debug_event(bs->file, BLKDBG_WRITE_AIO);
    pass_on(bs, req, host);
}

static int coroutine_fn flush_request(BlockDriverState *bs,
                                      const BlockRequest *req)
{
    return qcow2_co_flush_for_guest(bs);
}

static void submit_flush(BlockDriverState *bs, BlockRequest *req)
{
    Qcow2State *s = bs->opaque;

    if (bs->read_only || (s->data_file == bs->file &&
                          !qcow2_is_unflushed(bs) &&
                          !qcow2_cache_is_dirty(s->l2_cache) &&
                          (qcow2_counts_may_lag(s) ||
                           !qcow2_cache_is_dirty(s->refcount_cache)))) {
        bdrv_submit(bs->file, req);
        return;
    }
    bdrv_submit_co(bs, req, flush_request);
}

static void qcow2_submit(BlockDriverState *bs, BlockRequest *req)
{
    const Qcow2State *s = bs->opaque;

    if (G_UNLIKELY(s->broken)) {
        block_request_complete_later(req, -ENOMEDIUM);
        return;
    }
    switch (req->op) {
    case BLOCK_READ:
        submit_read(bs, req);
        break;
    case BLOCK_WRITE:
        qcow2_track_write(bs, req->offset, req->bytes);
        submit_write(bs, req);
        break;
    case BLOCK_FLUSH:
        submit_flush(bs, req);
        break;
    case BLOCK_DISCARD:
        qcow2_track_write(bs, req->offset, req->bytes);
        qcow2_discard_submit(bs, req);
        break;
    case BLOCK_WRITE_ZEROES:
        qcow2_track_write(bs, req->offset, req->bytes);
        qcow2_write_zeroes_submit(bs, req);
        break;
    default:
        g_assert_not_reached();
    }
}

/* What the tables lead to goes first. */
static int coroutine_fn flush_data_file(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    return s->data_file != bs->file ? bdrv_co_flush(s->data_file) : 0;
}

/* With the L1 entries that lead to them. */
static int coroutine_fn write_l2(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    return qcow2_l1_is_dirty(bs) ? qcow2_cache_flush(s->l2_cache)
                                 : qcow2_cache_write(s->l2_cache);
}

typedef enum FlushWhat {
    FLUSH_ALL,
    FLUSH_FOR_GUEST, /* refcounts where they are needed */
} FlushWhat;

static int coroutine_fn write_caches(BlockDriverState *bs, FlushWhat what)
{
    Qcow2State *s = bs->opaque;
    int ret = write_l2(bs);

    if (ret < 0 || (what == FLUSH_FOR_GUEST && qcow2_counts_may_lag(s))) {
        return ret;
    }
    return qcow2_cache_write(s->refcount_cache);
}

bool qcow2_tables_are_behind(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return bdrv_is_outlived(bs) &&
           (qcow2_cache_is_dirty(s->l2_cache) || qcow2_l1_is_dirty(bs));
}

/* Counts that are too high do no harm. */
int coroutine_fn qcow2_co_write_tables(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = write_l2(bs);
    co_mutex_unlock(&s->lock);
    return ret;
}

static int coroutine_fn flush_metadata(BlockDriverState *bs, FlushWhat what)
{
    Qcow2State *s = bs->opaque;
    Qcow2FlushMark mark;
    int ret = flush_data_file(bs);

    if (ret < 0) {
        return ret;
    }
    co_mutex_lock(&s->lock);
    if (!bdrv_is_outlived(bs)) {
        qcow2_co_give_ahead_back(bs);
    }
    mark = qcow2_flush_mark(bs);
    ret = write_caches(bs, what);
    co_mutex_unlock(&s->lock);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret < 0) {
        return ret;
    }
    co_mutex_lock(&s->lock);
    ret = qcow2_co_flush_done(bs, mark);
    co_mutex_unlock(&s->lock);
    return ret;
}

int coroutine_fn qcow2_co_flush_metadata(BlockDriverState *bs)
{
    return flush_metadata(bs, FLUSH_ALL);
}

int coroutine_fn qcow2_co_flush_for_guest(BlockDriverState *bs)
{
    return flush_metadata(bs, FLUSH_FOR_GUEST);
}

bool coroutine_fn qcow2_co_reload(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;

    g_assert(!qcow2_cache_is_dirty(s->l2_cache) && !qcow2_l1_is_dirty(bs) &&
             !qcow2_cache_is_dirty(s->refcount_cache));
    co_mutex_lock(&s->lock);
    qcow2_cache_empty(s->l2_cache);
    qcow2_cache_empty(s->refcount_cache);
    qcow2_decompressed_forget(bs);
    s->broken = !qcow2_co_read_header(bs, error) ||
                !qcow2_co_read_tables(bs, error);
    co_mutex_unlock(&s->lock);
    return !s->broken;
}

/* --- unused tables are given back --- */

/* A node whose caches are empty is not woken up for them. */
static void rearm_clean_timer(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    if (qcow2_cache_in_use(s->l2_cache) ||
        qcow2_cache_in_use(s->refcount_cache)) {
        qcow2_cache_used(bs);
    }
}

static void clean_timer_cb(void *opaque)
{
    BlockDriverState *bs = opaque;
    Qcow2State *s = bs->opaque;

    qcow2_cache_clean_unused(s->l2_cache);
    qcow2_cache_clean_unused(s->refcount_cache);
    rearm_clean_timer(bs);
}

void qcow2_cache_used(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    if (s->cache_clean_s && !s->clean_timer.armed) {
        aio_timer_arm(&s->clean_timer,
                      aio_context_now_ns(bs->home) +
                          s->cache_clean_s * NS_PER_S);
    }
}

static void qcow2_attach_context(BlockDriverState *bs, AioContext *ctx)
{
    Qcow2State *s = bs->opaque;

    aio_timer_init(&s->clean_timer, ctx, clean_timer_cb, bs);
    if (s->l2_cache) { /* else it is being opened, or inactive */
        rearm_clean_timer(bs);
    }
}

static void qcow2_detach_context(BlockDriverState *bs, AioContext *ctx)
{
    Qcow2State *s = bs->opaque;

    aio_timer_disarm(&s->clean_timer);
}

/* --- open --- */

typedef struct OpenCall {
    BlockDriverState *bs;
    GError **error;
    bool ok;
} OpenCall;

static void coroutine_fn header_entry(void *opaque)
{
    OpenCall *call = opaque;

    call->ok = qcow2_co_read_header(call->bs, call->error);
}

static void coroutine_fn tables_entry(void *opaque)
{
    OpenCall *call = opaque;

    call->ok = qcow2_co_read_tables(call->bs, call->error) &&
               qcow2_co_read_lists(call->bs, call->error);
}

/* What we do not know of might not be true any more once we have written. */
static void coroutine_fn take_over_entry(void *opaque)
{
    OpenCall *call = opaque;
    int ret = qcow2_co_clear_autoclear(call->bs);

    call->ok = ret == 0 ||
               qcow2_error_errno(call->error, ret,
                                 "Could not update qcow2 header");
}

static bool run(BlockDriverState *bs, CoroutineFn *entry, GError **error)
{
    OpenCall call = { .bs = bs, .error = error };

    bdrv_run_co(bs, entry, &call);
    return call.ok;
}

/* Relative names are relative to where we run, as QEMU has it. */
static void name_data_file(BlockDriverState *bs, Options *opts)
{
    const Qcow2State *s = bs->opaque;

    if (s->data_file_name && !options_has(opts, "data-file")) {
        g_autoptr(Options) child = options_new(options_what(opts));

        options_set_str(child, "filename", s->data_file_name);
        options_set_child(opts, "data-file", child);
    }
}

/* To look at metadata only; it may well be missing. */
static bool leave_data_file(BlockDriverState *bs, Options *opts,
                            GError **error)
{
    Qcow2State *s = bs->opaque;
    g_autoptr(Options) child = NULL;
    g_autofree char *name = NULL;

    s->broken = true; /* to whoever reads it all the same */
    return options_take_child(opts, "data-file", &child, error) &&
           (child || options_take_str(opts, "data-file", &name, error));
}

static bool open_data_file(BlockDriverState *bs, Options *opts,
                           GError **error)
{
    Qcow2State *s = bs->opaque;

    if (!qcow2_has_data_file(s)) {
        if (options_has(opts, "data-file")) {
            return qcow2_error(error, "'data-file' can only be set for images "
                               "with an external data file");
        }
        if (qcow2_data_file_is_raw(s)) {
            return qcow2_error(error, "data-file-raw requires a data file");
        }
        return true;
    }
    name_data_file(bs, opts);
    if (!options_has(opts, "data-file")) {
        return qcow2_error(error, "'data-file' is required for this image");
    }
    if (bs->open_flags & BDRV_OPEN_NO_IO) {
        return leave_data_file(bs, opts, error);
    }
    return bdrv_open_child(bs, opts, "data-file", BDRV_CHILD_GROWS,
                           &s->data_file, error);
}

/* Before anything is written: tables may be smaller than blocks. */
static bool prepare_file(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    return s->cluster_size >= bs->file->limits.request_alignment ||
           bdrv_set_block_size(bs->file, s->cluster_size, error);
}

/* Requests go to the data file as they are: its limits are ours, but for
 * what is done about small blocks there. */
static void set_limits(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    bs->limits = s->data_file->limits;
    bs->limits.request_alignment = 1;
    bs->limits.memory_alignment = 1;
    bs->limits.can_discard = true;
    bs->limits.can_write_zeroes = true;
    bs->limits.discard_alignment = s->cluster_size;
}

static void free_state(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    g_clear_pointer(&s->write, qcow2_write_state_free);
    g_clear_pointer(&s->l2_cache, qcow2_cache_free);
    g_clear_pointer(&s->refcount_cache, qcow2_cache_free);
    g_clear_pointer(&s->decompressed, qcow2_decompressed_free);
    g_clear_pointer(&s->l1, g_free);
    g_clear_pointer(&s->reftable, g_free);
    g_clear_pointer(&s->shape.backing_file, g_free);
    g_clear_pointer(&s->shape.data_file_name, g_free);
    qcow2_free_snapshots(bs);
    qcow2_free_bitmaps(bs);
    qcow2_free_header(bs);
}

/* Children, limits and caches are by these. */
static void note_shape(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    s->shape = (Qcow2Shape){
        .cluster_bits = s->cluster_bits,
        .l2_entry_bytes = s->l2_entry_bytes,
        .has_data_file = qcow2_has_data_file(s),
        .data_file_name = g_strdup(s->data_file_name),
        .backing_file = g_strdup(bs->backing_file),
    };
}

static bool check_shape(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;
    const Qcow2Shape *shape = &s->shape;
    const char *what = NULL;

    if (shape->cluster_bits != s->cluster_bits ||
        shape->l2_entry_bytes != s->l2_entry_bytes) {
        what = "cluster size";
    } else if (shape->has_data_file != qcow2_has_data_file(s) ||
               g_strcmp0(shape->data_file_name, s->data_file_name)) {
        what = "data file";
    } else if (g_strcmp0(shape->backing_file, bs->backing_file)) {
        what = "backing file";
    }
    return !what || qcow2_error(error, "the image has another %s than when it "
                                "was opened", what);
}

static void coroutine_fn header_again_entry(void *opaque)
{
    OpenCall *call = opaque;

    call->ok = qcow2_co_read_header(call->bs, call->error) &&
               check_shape(call->bs, call->error);
}

/* The header has been read and the image is ours. */
static bool start(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;

    if (!qcow2_caches_new(bs, error)) {
        return false;
    }
    s->write = qcow2_write_state_new(bs);
    return run(bs, tables_entry, error) &&
           (bs->read_only || run(bs, take_over_entry, error));
}

static bool open_image(BlockDriverState *bs, Options *opts, GError **error)
{
    Qcow2State *s = bs->opaque;

    s->data_file = bs->file; /* until the header has been read */
    if (!run(bs, header_entry, error) ||
        !open_data_file(bs, opts, error) ||
        !qcow2_take_options(bs, opts, error) ||
        !(bs->read_only || prepare_file(bs, error))) {
        return false;
    }
    note_shape(bs);
    set_limits(bs);
    s->decompressed = qcow2_decompressed_new(bs);
    return (bs->inactive || start(bs, error)) &&
           bdrv_open_backing(bs, opts, error);
}

/* What comes from the image does not know whose it is. */
static void name_node(const Options *opts, GError **error)
{
    g_autofree char *prefix = g_strdup_printf("%s: ", options_what(opts));

    if (error && *error && !g_str_has_prefix((*error)->message, prefix)) {
        g_prefix_error(error, "%s", prefix);
    }
}

static bool qcow2_open(BlockDriverState *bs, Options *opts, GError **error)
{
    Qcow2State *s = bs->opaque;

    co_mutex_init(&s->lock);
    s->for_check = bs->open_flags & BDRV_OPEN_CHECK;
    if (!open_image(bs, opts, error)) {
        name_node(opts, error);
        free_state(bs);
        return false;
    }
    return true;
}

/* --- close, other access, other owners --- */

static void qcow2_close(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    if (bdrv_may_write(bs) && !s->broken) {
        qcow2_finish(bs);
    }
    free_state(bs);
}

static void coroutine_fn mend_entry(void *opaque)
{
    OpenCall *call = opaque;

    call->ok = qcow2_co_mend_dirty(call->bs, call->error);
}

static bool qcow2_reopen(BlockDriverState *bs, unsigned flags, GError **error)
{
    const Qcow2State *s = bs->opaque;
    bool read_only = flags & BDRV_OPEN_READ_ONLY;

    if (read_only == bs->read_only) {
        return true;
    }
    if (read_only) {
        return s->broken || qcow2_stop_writing(bs, error);
    }
    if (s->incompatible & QCOW2_INCOMPAT_CORRUPT) {
        return qcow2_error(error, "qcow2: Image is corrupt; cannot be opened "
                           "read/write");
    }
    if (!prepare_file(bs, error) || !run(bs, mend_entry, error) ||
        !run(bs, take_over_entry, error)) {
        return false;
    }
    qcow2_bitmaps_start_tracking(bs);
    return true;
}

static bool qcow2_activate(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;

    s->broken = false;
    if (run(bs, header_again_entry, error) && start(bs, error)) {
        return true;
    }
    qcow2_forget(bs);
    g_prefix_error(error, "Could not reopen qcow2 layer: ");
    return false;
}

static bool qcow2_inactivate(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    if (!bs->read_only && !s->broken && !qcow2_stop_writing(bs, error)) {
        return false;
    }
    qcow2_forget(bs);
    return true;
}

/* --- the table --- */

static int qcow2_probe(const uint8_t *buf, size_t bytes, const char *filename)
{
    Qcow2Header h = { 0 };

    memcpy(&h, buf, MIN(bytes, sizeof(h)));
    return bytes >= sizeof(h) && h.magic == GUINT32_TO_BE(QCOW2_MAGIC) &&
                   GUINT32_FROM_BE(h.version) >= 2
               ? 100
               : 0;
}

static const BlockImageOps qcow2_image_ops = {
    .probe = qcow2_probe,
    .create_options = qcow2_create_options,
    .create = qcow2_create,
    .measure = qcow2_measure,
    .amend = qcow2_amend,
    .co_block_status = qcow2_co_block_status,
    .info = qcow2_info,
    .co_vmstate = qcow2_co_vmstate,
    .co_truncate = qcow2_co_truncate,
    .co_check = qcow2_co_check,
    .co_change_backing = qcow2_co_change_backing,
    .co_make_empty = qcow2_co_make_empty,
    .co_pwrite_compressed = qcow2_co_pwrite_compressed,
    .co_snapshot_create = qcow2_co_snapshot_create,
    .co_snapshot_apply = qcow2_co_snapshot_apply,
    .co_snapshot_delete = qcow2_co_snapshot_delete,
    .co_snapshot_load = qcow2_co_snapshot_load,
    .snapshot_list = qcow2_snapshot_list,
    .bitmap_list = qcow2_bitmap_list,
    .co_bitmap_add = qcow2_co_bitmap_add,
    .co_bitmap_remove = qcow2_co_bitmap_remove,
    .co_bitmap_clear = qcow2_co_bitmap_clear,
    .co_bitmap_enable = qcow2_co_bitmap_enable,
    .co_bitmap_merge = qcow2_co_bitmap_merge,
};

const BlockDriver bdrv_qcow2 = {
    .name = "qcow2",
    .grows_file = true,
    .one_home = true,
    .instance_size = sizeof(Qcow2State),
    .image = &qcow2_image_ops,
    .open = qcow2_open,
    .reopen = qcow2_reopen,
    .activate = qcow2_activate,
    .inactivate = qcow2_inactivate,
    .close = qcow2_close,
    .attach_context = qcow2_attach_context,
    .detach_context = qcow2_detach_context,
    .submit = qcow2_submit,
};
