/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sees to it that no write hits tables that it does not mean, which happens
 * in images that are corrupt; and says so.
 *
 * How it works: qcow2-overlap-map.c knows in which clusters there may be tables.
 * Only for those are all tables gone through, one by one, to see what it is.
 * The map is made when first needed and after larger changes.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <inttypes.h>

#include "block/log.h"
#include "qcow2-error.h"
#include "qcow2-overlap-map.h"

#define SOME_CLUSTERS 65536

/* --- going through the tables --- */

typedef struct Range {
    uint64_t offset, bytes;
} Range;

static bool overlap(Range range, uint64_t offset, uint64_t bytes)
{
    return bytes > 0 && offset < range.offset + range.bytes &&
           range.offset < offset + bytes;
}

/* Offsets in @table of clusters. */
static bool table_leads_to(const uint64_t *table, uint64_t entries,
                           uint64_t mask, uint64_t cluster_size, Range range)
{
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t offset = table[i] & mask;

        if (offset && overlap(range, offset, cluster_size)) {
            return true;
        }
    }
    return false;
}

/* None while they have not been read. */
static unsigned n_snapshots(const Qcow2State *s)
{
    return s->snapshots ? s->snapshot_count : 0;
}

static unsigned check_snapshots(const Qcow2State *s, Range range)
{
    for (unsigned i = 0; i < n_snapshots(s); i++) {
        const Qcow2Snapshot *snapshot = &s->snapshots[i];

        if (overlap(range, snapshot->l1_offset,
                    (uint64_t)snapshot->l1_entries * sizeof(uint64_t))) {
            return QCOW2_OL_INACTIVE_L1;
        }
    }
    return 0;
}

/* Everything but what L2 tables of snapshots take up. */
static unsigned check_tables(const Qcow2State *s, Range range)
{
    unsigned found = 0;

    if (range.offset < (uint64_t)s->cluster_size) {
        found |= QCOW2_OL_MAIN_HEADER;
    }
    if (overlap(range, s->l1_offset, s->l1_entries * sizeof(uint64_t))) {
        found |= QCOW2_OL_ACTIVE_L1;
    }
    if (table_leads_to(s->l1, s->l1_entries, QCOW2_L1_OFFSET,
                       s->cluster_size, range)) {
        found |= QCOW2_OL_ACTIVE_L2;
    }
    if (overlap(range, s->reftable_offset,
                (uint64_t)s->reftable_clusters << s->cluster_bits)) {
        found |= QCOW2_OL_REFCOUNT_TABLE;
    }
    if (table_leads_to(s->reftable, s->reftable_entries,
                       QCOW2_REFTABLE_OFFSET, s->cluster_size, range)) {
        found |= QCOW2_OL_REFCOUNT_BLOCK;
    }
    if (overlap(range, s->snapshots_offset, s->snapshots_bytes)) {
        found |= QCOW2_OL_SNAPSHOT_TABLE;
    }
    if ((s->autoclear & QCOW2_AUTOCLEAR_BITMAPS) &&
        overlap(range, s->bitmap_directory_offset,
                s->bitmap_directory_bytes)) {
        found |= QCOW2_OL_BITMAP_DIRECTORY;
    }
    return found | check_snapshots(s, range);
}

/* --- the map --- */

static void map_add(const Qcow2State *s, Qcow2OverlapMap *map,
                    uint64_t offset, uint64_t bytes)
{
    if (bytes > 0 && offset + bytes > offset) {
        qcow2_overlap_map_add(map, offset >> s->cluster_bits,
                              (offset + bytes - 1) >> s->cluster_bits);
    }
}

static void map_add_entries(const Qcow2State *s, Qcow2OverlapMap *map,
                            const uint64_t *table, uint64_t entries,
                            uint64_t mask)
{
    for (uint64_t i = 0; i < entries; i++) {
        if (table[i] & mask) {
            map_add(s, map, table[i] & mask, s->cluster_size);
        }
    }
}

