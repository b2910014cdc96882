/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the "file" and "host_device" drivers share. Private to
 * block/protocol.
 *
 * file-posix-open.c makes a FileState, file-posix-probe.c finds out what the
 * file can do, file-posix.c hands requests to engines, file-posix-flush.c
 * lets flushes go one after the other, file-posix-worker.c does in a worker
 * what no engine knows. file-posix-active.c: the file goes from one process to
 * another.
 */
#ifndef BLOCK_PROTOCOL_FILE_POSIX_H
#define BLOCK_PROTOCOL_FILE_POSIX_H

#include "home-list.h"

#include <pthread.h>

#include "block/driver.h"
#include "file-lock.h"

#define FILE_MAX_BATCH_LIMIT 1024

/* Flushes of one file, one at a time; file-posix-flush.c. */
typedef struct FileFlush {
    pthread_mutex_t mutex;
    bool busy;             /* GUARDED_BY mutex: one is with the kernel */
    EngineRequest *waiting; /* GUARDED_BY mutex: for the next, in order */
    EngineRequest **tail;  /* GUARDED_BY mutex */
    EngineRequest *group;  /* of the one that is: it is theirs as well.
                              Whoever made it busy */
} FileFlush;

/* Where data was seen last: runs of requests ask about the same stretch. */
typedef struct FileStatusCache {
    pthread_mutex_t mutex;
    int64_t start, end;    /* GUARDED_BY mutex: holds data; empty: unknown */
    unsigned forgotten;    /* GUARDED_BY mutex: times */
} FileStatusCache;

typedef struct FileState {
    /* written by open, read by all threads after */
    int fd;
    char *path;
    char *full_path;     /* as it was when it was opened */
    bool is_device;      /* a block or character device */
    unsigned device_block_size; /* logical; of a device only */
    EngineType aio;
    unsigned max_batch;
    AutoFacts facts;     /* for all engines; as of the last (re)open */
    bool drop_cache;     /* main thread: of others' writes */
    FileLockParams locks; /* while it is active; main thread */

    /*
     * Set once by whoever learns of it, in any thread; relaxed atomics, they
     * order nothing. See file_flag_set().
     */
    bool no_punch_hole;  /* the file system cannot */
    bool no_zero_range;
    bool no_discard;     /* the device cannot */
    /*
     * A flush failed: the kernel has marked pages clean that are not on disk,
     * and the next fdatasync() would lie. All flushes fail from now on.
     */
    bool flush_failed;
    /* Not so with direct I/O: what it needs beside the data fails again until
     * it is there. As of the last (re)open. */
    bool sync_repeats;

    FileStatusCache status; /* file-posix-image.c */
    FileFlush flush;
    HomeList homes;      /* of FileHome */
} FileState;

static inline bool file_flag(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static inline void file_flag_set(bool *flag)
{
    __atomic_store_n(flag, true, __ATOMIC_RELAXED);
}

/* --- file-posix-open.c; Context: main --- */

bool file_open(BlockDriverState *bs, Options *opts, GError **error);
bool host_device_open(BlockDriverState *bs, Options *opts, GError **error);
void file_close(BlockDriverState *bs);

/* --- file-posix-handover.c; Context: main --- */

/* BlockDriver.hand_over() */
bool file_hand_over(BlockDriverState *bs, Handover *handover, GError **error);

/* The descriptor that another process had of the file at @full_path, and the
 * locks that are on it; -1: nobody has left one. Borrowed. */
int file_left_fd(const char *full_path, FileLockParams *locks);
/* Whether there is one and it was ours: nothing needs to be opened, locked or
 * found out anew, and in a sandbox could not be. */
bool file_is_back(const char *full_path);
/* Of these the one that was opened with such @flags (O_ACCMODE, O_DIRECT), as
 * several nodes may have the file; -1: none. Borrowed. */
int file_back_fd(const char *full_path, int flags);

/* --- file-posix-active.c; Context: main --- */

/* BlockDriver.activate(), .inactivate() */
bool file_activate(BlockDriverState *bs, GError **error);
bool file_inactivate(BlockDriverState *bs, GError **error);

/* --- file-posix-probe.c; Context: main --- */

/*
 * Fills bs->total_bytes and bs->limits from the open file. Fails when the
 * file cannot be read with O_DIRECT after all.
 */
bool file_probe(BlockDriverState *bs, GError **error);

/* bs->total_bytes once more: the file may have another length by now. */
bool file_refresh_size(BlockDriverState *bs, GError **error);

/* Of the file or device as it is now; or a negative errno. Context: any */
int64_t file_length(const FileState *s);

/* Makes bs->total_bytes whole sectors, if it was opened like that. */
void file_round_up_for_tools(BlockDriverState *bs);

/* --- file-posix.c --- */

/* Sends req->engine, whose op, flags and cb are set, to the engine.
 * Context: home */
void file_engine_submit(BlockDriverState *bs, BlockRequest *req);

/* After a reopen: homes have what goes with the file as it is now. No request
 * is under way. Context: main */
void file_refresh_homes(BlockDriverState *bs);

/* --- file-posix-flush.c --- */

void file_flush_init(FileFlush *flush);    /* Context: main */
void file_flush_destroy(FileFlush *flush); /* Context: main */

/* An fdatasync() has failed with @err, or what reports what one would have.
 * Context: home or worker */
void file_sync_failed(BlockDriverState *bs, int err);

/* Takes a flush. Context: home */
void file_flush_submit(BlockDriverState *bs, BlockRequest *req);

/* --- file-posix-image.c, file-posix-create.c --- */

extern const BlockImageOps file_image, host_device_image;

/* Locks as BlockDriver.claim() asks for. Context: main */
bool file_claim(BlockDriverState *bs, unsigned flags, GError **error);
/* BlockDriver.unclaim(). Context: main */
void file_unclaim(BlockDriverState *bs);

/* BlockDriver.reopen(), in file-posix-reopen.c. Context: main */
bool file_reopen(BlockDriverState *bs, unsigned flags, GError **error);

typedef struct FileResize {
    int fd;
    int64_t from, to;
    int prealloc;         /* BlockPrealloc */
    const char *step;     /* that failed */
} FileResize;

/* Makes a regular file longer or shorter; leaves it as it was on failure.
 * Returns 0 or a negative errno, and then what it was doing in resize->step.
 * Context: any; takes its time */
int file_resize(FileResize *resize);

/* Writes zeroes. Returns 0 or a negative errno. Context: any; takes its time */
int file_write_zero_bytes(int fd, int64_t offset, int64_t bytes);

bool file_create(const char *path, Options *opts, GError **error);

/* The data the file has may be gone. Context: any */
void file_status_forget(FileState *s);

/* --- file-posix-worker.c --- */

/* Runs req (discard, write-zeroes) in the pool; completes it from the loop.
 * Context: home */
void file_worker_submit(BlockDriverState *bs, BlockRequest *req);

/*
 * Cuts the file back to total_bytes and then completes @req, a write that
 * alignment made longer than the file. Context: home, from the loop
 */
void file_worker_cut_tail(BlockDriverState *bs, BlockRequest *req);

#endif
