/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: taken, applied, deleted, shown.
 *
 * A snapshot is an L1 table of its own; what it leads to is counted once more
 * and copied by whoever writes there next. Every operation makes what it needs
 * first, then changes the header in one write, then gives up what nobody
 * needs any more: a crash in between leaks clusters.
 */
#include "qcow2-snapshot.h"

#include <errno.h>
#include <string.h>

#include "block/log.h"
#include "qcow2-error.h"

#define L1_ENTRY_BYTES 8

/* --- the list --- */

GPtrArray *qcow2_snapshot_list(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    GPtrArray *list = g_ptr_array_new_with_free_func(block_snapshot_free);

    for (unsigned i = 0; s->snapshots && i < s->snapshot_count; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        BlockSnapshot *info = g_new0(BlockSnapshot, 1);

        info->id = g_strdup(sn->id);
        info->name = g_strdup(sn->name);
        info->vm_state_bytes = sn->vm_state_bytes;
        info->date_s = sn->date_s;
        info->date_ns = sn->date_ns;
        info->vm_clock_ns = sn->vm_clock_ns;
        info->icount = sn->icount;
        info->disk_bytes = sn->disk_bytes;
        g_ptr_array_add(list, info);
    }
    return list;
}

/* By id or, if none has it, by name. */
static int find_snapshot(const Qcow2State *s, const char *name)
{
    for (unsigned i = 0; i < s->snapshot_count; i++) {
        if (strcmp(s->snapshots[i].id, name) == 0) {
            return i;
        }
    }
    for (unsigned i = 0; i < s->snapshot_count; i++) {
        if (strcmp(s->snapshots[i].name, name) == 0) {
            return i;
        }
    }
    return -ENOENT;
}

static char *new_id(const Qcow2State *s)
{
    uint64_t max = 0;

    for (unsigned i = 0; i < s->snapshot_count; i++) {
        max = MAX(max, g_ascii_strtoull(s->snapshots[i].id, NULL, 10));
    }
    return g_strdup_printf("%" G_GUINT64_FORMAT, max + 1);
}

static bool validate_l1(BlockDriverState *bs, const Qcow2Snapshot *sn,
                        GError **error)
{
    return qcow2_validate_snapshot_l1(bs, sn, error) == 0;
}

/* --- L1 tables --- */

/* A table for a snapshot, or to replace the active one, whose L2 tables all
 * have other users. Its offset, 0 for an empty one, or a negative errno. */
static int64_t coroutine_fn write_new_l1(BlockDriverState *bs,
                                         const uint64_t *l1, unsigned entries)
{
    size_t bytes = (size_t)entries * L1_ENTRY_BYTES;
    g_autofree uint64_t *table = g_try_malloc(bytes);
    int64_t offset;
    int ret;

    if (entries == 0) {
        return 0;
    }
    if (!table) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < entries; i++) {
        table[i] = GUINT64_TO_BE(l1[i] & ~QCOW2_COPIED);
    }
    offset = qcow2_co_alloc_clusters(bs, bytes);
    if (offset < 0) {
        return offset;
    }
    ret = qcow2_co_check_overlap(bs, 0, offset, bytes);
    if (ret == 0) {
        ret = bdrv_co_pwrite(bs->file, offset, bytes, table, 0);
    }
    if (ret < 0) {
        qcow2_co_free_clusters(bs, offset, bytes, QCOW2_DISCARD_OTHER);
        return ret;
    }
    return offset;
}

static void coroutine_fn free_l1(BlockDriverState *bs, uint64_t offset,
                                 unsigned entries)
{
    if (entries) {
        qcow2_co_free_clusters(bs, offset, (uint64_t)entries * L1_ENTRY_BYTES,
                               QCOW2_DISCARD_SNAPSHOT);
    }
}

static int coroutine_fn flush_caches(Qcow2State *s)
{
    int ret = qcow2_cache_flush(s->l2_cache);

    return ret == 0 ? qcow2_cache_flush(s->refcount_cache) : ret;
}

/* --- create --- */

static void put_into_list(Qcow2State *s, unsigned index,
                          const Qcow2Snapshot *sn)
{
    s->snapshots = g_renew(Qcow2Snapshot, s->snapshots,
                           s->snapshot_count + 1);
    memmove(&s->snapshots[index + 1], &s->snapshots[index],
            (s->snapshot_count - index) * sizeof(*s->snapshots));
    s->snapshots[index] = *sn;
    s->snapshot_count++;
}

/* What it holds is the caller's again. */
static void take_from_list(Qcow2State *s, unsigned index)
{
    s->snapshot_count--;
    memmove(&s->snapshots[index], &s->snapshots[index + 1],
            (s->snapshot_count - index) * sizeof(*s->snapshots));
}

