/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bitmaps that are enabled note what is written, until it is stored when the
 * image is closed.
 *
 * How it works: only what was set since is kept in memory and put on top of
 * what is on the disk at the end. Before the first write the bitmaps are
 * marked as in use on the disk, after the last they are not: whoever finds
 * the mark in between knows that the bitmap misses something. Bitmaps that
 * are not enabled are left alone.
 *
 * An image may have 65535 bitmaps, each of which takes memory for each region
 * of the disk that is written to. There is a limit to that: beyond it they
 * are given up, and stay marked.
 */
#include "qcow2-bitmap.h"

#include <errno.h>
#include <string.h>

#include "block/log.h"
#include "qcow2-error.h"

#define MAX_TABLE_ENTRIES_AT_OPEN (1024 * 1024)
#define MAX_PENDING_MIB 128 /* one bitmap of granularity 64K: 64 TiB */

bool qcow2_bitmap_is_stale(const Qcow2Bitmap *bitmap)
{
    if (bitmap->lost) {
        return true;
    }
    if (bitmap->extra_bytes &&
        !(bitmap->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE)) {
        return true;
    }
    return (bitmap->flags & QCOW2_BITMAP_IN_USE) && !bitmap->in_use;
}

static bool wants_tracking(const Qcow2Bitmap *bitmap)
{
    return (bitmap->flags & QCOW2_BITMAP_AUTO) &&
           !qcow2_bitmap_is_stale(bitmap);
}

static bool is_tracked(const BlockDriverState *bs, const Qcow2Bitmap *bitmap)
{
    return !bs->read_only && wants_tracking(bitmap);
}

void qcow2_bitmaps_start_tracking(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    s->tracking = false;
    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        if (!wants_tracking(bitmap)) {
            g_clear_pointer(&bitmap->pending, qcow2_bits_free);
            continue;
        }
        s->tracking = true;
        if (!bitmap->pending) {
            bitmap->pending = qcow2_bits_new(&s->pending_bytes);
        }
    }
}

void qcow2_bitmaps_update_tracking(BlockDriverState *bs)
{
    if (!bs->read_only) {
        qcow2_bitmaps_start_tracking(bs);
    }
}

/* What they noted goes, the objects stay: one may be being stored. */
static void give_up(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < s->bitmaps->len; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        if (is_tracked(bs, bitmap)) {
            bitmap->lost = true;
            if (bitmap->pending) {
                qcow2_bits_truncate(bitmap->pending, 0);
            }
        }
    }
    s->tracking = false;
    log_warn("qcow2: '%s': dirty bitmaps take more than %u MiB of memory: "
             "writes are not noted any more, the bitmaps stay marked as in "
             "use", bs->node_name, MAX_PENDING_MIB);
}

void qcow2_bitmaps_note(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    Qcow2State *s = bs->opaque;

    for (unsigned i = 0; bytes > 0 && i < s->bitmaps->len; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        if (s->pending_bytes > (int64_t)MAX_PENDING_MIB << 20) {
            give_up(bs);
            return;
        }
        if ((bitmap->flags & QCOW2_BITMAP_AUTO) && bitmap->pending) {
            uint64_t first = offset >> bitmap->granularity_bits;
            uint64_t last = (offset + bytes - 1) >> bitmap->granularity_bits;

            qcow2_bits_set(bitmap->pending, first, last - first + 1);
        }
    }
}

/* --- open --- */

static bool coroutine_fn read_directory(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2BitmapLimits limits = { s->bitmap_count, s->cluster_size };
    g_autofree uint8_t *bytes = g_try_malloc(s->bitmap_directory_bytes);
    int ret;

    if (!bytes) {
        return qcow2_error(error,
                           "Failed to allocate space for bitmap directory");
    }
    ret = qcow2_co_read_file(bs->file, s->bitmap_directory_offset,
                             s->bitmap_directory_bytes, bytes);
    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Failed to read bitmap directory");
    }
    s->bitmaps = qcow2_bitmap_directory_parse(bytes,
                                              s->bitmap_directory_bytes,
                                              &limits, error);
    return s->bitmaps != NULL;
}

/* The table is only looked at, while there is not too much of it: it is read
 * again when it is needed. */
static bool coroutine_fn check_table(BlockDriverState *bs,
                                     const Qcow2Bitmap *bitmap,
                                     int64_t *budget, GError **error)
{
    g_autofree uint64_t *table = NULL;
    int ret = 0;

    if (bitmap->flags & QCOW2_BITMAP_IN_USE) {
        return true;
    }
    if (!qcow2_bitmap_size_valid(bs, bitmap)) {
        return qcow2_error_errno(error, -EINVAL, "Could not read bitmap '%s' "
                                 "from image", bitmap->name);
    }
    *budget -= bitmap->table_entries;
    if (*budget >= 0) {
        ret = qcow2_bitmap_read_table(bs, bitmap, &table);
    }
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Could not read bitmap_table table "
                             "from image for bitmap '%s'", bitmap->name);
}

