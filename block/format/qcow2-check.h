/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of a check share.
 *
 *     qcow2-check.c           the order of things; comparing
 *     qcow2-check-walk.c      counts what all tables refer to
 *     qcow2-check-l2.c        what L2 tables refer to; mends them
 *     qcow2-check-copied.c    whether QCOW2_COPIED tells the truth
 *     qcow2-check-snapshot.c  the snapshot table, repaired where it has to be
 *     qcow2-check-bitmap.c    bitmaps; those that are broken are dropped
 *     qcow2-rebuild.c         new refcount structures, from the counts
 *     qcow2-counts.c          the counts
 *
 * A check works on the file itself; the node's caches are empty meanwhile.
 */
#ifndef BLOCK_FORMAT_QCOW2_CHECK_H
#define BLOCK_FORMAT_QCOW2_CHECK_H

#include "qcow2-counts.h"
#include "qcow2.h"

/* What a walk through the tables does beside counting. */
typedef enum Qcow2WalkMode {
    QCOW2_WALK_QUIET,  /* nothing */
    QCOW2_WALK_REPORT, /* says what is broken */
    QCOW2_WALK_FIX,    /* and mends it, knowing a quiet walk's results */
} Qcow2WalkMode;

/* An L1 or L2 table and how often it is one. */
typedef struct Qcow2TableUse {
    uint64_t offset;
    uint64_t times;
    bool active;           /* of the active L1 table, or that one */
    unsigned good, broken; /* entries */
} Qcow2TableUse;

/* What a walk has found. */
typedef struct Qcow2WalkResult {
    Qcow2Counts *counts;
    Qcow2Counts *l2;        /* of these, as an L2 table */
    Qcow2Counts *blocks;    /* of these, as a refcount block */
    GPtrArray *tables;      /* of Qcow2TableUse, L2, as they were found */
    GHashTable *by_offset;  /* the same */
    GHashTable *l1;         /* of Qcow2TableUse, by offset */
    unsigned uses;          /* Qcow2TableUse there are */
} Qcow2WalkResult;

typedef struct Qcow2Check {
    BlockDriverState *bs;
    BlockCheck *out;
    Qcow2WalkMode mode;
    Qcow2WalkResult now;
    Qcow2WalkResult before; /* of the quiet walk, while it is being mended */
    int64_t room;          /* bytes of memory that it may still take */
    int64_t file_bytes;
    uint64_t file_clusters;
    uint64_t highest;      /* cluster in use */
    bool rebuild;          /* refcounts are too broken to be repaired */
    bool to_fix;           /* found by a quiet walk, though not broken */
    bool rewrite_snapshots; /* entries are not what is there */

    /* the refcount block that was looked at last */
    uint64_t block_index;  /* in the refcount table; UINT64_MAX: none */
    bool block_dirty;
    void *block;
} Qcow2Check;

static inline bool qcow2_check_fixes(const Qcow2Check *check)
{
    return check->out->fix & BLOCK_CHECK_FIX_ERRORS;
}

/* A line for the user. */
void qcow2_check_report(const Qcow2Check *check, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/*
 * Something is broken, and is going to be mended if @fix: says so, with
 * "Repairing " in place of @prefix then, and counts it. Returns @fix.
 */
bool qcow2_check_broken(Qcow2Check *check, bool fix, const char *prefix,
                        const char *fmt, ...) G_GNUC_PRINTF(4, 5);

/* --- qcow2-check-walk.c --- */

/*
 * Counts every cluster that the header leads to, into check->now, in
 * check->mode. 0, or a negative errno that ends the check.
 */
int coroutine_fn qcow2_check_walk(Qcow2Check *check);
/* Of @check, which gets the room back. */
void qcow2_walk_result_clear(Qcow2Check *check, Qcow2WalkResult *result);

/* Counts the clusters of [offset, offset + bytes) @times more. */
int qcow2_check_use(Qcow2Check *check, uint64_t offset, uint64_t bytes,
                    uint64_t times);
/* More of it is behind the end of the file than a cluster that was not
 * written to its end. */
bool qcow2_check_beyond(const Qcow2Check *check, uint64_t offset,
                        uint64_t bytes);

/* --- qcow2-check-l2.c --- */

int coroutine_fn qcow2_check_l2(Qcow2Check *check, Qcow2TableUse *use);

/* --- qcow2-check-bitmap.c --- */

int coroutine_fn qcow2_check_bitmaps(Qcow2Check *check);

/* --- qcow2-check-copied.c --- */

int coroutine_fn qcow2_check_copied(Qcow2Check *check);

/* --- qcow2-check-snapshot.c --- */

/* Before all else: reads the snapshot table into the state, without what is
 * beyond repair when errors are to be fixed. */
int coroutine_fn qcow2_check_read_snapshots(Qcow2Check *check);
/* After all else, where that found corruptions: writes it anew, or how many
 * of its entries there are. */
int coroutine_fn qcow2_check_write_snapshots(Qcow2Check *check);

/* --- qcow2-check.c --- */

/* On the disk; -EIO where no block can say. */
int coroutine_fn qcow2_check_get_refcount(Qcow2Check *check, uint64_t cluster,
                                          uint64_t *refcount);
/* Writes what qcow2_check_set_refcount() has changed. */
int coroutine_fn qcow2_check_flush(Qcow2Check *check);
/* Compares refcounts and counts; with @fix (BLOCK_CHECK_FIX_), repairs. */
int coroutine_fn qcow2_check_compare(Qcow2Check *check, unsigned fix);

#endif
