/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts what the tables of an image refer to.
 *
 * Called by qcow2-check.c. L1 tables are read first and say how often each L2
 * table is in use; then every L2 table is read once, however many snapshots
 * share it. Messages are those of qemu-img check.
 */
#include "qcow2-check.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "qcow2-snapshot.h"

#define L1_ENTRY_BYTES 8

/* As many entries that cannot be, and fewer others: it was never a table. */
#define MANY_BROKEN 16

/* --- counting --- */

static int use_failed(Qcow2Check *check, uint64_t cluster, int ret)
{
    const Qcow2State *s = check->bs->opaque;

    if (ret != -ERANGE) {
        check->out->check_errors++;
        return ret;
    }
    qcow2_check_broken(check, false, "ERROR: ", "overflow cluster offset=0x%"
                       PRIx64, cluster << s->cluster_bits);
    qcow2_check_report(check, "Use qemu-img amend to increase the refcount "
                       "entry width or qemu-img convert to create a clean "
                       "copy if the image cannot be opened for writing");
    return 0;
}

bool qcow2_check_beyond(const Qcow2Check *check, uint64_t offset,
                        uint64_t bytes)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t end;

    return __builtin_add_overflow(offset, bytes, &end) ||
           (end > (uint64_t)check->file_bytes &&
            end - check->file_bytes >= (uint64_t)s->cluster_size);
}

int qcow2_check_use(Qcow2Check *check, uint64_t offset, uint64_t bytes,
                    uint64_t times)
{
    const Qcow2State *s = check->bs->opaque;
    int ret = 0;

    if (bytes == 0) {
        return 0;
    }
    if (qcow2_check_beyond(check, offset, bytes)) {
        qcow2_check_broken(check, false, "ERROR: ", "counting reference for "
                           "region exceeding the end of the file by one "
                           "cluster or more: offset 0x%" PRIx64 " size 0x%"
                           PRIx64, offset, bytes);
        return 0;
    }
    for (uint64_t cluster = offset >> s->cluster_bits;
         ret == 0 && cluster <= (offset + bytes - 1) >> s->cluster_bits;
         cluster++) {
        ret = qcow2_counts_add(check->now.counts, cluster, times);
        if (ret < 0) {
            ret = use_failed(check, cluster, ret);
        } else if (qcow2_counts_get(check->now.counts, cluster) >
                   s->refcount_max) {
            check->to_fix = true; /* a quiet walk counts beyond it */
        }
    }
    return ret;
}

/* What the cluster is but for L2 tables and refcount blocks. */
static uint64_t other_uses(const Qcow2WalkResult *walk, uint64_t cluster)
{
    return qcow2_counts_get(walk->counts, cluster) -
           qcow2_counts_get(walk->l2, cluster) -
           qcow2_counts_get(walk->blocks, cluster);
}

/* Whether the cluster of an L2 table is something else as well. */
static bool is_ambiguous(const Qcow2Check *check, const Qcow2TableUse *before)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t cluster = before->offset >> s->cluster_bits;

    return other_uses(&check->before, cluster) > 0 ||
           qcow2_counts_get(check->before.l2, cluster) != before->times;
}

/* Whether clusters of an L1 table are something else as well. L2 tables do not
 * matter, which may be nothing but its own wrong entries. */
static bool is_ambiguous_l1(Qcow2Check *check, const Qcow2TableUse *before,
                            uint64_t entries)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t first = before->offset >> s->cluster_bits;
    uint64_t clusters = qcow2_size_to_clusters(s, entries * L1_ENTRY_BYTES);

    for (uint64_t i = first; i < first + clusters; i++) {
        if (other_uses(&check->before, i) != before->times) {
            return true;
        }
    }
    return false;
}

/* With what the allocator and the tables that find it take, about. */
#define USE_BYTES ((int64_t)sizeof(Qcow2TableUse) + 80)

/* NULL: there is no room. */
static Qcow2TableUse *note_use(Qcow2Check *check, GHashTable *by_offset,
                               uint64_t offset, bool active)
{
    Qcow2TableUse *use = g_hash_table_lookup(by_offset, &offset);

    if (!use) {
        if (check->room < USE_BYTES) {
            return NULL;
        }
        check->room -= USE_BYTES;
        check->now.uses++;
        use = g_new0(Qcow2TableUse, 1);
        use->offset = offset;
        g_hash_table_insert(by_offset, &use->offset, use);
    }
    use->times++;
    use->active |= active;
    return use;
}

