/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots as people ask for them: listed, taken, applied, deleted,
 * shown; whether that can be done. qcow2-snapshot-change.c does it.
 */
#include "qcow2-snapshot.h"

#include <errno.h>
#include <string.h>

#include "block/log.h"
#include "qcow2-error.h"

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

/* --- create --- */

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
    ret = qcow2_co_settle(bs);
    if (ret == 0) {
        co_mutex_lock(&s->lock);
        ret = qcow2_co_add_snapshot(bs, sn);
        co_mutex_unlock(&s->lock);
    }
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
    ret = qcow2_co_settle(bs);
    if (ret == 0) {
        co_mutex_lock(&s->lock);
        ret = qcow2_co_activate_snapshot(bs, &s->snapshots[index]);
        co_mutex_unlock(&s->lock);
    }
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to load snapshot");
}

/* --- delete --- */

bool coroutine_fn qcow2_co_snapshot_delete(BlockDriverState *bs,
                                           const char *name, GError **error)
{
    Qcow2State *s = bs->opaque;
    int index, ret;

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
    ret = qcow2_co_settle(bs);
    if (ret == 0) {
        co_mutex_lock(&s->lock);
        ret = qcow2_co_remove_snapshot(bs, index);
        co_mutex_unlock(&s->lock);
    }
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to remove snapshot from "
                             "snapshot list");
}

/* --- load --- */

bool coroutine_fn qcow2_co_snapshot_load(BlockDriverState *bs,
                                         const char *name, GError **error)
{
    Qcow2State *s = bs->opaque;
    int index = find_snapshot(s, name);
    const Qcow2Snapshot *sn;
    unsigned entries;
    uint64_t *l1;
    int ret;

    if (!bs->read_only) {
        return qcow2_error(error, "Device is not readonly");
    }
    if (index < 0) {
        return qcow2_error(error, "Can't find snapshot");
    }
    sn = &s->snapshots[index];
    if (!size_allows(bs, sn, error)) {
        return false;
    }
    ret = qcow2_co_read_snapshot_l1(bs, sn, &l1, &entries);
    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Failed to read l1 table for "
                                 "snapshot");
    }
    g_free(s->l1);
    s->l1 = l1;
    s->l1_entries = entries;
    s->l1_offset = sn->l1_offset;
    bs->total_bytes = sn->disk_bytes;
    qcow2_overlap_changed(bs);
    return true;
}
