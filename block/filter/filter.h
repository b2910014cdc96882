/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What filter drivers have in common. Private to block/filter. */
#ifndef BLOCK_FILTER_FILTER_H
#define BLOCK_FILTER_FILTER_H

#include "block/coroutine.h"
#include "block/driver.h"

/* Filters on top of each other: a request recurses through them. */
#define FILTER_MAX_STACK 16

/*
 * For drv->open: size and limits are those of bs->file; alignment is its
 * business. Fails when too many filters lie below. Context: main
 */
bool filter_open(BlockDriverState *bs, Options *opts, GError **error);

/* Sends the request itself on to bs->file. Context: home */
void filter_pass(BlockDriverState *bs, BlockRequest *req);

/* Sends bs->file the same request and waits for it. */
int coroutine_fn filter_co_pass(BlockDriverState *bs, const BlockRequest *req);

/* Writes zeroes as data, in pieces of bounded size. */
int coroutine_fn filter_co_write_zero_data(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           unsigned flags);

#endif
