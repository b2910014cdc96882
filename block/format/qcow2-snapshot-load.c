/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the table of snapshots into the state and writes it from there.
 *
 * The table is never changed in place: a new one is written where nothing is,
 * then the header points to it, then the clusters of the old one are free.
 */
#include "qcow2-snapshot.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "qcow2-error.h"

#define HINT_EXTRA \
    "You can force-remove this extra metadata with qemu-img check -r all"

/* --- reading --- */

/* Larger than any entry may be. */
#define WINDOW_BYTES (256 * 1024)

typedef struct TableReader {
    BlockDriverState *file;
    uint64_t start;     /* of the window, in the file */
    bool filled;
    uint8_t *window;
    int ret;            /* the first error */
} TableReader;

/* At most a window's worth; valid until the next call. Zeroes on error. */
static const uint8_t *coroutine_fn table_at(TableReader *r, uint64_t offset,
                                            size_t bytes)
{
    if (!r->filled || offset < r->start ||
        offset + bytes > r->start + WINDOW_BYTES) {
        int ret = qcow2_co_read_file(r->file, offset, WINDOW_BYTES,
                                     r->window);

        if (ret < 0) {
            memset(r->window, 0, WINDOW_BYTES);
            r->ret = r->ret ? r->ret : ret;
        }
        r->start = offset;
        r->filled = true;
    }
    return r->window + (offset - r->start);
}

/* Without the extra data that is too much. */
static void coroutine_fn read_entry(TableReader *r, uint64_t offset,
                                    int64_t disk_bytes, Qcow2Snapshot *sn)
{
    g_autoptr(GByteArray) entry = g_byte_array_new();
    Qcow2SnapshotHeader h;
    uint32_t extra, kept, names;

    memcpy(&h, table_at(r, offset, sizeof(h)), sizeof(h));
    extra = GUINT32_FROM_BE(h.extra_data_size);
    kept = MIN(extra, QCOW2_MAX_SNAPSHOT_EXTRA_BYTES);
    names = GUINT16_FROM_BE(h.id_str_size) + GUINT16_FROM_BE(h.name_size);
    g_byte_array_append(entry, (uint8_t *)&h, sizeof(h));
    offset += sizeof(h);
    g_byte_array_append(entry, table_at(r, offset, kept), kept);
    g_byte_array_append(entry, table_at(r, offset + extra, names), names);
    qcow2_snapshot_parse(entry->data, disk_bytes, sn);
}

