/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New refcount structures in place of the old ones. */
#ifndef BLOCK_FORMAT_QCOW2_REBUILD_H
#define BLOCK_FORMAT_QCOW2_REBUILD_H

#include "qcow2-counts.h"
#include "qcow2.h"

/*
 * Makes refcount blocks and a table that say what @counts does, of the width
 * that the state says, where nothing is; the header leads to them when it
 * returns. Their clusters are added to @counts. The old structures are not
 * touched. 0 or a negative errno, with what failed in *what (static): then
 * the old ones are in force. The refcount cache is empty; nothing in flight.
 */
int coroutine_fn qcow2_co_rebuild_refcounts(BlockDriverState *bs,
                                            Qcow2Counts *counts,
                                            const char **what);

#endif
