/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clearing whole clusters of the guest's disk: for discard and write-zeroes.
 * Private to block/format.
 */
#ifndef BLOCK_FORMAT_QCOW2_DISCARD_H
#define BLOCK_FORMAT_QCOW2_DISCARD_H

#include "qcow2.h"

/* What is done to clusters. */
typedef struct Qcow2Clearing {
    Qcow2DiscardType type; /* what host clusters are given up for */
    bool full;             /* nothing is left, not even zeroes */
    bool zero;             /* what is not allocated has to read as zeroes */
    bool keep_host;        /* host clusters stay where they are */
    bool keep_data;        /* and are not told to the data file as useless */
    unsigned flags;        /* for prepare */
    /* Before the tables change, while the range is claimed; or NULL. */
    int coroutine_fn (*prepare)(BlockDriverState *bs, int64_t offset,
                                int64_t bytes, unsigned flags);
} Qcow2Clearing;

/* @offset is a cluster's, the end one's or the disk's. Not under s->lock. */
int coroutine_fn qcow2_co_clear_clusters(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes,
                                         const Qcow2Clearing *how);

#endif
