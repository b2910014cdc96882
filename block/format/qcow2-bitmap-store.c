/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table and the clusters of a bitmap, and the directory of all of them,
 * in the file.
 *
 * A bitmap's data is changed in place: the caller has put it in use, so that
 * after a crash nobody trusts it. Tables and directory are not: what is in
 * force points only to what is counted and complete.
 */
#include "qcow2-bitmap.h"

#include <errno.h>
#include <string.h>

#define ENTRY_BYTES 8

uint64_t qcow2_bitmap_bits(const Qcow2Bitmap *bitmap, int64_t disk_bytes)
{
    uint64_t granularity = UINT64_C(1) << bitmap->granularity_bits;

    return (disk_bytes + granularity - 1) >> bitmap->granularity_bits;
}

uint64_t qcow2_bitmap_clusters(const Qcow2State *s, const Qcow2Bitmap *bitmap,
                               int64_t disk_bytes)
{
    uint64_t bits = qcow2_bitmap_bits(bitmap, disk_bytes);

    return qcow2_size_to_clusters(s, (bits + 7) / 8);
}

bool qcow2_bitmap_size_valid(BlockDriverState *bs, const Qcow2Bitmap *bitmap)
{
    uint64_t clusters = qcow2_bitmap_clusters(bs->opaque, bitmap,
                                              bs->total_bytes);

    return (bitmap->flags & QCOW2_BITMAP_IN_USE) ||
           bitmap->table_entries == MAX(clusters, 1);
}

/* --- tables --- */

bool qcow2_bitmap_entry_valid(const Qcow2State *s, uint64_t entry)
{
    uint64_t offset = entry & QCOW2_BITMAP_ENTRY_OFFSET;

    return !(entry & QCOW2_BITMAP_ENTRY_RESERVED) &&
           !qcow2_offset_in_cluster(s, offset) &&
           !(offset && (entry & QCOW2_BITMAP_ENTRY_ONES));
}

int coroutine_fn qcow2_bitmap_read_table(BlockDriverState *bs,
                                         const Qcow2Bitmap *bitmap,
                                         uint64_t **table)
{
    const Qcow2State *s = bs->opaque;
    int ret = qcow2_co_read_table(bs->file, bitmap->table_offset,
                                  bitmap->table_entries, table);

    if (ret < 0) {
        return ret;
    }
    for (uint32_t i = 0; i < bitmap->table_entries; i++) {
        if (!qcow2_bitmap_entry_valid(s, (*table)[i])) {
            g_clear_pointer(table, g_free);
            return -EINVAL;
        }
    }
    return 0;
}

static int coroutine_fn write_checked(BlockDriverState *bs, uint64_t offset,
                                      uint64_t bytes, const void *buf)
{
    int ret = qcow2_co_check_overlap(bs, 0, offset, bytes);

    return ret == 0 ? qcow2_co_write_file(bs->file, offset, bytes, buf) : ret;
}

static int coroutine_fn write_table(BlockDriverState *bs, uint64_t offset,
                                    const uint64_t *table, uint32_t entries)
{
    g_autofree uint64_t *be = g_try_new(uint64_t, entries);

    if (!be) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < entries; i++) {
        be[i] = GUINT64_TO_BE(table[i]);
    }
    return write_checked(bs, offset, (uint64_t)entries * ENTRY_BYTES, be);
}

int coroutine_fn qcow2_bitmap_new_table(BlockDriverState *bs,
                                        Qcow2Bitmap *bitmap,
                                        const uint64_t *table,
                                        uint32_t entries)
{
    int64_t offset =
        qcow2_co_alloc_clusters(bs, (uint64_t)entries * ENTRY_BYTES);
    int ret;

    if (offset < 0) {
        return offset;
    }
    ret = write_table(bs, offset, table, entries);
    if (ret < 0) {
        qcow2_bitmap_free_table(bs, offset, entries);
        return ret;
    }
    bitmap->table_offset = offset;
    bitmap->table_entries = entries;
    return 0;
}

