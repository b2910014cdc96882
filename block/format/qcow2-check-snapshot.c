/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The snapshot table in a check: read before anything else, because refcounts
 * depend on it; written, if it has to be, after everything else.
 */
#include "qcow2-check.h"

#include <errno.h>

#include "qcow2-snapshot.h"

/* As error_report() of QEMU: the program, then the message. */
static void report_error(Qcow2Check *check, const char *text)
{
    const char *program = g_get_prgname();

    qcow2_check_report(check, "%s: ERROR %s", program ? program : "vblk",
                       text);
}

/* Where the header points there can be no table, or it is the header. */
static int check_place(Qcow2Check *check)
{
    Qcow2State *s = check->bs->opaque;
    uint64_t offset = s->snapshots_offset;
    bool invalid = qcow2_offset_in_cluster(s, offset) ||
                   offset > INT64_MAX / 2;

    if (s->snapshot_count == 0 || (offset > 0 && !invalid)) {
        return 0;
    }
    if (invalid && !qcow2_check_fixes(check)) {
        report_error(check, "snapshot table offset invalid");
        check->out->check_errors++;
        return -EINVAL;
    }
    if (qcow2_check_broken(check, qcow2_check_fixes(check), "ERROR ",
                           "%u snapshots without a table",
                           s->snapshot_count)) {
        qcow2_free_snapshots(check->bs); /* an open image's, by their count */
        s->snapshot_count = 0;
        s->snapshots_offset = 0;
        check->rewrite_snapshots = true;
    }
    return 0;
}

/* The header counts more than there can be. */
static int check_number(Qcow2Check *check)
{
    Qcow2State *s = check->bs->opaque;
    unsigned overhang = s->snapshot_count - QCOW2_MAX_SNAPSHOTS;

    if (s->snapshot_count <= QCOW2_MAX_SNAPSHOTS) {
        return 0;
    }
    if (!qcow2_check_fixes(check)) {
        report_error(check, "snapshot table too large");
        qcow2_check_report(check, "You can force-remove all %u overhanging "
                           "snapshots with qemu-img check -r all", overhang);
        check->out->check_errors++;
        return -EFBIG;
    }
    qcow2_check_report(check, "Discarding %u overhanging snapshots",
                       overhang);
    check->out->corruptions += overhang;
    qcow2_free_snapshots(check->bs);
    s->snapshot_count = QCOW2_MAX_SNAPSHOTS;
    return 0;
}

/* Version 3 wants to be told the size of the disk. */
static void check_entries(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;

    for (unsigned i = 0; s->version >= 3 && i < s->snapshot_count; i++) {
        if (s->snapshots[i].extra_bytes < QCOW2_SNAPSHOT_EXTRA_V3) {
            check->out->corruptions++;
            check->rewrite_snapshots = true;
            qcow2_check_report(check, "%s snapshot table entry %u is "
                               "incomplete",
                               qcow2_check_fixes(check) ? "Repairing"
                                                        : "ERROR", i);
        }
    }
}

int coroutine_fn qcow2_check_read_snapshots(Qcow2Check *check)
{
    Qcow2SnapshotRepair repair = {
        .report = check->out->report,
        .report_opaque = check->out->report_opaque,
    };
    g_autoptr(GError) error = NULL;
    int ret = check_place(check);

    if (ret == 0) {
        ret = check_number(check);
    }
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_co_load_snapshots(check->bs,
                                  qcow2_check_fixes(check) ? &repair : NULL,
                                  &error);
    if (ret < 0) {
        g_autofree char *text = g_strdup_printf(
            "failed to read the snapshot table: %s", error->message);

        report_error(check, text);
        check->out->check_errors++;
        return ret;
    }
    check->out->corruptions += repair.dropped + repair.extra_dropped;
    check->rewrite_snapshots |= repair.extra_dropped > 0;
    check_entries(check);
    return 0;
}

/* The entries that are left stay where they are. */
static int coroutine_fn write_number(BlockDriverState *bs)
{
    int ret = qcow2_co_write_header(bs);

    qcow2_overlap_changed(bs);
    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}

int coroutine_fn qcow2_check_write_snapshots(Qcow2Check *check)
{
    Qcow2State *s = check->bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = check->rewrite_snapshots ? qcow2_co_write_snapshots(check->bs)
                                   : write_number(check->bs);
    co_mutex_unlock(&s->lock);
    if (ret < 0) {
        qcow2_check_report(check, "ERROR failed to update snapshot table: %s",
                           g_strerror(-ret));
        check->out->check_errors++;
    }
    return ret;
}
