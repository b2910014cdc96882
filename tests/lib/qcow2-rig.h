/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A qcow2 node over a test-disk, made by Debian's qemu-img: for tests that
 * count what reaches the file. One at a time. Failures assert.
 */
#ifndef TESTS_LIB_QCOW2_RIG_H
#define TESTS_LIB_QCOW2_RIG_H

#include "block/format/qcow2-write.h"
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"
#include "tests/lib/test-disk.h"

typedef struct Qcow2Rig {
    TestImage *image;
    TestDisk *disk;
    BlockDriverState *bs; /* attached to test_ctx() */
    Qcow2State *s;
    char *options;
} Qcow2Rig;

/* @create for "qemu-img create -o", @options for the node: begin with a
 * comma, or are empty. */
Qcow2Rig *qcow2_rig_new(const char *create, const char *size,
                        const char *options);
/* The same for an image that is there; it becomes the rig's. */
Qcow2Rig *qcow2_rig_new_with(TestImage *image, const char *options);

/* Closes; "qemu-img check" finds nothing. */
void qcow2_rig_free(Qcow2Rig *rig);
/* Closes; the image is whatever it is. */
void qcow2_rig_free_broken(Qcow2Rig *rig);
/* Closes, checks and opens again. */
void qcow2_rig_reopen(Qcow2Rig *rig);
/* The file gets what is on the disk now. The node stays open. */
void qcow2_rig_store(Qcow2Rig *rig);

/* One request to its end; @byte is what the buffer is full of. */
int qcow2_rig_write(Qcow2Rig *rig, int64_t offset, int64_t bytes,
                    uint8_t byte);
int qcow2_rig_flush(Qcow2Rig *rig);
/* All of the range is @byte. */
void qcow2_rig_expect(Qcow2Rig *rig, int64_t offset, int64_t bytes,
                      uint8_t byte);

/* Requests of the test that are sent together. */
typedef struct Qcow2Burst Qcow2Burst;
Qcow2Burst *qcow2_burst_new(Qcow2Rig *rig);
void qcow2_burst_write(Qcow2Burst *burst, int64_t offset, int64_t bytes,
                       uint8_t byte);
/* Waits for all, asserts that they succeeded, frees. */
void qcow2_burst_end(Qcow2Burst *burst);

/* The entry that maps @offset, by its table in memory or on the disk. */
uint64_t qcow2_rig_entry(Qcow2Rig *rig, int64_t offset);
/* Host cluster of the file with that index. */
uint64_t qcow2_rig_refcount(Qcow2Rig *rig, uint64_t cluster);

/* Requests to the file since the last call of it, or the start. */
unsigned qcow2_rig_count(Qcow2Rig *rig, BlockOp op);
void qcow2_rig_reset_counts(Qcow2Rig *rig);

#endif
