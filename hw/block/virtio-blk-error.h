/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of requests that fail: rerror=, werror=. Private to hw/block.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_ERROR_H
#define HW_BLOCK_VIRTIO_BLK_ERROR_H

#include "hw/block/virtio-blk.h"

typedef struct VirtIOBlockErrors VirtIOBlockErrors;

/* @wake is called in the main thread when queues are to go on: each of them
 * retries what it holds. The calling thread's context is the main thread's;
 * one without a context has policies that stop nothing. Context: main */
VirtIOBlockErrors *virtio_blk_errors_new(const VirtIOBlockConf *conf,
                                         AioFn *wake, void *opaque);
void virtio_blk_errors_free(VirtIOBlockErrors *errors); /* Context: main */

/* Whether queues are to rest; one relaxed load. Context: any */
bool virtio_blk_errors_halted(const VirtIOBlockErrors *errors);

/* What to do about @ret of a request of @op. Context: any */
BlockErrorAction virtio_blk_errors_action(const VirtIOBlockErrors *errors,
                                          BlockOp op, int ret);

/* An error was dealt with so: somebody may want to know. Context: any */
void virtio_blk_errors_report(VirtIOBlockErrors *errors,
                              const VirtIOBlockError *error);

/* A request is held, the device rests. Context: any */
void virtio_blk_errors_hold(VirtIOBlockErrors *errors,
                            const VirtIOBlockError *error);

/* One is not held any more: it was tried again and, with @recovered, has
 * succeeded, or it was given up. One that is held again counts again before.
 * The last one ends the rest. Context: any */
void virtio_blk_errors_unhold(VirtIOBlockErrors *errors, bool recovered);

/* Lets the queues go on. Context: main */
void virtio_blk_errors_resume(VirtIOBlockErrors *errors);

/* As virtio_blk_get_hold(). Context: main */
VirtIOBlockHold virtio_blk_errors_get(VirtIOBlockErrors *errors);

#endif