/* --- L1 tables --- */

typedef struct L1Check {
    Qcow2Check *check;
    uint64_t offset, entries;
    uint64_t *table;
    Qcow2TableUse *use;
    bool active;
    bool fix;      /* what is broken */
    bool dirty;
} L1Check;

/* The one or two clusters that it touches. */
static int count_l2(Qcow2Check *check, uint64_t offset)
{
    const Qcow2State *s = check->bs->opaque;
    int ret;

    if (qcow2_check_beyond(check, offset, s->cluster_size)) {
        return 0;
    }
    ret = qcow2_counts_add(check->now.l2, offset >> s->cluster_bits, 1);
    if (ret == 0 && qcow2_offset_in_cluster(s, offset)) {
        ret = qcow2_counts_add(check->now.l2,
                               (offset >> s->cluster_bits) + 1, 1);
    }
    return ret;
}

static bool overlaps(const Qcow2State *s, uint64_t cluster, uint64_t offset,
                     uint64_t bytes)
{
    return cluster < offset + bytes && offset < cluster + s->cluster_size;
}

/* These are where they are because the header says so: no L2 table can be
 * there. */
static bool is_no_l2(const Qcow2Check *check, uint64_t offset)
{
    const Qcow2State *s = check->bs->opaque;

    return overlaps(s, offset, 0, s->cluster_size) ||
           overlaps(s, offset, s->l1_offset,
                    (uint64_t)s->l1_entries * L1_ENTRY_BYTES) ||
           overlaps(s, offset, s->reftable_offset,
                    (uint64_t)s->reftable_entries * sizeof(uint64_t)) ||
           overlaps(s, offset, s->snapshots_offset, s->snapshots_bytes) ||
           overlaps(s, offset, s->bitmap_directory_offset,
                    s->bitmap_directory_bytes);
}

static int use_l2(L1Check *c, uint64_t offset)
{
    Qcow2WalkResult *now = &c->check->now;
    const Qcow2State *s = c->check->bs->opaque;
    Qcow2TableUse *use = note_use(c->check, now->by_offset, offset,
                                  c->active);

    if (!use || count_l2(c->check, offset) < 0) {
        return -ENOMEM;
    }
    if (use->times == 1) {
        g_ptr_array_add(now->tables, use);
    }
    return qcow2_check_use(c->check, offset, s->cluster_size, 1);
}

/* What it leads to is no L2 table: somebody else's cluster, and as a table
 * mostly nonsense. */
static bool is_misled(Qcow2Check *check, uint64_t offset)
{
    const Qcow2State *s = check->bs->opaque;
    const Qcow2TableUse *before =
        g_hash_table_lookup(check->before.by_offset, &offset);

    if (is_no_l2(check, offset)) {
        return true;
    }
    return before && before->broken > before->good &&
           (before->broken >= MANY_BROKEN ||
            is_ambiguous(check, before) ||
            qcow2_counts_get(check->before.blocks,
                             offset >> s->cluster_bits) > 0);
}

/* Whether there is an L2 table to look at. */
static bool check_l2_offset(L1Check *c, uint64_t offset)
{
    Qcow2Check *check = c->check;
    const Qcow2State *s = check->bs->opaque;

    if (qcow2_offset_in_cluster(s, offset)) {
        return !qcow2_check_broken(check, c->fix, "ERROR ", "l2_offset=%"
                                   PRIx64 ": Table is not cluster aligned; L1 "
                                   "entry corrupted", offset);
    }
    if (c->fix && qcow2_check_beyond(check, offset, s->cluster_size)) {
        return !qcow2_check_broken(check, true, "", "l2_offset=%" PRIx64
                                   ": Table is behind the end of the file",
                                   offset);
    }
    return !(c->fix && is_misled(check, offset)) ||
           !qcow2_check_broken(check, true, "", "l2_offset=%" PRIx64 ": This "
                               "is not an L2 table", offset);
}

