/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Advisory locks on an image, as QEMU and its tools take them, so that two
 * programs do not write to one image. Private to block/protocol.
 */
#ifndef BLOCK_PROTOCOL_FILE_LOCK_H
#define BLOCK_PROTOCOL_FILE_LOCK_H

#include <glib.h>
#include <stdbool.h>

/* What may be done to an image; bit n has lock bytes 100 + n and 200 + n. */
#define FILE_PERM_CONSISTENT_READ 0x1u
#define FILE_PERM_WRITE           0x2u
#define FILE_PERM_WRITE_UNCHANGED 0x4u
#define FILE_PERM_RESIZE          0x8u
#define FILE_PERM_ALL             0xfu

typedef enum FileLocking {
    FILE_LOCKING_OFF,  /* none is taken */
    FILE_LOCKING_ON,   /* no locks, no image */
    FILE_LOCKING_AUTO, /* where the file system has them */
} FileLocking;

typedef struct FileLockParams {
    FileLocking locking;
    unsigned held;   /* what we do: FILE_PERM_* */
    unsigned shared; /* what others may do meanwhile */
} FileLockParams;

/*
 * Takes the locks, which live as long as the open file of @fd. Fails with
 * nothing taken that outlives close(@fd) when another program's locks
 * conflict; @path is for the message. Context: main
 */
bool file_lock_take(int fd, const char *path, const FileLockParams *params,
                    GError **error);

/*
 * For another descriptor of the same file: @to_fd gets locks for @to, while
 * @from_fd has those of @from, and both do until one is closed. On failure
 * @from_fd has what it had; @to_fd may have some. Context: main
 */
bool file_lock_move(int from_fd, int to_fd, const char *path,
                    const FileLockParams *from, const FileLockParams *to,
                    GError **error);

/* Gives back what @fd has and @params have not. Context: main */
void file_lock_trim(int fd, const FileLockParams *params);

/* Gives back all that @fd has. Context: main */
void file_lock_release(int fd);

#endif
