/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of writing to an image. Private to the qcow2 driver. All functions:
 * Context: main, nothing in flight. */
#ifndef BLOCK_FORMAT_QCOW2_CLOSE_H
#define BLOCK_FORMAT_QCOW2_CLOSE_H

#include "qcow2.h"

/* Brings all that is known to the disk, as far as that is possible: nobody
 * comes after this. What fails is in the log. */
void qcow2_finish(BlockDriverState *bs);

/* The same for an image that stays open; when it fails, writing may go on. */
bool qcow2_stop_writing(BlockDriverState *bs, GError **error);

/* Lets go of everything but the header, and what would have to be written. */
void qcow2_forget(BlockDriverState *bs);

#endif
