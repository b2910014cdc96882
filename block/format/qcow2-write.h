/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the qcow2 write path share. Private to block/format.
 *
 * A write that the tables do not let pass as it is becomes a Qcow2Write. It
 * is cut into pieces, one for each stretch that is contiguous on the host:
 *
 *     write   |======================================|   guest
 *     pieces  |====|==========|======================|
 *              in   to the     to clusters that are
 *              place    zero cluster's     new
 *
 * Pieces that go to places which the tables do not show yet belong to a run:
 * what is adjacent in the guest and on the host, of one write or of several
 * of a burst. A run brings data and copy on write to the disk, then enters
 * the tables; only then are its writes complete. While it is under way, it
 * claims its part of the guest's disk, and whoever wants to change that waits.
 */
#ifndef BLOCK_FORMAT_QCOW2_WRITE_H
#define BLOCK_FORMAT_QCOW2_WRITE_H

#include "qcow2.h"

typedef struct Qcow2Run Qcow2Run;
typedef struct Qcow2Waiter Qcow2Waiter;

/* --- qcow2-claim.c: all of it Context: home --- */

struct Qcow2Waiter {
    void (*wake)(Qcow2Waiter *waiter);
    Qcow2Waiter *next;
};

/* [start, end) of the guest's disk is being changed by somebody. */
typedef struct Qcow2Claim {
    int64_t start, end;
    Qcow2Waiter *waiters, **last_waiter;
} Qcow2Claim;

GTree *qcow2_claims_new(void);

/* Some claim that overlaps, or NULL. */
Qcow2Claim *qcow2_claim_find(Qcow2WriteState *w, int64_t start, int64_t end);
/* Nobody else's overlaps. */
void qcow2_claim_add(Qcow2WriteState *w, Qcow2Claim *claim, int64_t start,
                     int64_t end);
/* waiter->wake is called once @claim is gone. */
void qcow2_claim_wait(Qcow2Claim *claim, Qcow2Waiter *waiter);
/* Wakes those who wait, in the order in which they came. */
void qcow2_claim_remove(Qcow2WriteState *w, Qcow2Claim *claim);

/* Waits until nobody claims any of the range; s->lock is held before and
 * after, not while it waits. */
void coroutine_fn qcow2_co_wait_claims(BlockDriverState *bs, int64_t start,
                                       int64_t end);

/* --- a write and its pieces --- */

typedef struct Qcow2Write Qcow2Write;

/* Where data goes that is to be written. */
typedef enum Qcow2Place {
    QCOW2_IN_PLACE, /* where the data was */
    QCOW2_REUSE,    /* to a host cluster of its own that reads as zeroes or,
                       with subclusters, as something else here */
    QCOW2_NEW,      /* to a new one */
} Qcow2Place;

typedef struct Qcow2Piece {
    Qcow2Write *write;
    int64_t guest;
    int64_t bytes;
    int64_t host;            /* of guest, in the data file */
    Qcow2Place place;
    int64_t unit;            /* copy on write is for whole ones of this size */
    bool zero_source;        /* all that would be copied is zeroes */
    bool fresh;              /* all that is there is zeroes */
    bool counted;            /* new clusters: in the file, and stable */
    Qcow2Run *run;           /* NULL: in place */
    struct Qcow2Piece *next; /* of its run, or of the list that it is in */
} Qcow2Piece;

typedef struct Qcow2PieceList {
    Qcow2Piece *head, **tail;
} Qcow2PieceList;