void coroutine_fn qcow2_bitmap_free_table(BlockDriverState *bs,
                                          uint64_t offset, uint32_t entries)
{
    qcow2_co_free_clusters(bs, offset, (uint64_t)entries * ENTRY_BYTES,
                           QCOW2_DISCARD_OTHER);
}

void coroutine_fn qcow2_bitmap_free_clusters(BlockDriverState *bs,
                                             const uint64_t *table,
                                             uint32_t first, uint32_t end)
{
    const Qcow2State *s = bs->opaque;

    for (uint32_t i = first; i < end; i++) {
        uint64_t offset = table[i] & QCOW2_BITMAP_ENTRY_OFFSET;

        if (offset) {
            qcow2_co_free_clusters(bs, offset, s->cluster_size,
                                   QCOW2_DISCARD_OTHER);
        }
    }
}

int coroutine_fn qcow2_bitmap_clear_data(BlockDriverState *bs,
                                         const Qcow2Bitmap *bitmap)
{
    g_autofree uint64_t *zeroes = g_new0(uint64_t, bitmap->table_entries);
    g_autofree uint64_t *table = NULL;
    int ret = qcow2_bitmap_read_table(bs, bitmap, &table);

    if (ret == 0) {
        ret = write_table(bs, bitmap->table_offset, zeroes,
                          bitmap->table_entries);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret == 0) {
        qcow2_bitmap_free_clusters(bs, table, 0, bitmap->table_entries);
    }
    return ret;
}

/* --- bits --- */

typedef struct BitmapWriter {
    BlockDriverState *bs;
    Qcow2Bitmap *bitmap;
    uint64_t *table;
    bool table_changed;
    uint8_t *buf; /* a cluster */
} BitmapWriter;

static int coroutine_fn write_new_cluster(BitmapWriter *w, uint32_t index)
{
    const Qcow2State *s = w->bs->opaque;
    int64_t offset = qcow2_co_alloc_clusters(w->bs, s->cluster_size);
    int ret;

    if (offset < 0) {
        return offset;
    }
    ret = write_checked(w->bs, offset, s->cluster_size, w->buf);
    if (ret < 0) {
        qcow2_co_free_clusters(w->bs, offset, s->cluster_size,
                               QCOW2_DISCARD_OTHER);
        return ret;
    }
    w->table[index] = offset;
    w->table_changed = true;
    return 0;
}

static int coroutine_fn write_cluster(BitmapWriter *w, uint32_t index)
{
    const Qcow2State *s = w->bs->opaque;
    uint64_t offset = w->table[index] & QCOW2_BITMAP_ENTRY_OFFSET;
    int ret;

    if (w->table[index] & QCOW2_BITMAP_ENTRY_ONES) {
        return 0;
    }
    memset(w->buf, 0, s->cluster_size);
    if (offset) {
        ret = qcow2_co_read_file(w->bs->file, offset, s->cluster_size, w->buf);
        if (ret < 0) {
            return ret;
        }
    }
    if (!qcow2_bits_or_into(w->bitmap->pending, index * s->cluster_size,
                            s->cluster_size, w->buf)) {
        return 0;
    }
    return offset ? write_checked(w->bs, offset, s->cluster_size, w->buf)
                  : write_new_cluster(w, index);
}

static int coroutine_fn write_clusters(BitmapWriter *w)
{
    Qcow2State *s = w->bs->opaque;
    uint64_t byte = qcow2_bits_next(w->bitmap->pending, 0);
    uint64_t end = (uint64_t)w->bitmap->table_entries << s->cluster_bits;
    int ret = 0;

    /* where bits may be set is known by the chunk, which may be larger */
    while (byte < end && ret == 0) {
        uint64_t index = byte >> s->cluster_bits;

        ret = write_cluster(w, index);
        byte = qcow2_bits_next(w->bitmap->pending,
                               (index + 1) << s->cluster_bits);
    }
    if (ret < 0 || !w->table_changed) {
        return ret;
    }
    /* what the table leads to is counted first */
    ret = qcow2_cache_flush(s->refcount_cache);
    return ret < 0 ? ret : write_table(w->bs, w->bitmap->table_offset,
                                       w->table, w->bitmap->table_entries);
}

