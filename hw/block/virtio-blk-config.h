/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Feature bits, config space and the write cache of a virtio-blk device.
 * Private to hw/block. All functions: Context: main.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_CONFIG_H
#define HW_BLOCK_VIRTIO_BLK_CONFIG_H

#include "hw/block/virtio-blk.h"
#include "virtio-blk-request.h"

typedef struct VirtIOBlockConfig {
    BlockBackend *blk;               /* borrowed */
    uint64_t host_features;          /* offered */
    uint64_t features;               /* chosen by the driver */
    bool original_wce;               /* wce after reset */
    bool unseen_wce;                 /* reset to on, which nobody has read */
    uint64_t *kept;                  /* for the next process; or NULL */
    struct virtio_blk_config space;  /* little endian, as the guest reads it */
} VirtIOBlockConfig;

/* Fills in @config, and @rules to match. */
void virtio_blk_config_init(VirtIOBlockConfig *config, VirtIOBlockRules *rules,
                            BlockBackend *blk, const VirtIOBlockConf *conf);

/* The disk has another length; no queue runs. */
void virtio_blk_config_resize(VirtIOBlockConfig *config,
                              VirtIOBlockRules *rules);

void virtio_blk_config_set_features(VirtIOBlockConfig *config,
                                    uint64_t features);

/* As VirtIODeviceOps says. */
void virtio_blk_config_read(VirtIOBlockConfig *config, uint32_t offset,
                            void *buf, uint32_t bytes);
int virtio_blk_config_write(VirtIOBlockConfig *config, uint32_t offset,
                            const void *buf, uint32_t bytes);

void virtio_blk_config_reset(VirtIOBlockConfig *config);
void virtio_blk_config_keep(VirtIOBlockConfig *config, uint64_t *word);

#endif
