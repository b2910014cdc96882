/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bitmaps are as long as the disk: their tables follow when it is resized.
 * While the sizes differ they are in use.
 */
#include "qcow2-bitmap.h"

#include <errno.h>
#include <string.h>

#include "qcow2-error.h"

/* A table that was replaced, and what of its clusters nobody has now. */
typedef struct OldTable {
    uint64_t offset;
    uint64_t *table;
    uint32_t entries, kept;
} OldTable;

static void old_table_free(void *opaque)
{
    OldTable *old = opaque;

    g_free(old->table);
    g_free(old);
}

bool qcow2_bitmaps_allow_resize(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        const Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        if (qcow2_bitmap_is_stale(bitmap)) {
            return qcow2_error(error, "Bitmap '%s' is inconsistent and cannot "
                               "be used\nTry block-dirty-bitmap-remove to "
                               "delete this bitmap from disk", bitmap->name);
        }
    }
    return true;
}

/* Bits behind the end of the disk are 0 in the last cluster. */
static int coroutine_fn clear_tail(BlockDriverState *bs,
                                   const Qcow2Bitmap *bitmap,
                                   const OldTable *old)
{
    const Qcow2State *s = bs->opaque;
    uint64_t bits = qcow2_bitmap_bits(bitmap, bs->total_bytes);
    uint64_t in_last = bits - (uint64_t)(old->kept - 1) * s->cluster_size * 8;
    uint64_t offset = old->table[old->kept - 1] & QCOW2_BITMAP_ENTRY_OFFSET;
    g_autofree uint8_t *buf = NULL;
    int ret;

    if (offset == 0 || in_last >= (uint64_t)s->cluster_size * 8) {
        return 0;
    }
    buf = g_malloc(s->cluster_size);
    ret = qcow2_co_read_file(bs->file, offset, s->cluster_size, buf);
    if (ret < 0) {
        return ret;
    }
    for (; in_last % 8; in_last++) {
        buf[in_last / 8] &= ~(1U << (in_last % 8));
    }
    memset(buf + in_last / 8, 0, s->cluster_size - in_last / 8);
    ret = qcow2_co_check_overlap(bs, 0, offset, s->cluster_size);
    return ret < 0 ? ret : bdrv_co_pwrite(bs->file, offset, s->cluster_size,
                                          buf, 0);
}

static int coroutine_fn replace_table(BlockDriverState *bs,
                                      Qcow2Bitmap *bitmap, uint32_t entries,
                                      GPtrArray *old_tables)
{
    OldTable *old = g_new0(OldTable, 1);
    g_autofree uint64_t *table = g_new0(uint64_t, entries);
    int ret;

    g_ptr_array_add(old_tables, old);
    old->offset = bitmap->table_offset;
    old->entries = bitmap->table_entries;
    old->kept = MIN(entries, old->entries);
    ret = qcow2_bitmap_read_table(bs, bitmap, &old->table);
    if (ret == 0) {
        memcpy(table, old->table, old->kept * sizeof(*table));
        ret = qcow2_bitmap_new_table(bs, bitmap, table, entries);
    }
    return ret;
}

/* Only one that shrinks can have set what is behind its end. */
static int coroutine_fn resize_bitmap(BlockDriverState *bs,
                                      Qcow2Bitmap *bitmap,
                                      GPtrArray *old_tables)
{
    const Qcow2State *s = bs->opaque;
    uint64_t entries = qcow2_bitmap_clusters(s, bitmap, bs->total_bytes);
    int ret = replace_table(bs, bitmap, MAX(entries, 1), old_tables);

    if (ret == 0) {
        ret = clear_tail(bs, bitmap, old_tables->pdata[old_tables->len - 1]);
    }
    if (ret == 0 && bitmap->pending) {
        qcow2_bits_truncate(bitmap->pending,
                            qcow2_bitmap_bits(bitmap, bs->total_bytes));
    }
    if (!qcow2_bitmap_stays_in_use(bs, bitmap)) {
        bitmap->flags &= ~QCOW2_BITMAP_IN_USE;
    }
    return ret;
}

/* Back to the tables that are still in force on the disk. */
static void coroutine_fn undo(BlockDriverState *bs, GPtrArray *old_tables)
{
    const Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < old_tables->len; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];
        const OldTable *old = old_tables->pdata[i];

        if (bitmap->table_offset != old->offset) {
            qcow2_bitmap_free_table(bs, bitmap->table_offset,
                                    bitmap->table_entries);
            bitmap->table_offset = old->offset;
            bitmap->table_entries = old->entries;
        }
        bitmap->flags |= QCOW2_BITMAP_IN_USE;
    }
}

static void coroutine_fn free_old(BlockDriverState *bs, GPtrArray *old_tables)
{
    for (unsigned i = 0; i < old_tables->len; i++) {
        const OldTable *old = old_tables->pdata[i];

        qcow2_bitmap_free_clusters(bs, old->table, old->kept, old->entries);
        qcow2_bitmap_free_table(bs, old->offset, old->entries);
    }
}

static void not_in_use(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    for (unsigned i = 0; i < s->bitmaps->len; i++) {
        Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];

        bitmap->in_use = qcow2_bitmap_stays_in_use(bs, bitmap);
    }
}

int coroutine_fn qcow2_bitmaps_resize(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    g_autoptr(GPtrArray) old_tables =
        g_ptr_array_new_with_free_func(old_table_free);
    int ret = 0;

    if (!s->bitmaps || s->bitmaps->len == 0) {
        return 0;
    }
    for (unsigned i = 0; i < s->bitmaps->len && ret == 0; i++) {
        ret = resize_bitmap(bs, s->bitmaps->pdata[i], old_tables);
    }
    if (ret == 0) {
        ret = qcow2_bitmaps_write_directory(bs);
    }
    if (ret < 0) {
        undo(bs, old_tables);
    } else {
        not_in_use(bs);
        free_old(bs, old_tables);
    }
    return ret;
}
