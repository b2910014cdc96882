/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts, L1 and L2 tables and snapshots that change all at once:
 * see qcow2-switch.c. Under s->lock, with nothing in flight.
 */
#ifndef BLOCK_FORMAT_QCOW2_SWITCH_H
#define BLOCK_FORMAT_QCOW2_SWITCH_H

#include "qcow2.h"

typedef struct Qcow2Switch Qcow2Switch;

/* Reads the counts: *sw is to be freed, also on failure. All is settled. 0 or
 * a negative errno; -ENOMEM for images with billions of clusters. */
int coroutine_fn qcow2_co_switch_begin(BlockDriverState *bs,
                                       Qcow2Switch **sw);
void qcow2_switch_free(Qcow2Switch *sw);

/*
 * What the L2 tables of @l1 lead to is going to be used once more (@addend 1)
 * or once less (-1). -EINVAL where a count cannot say that.
 */
int coroutine_fn qcow2_co_switch_count_data(Qcow2Switch *sw,
                                            const uint64_t *l1,
                                            unsigned entries, int addend);
/* The same for the tables themselves. */
int coroutine_fn qcow2_co_switch_count_tables(Qcow2Switch *sw,
                                              const uint64_t *l1,
                                              unsigned entries, int addend);

/*
 * Makes @l1 one that the active table can have: L2 tables in which
 * QCOW2_COPIED is going to be wrong are replaced, what they were is given up.
 */
int coroutine_fn qcow2_co_switch_renew(Qcow2Switch *sw, uint64_t *l1,
                                       unsigned entries);
/* In an L1 table, it becomes what it is going to be. */
void qcow2_switch_flag_l1(Qcow2Switch *sw, uint64_t *l1, unsigned entries);

/* Write these where nothing is: the offset, 0 for what is empty, or an
 * errno. */
int64_t coroutine_fn qcow2_co_switch_write_l1(Qcow2Switch *sw,
                                              const uint64_t *l1,
                                              unsigned entries);
int64_t coroutine_fn qcow2_co_switch_write(Qcow2Switch *sw, const void *data,
                                           uint64_t bytes);

/* Clusters are used once less as soon as the header has changed. */
void qcow2_switch_give_up(Qcow2Switch *sw, uint64_t offset, uint64_t bytes,
                          Qcow2DiscardType type);

/* What the header is going to say, or what it said. */
typedef struct Qcow2Roots {
    uint64_t l1_offset;
    unsigned l1_entries;
    uint64_t *l1;               /* g_free() */
    int64_t disk_bytes;
    uint64_t snapshots_offset, snapshots_bytes;
    unsigned snapshot_count;
    Qcow2Snapshot *snapshots;   /* of the state, or to be; not freed here */
} Qcow2Roots;

Qcow2Roots qcow2_get_roots(BlockDriverState *bs);

/*
 * The header leads to *roots and to the new counts, and that is stable, when
 * it returns; *roots is what it led to before. On failure nothing has
 * changed. 0 or a negative errno.
 */
int coroutine_fn qcow2_co_switch_commit(Qcow2Switch *sw, Qcow2Roots *roots);

#endif
