/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 images in memory for fuzz targets. The image may grow to 8 MiB; an
 * external data file is there and empty; no name in the image is followed.
 */
#ifndef TESTS_FUZZ_FUZZ_IMAGE_H
#define TESTS_FUZZ_FUZZ_IMAGE_H

#include "block/coroutine.h"
#include "block/driver.h"

#include <stddef.h>
#include <stdint.h>

#define FUZZ_IMAGE_MAX (1 << 20)

/* Once; logging is off from then on. */
void fuzz_image_init(void);

void fuzz_image_set(const uint8_t *data, size_t bytes);

/* @more: further options as JSON, each with a comma behind it. NULL when it
 * does not open. */
BlockDriverState *fuzz_image_open(const char *more);

/* Images that name a backing file get one from now on, or none, which is how
 * it begins. What it contains stays until the next fuzz_image_set(). */
void fuzz_image_use_base(bool on);
/* What @bs has of its own goes to the backing file. False when there is none
 * as long as the disk, or some of it cannot be read. */
bool coroutine_fn fuzz_image_commit(BlockDriverState *bs);

/* Whether some cluster has several users, as far as the counts on the disk say.
 * If it has no snapshots and nothing compressed, they spoil each other's. */
bool fuzz_image_shares(void);

bool fuzz_image_has_data_file(void);

/* The image has zeroes behind its end, up to where it may grow; and is as long
 * as before again. */
void fuzz_image_pad(void);
void fuzz_image_unpad(void);

/* After @after others @count writes to the image fail. */
void fuzz_image_fail(unsigned after, unsigned count);
/* Where the write that went furthest has ended, or would have. */
int64_t fuzz_image_reach(void);

/* What a guest writes is full of such bytes, all alike. */
#define FUZZ_IMAGE_DATA 0xa0
/* Asserts that there is a header, and no guest's data in the L1 or the
 * refcount table. */
void fuzz_image_check_tables(void);

#endif
