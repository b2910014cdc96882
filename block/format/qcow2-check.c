/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks an image: are all clusters in use counted, no others, and is what
 * the tables say of them true?
 *
 * How it works: qcow2-check-walk.c counts what the tables refer to, and this
 * compares the counts with the refcounts on the disk. More refcount than
 * references is a leak, less is corruption. Where the refcount structures can
 * not even say 1 of what is in use, qcow2-rebuild.c makes new ones. Lines for
 * the user are those of qemu-img check.
 */
#include "qcow2-check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "qcow2-error.h"
#include "qcow2-rebuild.h"

void qcow2_check_report(const Qcow2Check *check, const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    if (check->mode == QCOW2_WALK_QUIET || !check->out->report) {
        return;
    }
    va_start(args, fmt);
    line = g_strdup_vprintf(fmt, args);
    va_end(args);
    check->out->report(check->out->report_opaque, line);
}

bool qcow2_check_broken(Qcow2Check *check, bool fix, const char *prefix,
                        const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    *(fix ? &check->out->corruptions_fixed : &check->out->corruptions) += 1;
    if (check->mode != QCOW2_WALK_QUIET) {
        va_start(args, fmt);
        text = g_strdup_vprintf(fmt, args);
        va_end(args);
        qcow2_check_report(check, "%s%s", fix ? "Repairing " : prefix, text);
    }
    return fix;
}

/* --- refcounts on the disk --- */

static uint64_t block_offset(const Qcow2Check *check, uint64_t index)
{
    const Qcow2State *s = check->bs->opaque;

    return index < s->reftable_entries
               ? s->reftable[index] & QCOW2_REFTABLE_OFFSET
               : 0;
}

int coroutine_fn qcow2_check_flush(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    int ret;

    if (!check->block_dirty) {
        return 0;
    }
    ret = bdrv_co_pwrite(check->bs->file,
                         block_offset(check, check->block_index),
                         s->cluster_size, check->block, 0);
    check->block_dirty = false;
    return ret;
}

/* The refcount table is another one now. */
static void forget_block(Qcow2Check *check)
{
    check->block_dirty = false;
    check->block_index = UINT64_MAX;
}

static int coroutine_fn load_block(Qcow2Check *check, uint64_t index)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t offset = block_offset(check, index);
    int ret = qcow2_check_flush(check);

    if (ret < 0 || check->block_index == index) {
        return ret;
    }
    check->block_index = UINT64_MAX;
    if (offset % s->cluster_size || offset > INT64_MAX / 2) {
        return -EIO;
    }
    ret = qcow2_co_read_file(check->bs->file, offset, s->cluster_size,
                             check->block);
    if (ret == 0) {
        check->block_index = index;
    }
    return ret;
}

int coroutine_fn qcow2_check_get_refcount(Qcow2Check *check, uint64_t cluster,
                                          uint64_t *refcount)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t index = cluster >> s->refcount_block_bits;
    int ret;

    *refcount = 0;
    if (block_offset(check, index) == 0) {
        return 0;
    }
    if (check->block_index != index) {
        ret = load_block(check, index);
        if (ret < 0) {
            return ret;
        }
    }
    *refcount = qcow2_refcount_at(s, check->block,
                                  cluster & ((UINT64_C(1)
                                              << s->refcount_block_bits) - 1));
    return 0;
}

/* Its refcount was got last. */
static bool set_refcount(Qcow2Check *check, uint64_t cluster, uint64_t value)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t mask = (UINT64_C(1) << s->refcount_block_bits) - 1;

    check->block_dirty = true;
    return qcow2_set_refcount_at(s, check->block, cluster & mask, value);
}

/* --- comparing --- */

static void compare_cluster(Qcow2Check *check, uint64_t cluster,
                            uint64_t refcount, unsigned fix)
{
    uint64_t reference = qcow2_counts_get(check->now.counts, cluster);
    bool leak = refcount > reference;
    BlockCheck *out = check->out;
    bool repair;

    if (refcount || reference) {
        check->highest = cluster;
    }
    if (refcount == reference) {
        return;
    }
    check->rebuild |= refcount == 0;
    repair = refcount > 0 && (fix & (leak ? BLOCK_CHECK_FIX_LEAKS
                                          : BLOCK_CHECK_FIX_ERRORS));
    qcow2_check_report(check, "%s cluster %" PRIu64 " refcount=%" PRIu64
                       " reference=%" PRIu64,
                       repair ? "Repairing" : leak ? "Leaked" : "ERROR",
                       cluster, refcount, reference);
    if (repair && set_refcount(check, cluster, reference)) {
        *(leak ? &out->leaks_fixed : &out->corruptions_fixed) += 1;
    } else {
        *(leak ? &out->leaks : &out->corruptions) += 1;
    }
}

