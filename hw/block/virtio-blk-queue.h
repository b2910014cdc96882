/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One queue of a virtio-blk device. Private to hw/block.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_QUEUE_H
#define HW_BLOCK_VIRTIO_BLK_QUEUE_H

#include "block/block-backend.h"
#include "virtio-blk-error.h"
#include "virtio-blk-merge.h"

typedef struct VirtIOBlockQueue VirtIOBlockQueue;

/* What a queue is made from; borrowed for the queue's life but for @ctx. */
typedef struct VirtIOBlockQueueConf {
    BlockBackend *blk;
    AioContext *ctx;               /* home of the queue */
    const VirtIOBlockRules *rules;
    VirtIOBlockErrors *errors;     /* of the device */
    bool request_merging;
    bool register_buffers;         /* the guest's memory may be held */
} VirtIOBlockQueueConf;

/* Attaches a channel; waits for the thread of @conf->ctx. Context: main */
VirtIOBlockQueue *virtio_blk_queue_new(const VirtIOBlockQueueConf *conf);

/* Does not run. Context: main */
void virtio_blk_queue_free(VirtIOBlockQueue *queue);

AioContext *virtio_blk_queue_context(const VirtIOBlockQueue *queue);

/* Retries what it holds and looks at the ring, soon. Context: any */
void virtio_blk_queue_wake(VirtIOBlockQueue *queue);

/*
 * From now on no chain is taken and nothing that is held tried again; calls
 * @done in the queue's thread, soon, when what was taken is done or held.
 * Until virtio_blk_queue_unpause(). Context: main
 */
void virtio_blk_queue_pause(VirtIOBlockQueue *queue, AioFn *done,
                            void *opaque);
void virtio_blk_queue_unpause(VirtIOBlockQueue *queue); /* Context: main */

/* As VirtIODeviceOps says. Context: home */
void virtio_blk_queue_start(VirtIOBlockQueue *queue, VirtQueue *vq);
void virtio_blk_queue_stop(VirtIOBlockQueue *queue, AioFn *done,
                           void *opaque);

#endif
