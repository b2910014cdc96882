/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tools do with the bitmaps of an image: make, remove, clear, enable,
 * disable, merge them. Messages are those of qemu-img bitmap.
 *
 * An operation puts the bitmap in use while it changes it: interrupted, it
 * leaves one that says of itself that it is not to be trusted.
 */
#include "qcow2-bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "qcow2-error.h"

#define DEFAULT_GRANULARITY_MIN 4096
#define DEFAULT_GRANULARITY_MAX 65536

GPtrArray *qcow2_bitmap_list(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    GPtrArray *list;

    if (s->version < 3) {
        return NULL;
    }
    list = g_ptr_array_new_with_free_func(block_bitmap_info_free);
    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        const Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];
        BlockBitmapInfo *info = g_new0(BlockBitmapInfo, 1);

        info->name = g_strdup(bitmap->name);
        info->granularity = 1U << bitmap->granularity_bits;
        info->in_use = bitmap->flags & QCOW2_BITMAP_IN_USE;
        info->autoload = bitmap->flags & QCOW2_BITMAP_AUTO;
        g_ptr_array_add(list, info);
    }
    return list;
}

static Qcow2Bitmap *find(const Qcow2State *s, const char *name,
                         unsigned *index)
{
    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        if (strcmp(bitmap->name, name) == 0) {
            *index = i;
            return bitmap;
        }
    }
    return NULL;
}

static Qcow2Bitmap *need(const Qcow2State *s, const char *name,
                         unsigned *index, GError **error)
{
    Qcow2Bitmap *bitmap = find(s, name, index);

    if (!bitmap) {
        qcow2_error(error, "Dirty bitmap '%s' not found", name);
    }
    return bitmap;
}

Qcow2Bitmap *qcow2_bitmap_need_good(BlockDriverState *bs, const char *name,
                                    GError **error)
{
    unsigned index;
    Qcow2Bitmap *bitmap = need(bs->opaque, name, &index, error);

    if (bitmap && qcow2_bitmap_is_stale(bitmap)) {
        qcow2_error(error, "Bitmap '%s' is inconsistent and cannot be used\n"
                    "Try block-dirty-bitmap-remove to delete this bitmap from "
                    "disk", name);
        return NULL;
    }
    return bitmap;
}

/* --- add --- */

static uint32_t default_granularity(const Qcow2State *s)
{
    return CLAMP(s->cluster_size, DEFAULT_GRANULARITY_MIN,
                 DEFAULT_GRANULARITY_MAX);
}

/* Its length is looked at with the rest of what has to be stored. */
static bool check_name(const Qcow2State *s, const char *name, GError **error)
{
    unsigned index;

    if (!*name) {
        return qcow2_error(error, "Bitmap name cannot be empty");
    }
    return !find(s, name, &index) ||
           qcow2_error(error, "Bitmap already exists: %s", name);
}

static bool check_room(BlockDriverState *bs, const Qcow2Bitmap *bitmap,
                       GError **error)
{
    const Qcow2State *s = bs->opaque;
    uint64_t clusters = qcow2_bitmap_clusters(s, bitmap, bs->total_bytes);
    const char *why = NULL;

    if (s->version < 3) {
        why = "Cannot store dirty bitmaps in qcow2 v2 files";
    } else if (s->bitmap_count >= QCOW2_MAX_BITMAPS) {
        why = "Maximum number of persistent bitmaps is already reached";
    } else if (clusters == 0) {
        why = "The disk has no size";
    } else if (strlen(bitmap->name) > QCOW2_BITMAP_MAX_NAME) {
        why = "Name length exceeds maximum "
              "(" G_STRINGIFY(QCOW2_BITMAP_MAX_NAME) " characters)";
    } else if (clusters > (uint64_t)QCOW2_BITMAP_MAX_BYTES >> s->cluster_bits) {
        why = "Too much space will be occupied by the bitmap. Use larger "
              "granularity";
    }
    return !why ||
           qcow2_error(error, "Can't make bitmap '%s' persistent in '%s': %s",
                       bitmap->name, bs->node_name, why);
}

static Qcow2Bitmap *new_bitmap(const char *name, uint32_t granularity)
{
    Qcow2Bitmap *bitmap = g_new0(Qcow2Bitmap, 1);

    bitmap->name = g_strdup(name);
    bitmap->name_bytes = strlen(name);
    bitmap->flags = QCOW2_BITMAP_AUTO;
    bitmap->granularity_bits = g_bit_nth_lsf(granularity, -1);
    return bitmap;
}