static int check_l1_entry(L1Check *c, unsigned index)
{
    uint64_t entry = c->table[index];

    if ((entry & QCOW2_L1_RESERVED) &&
        qcow2_check_broken(c->check, c->fix, "ERROR ", "found L1 entry with "
                           "reserved bits set: %" PRIx64, entry)) {
        entry &= ~QCOW2_L1_RESERVED;
    }
    if (!check_l2_offset(c, entry & QCOW2_L1_OFFSET)) {
        entry = 0;
    }
    c->dirty |= entry != c->table[index];
    c->table[index] = entry;
    if (entry && c->check->mode == QCOW2_WALK_QUIET &&
        is_no_l2(c->check, entry & QCOW2_L1_OFFSET)) {
        /* what it would lead to must not count when that is mended */
        c->check->to_fix = true;
        return 0;
    }
    return entry ? use_l2(c, entry & QCOW2_L1_OFFSET) : 0;
}

static int check_l1_entries(L1Check *c)
{
    BlockCheck *out = c->check->out;
    int ret = 0;

    for (uint64_t i = 0; i < c->entries && ret == 0; i++) {
        int64_t corruptions = out->corruptions;

        if (c->table[i]) {
            ret = check_l1_entry(c, i);
            c->use->broken += out->corruptions > corruptions;
            c->use->good += out->corruptions == corruptions;
        }
    }
    return ret;
}

static int coroutine_fn write_l1(L1Check *c)
{
    Qcow2Check *check = c->check;
    Qcow2State *s = check->bs->opaque;
    size_t bytes = c->entries * L1_ENTRY_BYTES;
    g_autofree uint64_t *be = g_malloc(bytes);
    int ret;

    for (uint64_t i = 0; i < c->entries; i++) {
        be[i] = GUINT64_TO_BE(c->table[i]);
    }
    if (c->active) {
        memcpy(s->l1, c->table, bytes);
    }
    ret = qcow2_co_write_file(check->bs->file, c->offset, bytes, be);
    if (ret < 0) {
        qcow2_check_report(check, "ERROR: Failed to overwrite L1 table: %s",
                           g_strerror(-ret));
        check->out->check_errors++;
    }
    return ret;
}

static bool may_fix_l1(const L1Check *c)
{
    Qcow2Check *check = c->check;
    const Qcow2TableUse *before;

    if (check->mode != QCOW2_WALK_FIX) {
        return false;
    }
    before = g_hash_table_lookup(check->before.l1, &c->offset);
    return before && (before->broken <= before->good ||
                      !is_ambiguous_l1(check, before, c->entries));
}

static int coroutine_fn walk_l1(L1Check *c)
{
    Qcow2Check *check = c->check;
    int ret = qcow2_check_use(check, c->offset, c->entries * L1_ENTRY_BYTES,
                              1);

    if (ret == 0) {
        ret = qcow2_co_read_table(check->bs->file, c->offset, c->entries,
                                  &c->table);
    }
    if (ret < 0) {
        qcow2_check_report(check, "ERROR: I/O error in check_refcounts_l1");
        check->out->check_errors++;
        return ret;
    }
    c->use = note_use(check, check->now.l1, c->offset, c->active);
    c->fix = may_fix_l1(c);
    ret = c->use ? check_l1_entries(c) : -ENOMEM;
    if (ret == 0 && c->dirty) {
        ret = write_l1(c);
    }
    g_free(c->table);
    return ret;
}

/* As much as a file is made longer for something far behind its end: what is
 * farther is more likely to be a wrong offset than lost data. */
#define MAX_REACH (INT64_C(1) << 40)

/* The file is made longer, so that all of the range is in it. */
static int coroutine_fn reach(Qcow2Check *check, uint64_t offset,
                              uint64_t bytes)
{
    const Qcow2State *s = check->bs->opaque;
    BlockTruncate to = { .bytes = offset + bytes };

    if (offset > (uint64_t)check->file_bytes + MAX_REACH ||
        !bdrv_co_truncate(check->bs->file, &to, NULL)) {
        return -EINVAL;
    }
    check->file_bytes = check->bs->file->total_bytes;
    check->file_clusters = qcow2_size_to_clusters(s, check->file_bytes);
    return 0;
}

/* A table of which the file has nothing is empty. */
static void coroutine_fn reach_active(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t bytes = (uint64_t)s->l1_entries * L1_ENTRY_BYTES;

    if (check->mode == QCOW2_WALK_FIX &&
        qcow2_check_beyond(check, s->l1_offset, bytes) &&
        reach(check, s->l1_offset, bytes) == 0) {
        qcow2_check_broken(check, true, "", "L1 table is behind the end of "
                           "the file");
    }
}

