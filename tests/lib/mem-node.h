/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A protocol driver that keeps its bytes in memory, for tests of what lies
 * above: it asserts that every request fits its limits, counts, and fails on
 * demand. Driver "test-mem": size, request-alignment, memory-alignment,
 * max-transfer, max-iov.
 *
 * A read takes its data in the round it is submitted in, a write puts its
 * data there in the next one: what runs between them unprotected is lost.
 */
#ifndef TESTS_LIB_MEM_NODE_H
#define TESTS_LIB_MEM_NODE_H

#include <pthread.h>

#include "block/driver.h"

typedef struct TestMem {
    pthread_mutex_t mutex;
    uint8_t *data;             /* GUARDED_BY mutex, like all below */
    unsigned counts[BLOCK_OP__COUNT];
    unsigned last_flags;
    int64_t last_offset, last_bytes;
    unsigned fail_after;       /* of these many requests the last fails; 0: no */
    unsigned attached, detached;
} TestMem;

/* Makes the driver known. Once. */
void test_mem_register(void);

TestMem *test_mem(BlockDriverState *bs);
unsigned test_mem_count(BlockDriverState *bs, BlockOp op);
void test_mem_reset_counts(BlockDriverState *bs);

#endif
