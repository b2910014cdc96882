/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations on whole qcow2 images, each on an image that is opened for it
 * and closed afterwards, as the tools do. For tests that compare with Debian's
 * tools, and judge by them.
 */
#ifndef TESTS_LIB_QCOW2_OPS_H
#define TESTS_LIB_QCOW2_OPS_H

#include "block/image.h"
#include "tests/lib/qcow2-image.h"

/* Opened with BDRV_OPEN_ flags; asserts that it can be. */
BlockDriverState *qcow2_ops_open(const TestImage *image, unsigned flags);

/* Runs in a coroutine at home. What it returns is up to it. */
typedef bool coroutine_fn Qcow2OpFn(BlockDriverState *bs, void *opaque,
                                    GError **error);

/* Opens for writing, runs, closes. NULL when it succeeded, else the message,
 * which the caller frees. */
char *qcow2_ops_run(const TestImage *image, Qcow2OpFn *fn, void *opaque);

/* "create", "apply", "delete"; "add", "remove", "clear", "enable", "disable"
 * of a bitmap. Messages as above. */
char *qcow2_ops_snapshot(const TestImage *image, const char *what,
                         const char *name);
char *qcow2_ops_bitmap(const TestImage *image, const char *what,
                       const char *name, uint32_t granularity);
char *qcow2_ops_resize(const TestImage *image, int64_t bytes,
                       BlockPrealloc prealloc);
char *qcow2_ops_amend(const TestImage *image, const char *options);
/* Of an image that need not be there. */
char *qcow2_ops_create(const char *filename, const char *options);

/* Writes @bytes of @byte, as a guest. Asserts. */
void qcow2_ops_write(const TestImage *image, int64_t offset, int64_t bytes,
                     uint8_t byte);

/* Checks, with BLOCK_CHECK_FIX_; the lines of the report, sorted and with a
 * newline each, or the message when it cannot be opened or checked. *check may
 * be NULL. */
char *qcow2_ops_check(const TestImage *image, unsigned fix,
                      BlockCheck *check);
/* What qemu-img says, of that kind. */
char *qcow2_image_check_lines(const TestImage *image);

/* What the guest sees, or saw when the snapshot was taken: a checksum of it,
 * by "qemu-img convert". */
char *qcow2_image_checksum(const TestImage *image, const char *snapshot);

/* Asserts that it is NULL, shows it if not, frees. */
void qcow2_ops_ok(char *message);

#endif