static int coroutine_fn walk_active(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;

    reach_active(check);
    return walk_l1(&(L1Check){ .check = check, .offset = s->l1_offset,
                               .entries = s->l1_entries, .active = true });
}

/* --- snapshots --- */

static bool is_misled_snapshot(Qcow2Check *check, const Qcow2Snapshot *sn)
{
    const Qcow2TableUse *before =
        g_hash_table_lookup(check->before.l1, &sn->l1_offset);

    return before && before->broken > before->good &&
           is_ambiguous_l1(check, before, sn->l1_entries);
}

/* Whether there is a table to look at; one that was found wanting is dropped
 * when errors are fixed. */
static bool snapshot_l1_ok(Qcow2Check *check, const Qcow2Snapshot *sn)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t bytes = (uint64_t)sn->l1_entries * L1_ENTRY_BYTES;
    bool fix = check->mode == QCOW2_WALK_FIX;

    if (qcow2_offset_in_cluster(s, sn->l1_offset)) {
        qcow2_check_broken(check, fix, "ERROR ", "snapshot %s (%s) "
                           "l1_offset=%#" PRIx64 ": L1 table is not cluster "
                           "aligned; snapshot table entry corrupted", sn->id,
                           sn->name, sn->l1_offset);
    } else if (bytes > QCOW2_MAX_L1_BYTES) {
        qcow2_check_broken(check, fix, "ERROR ", "snapshot %s (%s) l1_size=%#x"
                           ": L1 table is too large; snapshot table entry "
                           "corrupted", sn->id, sn->name, sn->l1_entries);
    } else if (fix && qcow2_check_beyond(check, sn->l1_offset, bytes)) {
        qcow2_check_broken(check, true, "", "snapshot %s (%s) l1_offset=%#"
                           PRIx64 ": L1 table is behind the end of the file",
                           sn->id, sn->name, sn->l1_offset);
    } else if (fix && is_misled_snapshot(check, sn)) {
        qcow2_check_broken(check, true, "", "snapshot %s (%s) l1_offset=%#"
                           PRIx64 ": This is not an L1 table", sn->id,
                           sn->name, sn->l1_offset);
    } else {
        return true;
    }
    return false;
}

static void drop_snapshot(Qcow2Check *check, unsigned index)
{
    Qcow2State *s = check->bs->opaque;

    qcow2_snapshot_clear(&s->snapshots[index]);
    s->snapshot_count--;
    memmove(&s->snapshots[index], &s->snapshots[index + 1],
            (s->snapshot_count - index) * sizeof(*s->snapshots));
    check->rewrite_snapshots = true;
}

/* Those with a broken table are gone when errors are fixed, and left out of
 * the count otherwise. */
static int coroutine_fn walk_snapshot(Qcow2Check *check, unsigned *index)
{
    const Qcow2State *s = check->bs->opaque;
    const Qcow2Snapshot *sn = &s->snapshots[*index];

    if (snapshot_l1_ok(check, sn)) {
        *index += 1;
        return walk_l1(&(L1Check){ .check = check, .offset = sn->l1_offset,
                                   .entries = sn->l1_entries });
    }
    if (check->mode == QCOW2_WALK_FIX) {
        drop_snapshot(check, *index);
    } else {
        *index += 1;
    }
    return 0;
}

static int coroutine_fn walk_snapshots(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    unsigned index = 0;
    int ret = 0;

    if (qcow2_has_data_file(s) && s->snapshot_count) {
        qcow2_check_broken(check, false, "ERROR ", "%u snapshots in image "
                           "with data file", s->snapshot_count);
    }
    while (index < s->snapshot_count && ret == 0) {
        ret = walk_snapshot(check, &index);
    }
    return ret < 0 ? ret : qcow2_check_use(check, s->snapshots_offset,
                                           s->snapshots_bytes, 1);
}

/* --- refcount structures --- */

static int coroutine_fn check_block_outside(Qcow2Check *check, uint64_t index,
                                            uint64_t offset)
{
    const Qcow2State *s = check->bs->opaque;
    int ret;

    if (!qcow2_check_broken(check, check->mode == QCOW2_WALK_FIX, "ERROR ",
                            "refcount block %" PRIu64 " is outside image",
                            index)) {
        return 0;
    }
    ret = reach(check, offset, s->cluster_size);
    if (ret < 0) {
        qcow2_check_report(check, "ERROR could not resize image: %s",
                           g_strerror(-ret));
        check->out->corruptions++;
        check->out->corruptions_fixed--;
        check->rebuild = true;
        return 0;
    }
    return qcow2_check_use(check, offset, s->cluster_size, 1);
}

