/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A node for tests that keeps its data in memory, writes down what reaches
 * it, and fails or holds back what a test wants failed or held back.
 *
 * For one home thread at a time; a test looks while nothing is on its way.
 */
#ifndef TESTS_LIB_RAM_DISK_H
#define TESTS_LIB_RAM_DISK_H

#include "block/driver.h"

typedef struct RamDisk RamDisk;

/* One request as it came to the node. */
typedef struct RamDiskEntry {
    BlockOp op;
    unsigned flags;
    int64_t offset;
    int64_t bytes;
    unsigned niov;
} RamDiskEntry;

RamDisk *ram_disk_new(int64_t bytes);
void ram_disk_free(RamDisk *disk);

/* Borrowed: whoever uses it longer takes a reference. */
BlockDriverState *ram_disk_node(RamDisk *disk);
uint8_t *ram_disk_data(RamDisk *disk);

/* Requests of @op that touch @offset (-1: all of them) fail with @ret; 0: none
 * does. One that is under way in another thread may meet some of either.
 * Context: any */
void ram_disk_fail(RamDisk *disk, BlockOp op, int64_t offset, int ret);

/* What comes from now on stays until released. */
void ram_disk_hold(RamDisk *disk);
/* Lets go what is held, holds no more. An AioFn. */
void ram_disk_release(void *disk);
void ram_disk_release_backwards(RamDisk *disk); /* the last one first */
unsigned ram_disk_held(const RamDisk *disk);

unsigned ram_disk_log_length(const RamDisk *disk);
const RamDiskEntry *ram_disk_log(const RamDisk *disk, unsigned i);
void ram_disk_log_clear(RamDisk *disk);

/* Writing the log down allocates; a test that counts allocations stops it. */
void ram_disk_log_stop(RamDisk *disk);

#endif