static int coroutine_fn create_locked(BlockDriverState *bs, Qcow2Snapshot *sn)
{
    Qcow2State *s = bs->opaque;
    int64_t offset = write_new_l1(bs, s->l1, s->l1_entries);
    int ret;

    if (offset < 0) {
        return offset;
    }
    sn->l1_offset = offset;
    sn->l1_entries = s->l1_entries;
    ret = qcow2_co_update_snapshot_refcount(bs, s->l1_offset, s->l1_entries,
                                            1);
    if (ret == 0) {
        ret = flush_caches(s);
    }
    if (ret < 0) {
        /* how far it got is not known: what was counted is leaked */
        return ret;
    }
    put_into_list(s, s->snapshot_count, sn);
    ret = qcow2_co_write_snapshots(bs);
    if (ret < 0) {
        take_from_list(s, s->snapshot_count - 1);
    }
    return ret;
}

static int coroutine_fn create(BlockDriverState *bs, Qcow2Snapshot *sn)
{
    Qcow2State *s = bs->opaque;
    int ret;

    if (!qcow2_may_change(bs, NULL)) {
        return -ENOMEDIUM;
    }
    if (s->snapshot_count >= QCOW2_MAX_SNAPSHOTS) {
        return -EFBIG;
    }
    if (qcow2_has_data_file(s)) {
        return -ENOTSUP;
    }
    if (strlen(sn->name) > UINT16_MAX) {
        return -EINVAL;
    }
    co_mutex_lock(&s->lock);
    ret = create_locked(bs, sn);
    co_mutex_unlock(&s->lock);
    return ret;
}

bool coroutine_fn qcow2_co_snapshot_create(BlockDriverState *bs,
                                           BlockSnapshot *snapshot,
                                           GError **error)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Snapshot sn = {
        .id = new_id(s),
        .name = g_strdup(snapshot->name ? snapshot->name : ""),
        .disk_bytes = bs->total_bytes,
        .vm_state_bytes = snapshot->vm_state_bytes,
        .date_s = snapshot->date_s,
        .date_ns = snapshot->date_ns,
        .vm_clock_ns = snapshot->vm_clock_ns,
        .icount = snapshot->icount,
        .extra_bytes = sizeof(Qcow2SnapshotExtra),
    };
    int ret = create(bs, &sn);

    if (ret < 0) {
        qcow2_snapshot_clear(&sn);
        return qcow2_error(error, "%d (%s)", ret, g_strerror(-ret));
    }
    g_free(snapshot->id);
    snapshot->id = g_strdup(sn.id);
    snapshot->disk_bytes = sn.disk_bytes;
    return true;
}

/* --- apply --- */

/* What of the header changes, all at once. */
typedef struct Qcow2ActiveTable {
    uint64_t offset;
    unsigned entries;
    uint64_t *l1;
    int64_t disk_bytes;
} Qcow2ActiveTable;

static Qcow2ActiveTable active_table(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return (Qcow2ActiveTable){ s->l1_offset, s->l1_entries, s->l1,
                               bs->total_bytes };
}

static void set_active_table(BlockDriverState *bs,
                             const Qcow2ActiveTable *table)
{
    Qcow2State *s = bs->opaque;

    s->l1_offset = table->offset;
    s->l1_entries = table->entries;
    s->l1 = table->l1;
    bs->total_bytes = table->disk_bytes;
    qcow2_overlap_changed(bs);
}

/* Into new memory, long enough for the disk and with no QCOW2_COPIED. */
static int coroutine_fn read_l1(BlockDriverState *bs, const Qcow2Snapshot *sn,
                                Qcow2ActiveTable *table)
{
    const Qcow2State *s = bs->opaque;
    uint64_t needed = qcow2_l1_entries_for(s, sn->disk_bytes);
    g_autofree uint64_t *l1 = NULL;
    int ret;

    if (needed > QCOW2_MAX_L1_BYTES / L1_ENTRY_BYTES) {
        return -EFBIG;
    }
    ret = qcow2_co_read_table(bs->file, sn->l1_offset, sn->l1_entries, &l1);
    if (ret < 0) {
        return ret;
    }
    table->disk_bytes = sn->disk_bytes;
    table->entries = MAX(needed, sn->l1_entries);
    table->l1 = g_try_new0(uint64_t, MAX(table->entries, 1));
    if (!table->l1) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < sn->l1_entries; i++) {
        table->l1[i] = l1[i] & ~QCOW2_COPIED;
    }
    return 0;
}

static int coroutine_fn switch_table(BlockDriverState *bs,
                                     const Qcow2ActiveTable *table)
{
    Qcow2ActiveTable old = active_table(bs);
    int ret;

    set_active_table(bs, table);
    ret = qcow2_co_write_header(bs);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret < 0) {
        set_active_table(bs, &old);
    }
    return ret;
}

/* What only the old table led to is free; leaks where that fails. */
static void coroutine_fn drop_table(BlockDriverState *bs,
                                    const Qcow2ActiveTable *old)
{
    if (qcow2_co_update_snapshot_refcount(bs, old->offset, old->entries,
                                          -1) == 0) {
        free_l1(bs, old->offset, old->entries);
    }
    g_free(old->l1);
}

