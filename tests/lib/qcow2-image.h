/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 images for tests, made by Debian's qemu-img and qemu-io, and small
 * changes to their bytes. Failures assert.
 */
#ifndef TESTS_LIB_QCOW2_IMAGE_H
#define TESTS_LIB_QCOW2_IMAGE_H

#include "tests/lib/image.h"

/* Whether the programs are there; else it has told the harness that the test
 * is skipped, and the test returns 0. */
bool qcow2_tools_present(void);

/* An image in a directory of its own: "qemu-img create -f qcow2 ARGS". */
TestImage *qcow2_image_new(const char *options, const char *size);

/* Runs "qemu-io -f qcow2 -c COMMAND IMAGE" for each command; NULL ends. */
void qcow2_image_io(const TestImage *image, const char *command, ...)
    G_GNUC_NULL_TERMINATED;

/* "qemu-img check" finds nothing. */
void qcow2_image_check(const TestImage *image);

/* "qemu-img ARGS..."; "@" stands for the image. Returns its output, which
 * the caller frees. */
char *qcow2_image_run(const TestImage *image, const char *arg, ...)
    G_GNUC_NULL_TERMINATED;

/* Big-endian words of the file. */
void qcow2_image_set32(const TestImage *image, int64_t offset,
                       uint32_t value);
void qcow2_image_set64(const TestImage *image, int64_t offset,
                       uint64_t value);
uint64_t qcow2_image_get64(const TestImage *image, int64_t offset);

/* Offset in the file of the L2 entry for @guest of an image with entries of
 * @entry_bytes; the table exists. */
int64_t qcow2_image_l2_entry(const TestImage *image, int64_t guest,
                             unsigned entry_bytes);

#endif
