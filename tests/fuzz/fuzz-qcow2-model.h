/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a small disk contains, byte by byte, for a fuzz target that writes to
 * an image: what was written is read again, and nothing else has changed.
 *
 * A model that is not known (the disk is large, or could not be read) lets
 * everything pass.
 */
#ifndef TESTS_FUZZ_FUZZ_QCOW2_MODEL_H
#define TESTS_FUZZ_FUZZ_QCOW2_MODEL_H

#include "block/coroutine.h"
#include "block/driver.h"

#define FUZZ_MODEL_MAX (4 << 20)

typedef struct FuzzModel {
    GByteArray *bytes; /* NULL: not known */
} FuzzModel;

void fuzz_model_clear(FuzzModel *model);
void fuzz_model_copy(FuzzModel *model, const FuzzModel *from);

/* All of the disk, or [offset, offset + bytes) of it, is what is read there
 * now. */
void coroutine_fn fuzz_model_load(FuzzModel *model, BlockDriverState *bs);
void coroutine_fn fuzz_model_adopt(FuzzModel *model, BlockDriverState *bs,
                                   int64_t offset, int64_t bytes);

/* @byte was written there. */
void fuzz_model_set(FuzzModel *model, int64_t offset, int64_t bytes,
                    uint8_t byte);
/* New bytes are zeroes. */
void fuzz_model_resize(FuzzModel *model, int64_t bytes);

/* Asserts that the disk can be read and is as long and as full as this. */
void coroutine_fn fuzz_model_compare(const FuzzModel *model,
                                     BlockDriverState *bs);

#endif
