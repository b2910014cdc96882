/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio-blk device in this process, from the image file up: what a test
 * puts a guest on. The calling thread is the main thread.
 */
#ifndef TESTS_LIB_BLK_RIG_H
#define TESTS_LIB_BLK_RIG_H

#include "hw/block/virtio-blk.h"
#include "image.h"

typedef struct BlkRig BlkRig;

typedef struct BlkRigConf {
    const char *blockdev;      /* opened for the rig; or */
    BlockDriverState *bs;      /* a node that is there: a reference is taken */
    AioParams params;
    unsigned n_iothreads;      /* 0: the calling thread does everything */
    unsigned num_queues;       /* 0: 1 */
    uint32_t block_size;       /* 0: 512 */
    const char *serial;
    bool read_only;
    bool writethrough;
    bool no_merging;
    bool register_buffers;
    bool no_config_wce;
    BlockdevOnError rerror, werror;
    VirtIOBlockErrorFn *io_error;
    AioFn *resumed;
    void *error_opaque;
} BlkRigConf;

/* Makes @conf->n_iothreads threads and all else; aborts on failure, but
 * returns NULL with @error when the node cannot be opened. */
BlkRig *blk_rig_new(const BlkRigConf *conf, GError **error);
void blk_rig_free(BlkRig *rig);

VirtIODevice *blk_rig_device(BlkRig *rig);
VirtIOBlock *blk_rig_block(BlkRig *rig);
/* For guest_blk_new_direct(): NULL when there are iothreads. */
AioContext *blk_rig_pump(BlkRig *rig);
/* The calling thread's. */
AioContext *blk_rig_main_context(BlkRig *rig);
void blk_rig_stats(BlkRig *rig, BlockStats *stats);

/* --- Images --- */

/* An image whose bytes are blk_pattern() of their offsets. */
TestImage *blk_image_new(int64_t bytes);
uint8_t blk_pattern(int64_t offset);

#endif
