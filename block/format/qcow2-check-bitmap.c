/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent bitmaps in a check: their clusters are counted. One whose table
 * cannot be followed is dropped when errors are fixed: it only says what a
 * backup may leave out, and nobody must believe it.
 */
#include "qcow2-check.h"

#include <errno.h>
#include <inttypes.h>

#include "qcow2-bitmap.h"

#define ENTRY_BYTES 8

/* --- dropping --- */

static int coroutine_fn write_header(BlockDriverState *bs)
{
    int ret = qcow2_co_write_header(bs);

    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}

/*
 * The directory is written in place, since refcounts are not yet known to be
 * right and nothing can be allocated. Meanwhile the feature bit says that the
 * bitmaps do not count.
 */
static int coroutine_fn write_in_place(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    g_autoptr(GByteArray) directory = NULL;
    int ret;

    s->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
    ret = write_header(bs);
    if (ret < 0 || !s->bitmaps || s->bitmaps->len == 0) {
        s->bitmap_count = 0;
        s->bitmap_directory_offset = 0;
        s->bitmap_directory_bytes = 0;
        return ret < 0 ? ret : write_header(bs);
    }
    directory = qcow2_bitmap_directory_build(s->bitmaps);
    ret = qcow2_co_write_file(bs->file, s->bitmap_directory_offset,
                              directory->len, directory->data);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret < 0) {
        return ret;
    }
    qcow2_bitmap_directory_placed(s->bitmaps, s->bitmap_directory_offset);
    s->bitmap_count = s->bitmaps->len;
    s->bitmap_directory_bytes = directory->len;
    s->autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
    return write_header(bs);
}

/* --- counting --- */

/* Why the table cannot be followed, or NULL; *table when it can be read. */
static const char *coroutine_fn find_fault(Qcow2Check *check,
                                           const Qcow2Bitmap *bitmap,
                                           uint64_t **table)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t bytes = (uint64_t)bitmap->table_entries * ENTRY_BYTES;

    if (!qcow2_bitmap_size_valid(check->bs, bitmap)) {
        return "its table is not as long as the disk needs";
    }
    if (qcow2_check_beyond(check, bitmap->table_offset, bytes)) {
        return "its table is behind the end of the file";
    }
    if (qcow2_bitmap_read_table(check->bs, bitmap, table) < 0) {
        return "its table is corrupt";
    }
    for (uint32_t i = 0; i < bitmap->table_entries; i++) {
        uint64_t offset = (*table)[i] & QCOW2_BITMAP_ENTRY_OFFSET;

        if (offset && qcow2_check_beyond(check, offset, s->cluster_size)) {
            return "a cluster is behind the end of the file";
        }
    }
    return NULL;
}

static int use_bitmap(Qcow2Check *check, const Qcow2Bitmap *bitmap,
                      const uint64_t *table)
{
    const Qcow2State *s = check->bs->opaque;
    int ret = qcow2_check_use(check, bitmap->table_offset,
                              (uint64_t)bitmap->table_entries * ENTRY_BYTES,
                              1);

    for (uint32_t i = 0; i < bitmap->table_entries && ret == 0; i++) {
        uint64_t offset = table[i] & QCOW2_BITMAP_ENTRY_OFFSET;

        if (offset) {
            ret = qcow2_check_use(check, offset, s->cluster_size, 1);
        }
    }
    return ret;
}

/* *keep: not to be dropped. */
static int coroutine_fn check_bitmap(Qcow2Check *check,
                                     const Qcow2Bitmap *bitmap, bool *keep)
{
    bool fix = check->mode == QCOW2_WALK_FIX;
    g_autofree uint64_t *table = NULL;
    const char *fault = find_fault(check, bitmap, &table);

    *keep = !fault || !fix;
    if (fault) {
        qcow2_check_broken(check, fix, "ERROR ", "bitmap '%s': %s%s",
                           bitmap->name, fault, fix ? "; removing it" : "");
    }
    if (fix && !*keep) {
        return 0;
    }
    return table ? use_bitmap(check, bitmap, table) : 0;
}

static int coroutine_fn check_directory(Qcow2Check *check)
{
    Qcow2State *s = check->bs->opaque;
    unsigned i = 0, count = s->bitmaps->len;
    int ret = 0;

    while (i < s->bitmaps->len && ret == 0) {
        bool keep;

        ret = check_bitmap(check, s->bitmaps->pdata[i], &keep);
        if (keep) {
            i++;
        } else {
            g_ptr_array_remove_index(s->bitmaps, i);
        }
    }
    if (ret == 0 && s->bitmaps->len < count) {
        ret = write_in_place(check->bs);
    }
    return ret < 0 ? ret : qcow2_check_use(check, s->bitmap_directory_offset,
                                           s->bitmap_directory_bytes, 1);
}

int coroutine_fn qcow2_check_bitmaps(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    g_autoptr(GError) error = NULL;
    bool fix = check->mode == QCOW2_WALK_FIX;

    if (s->bitmap_count == 0) {
        return 0;
    }
    if (s->bitmaps || qcow2_co_read_bitmaps(check->bs, &error)) {
        return check_directory(check);
    }
    qcow2_check_broken(check, fix, "ERROR ", "bitmaps: %s%s", error->message,
                       fix ? "; removing them" : "");
    return fix ? write_in_place(check->bs) : 0;
}