static int coroutine_fn add_locked(BlockDriverState *bs, Qcow2Bitmap *bitmap)
{
    Qcow2State *s = bs->opaque;
    uint32_t entries = qcow2_bitmap_clusters(s, bitmap, bs->total_bytes);
    g_autofree uint64_t *table = g_new0(uint64_t, entries);
    int ret = qcow2_bitmap_new_table(bs, bitmap, table, entries);

    if (ret < 0) {
        qcow2_bitmap_free(bitmap);
        return ret;
    }
    if (!s->bitmaps) {
        s->bitmaps = g_ptr_array_new_with_free_func(qcow2_bitmap_free);
    }
    g_ptr_array_add(s->bitmaps, bitmap);
    if (s->bitmaps_in_use) {
        bitmap->flags |= QCOW2_BITMAP_IN_USE;
        bitmap->in_use = true;
    }
    ret = qcow2_bitmaps_write_directory(bs);
    if (ret < 0) {
        qcow2_bitmap_free_table(bs, bitmap->table_offset, entries);
        g_ptr_array_remove_index(s->bitmaps, s->bitmaps->len - 1);
    }
    return ret;
}

bool coroutine_fn qcow2_co_bitmap_add(BlockDriverState *bs, const char *name,
                                      uint32_t granularity, GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2Bitmap *bitmap;
    int ret;

    granularity = granularity ? granularity : default_granularity(s);
    if (granularity < 1U << QCOW2_BITMAP_MIN_GRANULARITY_BITS ||
        (granularity & (granularity - 1))) {
        return qcow2_error(error, "Granularity must be power of 2 and at "
                           "least 512");
    }
    if (!qcow2_may_change(bs, error) || !check_name(s, name, error)) {
        return false;
    }
    bitmap = new_bitmap(name, granularity);
    if (!check_room(bs, bitmap, error)) {
        qcow2_bitmap_free(bitmap);
        return false;
    }
    co_mutex_lock(&s->lock);
    ret = add_locked(bs, bitmap);
    qcow2_bitmaps_update_tracking(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to write bitmap '%s' to "
                             "file", name);
}

/* --- remove --- */

static int coroutine_fn remove_locked(BlockDriverState *bs, unsigned index)
{
    Qcow2State *s = bs->opaque;
    Qcow2Bitmap *bitmap = g_ptr_array_steal_index(s->bitmaps, index);
    g_autofree uint64_t *table = NULL;
    int ret = qcow2_bitmaps_write_directory(bs);

    if (ret < 0) {
        g_ptr_array_insert(s->bitmaps, index, bitmap);
        return ret;
    }
    /* of a table that is broken nothing is freed: a check finds the leak */
    if (qcow2_bitmap_read_table(bs, bitmap, &table) == 0) {
        qcow2_bitmap_free_clusters(bs, table, 0, bitmap->table_entries);
        qcow2_bitmap_free_table(bs, bitmap->table_offset,
                                bitmap->table_entries);
    }
    qcow2_bitmap_free(bitmap);
    return 0;
}

bool coroutine_fn qcow2_co_bitmap_remove(BlockDriverState *bs,
                                         const char *name, GError **error)
{
    Qcow2State *s = bs->opaque;
    unsigned index;
    int ret;

    if (!qcow2_may_change(bs, error) || !need(s, name, &index, error)) {
        return false;
    }
    co_mutex_lock(&s->lock);
    ret = remove_locked(bs, index);
    qcow2_bitmaps_update_tracking(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to update bitmap extension");
}

/* --- clear, enable --- */

static int coroutine_fn clear_locked(BlockDriverState *bs,
                                     Qcow2Bitmap *bitmap)
{
    int ret = qcow2_bitmap_begin(bs, bitmap);

    if (ret == 0) {
        ret = qcow2_bitmap_clear_data(bs, bitmap);
    }
    if (ret == 0 && bitmap->pending) {
        qcow2_bits_truncate(bitmap->pending, 0);
    }
    return ret == 0 ? qcow2_bitmap_end(bs, bitmap) : ret;
}

bool coroutine_fn qcow2_co_bitmap_clear(BlockDriverState *bs,
                                        const char *name, GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2Bitmap *bitmap = qcow2_bitmap_need_good(bs, name, error);
    int ret;

    if (!bitmap || !qcow2_may_change(bs, error)) {
        return false;
    }
    co_mutex_lock(&s->lock);
    ret = clear_locked(bs, bitmap);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to write bitmap '%s' to "
                             "file", name);
}

static int coroutine_fn enable_locked(BlockDriverState *bs,
                                      Qcow2Bitmap *bitmap, bool on)
{
    uint32_t flags = (bitmap->flags & ~QCOW2_BITMAP_AUTO) |
                     (on ? QCOW2_BITMAP_AUTO : 0);
    int ret = qcow2_bitmap_begin(bs, bitmap);

    if (ret == 0) {
        ret = qcow2_bitmap_write_flags(bs, bitmap,
                                       flags | QCOW2_BITMAP_IN_USE);
    }
    return ret == 0 ? qcow2_bitmap_end(bs, bitmap) : ret;
}

bool coroutine_fn qcow2_co_bitmap_enable(BlockDriverState *bs,
                                         const char *name, bool on,
                                         GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2Bitmap *bitmap = qcow2_bitmap_need_good(bs, name, error);
    int ret;

    if (!bitmap || !qcow2_may_change(bs, error)) {
        return false;
    }
    co_mutex_lock(&s->lock);
    ret = enable_locked(bs, bitmap, on);
    qcow2_bitmaps_update_tracking(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to write bitmap '%s' to "
                             "file", name);
}
