/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens a file anew for other access, as BlockDriver.reopen() asks for. The
 * same file, by way of its descriptor: its name may be another's by now.
 */
#include "file-posix.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "block/image.h"

static int open_again(const FileState *s, unsigned flags)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", s->fd);
    int mode = flags & BDRV_OPEN_READ_ONLY ? O_RDONLY : O_RDWR;
    int fd;

    do {
        fd = open(path, O_CLOEXEC | mode |
                            (flags & BDRV_OPEN_DIRECT ? O_DIRECT : 0));
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* The new descriptor in the place of the old, which is returned. */
static int swap_fd(BlockDriverState *bs, int fd, unsigned flags)
{
    FileState *s = bs->opaque;
    int old = s->fd;

    s->fd = fd;
    bs->cache_direct = flags & BDRV_OPEN_DIRECT;
    return old;
}

static bool use_fd(BlockDriverState *bs, int fd, unsigned flags,
                   const FileLockParams *locks, GError **error)
{
    FileState *s = bs->opaque;
    unsigned old_flags = bs->cache_direct ? BDRV_OPEN_DIRECT : 0;
    BlockLimits old_limits = bs->limits;
    AutoFacts old_facts = s->facts;
    int64_t total_bytes = bs->total_bytes;
    int old_fd = swap_fd(bs, fd, flags);
    bool ok = file_probe(bs, error) &&
              file_lock_move(old_fd, fd, s->path, &s->locks, locks, error);

    bs->total_bytes = total_bytes;
    if (!ok) {
        swap_fd(bs, old_fd, old_flags);
        bs->limits = old_limits;
        s->facts = old_facts;
        return false;
    }
    bdrv_finish_limits(bs);
    s->locks = *locks;
    close(old_fd);
    file_refresh_homes(bs);
    return true;
}

bool file_reopen(BlockDriverState *bs, unsigned flags, GError **error)
{
    FileState *s = bs->opaque;
    FileLockParams locks = s->locks;
    int fd = open_again(s, flags);

    if (fd < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "Could not reopen file: %s", g_strerror(errno));
        return false;
    }
    if (flags & BDRV_OPEN_READ_ONLY) {
        locks.held &= ~(FILE_PERM_WRITE | FILE_PERM_RESIZE);
    } else {
        locks.held |= FILE_PERM_WRITE | (bs->grows ? FILE_PERM_RESIZE : 0);
    }
    if (use_fd(bs, fd, flags, &locks, error)) {
        return true;
    }
    close(fd);
    return false;
}