static int coroutine_fn check_block(Qcow2Check *check, uint64_t index)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t entry = s->reftable[index];
    uint64_t offset = entry & QCOW2_REFTABLE_OFFSET;
    uint64_t cluster = offset >> s->cluster_bits;
    uint64_t count;
    int ret;

    if (entry == 0) {
        return 0;
    }
    if (entry & QCOW2_REFTABLE_RESERVED) {
        qcow2_check_broken(check, false, "ERROR ", "refcount table entry %"
                           PRIu64 " has reserved bits set", index);
    } else if (qcow2_offset_in_cluster(s, offset)) {
        qcow2_check_broken(check, false, "ERROR ", "refcount block %" PRIu64
                           " is not cluster aligned; refcount table entry "
                           "corrupted", index);
    } else if (cluster >= check->file_clusters) {
        return check_block_outside(check, index, offset);
    } else {
        if (qcow2_counts_add(check->now.blocks, cluster, 1) < 0) {
            return -ENOMEM;
        }
        /* that cannot be told from 1 where counts do not go beyond it */
        check->rebuild |= check->mode == QCOW2_WALK_FIX &&
                          qcow2_counts_get(check->now.counts, cluster) > 0;
        ret = qcow2_check_use(check, offset, s->cluster_size, 1);
        count = qcow2_counts_get(check->now.counts, cluster);
        if (ret < 0 || count == 1) {
            return ret;
        }
        qcow2_check_broken(check, false, "ERROR ", "refcount block %" PRIu64
                           " refcount=%" PRIu64, index, count);
    }
    check->rebuild = true;
    return 0;
}

static int coroutine_fn walk_refcounts(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t bytes = (uint64_t)s->reftable_entries * sizeof(uint64_t);
    int ret;

    if (qcow2_check_beyond(check, s->reftable_offset, bytes)) {
        check->rebuild = true;
    }
    ret = qcow2_check_use(check, s->reftable_offset, bytes, 1);
    for (unsigned i = 0; i < s->reftable_entries && ret == 0; i++) {
        ret = check_block(check, i);
    }
    return ret;
}

/* --- all --- */

static int coroutine_fn walk_all(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    int ret = qcow2_check_use(check, 0, s->cluster_size, 1);

    if (ret == 0) {
        ret = walk_active(check);
    }
    if (ret == 0) {
        ret = walk_snapshots(check);
    }
    for (unsigned i = 0; i < check->now.tables->len && ret == 0; i++) {
        ret = qcow2_check_l2(check, check->now.tables->pdata[i]);
    }
    if (ret == 0) {
        ret = qcow2_check_bitmaps(check);
    }
    return ret == 0 ? walk_refcounts(check) : ret;
}

void qcow2_walk_result_clear(Qcow2Check *check, Qcow2WalkResult *result)
{
    check->room += result->uses * USE_BYTES;
    result->uses = 0;
    g_clear_pointer(&result->counts, qcow2_counts_free);
    g_clear_pointer(&result->l2, qcow2_counts_free);
    g_clear_pointer(&result->blocks, qcow2_counts_free);
    g_clear_pointer(&result->by_offset, g_hash_table_unref);
    g_clear_pointer(&result->tables, g_ptr_array_unref);
    g_clear_pointer(&result->l1, g_hash_table_unref);
}

static GHashTable *table_uses_new(void)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
}

int coroutine_fn qcow2_check_walk(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    BlockCheck *out = check->out;

    qcow2_walk_result_clear(check, &check->now);
    check->now.counts =
        qcow2_counts_new(check->mode == QCOW2_WALK_QUIET ? UINT64_MAX
                                                         : s->refcount_max,
                         &check->room);
    check->now.blocks = qcow2_counts_new(UINT64_MAX, &check->room);
    check->now.l2 = qcow2_counts_new(UINT64_MAX, &check->room);
    check->now.tables = g_ptr_array_new();
    check->now.by_offset = table_uses_new();
    check->now.l1 = table_uses_new();
    check->rebuild = false;
    out->allocated_clusters = 0;
    out->fragmented_clusters = 0;
    out->compressed_clusters = 0;
    return walk_all(check);
}
