/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open files on their way from one process to the next. The old one leaves a
 * record of each; what the new one opens meanwhile is looked for among them by
 * file-posix-open.c, which opens the same file anew, with its own flags, and
 * takes over its locks (file-lock.c).
 *
 * Locks belong to open files: while the records are there, so are those of the
 * process before, whether it still lives or not.
 */
#include "file-posix.h"

#include <fcntl.h>
#include <unistd.h>

#include "block/graph.h"

typedef struct LeftFile {
    char *path;
    int fd;
    FileLockParams locks;
} LeftFile;

static GPtrArray *left; /* NULL: nothing was left */
static bool taking_back;

bool file_hand_over(BlockDriverState *bs, Handover *handover, GError **error)
{
    const FileState *s = bs->opaque;
    HandoverRecord *record = handover_add(handover, "file", s->full_path);

    handover_put_uint(record, "locking", s->locks.locking);
    handover_put_uint(record, "held", bs->inactive ? 0 : s->locks.held);
    handover_put_uint(record, "shared",
                      bs->inactive ? FILE_PERM_ALL : s->locks.shared);
    return handover_put_fd(record, "fd", s->fd, error);
}

static void left_file_free(gpointer opaque)
{
    LeftFile *file = opaque;

    close(file->fd);
    g_free(file->path);
    g_free(file);
}

/* A record that lacks something is as good as none: the file is then opened
 * and locked as any other. */
static void take_record(HandoverRecord *record)
{
    uint64_t locking, held, shared;
    int fd = handover_take_fd(record, "fd");
    LeftFile *file;

    if (fd < 0) {
        return;
    }
    if (!handover_need_uint(record, "locking", FILE_LOCKING_AUTO, &locking,
                            NULL) ||
        !handover_need_uint(record, "held", FILE_PERM_ALL, &held, NULL) ||
        !handover_need_uint(record, "shared", FILE_PERM_ALL, &shared, NULL)) {
        close(fd);
        return;
    }
    file = g_new0(LeftFile, 1);
    file->path = g_strdup(handover_record_id(record));
    file->fd = fd;
    file->locks = (FileLockParams){ locking, held, shared };
    g_ptr_array_add(left, file);
}

void bdrv_take_over(Handover *handover, unsigned flags)
{
    HandoverRecord *record;

    g_assert(!left);
    bdrv_take_over_states(handover);
    taking_back = flags & BDRV_TAKE_BACK;
    left = g_ptr_array_new_with_free_func(left_file_free);
    while ((record = handover_take(handover, "file", NULL))) {
        take_record(record);
        handover_record_free(record);
    }
}

void bdrv_take_over_end(void)
{
    bdrv_take_over_states_end();
    g_clear_pointer(&left, g_ptr_array_unref);
}

bool file_is_back(const char *full_path)
{
    FileLockParams locks;

    return taking_back && file_left_fd(full_path, &locks) >= 0;
}

int file_back_fd(const char *full_path, int flags)
{
    const int mask = O_ACCMODE | O_DIRECT;

    for (unsigned i = 0; left && i < left->len; i++) {
        const LeftFile *file = left->pdata[i];
        int has = fcntl(file->fd, F_GETFL);

        if (g_str_equal(file->path, full_path) && has >= 0 &&
            (has & mask) == (flags & mask)) {
            return file->fd;
        }
    }
    return -1;
}

int file_left_fd(const char *full_path, FileLockParams *locks)
{
    for (unsigned i = 0; left && i < left->len; i++) {
        const LeftFile *file = left->pdata[i];

        if (g_str_equal(file->path, full_path)) {
            *locks = file->locks;
            return file->fd;
        }
    }
    return -1;
}
