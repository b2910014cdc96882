/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Takes the byte locks of an image; called when file-posix-open.c opens it.
 *
 * How it works: every permission has two bytes. Whoever uses permission n
 * holds a read lock on byte 100 + n; whoever does not want others to use it
 * holds one on byte 200 + n. Read locks never exclude each other. So each
 * takes its own bytes first and only then asks whether a write lock could be
 * had on the counterparts: of two that start at once, at least one sees the
 * other. A writer holds 100, 101, 201, 203, for example; a second writer
 * finds 201 taken by the first and gives up.
 *
 * The locks belong to the open file (OFD), not to the process: the classic
 * ones would be lost when any descriptor of the file is closed.
 */
#include "file-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define HELD_BASE     100
#define UNSHARED_BASE 200

static const char *const perm_names[] = {
    "consistent read",
    "write",
    "write unchanged",
    "resize",
};

static int lock_byte(int fd, int cmd, short type, off_t byte)
{
    struct flock fl = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = byte,
        .l_len = 1,
    };
    int ret;

    do {
        ret = fcntl(fd, cmd, &fl);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        return -errno;
    }
    return cmd == F_OFD_GETLK && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

/* Whether file and kernel have such locks at all; takes none. */
static int lock_probe(int fd)
{
    int ret = lock_byte(fd, F_OFD_GETLK, F_WRLCK, HELD_BASE);

    return ret == -EAGAIN ? 0 : ret;
}

static bool lock_take_bytes(int fd, const char *path, unsigned mask,
                            off_t base, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(perm_names); i++) {
        int ret;

        if (!(mask & (1u << i))) {
            continue;
        }
        ret = lock_byte(fd, F_OFD_SETLK, F_RDLCK, base + i);
        if (ret < 0) {
            g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-ret),
                        "Failed to lock byte %d of '%s': %s", (int)base + i,
                        path, g_strerror(-ret));
            return false;
        }
    }
    return true;
}

/* Somebody else's lock, or no lock at all: only one of them is a question. */
static void set_check_error(const char *path, const char *what, int err,
                            GError **error)
{
    if (err == -EAGAIN || err == -EACCES) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-err),
                    "Failed to get %s lock\nIs another process using the "
                    "image [%s]?", what, path);
    } else {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-err),
                    "Failed to get %s lock of '%s': %s", what, path,
                    g_strerror(-err));
    }
}

/* "shared" and the names are QEMU's words: scripts look for these. */
static bool lock_check_bytes(int fd, const char *path, unsigned mask,
                             off_t base, GError **error)
{
    const char *shared = base == HELD_BASE ? "shared " : "";

    for (unsigned i = 0; i < G_N_ELEMENTS(perm_names); i++) {
        g_autofree char *what = NULL;
        int ret;

        if (!(mask & (1u << i))) {
            continue;
        }
        ret = lock_byte(fd, F_OFD_GETLK, F_WRLCK, base + i);
        if (ret < 0) {
            what = g_strdup_printf("%s\"%s\"", shared, perm_names[i]);
            set_check_error(path, what, ret, error);
            return false;
        }
    }
    return true;
}

static bool lock_check(int fd, const char *path,
                       const FileLockParams *params, GError **error)
{
    unsigned unshared = FILE_PERM_ALL & ~params->shared;

    return lock_check_bytes(fd, path, params->held, UNSHARED_BASE, error) &&
           lock_check_bytes(fd, path, unshared, HELD_BASE, error);
}

static bool lock_take(int fd, const char *path, const FileLockParams *params,
                      GError **error)
{
    unsigned unshared = FILE_PERM_ALL & ~params->shared;

    return lock_take_bytes(fd, path, params->held, HELD_BASE, error) &&
           lock_take_bytes(fd, path, unshared, UNSHARED_BASE, error);
}

/* Gives back what @params do not need. */
static void lock_drop(int fd, const FileLockParams *params)
{
    unsigned unshared = FILE_PERM_ALL & ~params->shared;

    for (unsigned i = 0; i < G_N_ELEMENTS(perm_names); i++) {
        if (!(params->held & (1u << i))) {
            lock_byte(fd, F_OFD_SETLK, F_UNLCK, HELD_BASE + i);
        }
        if (!(unshared & (1u << i))) {
            lock_byte(fd, F_OFD_SETLK, F_UNLCK, UNSHARED_BASE + i);
        }
    }
}

void file_lock_trim(int fd, const FileLockParams *params)
{
    if (params->locking != FILE_LOCKING_OFF) {
        lock_drop(fd, params);
    }
}

void file_lock_release(int fd)
{
    lock_drop(fd, &(FileLockParams){ .shared = FILE_PERM_ALL });
}

/* Who has these locks has been told that nobody minds. */
static bool lock_covers(const FileLockParams *from, const FileLockParams *to)
{
    return from->locking != FILE_LOCKING_OFF && !(to->held & ~from->held) &&
           !(from->shared & ~to->shared);
}

/* The old descriptor asks whether others mind: to the new one, the locks of
 * the old are those of another. */
bool file_lock_move(int from_fd, int to_fd, const char *path,
                    const FileLockParams *from, const FileLockParams *to,
                    GError **error)
{
    if (to->locking == FILE_LOCKING_OFF || lock_probe(from_fd) < 0) {
        return true;
    }
    if (lock_take(from_fd, path, to, error) &&
        (lock_covers(from, to) || lock_check(from_fd, path, to, error)) &&
        lock_take(to_fd, path, to, error)) {
        return true;
    }
    lock_drop(from_fd, from);
    return false;
}

bool file_lock_take(int fd, const char *path, const FileLockParams *params,
                    GError **error)
{
    int ret;

    if (params->locking == FILE_LOCKING_OFF) {
        return true;
    }
    ret = lock_probe(fd);
    if (ret < 0) {
        if (params->locking == FILE_LOCKING_AUTO) {
            return true;
        }
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-ret),
                    "locking=on, but '%s' cannot be locked: %s", path,
                    g_strerror(-ret));
        return false;
    }
    return lock_take(fd, path, params, error) &&
           lock_check(fd, path, params, error);
}
