/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that several hosts share goes from one process to another, as
 * BlockDriver.activate() asks for. The locks are taken on the descriptor that
 * is there: neither a name is looked up nor anything opened.
 */
#include "file-posix.h"

#include <fcntl.h>

/* Of what we have read before, pages may be kept that another host has
 * written since. */
static void drop_pages(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    if (s->drop_cache && !bs->cache_direct) {
        posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    file_status_forget(s);
}

bool file_activate(BlockDriverState *bs, GError **error)
{
    FileState *s = bs->opaque;

    if (!file_lock_take(s->fd, s->path, &s->locks, error) ||
        !file_refresh_size(bs, error)) {
        file_lock_release(s->fd);
        return false;
    }
    drop_pages(bs);
    file_refresh_homes(bs);
    return true;
}

bool file_inactivate(BlockDriverState *bs, GError **error)
{
    FileState *s = bs->opaque;

    if (s->locks.locking != FILE_LOCKING_OFF) {
        file_lock_release(s->fd);
    }
    return true;
}
