/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Takes, applies and deletes snapshots: works out what the tables are going to be, and
 * has qcow2-switch.c put them in force. Called by qcow2-snapshot.c, under
 * s->lock, with all settled and nothing in flight.
 *
 * What fails has changed nothing. What has changed is whole: the snapshot, the
 * counts of what it shares with the disk, and the flags that say which
 * clusters are the disk's alone.
 */
#include "qcow2-snapshot.h"

#include <errno.h>
#include <string.h>

#include "qcow2-switch.h"

#define L1_ENTRY_BYTES 8

/* --- what the header is going to lead to --- */

/* Has memory of its own for both tables, the list with room for one more. */
static Qcow2Roots copy_roots(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Roots roots = qcow2_get_roots(bs);

    roots.l1 = g_memdup2(s->l1, roots.l1_entries * sizeof(*s->l1));
    roots.snapshots = g_new(Qcow2Snapshot, roots.snapshot_count + 1);
    for (unsigned i = 0; i < roots.snapshot_count; i++) {
        roots.snapshots[i] = s->snapshots[i];
    }
    return roots;
}

static void free_roots(const Qcow2Roots *roots)
{
    g_free(roots->l1);
    g_free(roots->snapshots);
}

/* Where it is not what it was it goes elsewhere. */
static int coroutine_fn put_active_l1(BlockDriverState *bs, Qcow2Switch *sw,
                                      Qcow2Roots *to)
{
    const Qcow2State *s = bs->opaque;
    uint64_t bytes = (uint64_t)to->l1_entries * L1_ENTRY_BYTES;
    int64_t offset;

    qcow2_switch_flag_l1(sw, to->l1, to->l1_entries);
    if (to->l1_entries == s->l1_entries &&
        (bytes == 0 || memcmp(to->l1, s->l1, bytes) == 0)) {
        return 0;
    }
    offset = qcow2_co_switch_write_l1(sw, to->l1, to->l1_entries);
    if (offset < 0) {
        return offset;
    }
    to->l1_offset = offset;
    qcow2_switch_give_up(sw, s->l1_offset,
                         (uint64_t)s->l1_entries * L1_ENTRY_BYTES,
                         QCOW2_DISCARD_OTHER);
    return 0;
}

/* The last step: the L2 tables of @to are as they shall be. */
static int coroutine_fn put_in_force(BlockDriverState *bs, Qcow2Switch *sw,
                                     Qcow2Roots *to)
{
    int ret = put_active_l1(bs, sw, to);

    return ret == 0 ? qcow2_co_switch_commit(sw, to) : ret;
}

static int coroutine_fn put_list(BlockDriverState *bs, Qcow2Switch *sw,
                                 Qcow2Roots *to)
{
    const Qcow2State *s = bs->opaque;
    g_autoptr(GByteArray) table = qcow2_snapshot_table(to->snapshots,
                                                       to->snapshot_count);
    int64_t offset;

    if (table->len > QCOW2_MAX_SNAPSHOT_TABLE_BYTES) {
        return -EFBIG;
    }
    offset = qcow2_co_switch_write(sw, table->data, table->len);
    if (offset < 0) {
        return offset;
    }
    to->snapshots_offset = offset;
    to->snapshots_bytes = table->len;
    qcow2_switch_give_up(sw, s->snapshots_offset, s->snapshots_bytes,
                         QCOW2_DISCARD_SNAPSHOT);
    return 0;
}

/* --- create --- */

/* The active table's L2 tables, renewed, are those of both. */
static int coroutine_fn share_tables(Qcow2Switch *sw, Qcow2Roots *to)
{
    unsigned entries = to->l1_entries;
    int ret = qcow2_co_switch_count_data(sw, to->l1, entries, 1);

    if (ret == 0) {
        ret = qcow2_co_switch_renew(sw, to->l1, entries);
    }
    return ret == 0 ? qcow2_co_switch_count_tables(sw, to->l1, entries, 1)
                    : ret;
}

