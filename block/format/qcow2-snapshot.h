/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of internal snapshots: its bytes, and in the state. */
#ifndef BLOCK_FORMAT_QCOW2_SNAPSHOT_H
#define BLOCK_FORMAT_QCOW2_SNAPSHOT_H

#include "qcow2.h"

/* Entries begin with this; extra data, id, name and padding follow. */
typedef struct Qcow2SnapshotHeader {
    uint64_t l1_table_offset;
    uint32_t l1_size;           /* entries */
    uint16_t id_str_size;
    uint16_t name_size;
    uint32_t date_sec;
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint32_t vm_state_size;
    uint32_t extra_data_size;
} Qcow2SnapshotHeader;

G_STATIC_ASSERT(sizeof(Qcow2SnapshotHeader) == 40);

/* Extra data that we know of; an older program wrote less. */
typedef struct Qcow2SnapshotExtra {
    uint64_t vm_state_size_large;
    uint64_t disk_size;
    uint64_t icount;
} Qcow2SnapshotExtra;

G_STATIC_ASSERT(sizeof(Qcow2SnapshotExtra) == 24);

/* Version 3 demands as much of it. */
#define QCOW2_SNAPSHOT_EXTRA_V3 16

/* Length of an entry in the table. @header is as on the disk and unchecked:
 * with all of its extra data that may be more than 4 GiB. */
uint64_t qcow2_snapshot_entry_bytes(const Qcow2SnapshotHeader *header);

/*
 * Takes an entry apart, all of which is in memory, but for extra data above
 * the limit: that is not there. Without a disk size in it the disk has
 * @disk_bytes.
 */
void qcow2_snapshot_parse(const uint8_t *entry, int64_t disk_bytes,
                          Qcow2Snapshot *sn);

/* All entries as they are written today. g_byte_array_unref() */
GByteArray *qcow2_snapshot_table(const Qcow2Snapshot *snapshots,
                                 unsigned count);

void qcow2_snapshot_clear(Qcow2Snapshot *sn);

/* What is wrong with a table and can be left out of it. */
typedef struct Qcow2SnapshotRepair {
    BlockReportFn *report;  /* told about it; or NULL */
    void *report_opaque;
    unsigned dropped;       /* snapshots at the end */
    unsigned extra_dropped; /* snapshots with too much extra data */
    uint64_t extra_bytes;   /* of these, beyond the limit */
} Qcow2SnapshotRepair;

/*
 * Reads s->snapshot_count entries at s->snapshots_offset into the state, in
 * place of what is there; on failure it has none. With @repair, leaves out
 * what is too much. 0 or a negative errno with @error.
 */
int coroutine_fn qcow2_co_load_snapshots(BlockDriverState *bs,
                                         Qcow2SnapshotRepair *repair,
                                         GError **error);

/*
 * Writes the table anew, elsewhere, from s->snapshots, and the header; when
 * it returns that is stable and the old table is free. Under s->lock. On
 * failure the old table is still in force.
 */
int coroutine_fn qcow2_co_write_snapshots(BlockDriverState *bs);

/*
 * All that the disk has belongs to @sn, too, which gets into the list and of
 * which the L1 table is set here; what it holds is the list's then. Stable
 * when it returns. 0 or a negative errno, and nothing has changed.
 */
int coroutine_fn qcow2_co_add_snapshot(BlockDriverState *bs,
                                       Qcow2Snapshot *sn);

/*
 * The disk's contents and size are those of @sn, one of the list; stable when
 * it returns. 0 or a negative errno, and nothing has changed.
 */
int coroutine_fn qcow2_co_activate_snapshot(BlockDriverState *bs,
                                            const Qcow2Snapshot *sn);

/* Its L1 table, long enough for its disk and without QCOW2_COPIED, in new
 * memory, to be freed with g_free(). 0 or a negative errno. */
int coroutine_fn qcow2_co_read_snapshot_l1(BlockDriverState *bs,
                                           const Qcow2Snapshot *sn,
                                           uint64_t **l1, unsigned *entries);

/*
 * The list has one less, and what only that one used is free; stable when it
 * returns. 0 or a negative errno: then nothing has changed, unless the file
 * had no room, where it may be half done.
 */
int coroutine_fn qcow2_co_remove_snapshot(BlockDriverState *bs,
                                          unsigned index);

/* --- qcow2-snapshot-refcount.c: in place, under s->lock --- */

/* One use less of all that the L1 table of @sn leads to. */
int coroutine_fn qcow2_co_uncount_snapshot(BlockDriverState *bs,
                                           const Qcow2Snapshot *sn);
/* QCOW2_COPIED is right in the active tables, L1 written, L2 in the cache. */
int coroutine_fn qcow2_co_flag_active(BlockDriverState *bs);

#endif