int coroutine_fn qcow2_bitmap_write_pending(BlockDriverState *bs,
                                            Qcow2Bitmap *bitmap)
{
    const Qcow2State *s = bs->opaque;
    BitmapWriter w = { .bs = bs, .bitmap = bitmap };
    int ret;

    if (!bitmap->pending || qcow2_bits_empty(bitmap->pending)) {
        return 0;
    }
    ret = qcow2_bitmap_read_table(bs, bitmap, &w.table);
    if (ret < 0) {
        return ret;
    }
    w.buf = g_malloc(s->cluster_size);
    ret = write_clusters(&w);
    if (ret == 0) {
        qcow2_bits_truncate(bitmap->pending, 0);
    }
    g_free(w.buf);
    g_free(w.table);
    return ret;
}

/* --- the directory --- */

int coroutine_fn qcow2_bitmap_write_flags(BlockDriverState *bs,
                                          Qcow2Bitmap *bitmap, uint32_t flags)
{
    uint32_t be = GUINT32_TO_BE(flags);
    int ret = qcow2_co_write_file(bs->file, bitmap->flags_offset, sizeof(be),
                                  &be);

    if (ret == 0) {
        bitmap->flags = flags;
    }
    return ret;
}

/* Of what the header says; all of it changes in one write. */
typedef struct Qcow2BitmapsPlace {
    uint32_t count;
    uint64_t offset, bytes;
} Qcow2BitmapsPlace;

static void set_place(BlockDriverState *bs, Qcow2BitmapsPlace place)
{
    Qcow2State *s = bs->opaque;

    s->bitmap_count = place.count;
    s->bitmap_directory_offset = place.offset;
    s->bitmap_directory_bytes = place.bytes;
    if (place.count) {
        s->autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
    } else {
        s->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
    }
    qcow2_overlap_changed(bs);
}

/* 0 for an empty one, or a negative errno. */
static int64_t coroutine_fn write_new_directory(BlockDriverState *bs,
                                                const GByteArray *directory)
{
    Qcow2State *s = bs->opaque;
    int64_t offset;
    int ret;

    if (directory->len == 0) {
        return 0;
    }
    if (directory->len > QCOW2_MAX_BITMAP_DIRECTORY_BYTES) {
        return -EFBIG;
    }
    offset = qcow2_co_alloc_clusters(bs, directory->len);
    if (offset < 0) {
        return offset;
    }
    ret = write_checked(bs, offset, directory->len, directory->data);
    if (ret == 0) {
        ret = qcow2_cache_flush(s->refcount_cache);
    }
    if (ret < 0) {
        qcow2_co_free_clusters(bs, offset, directory->len,
                               QCOW2_DISCARD_OTHER);
        return ret;
    }
    return offset;
}

static int coroutine_fn switch_directory(BlockDriverState *bs,
                                         Qcow2BitmapsPlace place)
{
    const Qcow2State *s = bs->opaque;
    Qcow2BitmapsPlace old = { s->bitmap_count, s->bitmap_directory_offset,
                              s->bitmap_directory_bytes };
    int ret;

    set_place(bs, place);
    ret = qcow2_co_change_header(bs);
    if (ret < 0) {
        /* the file may lead to the new one, which the caller gives up */
        set_place(bs, old);
        qcow2_co_change_header(bs);
    } else if (old.bytes) {
        qcow2_co_free_clusters(bs, old.offset, old.bytes,
                               QCOW2_DISCARD_OTHER);
    }
    return ret;
}

int coroutine_fn qcow2_bitmaps_write_directory(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    g_autoptr(GByteArray) directory =
        qcow2_bitmap_directory_build(s->bitmaps);
    int64_t offset = write_new_directory(bs, directory);
    int ret;

    if (offset < 0) {
        return offset;
    }
    ret = switch_directory(bs, (Qcow2BitmapsPlace){
        .count = s->bitmaps->len,
        .offset = offset,
        .bytes = directory->len,
    });
    if (ret == 0) {
        qcow2_bitmap_directory_placed(s->bitmaps, offset);
    }
    return ret;
}