static void map_fill(const Qcow2State *s, Qcow2OverlapMap *map)
{
    qcow2_overlap_map_add(map, 0, 0);
    map_add(s, map, s->l1_offset, s->l1_entries * sizeof(uint64_t));
    map_add_entries(s, map, s->l1, s->l1_entries, QCOW2_L1_OFFSET);
    map_add(s, map, s->reftable_offset,
            (uint64_t)s->reftable_clusters << s->cluster_bits);
    map_add_entries(s, map, s->reftable, s->reftable_entries,
                    QCOW2_REFTABLE_OFFSET);
    map_add(s, map, s->snapshots_offset, s->snapshots_bytes);
    map_add(s, map, s->bitmap_directory_offset, s->bitmap_directory_bytes);
    for (unsigned i = 0; i < n_snapshots(s); i++) {
        const Qcow2Snapshot *snapshot = &s->snapshots[i];

        map_add(s, map, snapshot->l1_offset,
                (uint64_t)snapshot->l1_entries * sizeof(uint64_t));
    }
}

static uint64_t count_from(const uint64_t *table, uint64_t entries,
                           uint64_t mask, uint64_t offset)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < entries; i++) {
        count += (table[i] & mask) >= offset;
    }
    return count;
}

/* With room for the file to double, and for some tables more. */
static Qcow2OverlapMap *map_new(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    uint64_t end = MAX(bs->file->total_bytes, s->write->used_end);
    uint64_t near = MIN((end >> s->cluster_bits) * 2 + SOME_CLUSTERS,
                        QCOW2_OVERLAP_MAP_MAX_NEAR);
    uint64_t far_from = near << s->cluster_bits;
    uint64_t far = n_snapshots(s);
    Qcow2OverlapMap *map;

    far += count_from(s->l1, s->l1_entries, QCOW2_L1_OFFSET, far_from);
    far += count_from(s->reftable, s->reftable_entries,
                      QCOW2_REFTABLE_OFFSET, far_from);
    map = qcow2_overlap_map_new(near, far + far / 2);
    map_fill(s, map);
    return map;
}

void qcow2_overlap_free(Qcow2WriteState *w)
{
    g_clear_pointer(&w->overlap_map, qcow2_overlap_map_free);
}

void qcow2_overlap_changed(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    if (s->write) {
        qcow2_overlap_free(s->write);
    }
}

void qcow2_overlap_add(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    Qcow2State *s = bs->opaque;

    if (s->write->overlap_map) {
        map_add(s, s->write->overlap_map, offset, bytes);
    }
}

static bool is_outgrown(const Qcow2State *s, const Qcow2OverlapMap *map,
                        uint64_t last)
{
    return last >= qcow2_overlap_map_near(map) &&
           last < (uint64_t)s->write->used_end >> s->cluster_bits &&
           qcow2_overlap_map_near(map) < QCOW2_OVERLAP_MAP_MAX_NEAR;
}

/* A map that the file has outgrown is made anew, as long as that helps. */
static Qcow2OverlapMap *map_for(BlockDriverState *bs, uint64_t last)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;

    if (w->overlap_map && (is_outgrown(s, w->overlap_map, last) ||
                           qcow2_overlap_map_is_full(w->overlap_map))) {
        qcow2_overlap_free(w);
    }
    if (!w->overlap_map) {
        w->overlap_map = map_new(bs);
    }
    return w->overlap_map;
}

unsigned qcow2_overlaps(BlockDriverState *bs, unsigned ign, int64_t offset,
                        int64_t bytes)
{
    Qcow2State *s = bs->opaque;
    unsigned check = s->overlap_check & ~ign & ~QCOW2_OL_INACTIVE_L2;
    uint64_t first = offset >> s->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;
    Qcow2OverlapMap *map;

    if (check == 0 || bytes == 0) {
        return 0;
    }
    map = map_for(bs, last);
    for (uint64_t i = first; i <= last; i++) {
        unsigned found;

        if (G_LIKELY(!qcow2_overlap_map_get(map, i))) {
            continue;
        }
        s->write->overlap_scans++;
        found = check_tables(s, (Range){ i << s->cluster_bits,
                                         s->cluster_size });
        if (!found) {
            qcow2_overlap_map_clear(map, i);
        }
        if (found & check) {
            return found & check;
        }
    }
    return 0;
}

