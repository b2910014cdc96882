/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps of amending an image; none is called under s->lock, and nothing is
 * in flight. */
#ifndef BLOCK_FORMAT_QCOW2_AMEND_H
#define BLOCK_FORMAT_QCOW2_AMEND_H

#include "qcow2.h"

/* qcow2-version.c */
bool coroutine_fn qcow2_co_upgrade(BlockDriverState *bs, GError **error);
bool coroutine_fn qcow2_co_downgrade(BlockDriverState *bs, GError **error);

/* qcow2-expand.c: no cluster is a zero cluster any more, in the active table
 * and in all snapshots. */
int coroutine_fn qcow2_co_expand_zeroes(BlockDriverState *bs);
/* Whether there are any compressed clusters: 1, 0 or a negative errno. */
int coroutine_fn qcow2_co_has_compressed(BlockDriverState *bs);

/* qcow2-refcount-width.c */
bool coroutine_fn qcow2_co_set_refcount_order(BlockDriverState *bs,
                                              unsigned order, GError **error);

#endif