static int coroutine_fn create_with(BlockDriverState *bs, Qcow2Switch *sw,
                                    Qcow2Roots *to, Qcow2Snapshot *sn)
{
    int64_t offset;
    int ret = share_tables(sw, to);

    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < to->l1_entries; i++) {
        to->l1[i] &= ~QCOW2_COPIED;
    }
    offset = qcow2_co_switch_write_l1(sw, to->l1, to->l1_entries);
    if (offset < 0) {
        return offset;
    }
    sn->l1_offset = offset;
    sn->l1_entries = to->l1_entries;
    to->snapshots[to->snapshot_count++] = *sn;
    ret = put_list(bs, sw, to);
    return ret == 0 ? put_in_force(bs, sw, to) : ret;
}

int coroutine_fn qcow2_co_add_snapshot(BlockDriverState *bs,
                                       Qcow2Snapshot *sn)
{
    Qcow2Roots to = copy_roots(bs);
    Qcow2Switch *sw;
    int ret = qcow2_co_switch_begin(bs, &sw);

    if (ret == 0) {
        ret = create_with(bs, sw, &to, sn);
    }
    qcow2_switch_free(sw);
    free_roots(&to);
    return ret;
}

/* --- apply --- */

int coroutine_fn qcow2_co_read_snapshot_l1(BlockDriverState *bs,
                                           const Qcow2Snapshot *sn,
                                           uint64_t **l1, unsigned *entries)
{
    const Qcow2State *s = bs->opaque;
    uint64_t needed = qcow2_l1_entries_for(s, sn->disk_bytes);
    g_autofree uint64_t *read = NULL;
    int ret;

    if (needed > QCOW2_MAX_L1_BYTES / L1_ENTRY_BYTES) {
        return -EFBIG;
    }
    ret = qcow2_co_read_table(bs->file, sn->l1_offset, sn->l1_entries, &read);
    if (ret < 0) {
        return ret;
    }
    *entries = MAX(needed, sn->l1_entries);
    *l1 = g_try_new0(uint64_t, MAX(*entries, 1));
    if (!*l1) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < sn->l1_entries; i++) {
        (*l1)[i] = read[i] & ~QCOW2_COPIED;
    }
    return 0;
}

/* One use more of what the snapshot has, one less of what the disk had. What
 * both have stays in use all the while. */
static int coroutine_fn recount(BlockDriverState *bs, Qcow2Switch *sw,
                                const Qcow2Roots *to)
{
    const Qcow2State *s = bs->opaque;
    int ret = qcow2_co_switch_count_data(sw, to->l1, to->l1_entries, 1);

    if (ret == 0) {
        ret = qcow2_co_switch_count_tables(sw, to->l1, to->l1_entries, 1);
    }
    if (ret == 0) {
        ret = qcow2_co_switch_count_data(sw, s->l1, s->l1_entries, -1);
    }
    return ret == 0 ? qcow2_co_switch_count_tables(sw, s->l1, s->l1_entries,
                                                   -1)
                    : ret;
}

static int coroutine_fn activate_with(BlockDriverState *bs, Qcow2Switch *sw,
                                      Qcow2Roots *to)
{
    int ret = recount(bs, sw, to);

    if (ret == 0) {
        ret = qcow2_co_switch_renew(sw, to->l1, to->l1_entries);
    }
    return ret == 0 ? put_in_force(bs, sw, to) : ret;
}

int coroutine_fn qcow2_co_activate_snapshot(BlockDriverState *bs,
                                            const Qcow2Snapshot *sn)
{
    Qcow2Roots to = copy_roots(bs);
    Qcow2Switch *sw;
    int ret = qcow2_co_switch_begin(bs, &sw);

    g_clear_pointer(&to.l1, g_free);
    to.disk_bytes = sn->disk_bytes;
    if (ret == 0) {
        ret = qcow2_co_read_snapshot_l1(bs, sn, &to.l1, &to.l1_entries);
    }
    if (ret == 0) {
        ret = activate_with(bs, sw, &to);
    }
    qcow2_switch_free(sw);
    free_roots(&to);
    return ret;
}

/* --- delete --- */

