/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What of an open image may be wrong without making it unreadable: the lists
 * of snapshots and bitmaps, and refcounts that were not written. These have to
 * be right before anybody allocates by them: when the image is opened to be
 * written to, or becomes writable later.
 */
#include "qcow2.h"

#include <errno.h>

#include "block/log.h"
#include "qcow2-error.h"

static void log_line(void *opaque, const char *line)
{
    log_plain("%s", line);
}

/* Lazy refcounts were not written before the image was left alone. */
static bool coroutine_fn repair_dirty(BlockDriverState *bs, GError **error)
{
    BlockCheck check = {
        .fix = BLOCK_CHECK_FIX_ERRORS | BLOCK_CHECK_FIX_LEAKS,
        .report = log_line,
    };
    g_autoptr(GError) why = NULL;

    if (!qcow2_co_check(bs, &check, &why)) {
        return qcow2_error(error, "Could not repair dirty image: %s",
                           why->message);
    }
    return check.check_errors == 0 ||
           qcow2_error_errno(error, -EIO, "Could not repair dirty image");
}

bool coroutine_fn qcow2_co_mend_dirty(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    return s->for_check || !(s->incompatible & QCOW2_INCOMPAT_DIRTY) ||
           repair_dirty(bs, error);
}

bool coroutine_fn qcow2_co_read_lists(BlockDriverState *bs, GError **error)
{
    const Qcow2State *s = bs->opaque;

    if (s->for_check) {
        /* what cannot be read is for the check to say */
        qcow2_co_read_bitmaps(bs, NULL);
        return true;
    }
    if (!qcow2_co_read_snapshots(bs, error) ||
        !qcow2_co_read_bitmaps(bs, error) ||
        !qcow2_co_check_bitmap_tables(bs, error)) {
        return false;
    }
    return bs->read_only || qcow2_co_mend_dirty(bs, error);
}