static int coroutine_fn apply_locked(BlockDriverState *bs,
                                     const Qcow2Snapshot *sn)
{
    Qcow2State *s = bs->opaque;
    Qcow2ActiveTable old = active_table(bs);
    Qcow2ActiveTable table;
    int64_t offset;
    int ret = read_l1(bs, sn, &table);

    if (ret < 0) {
        return ret;
    }
    offset = write_new_l1(bs, table.l1, table.entries);
    ret = MIN(offset, 0);
    if (ret == 0) {
        table.offset = offset;
        ret = qcow2_co_update_snapshot_refcount(bs, sn->l1_offset,
                                                sn->l1_entries, 1);
    }
    if (ret == 0) {
        ret = flush_caches(s);
    }
    if (ret == 0) {
        ret = switch_table(bs, &table);
    }
    if (ret < 0) {
        g_free(table.l1);
        return ret;
    }
    drop_table(bs, &old);
    ret = qcow2_co_update_snapshot_refcount(bs, s->l1_offset, s->l1_entries,
                                            0);
    return ret == 0 ? flush_caches(s) : ret;
}

static bool bitmaps_allow(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    return s->bitmap_count == 0 ||
           qcow2_error(error, "Device has active dirty bitmaps");
}

/* Of another length than now it is of a version that can tell. */
static bool size_allows(BlockDriverState *bs, const Qcow2Snapshot *sn,
                        GError **error)
{
    if (sn->disk_bytes > INT64_MAX) {
        return qcow2_error(error, "Failed to load snapshot: %s",
                           g_strerror(EFBIG));
    }
    return validate_l1(bs, sn, error);
}

/* What is wrong with the table is said by itself. */
static bool may_apply(BlockDriverState *bs, const Qcow2Snapshot *sn,
                      GError **error)
{
    g_autoptr(GError) local = NULL;
    int ret = qcow2_validate_snapshot_l1(bs, sn, &local);

    if (ret < 0) {
        log_error("%s", local->message);
        return qcow2_error_errno(error, ret, "Failed to load snapshot");
    }
    return size_allows(bs, sn, error);
}

bool coroutine_fn qcow2_co_snapshot_apply(BlockDriverState *bs,
                                          const char *name, GError **error)
{
    Qcow2State *s = bs->opaque;
    int index, ret;

    if (!qcow2_may_change(bs, error) || !bitmaps_allow(bs, error)) {
        return false;
    }
    index = qcow2_has_data_file(s) ? -ENOTSUP : find_snapshot(s, name);
    if (index < 0) {
        return qcow2_error_errno(error, index, "Failed to load snapshot");
    }
    if (!may_apply(bs, &s->snapshots[index], error)) {
        return false;
    }
    co_mutex_lock(&s->lock);
    ret = apply_locked(bs, &s->snapshots[index]);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to load snapshot");
}

/* --- delete --- */

static bool coroutine_fn delete_locked(BlockDriverState *bs, unsigned index,
                                       GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2Snapshot sn = s->snapshots[index];
    int ret;

    take_from_list(s, index);
    ret = qcow2_co_write_snapshots(bs);
    if (ret < 0) {
        put_into_list(s, index, &sn);
        return qcow2_error_errno(error, ret, "Failed to remove snapshot from "
                                 "snapshot list");
    }
    ret = qcow2_co_update_snapshot_refcount(bs, sn.l1_offset, sn.l1_entries,
                                            -1);
    if (ret == 0) {
        free_l1(bs, sn.l1_offset, sn.l1_entries);
    }
    qcow2_snapshot_clear(&sn);
    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Failed to free the cluster and "
                                 "L1 table");
    }
    ret = qcow2_co_update_snapshot_refcount(bs, s->l1_offset, s->l1_entries,
                                            0);
    if (ret == 0) {
        ret = flush_caches(s);
    }
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to update snapshot status in "
                             "disk");
}

bool coroutine_fn qcow2_co_snapshot_delete(BlockDriverState *bs,
                                           const char *name, GError **error)
{
    Qcow2State *s = bs->opaque;
    int index;
    bool ok;

    if (!qcow2_may_change(bs, error)) {
        return false;
    }
    if (qcow2_has_data_file(s)) {
        return qcow2_error(error, "%s", g_strerror(ENOTSUP));
    }
    index = find_snapshot(s, name);
    if (index < 0) {
        return qcow2_error(error, "snapshot not found");
    }
    if (!validate_l1(bs, &s->snapshots[index], error)) {
        return false;
    }
    co_mutex_lock(&s->lock);
    ok = delete_locked(bs, index, error);
    co_mutex_unlock(&s->lock);
    return ok;
}

/* --- load --- */

bool coroutine_fn qcow2_co_snapshot_load(BlockDriverState *bs,
                                         const char *name, GError **error)
{
    Qcow2State *s = bs->opaque;
    int index = find_snapshot(s, name);
    Qcow2ActiveTable table;
    int ret;

    if (!bs->read_only) {
        return qcow2_error(error, "Device is not readonly");
    }
    if (index < 0) {
        return qcow2_error(error, "Can't find snapshot");
    }
    if (!size_allows(bs, &s->snapshots[index], error)) {
        return false;
    }
    ret = read_l1(bs, &s->snapshots[index], &table);
    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Failed to read l1 table for "
                                 "snapshot");
    }
    table.offset = s->snapshots[index].l1_offset;
    g_free(s->l1);
    set_active_table(bs, &table);
    return true;
}