/* From @cluster on, the first that is not 0 on both sides as far as that is
 * known without reading a block. */
static uint64_t next_to_compare(Qcow2Check *check, uint64_t cluster)
{
    const Qcow2State *s = check->bs->opaque;
    uint64_t index = cluster >> s->refcount_block_bits;
    uint64_t used;

    if (block_offset(check, index) != 0) {
        return cluster;
    }
    used = qcow2_counts_next(check->now.counts, cluster);
    for (index++; index < s->reftable_entries; index++) {
        if (used >> s->refcount_block_bits < index) {
            break;
        }
        if (block_offset(check, index) != 0) {
            return MIN(used, index << s->refcount_block_bits);
        }
    }
    return used;
}

int coroutine_fn qcow2_check_compare(Qcow2Check *check, unsigned fix)
{
    uint64_t cluster = next_to_compare(check, 0);
    uint64_t end = check->file_clusters;
    int ret;

    check->highest = 0;
    /* the last one may lie behind the end of the file but for its start */
    end += qcow2_counts_get(check->now.counts, end) > 0;
    while (cluster < end) {
        uint64_t refcount;

        ret = qcow2_check_get_refcount(check, cluster, &refcount);
        if (ret < 0) {
            qcow2_check_report(check, "Can't get refcount for cluster %"
                               PRIu64 ": %s", cluster, g_strerror(-ret));
            check->out->check_errors++;
        } else {
            compare_cluster(check, cluster, refcount, fix);
        }
        cluster = next_to_compare(check, cluster + 1);
    }
    ret = qcow2_check_flush(check);
    if (ret < 0) {
        check->out->check_errors++;
    }
    return ret;
}

/* --- the order of things --- */

/* A quiet walk finds out whether anything is broken, and what clusters are
 * beside being broken tables. */
static int coroutine_fn walk_and_fix(Qcow2Check *check)
{
    BlockCheck *out = check->out;
    int64_t corruptions = out->corruptions;
    int ret;

    check->mode = QCOW2_WALK_QUIET;
    check->to_fix = false;
    ret = qcow2_check_walk(check);
    check->mode = QCOW2_WALK_REPORT;
    if (ret < 0 || (out->corruptions == corruptions && !check->to_fix)) {
        return ret;
    }
    out->corruptions = corruptions;
    check->before = check->now;
    check->now = (Qcow2WalkResult){ 0 };
    check->mode = QCOW2_WALK_FIX;
    ret = qcow2_check_walk(check);
    check->mode = QCOW2_WALK_REPORT;
    qcow2_walk_result_clear(check, &check->before);
    return ret;
}

static int coroutine_fn recount(Qcow2Check *check)
{
    forget_block(check);
    return qcow2_check_fixes(check) ? walk_and_fix(check)
                                    : qcow2_check_walk(check);
}

/* The old structures are leaked now, which is not worth counting. */
static int coroutine_fn drop_old_structures(Qcow2Check *check)
{
    BlockCheck *out = check->out;
    int64_t fixed = out->leaks_fixed;
    int ret = qcow2_check_compare(check, BLOCK_CHECK_FIX_LEAKS);

    out->leaks_fixed = fixed;
    if (ret == 0 && check->rebuild) {
        qcow2_check_report(check, "ERROR rebuilt refcount structure is still "
                           "broken");
    }
    return ret;
}

static int coroutine_fn make_new_structures(Qcow2Check *check)
{
    BlockDriverState *bs = check->bs;
    const char *what;
    int ret = qcow2_co_rebuild_refcounts(bs, check->now.counts, &what);

    if (ret < 0) {
        qcow2_check_report(check, "ERROR %s: %s", what, g_strerror(-ret));
        check->out->check_errors++;
        return ret;
    }
    check->file_bytes = bs->file->total_bytes;
    check->file_clusters = qcow2_size_to_clusters(bs->opaque,
                                                  check->file_bytes);
    return 0;
}

static int coroutine_fn rebuild(Qcow2Check *check)
{
    BlockCheck *out = check->out;
    int64_t corruptions = out->corruptions;
    int64_t leaks = out->leaks;
    int ret;

    qcow2_check_report(check, "Rebuilding refcount structure");
    ret = make_new_structures(check);
    if (ret < 0) {
        return ret;
    }
    /* what was wrong with the old ones does not matter any more */
    out->corruptions = 0;
    out->leaks = 0;
    out->check_errors = 0;
    ret = recount(check);
    if (ret < 0) {
        return ret;
    }
    if (out->fix & BLOCK_CHECK_FIX_LEAKS) {
        ret = drop_old_structures(check);
    }
    out->corruptions_fixed += corruptions;
    out->leaks_fixed += leaks;
    return ret;
}