static void report(const Qcow2SnapshotRepair *repair, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

static void report(const Qcow2SnapshotRepair *repair, const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    va_start(args, fmt);
    line = g_strdup_vprintf(fmt, args);
    va_end(args);
    if (repair->report) {
        repair->report(repair->report_opaque, line);
    }
}

/* 0, 1 for "leave it and all that follow out", or a negative errno. */
static int check_size(Qcow2State *s, unsigned index, uint64_t table_bytes,
                      Qcow2SnapshotRepair *repair, GError **error)
{
    unsigned overhang = s->snapshot_count - index;
    uint64_t dropped_bytes = repair ? repair->extra_bytes : 0;

    if (table_bytes - dropped_bytes <= QCOW2_MAX_SNAPSHOT_TABLE_BYTES) {
        return 0;
    }
    if (repair) {
        report(repair, "Discarding %u overhanging snapshots (snapshot table "
               "is too big)", overhang);
        repair->dropped += overhang;
        return 1;
    }
    qcow2_error(error, "Snapshot table is too big\nYou can force-remove all "
                "%u overhanging snapshots with qemu-img check -r all",
                overhang);
    return -EFBIG;
}

static int check_extra(const Qcow2SnapshotHeader *h, unsigned index,
                       Qcow2SnapshotRepair *repair, GError **error)
{
    uint32_t extra = GUINT32_FROM_BE(h->extra_data_size);

    if (extra <= QCOW2_MAX_SNAPSHOT_EXTRA_BYTES) {
        return 0;
    }
    if (!repair) {
        qcow2_error(error, "Too much extra metadata in snapshot table entry "
                    "%u\n" HINT_EXTRA, index);
        return -EFBIG;
    }
    report(repair, "Discarding too much extra metadata in snapshot table "
           "entry %u (%u > %u)", index, extra,
           QCOW2_MAX_SNAPSHOT_EXTRA_BYTES);
    repair->extra_dropped++;
    repair->extra_bytes += extra - QCOW2_MAX_SNAPSHOT_EXTRA_BYTES;
    return 0;
}

/* Into @table, of Qcow2Snapshot. */
static int coroutine_fn read_table(BlockDriverState *bs, TableReader *r,
                                   Qcow2SnapshotRepair *repair, GArray *table,
                                   GError **error)
{
    Qcow2State *s = bs->opaque;
    uint64_t offset = s->snapshots_offset;

    for (unsigned i = 0; i < s->snapshot_count && !r->ret; i++) {
        Qcow2SnapshotHeader h;
        Qcow2Snapshot sn;
        uint64_t end;
        int ret;

        memcpy(&h, table_at(r, offset, sizeof(h)), sizeof(h));
        end = offset + qcow2_snapshot_entry_bytes(&h);
        ret = check_extra(&h, i, repair, error);
        if (ret == 0) {
            ret = check_size(s, i, end - s->snapshots_offset, repair, error);
        }
        if (ret != 0) {
            s->snapshots_bytes = offset - s->snapshots_offset;
            return MIN(ret, 0);
        }
        read_entry(r, offset, bs->total_bytes, &sn);
        g_array_append_val(table, sn);
        offset = end;
    }
    s->snapshots_bytes = offset - s->snapshots_offset;
    if (r->ret < 0) {
        qcow2_error_errno(error, r->ret, "Failed to read snapshot table");
    }
    return r->ret;
}

static void clear_snapshot(void *sn)
{
    qcow2_snapshot_clear(sn);
}

void qcow2_free_snapshots(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    for (unsigned i = 0; s->snapshots && i < s->snapshot_count; i++) {
        qcow2_snapshot_clear(&s->snapshots[i]);
    }
    g_clear_pointer(&s->snapshots, g_free);
}

int coroutine_fn qcow2_co_load_snapshots(BlockDriverState *bs,
                                         Qcow2SnapshotRepair *repair,
                                         GError **error)
{
    Qcow2State *s = bs->opaque;
    TableReader r = { .file = bs->file };
    GArray *table;
    int ret;

    qcow2_free_snapshots(bs);
    if (s->snapshots_offset > INT64_MAX / 2) {
        s->snapshot_count = 0;
        qcow2_error(error, "Snapshot table offset invalid");
        return -EINVAL;
    }
    table = g_array_new(FALSE, FALSE, sizeof(Qcow2Snapshot));
    g_array_set_clear_func(table, clear_snapshot);
    r.window = s->snapshot_count ? g_malloc(WINDOW_BYTES) : NULL;
    ret = read_table(bs, &r, repair, table, error);
    g_free(r.window);
    if (ret < 0) {
        s->snapshot_count = 0;
        g_array_unref(table);
        return ret;
    }
    s->snapshot_count = table->len;
    s->snapshots = (Qcow2Snapshot *)g_array_free(table, FALSE);
    return 0;
}

bool coroutine_fn qcow2_co_read_snapshots(BlockDriverState *bs,
                                          GError **error)
{
    return qcow2_co_load_snapshots(bs, NULL, error) == 0;
}

/* --- writing --- */

/* Refcounts first: what the header will lead to is counted by then. */
static int coroutine_fn write_clusters(BlockDriverState *bs, int64_t offset,
                                       const GByteArray *table)
{
    Qcow2State *s = bs->opaque;
    int ret = qcow2_co_check_overlap(bs, 0, offset, table->len);

    if (ret == 0) {
        ret = qcow2_co_write_file(bs->file, offset, table->len, table->data);
    }
    return ret == 0 ? qcow2_cache_flush(s->refcount_cache) : ret;
}

/* 0 for an empty table, or a negative errno. */
static int64_t coroutine_fn write_new_table(BlockDriverState *bs,
                                            const GByteArray *table)
{
    int64_t offset;
    int ret;

    if (table->len == 0) {
        return 0;
    }
    if (table->len > QCOW2_MAX_SNAPSHOT_TABLE_BYTES) {
        return -EFBIG;
    }
    offset = qcow2_co_alloc_clusters(bs, table->len);
    if (offset < 0) {
        return offset;
    }
    ret = write_clusters(bs, offset, table);
    if (ret < 0) {
        qcow2_co_free_clusters(bs, offset, table->len, QCOW2_DISCARD_ALWAYS);
        return ret;
    }
    return offset;
}

static int coroutine_fn point_to(BlockDriverState *bs, uint64_t offset,
                                 uint64_t bytes)
{
    Qcow2State *s = bs->opaque;

    s->snapshots_offset = offset;
    s->snapshots_bytes = bytes;
    qcow2_overlap_changed(bs);
    return qcow2_co_change_header(bs);
}

int coroutine_fn qcow2_co_write_snapshots(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    g_autoptr(GByteArray) table = qcow2_snapshot_table(s->snapshots,
                                                       s->snapshot_count);
    uint64_t old_offset = s->snapshots_offset;
    uint64_t old_bytes = s->snapshots_bytes;
    int64_t offset = write_new_table(bs, table);
    int ret;

    if (offset < 0) {
        return offset;
    }
    ret = point_to(bs, offset, table->len);
    if (ret < 0) {
        /* which of the two is in force on the disk is not known: both stay */
        s->snapshots_offset = old_offset;
        s->snapshots_bytes = old_bytes;
        qcow2_overlap_changed(bs);
        return ret;
    }
    if (old_bytes) {
        qcow2_co_free_clusters(bs, old_offset, old_bytes,
                               QCOW2_DISCARD_SNAPSHOT);
    }
    return 0;
}
