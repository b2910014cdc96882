/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests that need an image in a directory of their own, or a program
 * beside them. Everything is gone when the test is. Failures assert.
 */
#ifndef TESTS_LIB_IMAGE_H
#define TESTS_LIB_IMAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct TestImage TestImage;
typedef struct TestChild TestChild;

/*
 * Called by main() before anything else of a test that asserts what it costs to
 * use a disk, or what a disk's limits are: where $TMPDIR is memory, it is
 * /var/tmp from here on. False if that is memory as well; a line of TAP has said
 * so, and the test is over.
 */
bool test_need_disk(void);

/* A sparse file of @bytes in a new directory below $TMPDIR. */
TestImage *test_image_new(int64_t bytes);
void test_image_free(TestImage *image);
const char *test_image_path(const TestImage *image);
const char *test_image_dir(const TestImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestImage, test_image_free)

/* What it has on the host. */
int64_t test_image_length(const TestImage *image);
int64_t test_image_allocated(const TestImage *image);

/* Whole transfers, or it asserts. */
void test_image_write(const TestImage *image, int64_t offset, const void *buf,
                      size_t bytes);
void test_image_read(const TestImage *image, int64_t offset, void *buf,
                     size_t bytes);

/* All of it is on the disk and none in the page cache: direct I/O finds
 * nothing to wait for. */
void test_image_settle(const TestImage *image);

void test_image_truncate(const TestImage *image, int64_t bytes);

/* Bytes that differ at every offset and with every seed. */
void test_pattern(void *buf, size_t bytes, uint32_t seed);

/* Whether @program is in the PATH. */
bool test_program_present(const char *program);

/* Runs to the end; standard output and error in *output. Whether it exited
 * with 0. */
bool test_run(const char *const *argv, char **output);
/* The same of what does; else the test ends with what it said. */
void test_must_run(const char *const *argv);

/* A program that goes on beside the test. */
TestChild *test_child_start(const char *const *argv);
/* Reads its standard output until @text has come. */
void test_child_expect(TestChild *child, const char *text);
/* Writes @input to it, waits for its end, frees. */
void test_child_finish(TestChild *child, const char *input);

/*
 * Attaches @image to a loop device with the given logical block size. NULL,
 * and *reason (static), where that is not possible. Detached by
 * test_loop_free(), which frees @path.
 */
char *test_loop_new(const TestImage *image, unsigned block_size,
                    const char **reason);
void test_loop_free(char *path);

#endif