/* Nothing was repaired yet: reported as it was found, then again. */
static int coroutine_fn repair(Qcow2Check *check, const BlockCheck *before)
{
    BlockCheck *out = check->out;

    if (check->rebuild) {
        qcow2_check_report(check, "ERROR need to rebuild refcount structures");
        return -EIO;
    }
    if (out->leaks == 0 && out->corruptions == 0) {
        return 0;
    }
    out->leaks = before->leaks;
    out->corruptions = before->corruptions;
    out->check_errors = before->check_errors;
    return qcow2_check_compare(check, out->fix);
}

static int coroutine_fn check_refcounts(Qcow2Check *check)
{
    BlockCheck *out = check->out;
    BlockCheck before;
    int ret = recount(check);

    if (ret < 0) {
        return ret;
    }
    before = *out;
    ret = qcow2_check_compare(check, 0);
    if (ret < 0) {
        return ret;
    }
    if (check->rebuild && qcow2_check_fixes(check)) {
        return rebuild(check);
    }
    return out->fix ? repair(check, &before) : 0;
}

static int coroutine_fn check_all(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    int ret = check_refcounts(check);

    if (ret == 0) {
        ret = qcow2_check_copied(check);
    }
    check->out->image_end_offset =
        (int64_t)(check->highest + 1) << s->cluster_bits;
    return ret;
}

/* So that the file can be read and changed behind them. */
static int coroutine_fn empty_caches(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = qcow2_cache_empty(s->l2_cache);
    if (ret == 0) {
        ret = qcow2_cache_empty(s->refcount_cache);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* The old table's clusters are free now: where they were data as well, that
 * has changed. */
static int coroutine_fn write_snapshots(Qcow2Check *check,
                                        int64_t corruptions)
{
    int ret = qcow2_check_write_snapshots(check);

    if (ret == 0) {
        check->out->corruptions -= corruptions;
        check->out->corruptions_fixed += corruptions;
        ret = empty_caches(check->bs);
    }
    forget_block(check);
    return ret == 0 ? qcow2_check_copied(check) : ret;
}

/* What was wrong with the snapshot table stays wrong until it is written. */
static int coroutine_fn check_image(Qcow2Check *check)
{
    BlockCheck *out = check->out;
    int64_t snapshot_corruptions;
    int ret = qcow2_check_read_snapshots(check);

    if (ret < 0) {
        return ret;
    }
    snapshot_corruptions = out->corruptions;
    out->corruptions = 0;
    ret = check_all(check);
    out->corruptions += snapshot_corruptions;
    if (ret < 0 || !qcow2_check_fixes(check) ||
        !(snapshot_corruptions || check->rewrite_snapshots)) {
        return ret;
    }
    return write_snapshots(check, snapshot_corruptions);
}

/* All that was wrong is right again. */
static int coroutine_fn mark_good(BlockDriverState *bs)
{
    int ret = qcow2_co_flush_metadata(bs);

    if (ret == 0) {
        ret = qcow2_co_mark_clean(bs);
    }
    return ret < 0 ? ret : qcow2_co_mark_consistent(bs);
}

static int coroutine_fn check_and_mark(Qcow2Check *check)
{
    BlockCheck *out = check->out;
    int ret = check_image(check);

    qcow2_overlap_changed(check->bs);
    if (ret == 0 && out->fix && !out->check_errors && !out->corruptions) {
        ret = mark_good(check->bs);
    }
    return ret;
}

static bool check_failed(int ret, int64_t room, GError **error)
{
    if (ret == -ENOMEM) {
        return qcow2_error(error, "Checking it takes more memory than there "
                           "is, or than the %" PRId64 " MiB that an image of "
                           "its size should need", room >> 20);
    }
    return qcow2_error(error, "%s", g_strerror(-ret));
}

bool coroutine_fn qcow2_co_check(BlockDriverState *bs, BlockCheck *out,
                                 GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2Check check = {
        .bs = bs,
        .out = out,
        .mode = QCOW2_WALK_REPORT,
        .block_index = UINT64_MAX,
        .file_bytes = bs->file->total_bytes,
    };
    int64_t room = qcow2_counts_room(bs);
    int ret;

    if (out->fix && !qcow2_may_change(bs, error)) {
        return false;
    }
    ret = qcow2_co_settle(bs);
    if (ret == 0) {
        ret = empty_caches(bs);
    }
    if (ret < 0) {
        return qcow2_error(error, "%s", g_strerror(-ret));
    }
    check.room = room;
    check.block = g_malloc(s->cluster_size);
    check.file_clusters = qcow2_size_to_clusters(s, check.file_bytes);
    out->total_clusters = qcow2_size_to_clusters(s, bs->total_bytes);
    ret = check_and_mark(&check);
    qcow2_walk_result_clear(&check, &check.now);
    g_free(check.block);
    return ret == 0 || check_failed(ret, room, error);
}
