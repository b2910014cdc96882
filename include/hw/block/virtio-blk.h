/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio block device (virtio 1.2, 5.2) over a BlockBackend.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_H
#define HW_BLOCK_VIRTIO_BLK_H

#include "block/block-backend.h"
#include "hw/virtio/device.h"

typedef struct VirtIOBlock VirtIOBlock;

#define VIRTIO_BLK_MAX_QUEUES 256

typedef struct VirtIOBlockConf {
    const char *name;             /* "export 'e0'"; copied */
    unsigned num_queues;          /* 1 .. VIRTIO_BLK_MAX_QUEUES */
    uint32_t logical_block_size;  /* 512 .. 4096 and up to 64 KiB, power of 2 */
    const char *serial;           /* up to 20 bytes; copied; NULL: empty */
    bool request_merging;
    bool config_wce;              /* offer VIRTIO_BLK_F_CONFIG_WCE */
    bool packed;                  /* offer VIRTIO_F_RING_PACKED */
    AioContext *const *contexts;  /* queues are dealt out in turn; copied */
    unsigned n_contexts;
} VirtIOBlockConf;

/* Takes @blk on success. Makes a channel for each queue; waits for the
 * contexts' threads. Context: main */
VirtIOBlock *virtio_blk_new(BlockBackend *blk, const VirtIOBlockConf *conf,
                            GError **error);

/* No queue runs. Frees its BlockBackend too. Context: main */
void virtio_blk_free(VirtIOBlock *vblk);

/* What a transport works with; borrowed. Context: any */
VirtIODevice *virtio_blk_device(VirtIOBlock *vblk);

/* Sum over queues. Context: main */
void virtio_blk_get_stats(VirtIOBlock *vblk, BlockStats *stats);

#endif