static int coroutine_fn uncount(BlockDriverState *bs, Qcow2Switch *sw,
                                const Qcow2Snapshot *sn)
{
    g_autofree uint64_t *l1 = NULL;
    int ret = qcow2_co_read_table(bs->file, sn->l1_offset, sn->l1_entries,
                                  &l1);

    if (ret == 0) {
        ret = qcow2_co_switch_count_data(sw, l1, sn->l1_entries, -1);
    }
    if (ret == 0) {
        ret = qcow2_co_switch_count_tables(sw, l1, sn->l1_entries, -1);
    }
    qcow2_switch_give_up(sw, sn->l1_offset,
                         (uint64_t)sn->l1_entries * L1_ENTRY_BYTES,
                         QCOW2_DISCARD_SNAPSHOT);
    return ret;
}

static void take_out(Qcow2Roots *to, unsigned index)
{
    to->snapshot_count--;
    memmove(&to->snapshots[index], &to->snapshots[index + 1],
            (to->snapshot_count - index) * sizeof(*to->snapshots));
}

static int coroutine_fn delete_with(BlockDriverState *bs, Qcow2Switch *sw,
                                    Qcow2Roots *to, unsigned index)
{
    int ret = uncount(bs, sw, &to->snapshots[index]);

    if (ret == 0) {
        ret = qcow2_co_switch_renew(sw, to->l1, to->l1_entries);
    }
    take_out(to, index);
    if (ret == 0) {
        ret = put_list(bs, sw, to);
    }
    return ret == 0 ? put_in_force(bs, sw, to) : ret;
}

static int coroutine_fn delete_at_once(BlockDriverState *bs, unsigned index)
{
    Qcow2Roots to = copy_roots(bs);
    Qcow2Switch *sw;
    int ret = qcow2_co_switch_begin(bs, &sw);

    if (ret == 0) {
        ret = delete_with(bs, sw, &to, index);
    }
    qcow2_switch_free(sw);
    free_roots(&to);
    return ret;
}

/* --- delete in place --- */

/* By its @index-th, here and in the file. */
static int coroutine_fn shorten_list(BlockDriverState *bs, unsigned index)
{
    Qcow2State *s = bs->opaque;
    Qcow2Snapshot sn = s->snapshots[index];
    Qcow2Snapshot *at = &s->snapshots[index];
    size_t behind = (s->snapshot_count - index - 1) * sizeof(*at);
    int ret;

    memmove(at, at + 1, behind);
    s->snapshot_count--;
    ret = qcow2_co_write_snapshots(bs);
    if (ret < 0) {
        memmove(at + 1, at, behind);
        *at = sn;
        s->snapshot_count++;
    }
    return ret;
}

/*
 * Where there is no room for new tables, which is when snapshots are deleted:
 * counts and flags change where they are. A crash in between leaves flags that
 * a check has to mend.
 */
static int coroutine_fn delete_in_place(BlockDriverState *bs, unsigned index)
{
    Qcow2State *s = bs->opaque;
    Qcow2Snapshot sn = s->snapshots[index];
    int ret = shorten_list(bs, index);

    if (ret == 0) {
        ret = qcow2_co_uncount_snapshot(bs, &sn);
    }
    if (ret == 0 && sn.l1_entries) {
        qcow2_co_free_clusters(bs, sn.l1_offset,
                               (uint64_t)sn.l1_entries * L1_ENTRY_BYTES,
                               QCOW2_DISCARD_SNAPSHOT);
    }
    if (ret == 0) {
        ret = qcow2_co_flag_active(bs);
    }
    if (ret == 0) {
        ret = qcow2_cache_flush(s->l2_cache);
    }
    return ret == 0 ? qcow2_cache_flush(s->refcount_cache) : ret;
}

int coroutine_fn qcow2_co_remove_snapshot(BlockDriverState *bs,
                                          unsigned index)
{
    Qcow2State *s = bs->opaque;
    Qcow2Snapshot sn = s->snapshots[index];
    unsigned before = s->snapshot_count;
    int ret = delete_at_once(bs, index);

    if (ret == -ENOSPC && !s->broken && delete_in_place(bs, index) == 0) {
        ret = 0;
    }
    if (s->snapshot_count < before) {
        qcow2_snapshot_clear(&sn);
    }
    return ret;
}