bool coroutine_fn qcow2_co_check_bitmap_tables(BlockDriverState *bs,
                                               GError **error)
{
    const Qcow2State *s = bs->opaque;
    int64_t budget = MAX_TABLE_ENTRIES_AT_OPEN;

    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        if (!check_table(bs, s->bitmaps->pdata[i], &budget, error)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn qcow2_co_read_bitmaps(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;

    qcow2_free_bitmaps(bs);
    if (s->bitmap_count == 0) {
        return true;
    }
    if (s->bitmap_directory_bytes == 0) {
        return qcow2_error(error, "Requested bitmap directory size is zero");
    }
    if (s->bitmap_directory_bytes > QCOW2_MAX_BITMAP_DIRECTORY_BYTES) {
        return qcow2_error(error, "Requested bitmap directory size is too "
                           "big");
    }
    if (!read_directory(bs, error)) {
        return false;
    }
    qcow2_bitmap_directory_placed(s->bitmaps, s->bitmap_directory_offset);
    qcow2_bitmaps_update_tracking(bs);
    return true;
}

void qcow2_free_bitmaps(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    s->tracking = false;
    s->bitmaps_in_use = false;
    g_clear_pointer(&s->bitmaps, g_ptr_array_unref);
}

/* --- in use, and not --- */

static int coroutine_fn mark(BlockDriverState *bs, Qcow2Bitmap *bitmap)
{
    int ret;

    if (bitmap->in_use) {
        return 0;
    }
    ret = qcow2_bitmap_write_flags(bs, bitmap,
                                   bitmap->flags | QCOW2_BITMAP_IN_USE);
    bitmap->in_use = ret == 0;
    return ret;
}

/* All that it holds is stable. One that is lost stays as it is. */
static int coroutine_fn unmark(BlockDriverState *bs, Qcow2Bitmap *bitmap)
{
    int ret;

    if (bitmap->lost) {
        return 0;
    }
    ret = qcow2_bitmap_write_flags(bs, bitmap,
                                   bitmap->flags & ~QCOW2_BITMAP_IN_USE);
    bitmap->in_use = ret < 0;
    return ret;
}

static int coroutine_fn mark_tracked(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    if (s->bitmaps_in_use) {
        return 0;
    }
    for (unsigned i = 0; s->tracking && i < s->bitmaps->len && ret == 0;
         i++) {
        if (is_tracked(bs, s->bitmaps->pdata[i])) {
            ret = mark(bs, s->bitmaps->pdata[i]);
        }
    }
    if (ret == 0 && s->tracking) {
        ret = bdrv_co_flush(bs->file);
    }
    s->bitmaps_in_use = ret == 0;
    return ret;
}

bool coroutine_fn qcow2_co_bitmaps_before_write(BlockDriverState *bs,
                                                GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = mark_tracked(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 || qcow2_error_errno(error, ret, "%s: Failed to make "
                                         "dirty bitmaps writable",
                                         bs->node_name);
}

static int coroutine_fn flush_all(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = qcow2_cache_flush(s->refcount_cache);

    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}

static int coroutine_fn store_locked(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    for (unsigned i = 0; i < s->bitmaps->len && ret == 0; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        if (bitmap->in_use) {
            ret = qcow2_bitmap_write_pending(bs, bitmap);
        }
    }
    if (ret == 0) {
        ret = flush_all(bs);
    }
    for (unsigned i = 0; i < s->bitmaps->len && ret == 0; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        if (bitmap->in_use) {
            ret = unmark(bs, bitmap);
        }
    }
    if (ret == 0) {
        s->bitmaps_in_use = false;
        ret = bdrv_co_flush(bs->file);
    }
    return ret;
}

bool coroutine_fn qcow2_co_bitmaps_store(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret;

    if (!s->bitmaps_in_use || !s->bitmaps) {
        return true;
    }
    co_mutex_lock(&s->lock);
    ret = store_locked(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Lost persistent bitmaps during "
                             "inactivation of node '%s'", bs->node_name);
}

int coroutine_fn qcow2_bitmaps_begin_resize(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    if (!s->bitmaps || s->bitmaps->len == 0) {
        return 0;
    }
    for (unsigned i = 0; i < s->bitmaps->len && ret == 0; i++) {
        ret = mark(bs, s->bitmaps->pdata[i]);
    }
    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}

int coroutine_fn qcow2_bitmap_begin(BlockDriverState *bs, Qcow2Bitmap *bitmap)
{
    int ret;

    if (bitmap->in_use) {
        return 0;
    }
    ret = mark(bs, bitmap);
    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}

bool qcow2_bitmap_stays_in_use(BlockDriverState *bs,
                               const Qcow2Bitmap *bitmap)
{
    const Qcow2State *s = bs->opaque;

    return s->bitmaps_in_use && is_tracked(bs, bitmap);
}

int coroutine_fn qcow2_bitmap_end(BlockDriverState *bs, Qcow2Bitmap *bitmap)
{
    int ret = qcow2_bitmap_write_pending(bs, bitmap);

    if (ret == 0) {
        ret = flush_all(bs);
    }
    if (ret < 0 || qcow2_bitmap_stays_in_use(bs, bitmap)) {
        return ret;
    }
    ret = unmark(bs, bitmap);
    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}
