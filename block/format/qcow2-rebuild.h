/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New refcount structures in place of the old ones. */
#ifndef BLOCK_FORMAT_QCOW2_REBUILD_H
#define BLOCK_FORMAT_QCOW2_REBUILD_H

#include "qcow2-counts.h"
#include "qcow2.h"

/* What of the state says where they are. */
typedef struct Qcow2Reftable {
    uint64_t offset;
    unsigned clusters, entries, last;
    uint64_t *table;        /* g_free() */
} Qcow2Reftable;

/*
 * Makes refcount blocks and a table that say what @counts does, of the width
 * that the state says, where @counts has nothing. Their clusters are added to
 * @counts. Nothing leads to them: *table is to get into the header. 0 or a
 * negative errno, with what failed in *what (static).
 */
int coroutine_fn qcow2_co_make_reftable(BlockDriverState *bs,
                                        Qcow2Counts *counts,
                                        Qcow2Reftable *table,
                                        const char **what);

/* The state has *table, which gets what the state had. The refcount cache is
 * empty. */
void qcow2_swap_reftable(BlockDriverState *bs, Qcow2Reftable *table);

/*
 * Both, for a check: @counts is what is in use, whatever lies elsewhere. The
 * header leads to the new structures when it returns. The old ones are not
 * touched; on failure they are in force. Nothing is in flight.
 */
int coroutine_fn qcow2_co_rebuild_refcounts(BlockDriverState *bs,
                                            Qcow2Counts *counts,
                                            const char **what);

/* Bytes of memory that counting the clusters of @bs may take: at least
 * QCOW2_COUNTS_ROOM, and what the size of its file gives reason for. */
int64_t qcow2_counts_room(BlockDriverState *bs);

/*
 * Adds all counts of the image to @counts: 0, -EIO, -ENOMEM or, with *cluster
 * and *count where one is above the maximum, -ERANGE. Under s->lock.
 */
int coroutine_fn qcow2_co_copy_counts(BlockDriverState *bs,
                                      Qcow2Counts *counts, uint64_t *cluster,
                                      uint64_t *count);

/* Gives up the clusters of a table that is not in use any more, and of its
 * blocks. Under s->lock. */
void coroutine_fn qcow2_co_free_reftable(BlockDriverState *bs,
                                         const Qcow2Reftable *table);

#endif