/* --- with waiting --- */

static int coroutine_fn check_snapshot_l2(BlockDriverState *bs,
                                          const Qcow2Snapshot *snapshot,
                                          Range range)
{
    Qcow2State *s = bs->opaque;
    g_autofree uint64_t *l1 = NULL;
    int ret = qcow2_validate_snapshot_l1(bs, snapshot, NULL);

    if (ret < 0) {
        return ret;
    }
    ret = qcow2_co_read_table(bs->file, snapshot->l1_offset,
                              snapshot->l1_entries, &l1);
    if (ret < 0) {
        return ret;
    }
    return table_leads_to(l1, snapshot->l1_entries, QCOW2_L1_OFFSET,
                          s->cluster_size, range);
}

/* 1: it hits the L2 table of a snapshot. */
static int coroutine_fn check_inactive_l2(BlockDriverState *bs, unsigned ign,
                                          Range range)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    if (!(s->overlap_check & ~ign & QCOW2_OL_INACTIVE_L2)) {
        return 0;
    }
    for (unsigned i = 0; i < n_snapshots(s) && ret == 0; i++) {
        ret = check_snapshot_l2(bs, &s->snapshots[i], range);
    }
    return ret;
}

static const char *kind_name(unsigned kinds)
{
    static const char *const names[] = {
        "qcow2_header", "active L1 table", "active L2 table",
        "refcount block", "refcount table", "snapshot table",
        "inactive L1 table", "inactive L2 table", "bitmap directory",
    };
    unsigned bit = __builtin_ctz(kinds);

    return bit < G_N_ELEMENTS(names) ? names[bit] : "unknown";
}

int coroutine_fn qcow2_co_check_overlap(BlockDriverState *bs, unsigned ign,
                                        int64_t offset, int64_t bytes)
{
    Qcow2State *s = bs->opaque;
    unsigned found = qcow2_overlaps(bs, ign, offset, bytes);
    int ret = 0;

    if (!found) {
        int64_t start = qcow2_cluster_start(s, offset);

        ret = check_inactive_l2(bs, ign, (Range){
            start, qcow2_size_to_clusters(s, offset + bytes - start)
                       << s->cluster_bits });
        found = ret > 0 ? QCOW2_OL_INACTIVE_L2 : 0;
    }
    if (found) {
        qcow2_co_signal_corruption(bs, true, offset,
                                   "Preventing invalid write on metadata "
                                   "(overlaps with %s)", kind_name(found));
        return -EIO;
    }
    return MIN(ret, 0);
}

/* --- the corrupt bit --- */

bool qcow2_may_change(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    return !s->broken || qcow2_error(error, "%s", g_strerror(ENOMEDIUM));
}

void coroutine_fn qcow2_co_signal_corruption(BlockDriverState *bs, bool fatal,
                                             int64_t offset, const char *fmt,
                                             ...)
{
    Qcow2State *s = bs->opaque;
    g_autofree char *message = NULL;
    va_list args;

    fatal = fatal && !bs->read_only;
    if (s->corrupt_signaled &&
        (!fatal || (s->incompatible & QCOW2_INCOMPAT_CORRUPT))) {
        return;
    }
    va_start(args, fmt);
    message = g_strdup_vprintf(fmt, args);
    va_end(args);
    if (fatal) {
        log_plain("qcow2: Marking image as corrupt: %s; further corruption "
                  "events will be suppressed", message);
        qcow2_co_mark_corrupt(bs);
        s->broken = true;
    } else {
        log_plain("qcow2: Image is corrupt: %s; further non-fatal corruption "
                  "events will be suppressed", message);
    }
    s->corrupt_signaled = true;
}
