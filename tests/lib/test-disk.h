/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk in memory that remembers what reached it, and when: for tests of
 * formats. Driver "test-disk": disk (its name), request-alignment,
 * memory-alignment, delay.
 *
 * The disk outlives the nodes that open it. Requests complete after a random
 * number of rounds, up to "delay", in whatever order; that is when a write
 * takes effect and a read looks. A disk that is cut has everything that a
 * finished flush covers, and of what came after it any part.
 */
#ifndef TESTS_LIB_TEST_DISK_H
#define TESTS_LIB_TEST_DISK_H

#include "block/driver.h"

typedef struct TestDisk TestDisk;

/* Makes the driver known. Once. */
void test_disk_register(void);

/* @name is how nodes find it; the seed is for delays. */
TestDisk *test_disk_new(const char *name, uint32_t seed);
void test_disk_free(TestDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestDisk, test_disk_free)

void test_disk_set(TestDisk *disk, const void *data, size_t bytes);
/* Contents from and to a file of the host. */
void test_disk_load(TestDisk *disk, const char *path);
void test_disk_store(const TestDisk *disk, const char *path);
int64_t test_disk_bytes(const TestDisk *disk);
uint8_t *test_disk_data(TestDisk *disk);
/* Makes it shorter, or longer by zeroes, while no node has it. */
void test_disk_set_length(TestDisk *disk, int64_t bytes);

/* Remembers from now on; how much it has remembered. */
void test_disk_start_log(TestDisk *disk);
unsigned test_disk_log_length(const TestDisk *disk);
/* Notes into @other's log from now on, beside it: a cut of both at one length
 * is one moment for both. */
void test_disk_join_log(TestDisk *disk, const TestDisk *other);
/* Whether entry @i is the end of a flush. */
bool test_disk_is_flush(const TestDisk *disk, unsigned i);

/* @cut becomes what may be left of @disk when power fails after @length
 * entries of its log. */
void test_disk_cut(const TestDisk *disk, unsigned length, GRand *rand,
                   TestDisk *cut);

/* And what is left when the process is killed then: everything, for the
 * kernel has it. */
void test_disk_kill(const TestDisk *disk, unsigned length, TestDisk *cut);

/* Of the requests of kind @op that are not reads, the one after @after others
 * fails with -EIO; @count of them do. */
void test_disk_fail(TestDisk *disk, BlockOp op, unsigned after,
                    unsigned count);
/* Requests of that kind that come now wait until they are released. */
void test_disk_hold(TestDisk *disk, BlockOp op);
void test_disk_release(TestDisk *disk);
/* Requests of that kind so far. */
unsigned test_disk_count(const TestDisk *disk, BlockOp op);
/* Where the write that went furthest would have ended. */
int64_t test_disk_reach(const TestDisk *disk);
void test_disk_reset_counts(TestDisk *disk);
/* Writes past it fail with -ENOSPC. 0: none do. */
void test_disk_set_limit(TestDisk *disk, int64_t bytes);

#endif
