/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What resizing leaves to other files. */
#ifndef BLOCK_FORMAT_QCOW2_RESIZE_H
#define BLOCK_FORMAT_QCOW2_RESIZE_H

#include "qcow2.h"

/* qcow2-shrink.c: the L2 tables from L1 entry @first on map nothing any more
 * and are given up, and what is behind the end of the file. Not under
 * s->lock. */
bool coroutine_fn qcow2_co_shrink_tables(BlockDriverState *bs, unsigned first,
                                         GError **error);

#endif