static inline void qcow2_piece_list_init(Qcow2PieceList *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static inline void qcow2_piece_list_add(Qcow2PieceList *list,
                                        Qcow2Piece *piece)
{
    piece->next = NULL;
    *list->tail = piece;
    list->tail = &piece->next;
}

struct Qcow2Write {
    BlockDriverState *bs;
    BlockRequest *req;
    int64_t offset;          /* as the guest said; req's may change */
    int64_t bytes;
    bool fua;
    Qcow2Epoch *epoch;       /* from planning on, or NULL */
    unsigned pieces;         /* planned and not done */
    int ret;
    Qcow2Waiter waiter;
    Qcow2Write *next;        /* of the list that it is in */
    Qcow2Piece first;        /* the first piece: mostly the only one */
};

typedef struct Qcow2WriteList {
    Qcow2Write *head, **tail;
} Qcow2WriteList;

static inline void qcow2_write_list_init(Qcow2WriteList *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static inline void qcow2_write_list_add(Qcow2WriteList *list,
                                        Qcow2Write *write)
{
    write->next = NULL;
    *list->tail = write;
    list->tail = &write->next;
}

struct Qcow2Run {
    BlockDriverState *bs;
    Qcow2Claim claim;
    int64_t guest, end;      /* what is valid on the host once it is linked:
                                whole clusters, or subclusters */
    int64_t host;            /* of guest */
    Qcow2Place place;        /* NEW: the host clusters are lost unless they
                                get linked. REUSE */
    bool fresh;              /* they read as zeroes so far */
    bool counted;            /* what counts them is stable */
    bool zero_source;        /* so does the guest's disk there */
    Qcow2PieceList pieces;
    int64_t filled;          /* bytes of the pieces */
    int64_t data_end;        /* of the last one, in the guest */
    unsigned in_flight;      /* child requests */
    int ret;
    Qcow2Run *next;          /* of the list that it is in */
};

typedef struct Qcow2RunList {
    Qcow2Run *head, **tail;
} Qcow2RunList;

static inline void qcow2_run_list_init(Qcow2RunList *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static inline void qcow2_run_list_add(Qcow2RunList *list, Qcow2Run *run)
{
    run->next = NULL;
    *list->tail = run;
    list->tail = &run->next;
}

static inline Qcow2Run *qcow2_run_list_take(Qcow2RunList *list)
{
    Qcow2Run *run = list->head;

    if (run) {
        list->head = run->next;
        if (!list->head) {
            list->tail = &list->head;
        }
    }
    return run;
}

/* --- the state --- */

/* Clusters that follow each other, from one that is their index on. */
typedef struct Qcow2Row {
    uint64_t first, clusters;
    bool fresh;              /* they read as zeroes so far */
    bool counted;            /* in the file, and that is stable */
} Qcow2Row;

/* Its first ones, at most @max. */
static inline Qcow2Row qcow2_row_take(Qcow2Row *from, uint64_t max)
{
    Qcow2Row row = *from;

    row.clusters = MIN(max, from->clusters);
    from->first += row.clusters;
    from->clusters -= row.clusters;
    return row;
}

/* qcow2-ahead.c */
typedef struct Qcow2Ahead {
    Qcow2Row ready, next;
    bool next_stable;
    bool filling;            /* a coroutine is at it */
    uint64_t number;         /* of rows that were next so far */
    uint64_t step;           /* clusters that are counted at once; 0: none
                                were */
    int64_t counted_ns;      /* when that was */
} Qcow2Ahead;

struct Qcow2WriteState {
    BlockDriverState *bs;

    /* qcow2-write.c */
    Qcow2WriteList pending;  /* to be planned */
    Qcow2WriteList finished; /* all pieces done: to be completed */
    Qcow2WriteList to_flush; /* the same, but for a flush */
    GPtrArray *burst;        /* of Qcow2Write: being planned */
    CoMutex prepare_lock;    /* one at a time makes s->write_ready */
    bool working;            /* a coroutine is at pending and done, or will */
    bool flushing;           /* another one is at to_flush */
    bool flush_all;          /* of these, one has asked for it: not only for
                                tables to be written */

    GTree *claims;           /* qcow2-claim.c */

    /* qcow2-run.c */
    Qcow2RunList done;       /* data is on its way no more: to be linked */
    Qcow2RunList cow_queue;  /* wait for memory to copy through */
    int64_t cow_bytes;       /* in use for that */
    bool cow_starting;       /* somebody is taking them from there */

    GArray *l1_dirty;        /* qcow2-l2.c: of unsigned: entries that are not
                                on the disk yet */

    CoMutex compressed_lock; /* of blocks that compressed clusters share */
    uint64_t compressed_end; /* qcow2-alloc.c: where the next compressed
                                cluster may begin; 0: in a new cluster */

    Qcow2Ahead ahead;

    /* qcow2-grow.c */
    int64_t file_end;        /* the file is at least so long */
    int64_t used_end;        /* and this much is in use */
    int64_t fresh_from;      /* from here on nothing was ever written */
    int64_t grow_step;
    bool grown;              /* is longer than it has to be */
    bool cannot_grow;

    /* qcow2-frees.c */
    uint64_t changes;        /* of L2 tables so far */
    uint64_t flushed;        /* how many of them are stable */
    GArray *frees;           /* of Qcow2Free, oldest first */
    uint64_t frees_done;     /* of all ever added, these are not in the list */
    uint64_t freed_bytes;    /* of those in the list */
    Qcow2Epoch *oldest_epoch;
    uint64_t oldest_number, newest_number; /* of epochs */

    /* qcow2-overlap.c */
    struct Qcow2OverlapMap *overlap_map; /* or NULL: to be made */
    uint64_t overlap_scans;  /* times that all tables were gone through */
};

/* What has to be on the disk before the image is changed. Not under
 * s->lock. */
int coroutine_fn qcow2_co_prepare_write(BlockDriverState *bs);

/* Schedules the coroutine that plans and links. Context: home */
void qcow2_write_kick(Qcow2WriteState *w);

/* A piece is made; *piece is zeroed but for its write. */
Qcow2Piece *qcow2_piece_new(Qcow2Write *write);
/* Is done, its data on the disk and in the tables or @ret an error. The last
 * one finishes the write. */
void qcow2_piece_done(Qcow2WriteState *w, Qcow2Piece *piece, int ret);

/* While it is being planned a write has one piece more. */
void qcow2_write_planned(Qcow2WriteState *w, Qcow2Write *write, int ret);

/* Completes what is finished. Not from inside submit. */
void qcow2_complete_finished(Qcow2WriteState *w);

/* The bits of the subclusters of [from, to) of a cluster. */
static inline uint64_t qcow2_subcluster_mask(const Qcow2State *s,
                                             int64_t from, int64_t to)
{
    unsigned first = from >> s->subcluster_bits;
    unsigned end = to >> s->subcluster_bits;

    return ((1ULL << end) - 1) & ~((1ULL << first) - 1);
}

/* --- qcow2-plan.c --- */

/* Plans all that is pending and starts it. s->lock is held. */
void coroutine_fn qcow2_co_plan_writes(BlockDriverState *bs);

/* --- qcow2-run.c --- */

/* Sends the data of pieces that are in place, or those of @run, on its way;
 * the latter get to w->done. */
void qcow2_pieces_submit(BlockDriverState *bs, Qcow2Piece *pieces);
void qcow2_run_submit(Qcow2Run *run);

/* --- qcow2-link.c --- */

/* Enters what is in w->done into the tables. s->lock is held. */
void coroutine_fn qcow2_co_link_runs(BlockDriverState *bs);

/* Tables that get to know clusters are written after their counts; to be
 * called where these may not be stable. */
int coroutine_fn qcow2_co_order_l2(BlockDriverState *bs);

/* A slice that is pinned has changed: all of it, or @count entries. */
void qcow2_mark_l2_dirty(BlockDriverState *bs, void *slice);
void qcow2_mark_l2_entries(BlockDriverState *bs, void *slice, unsigned first,
                           unsigned count);

/* --- qcow2-alloc.c: under s->lock --- */

/* What table entries can express, and the largest refcount table count: the
 * file has no more clusters than this. */
static inline uint64_t qcow2_max_cluster(const Qcow2State *s)
{
    uint64_t blocks = QCOW2_MAX_REFTABLE_BYTES / sizeof(uint64_t);

    return MIN(1ULL << (56 - s->cluster_bits),
               blocks << s->refcount_block_bits);
}

typedef struct Qcow2Found {
    uint64_t first;   /* cluster index */
    uint64_t clusters;
} Qcow2Found;

/* Looks for @min to @max free clusters that follow each other. Counts
 * nothing. */
int coroutine_fn qcow2_co_find_free(BlockDriverState *bs, uint64_t min,
                                    uint64_t max, Qcow2Found *found);

/* The first free ones, at most @max that follow each other, become used. */
int coroutine_fn qcow2_co_alloc_some(BlockDriverState *bs, uint64_t max,
                                     Qcow2Found *found);

/* Whether clusters that nothing counts can be used: 0, -EFBIG, -ENOSPC, or -EIO
 * where something lies there all the same: the image is corrupt. */
int coroutine_fn qcow2_co_check_place(BlockDriverState *bs, uint64_t first,
                                      uint64_t clusters);

/* A cluster is free from now on. */
void qcow2_note_free(BlockDriverState *bs, uint64_t cluster);

/* --- qcow2-ahead.c --- */

/* The next new clusters, at most @max that follow each other; they are counted
 * and the file is long enough. Under s->lock. */
int coroutine_fn qcow2_co_take_row(BlockDriverState *bs, uint64_t max,
                                   Qcow2Row *row);

/* All counts are stable: for the cache. Under s->lock. */
void qcow2_ahead_is_stable(BlockDriverState *bs);

/* Whether there should be more that are counted. Then somebody calls the
 * second one, not under s->lock, in a coroutine that a request waits for. */
bool qcow2_ahead_is_low(BlockDriverState *bs);
void coroutine_fn qcow2_co_fill_ahead(BlockDriverState *bs);

/* --- qcow2-grow.c --- */

void qcow2_grow_init(Qcow2WriteState *w);

/* New clusters at @host: whether they read as zeroes, as nothing was ever
 * written there. Makes the file long enough. Under s->lock. */
bool coroutine_fn qcow2_co_use_clusters(BlockDriverState *bs, int64_t host,
                                        int64_t bytes);
/* The same row, or what is left of it, is free again; nobody has written
 * there. */
void qcow2_unuse_row(BlockDriverState *bs, const Qcow2Row *row);
/* The cluster is free and may have been written to: maybe it was never given
 * out here, for an image may have clusters in use behind the end of its
 * file. */
void qcow2_freed_cluster(BlockDriverState *bs, uint64_t cluster);

/* --- qcow2-refcount.c: under s->lock --- */

typedef struct Qcow2RefcountChange {
    uint64_t first, clusters; /* cluster index */
    uint64_t addend;
    bool decrease;
    Qcow2DiscardType type;    /* of clusters that get free */
} Qcow2RefcountChange;

/* As qcow2_co_update_refcount(), but the order in which tables reach the disk
 * is up to the caller. */
int coroutine_fn qcow2_co_change_refcount(BlockDriverState *bs,
                                          const Qcow2RefcountChange *change);

/* Offset of the block with the count of @cluster; 0: there is none.
 * -EIO: the table is corrupt there. */
int64_t coroutine_fn qcow2_co_refblock_offset(BlockDriverState *bs,
                                              uint64_t cluster);

/* --- qcow2-reftable.c: under s->lock --- */

/* Sees to it that there is a refcount block for @cluster. 0: there was one,
 * 1: there is now, and what was free before may be used; or an errno. */
int coroutine_fn qcow2_co_make_refblock(BlockDriverState *bs,
                                        uint64_t cluster);
/* Writes s->reftable[index] to the disk, in its sector. Not flushed. */
int coroutine_fn qcow2_co_write_reftable_entry(BlockDriverState *bs,
                                               uint64_t index);

/* --- qcow2-table.c: under s->lock --- */

/* A table of 64-bit numbers that lies in memory in host byte order. */
typedef struct Qcow2Table {
    const uint64_t *entries;
    uint64_t count;
    uint64_t offset;          /* in the file */
    unsigned kind;            /* QCOW2_OL_: what may be overwritten */
} Qcow2Table;

/* Where writes to the file should begin and end: multiples of this. A cluster
 * at most, so that nothing else lies there. */
uint64_t qcow2_write_unit(BlockDriverState *bs);

/* Writes entry @index, in its sector. */
int coroutine_fn qcow2_co_write_entry(BlockDriverState *bs,
                                      const Qcow2Table *table,
                                      uint64_t index);
/* Writes all, zeroes up to the end of the last cluster. */
int coroutine_fn qcow2_co_write_table(BlockDriverState *bs,
                                      const Qcow2Table *table);

/* --- qcow2-frees.c --- */

GArray *qcow2_frees_new(void);
bool qcow2_frees_pressing(const Qcow2WriteState *w);

/* --- qcow2-overlap.c --- */

/* The cluster at @offset is a table from now on. */
void qcow2_overlap_add(BlockDriverState *bs, uint64_t offset,
                       uint64_t bytes);
void qcow2_overlap_free(Qcow2WriteState *w);

#endif
