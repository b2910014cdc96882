/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest is told of the disk, and what it may change: the write cache.
 *
 * Called by virtio-blk.c from the main thread; calls the block back end. The
 * one rule: a guest that has no means to flush, or was told that it need not,
 * must have every completed write on stable storage.
 */
#include "virtio-blk-config.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define SECTOR_SIZE 512

/* The word that is kept for the next process. */
#define KEPT_VALID      0x1
#define KEPT_WCE        0x2
#define KEPT_UNSEEN_WCE 0x4

#define FEATURE(bit) (UINT64_C(1) << (bit))

/*
 * Longest request in segments. A driver without indirect descriptors needs a
 * ring slot for each, header and status included, and QEMU's front end makes
 * rings of 128. More would hang such a driver in its first large request;
 * what it would save the others, merging makes up for.
 */
#define SEG_MAX 126

/*
 * Whether completed writes may stay volatile (5.2.6.2). With CONFIG_WCE it is
 * what the field says; without it a driver that flushes assumes a write-back
 * cache; one that has neither assumes write-through.
 *
 * A reset turns the field on again. A front end that keeps a copy of config
 * space, as QEMU's does, goes on showing its guest "off", and the guest sends
 * no flush: until the new value has been read, it does not count.
 */
static bool write_cache_is_on(const VirtIOBlockConfig *config)
{
    if (!(config->features & FEATURE(VIRTIO_BLK_F_FLUSH)) ||
        config->unseen_wce) {
        return false;
    }
    if (config->features & FEATURE(VIRTIO_BLK_F_CONFIG_WCE)) {
        return config->space.wce;
    }
    return config->original_wce;
}

/* To be called after every change. */
static void update_write_cache(VirtIOBlockConfig *config)
{
    blk_set_write_cache(config->blk, write_cache_is_on(config));
    if (config->kept) {
        __atomic_store_n(config->kept, KEPT_VALID |
                         (config->space.wce ? KEPT_WCE : 0) |
                         (config->unseen_wce ? KEPT_UNSEEN_WCE : 0),
                         __ATOMIC_RELAXED);
    }
}

static uint64_t offered_features(const VirtIOBlockConf *conf, bool writable,
                                 const BlkGeometry *geometry)
{
    uint64_t features = FEATURE(VIRTIO_F_VERSION_1) |
                        FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
                        FEATURE(VIRTIO_RING_F_EVENT_IDX) |
                        FEATURE(VIRTIO_BLK_F_SEG_MAX) |
                        FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
                        FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
                        FEATURE(VIRTIO_BLK_F_FLUSH);

    if (conf->packed) {
        features |= FEATURE(VIRTIO_F_RING_PACKED);
    }
    if (conf->config_wce) {
        features |= FEATURE(VIRTIO_BLK_F_CONFIG_WCE);
    }
    if (conf->num_queues > 1) {
        features |= FEATURE(VIRTIO_BLK_F_MQ);
    }
    if (!writable) {
        return features | FEATURE(VIRTIO_BLK_F_RO);
    }
    if (geometry->discard) {
        features |= FEATURE(VIRTIO_BLK_F_DISCARD);
    }
    if (geometry->write_zeroes) {
        features |= FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
    }
    return features;
}

static void fill_topology(struct virtio_blk_config *space,
                          uint32_t block_size, const BlkGeometry *geometry)
{
    uint32_t physical = MAX(geometry->physical_block_size, block_size);

    space->blk_size = htole32(block_size);
    space->physical_block_exp = g_bit_storage(physical / block_size) - 1;
    space->min_io_size =
        htole16(MIN(geometry->min_io_size / block_size, UINT16_MAX));
    space->opt_io_size = htole32(geometry->opt_io_size / block_size);
}

static void fill_discard(struct virtio_blk_config *space, uint32_t block_size,
                         const BlkGeometry *geometry)
{
    uint32_t granularity = MAX(geometry->discard_granularity, block_size);

    if (geometry->discard) {
        space->max_discard_sectors = htole32(VIRTIO_BLK_MAX_SEGMENT_SECTORS);
        space->max_discard_seg = htole32(VIRTIO_BLK_MAX_SEGMENTS);
        space->discard_sector_alignment = htole32(granularity / SECTOR_SIZE);
    }
    if (geometry->write_zeroes) {
        space->max_write_zeroes_sectors =
            htole32(VIRTIO_BLK_MAX_SEGMENT_SECTORS);
        space->max_write_zeroes_seg = htole32(VIRTIO_BLK_MAX_SEGMENTS);
        space->write_zeroes_may_unmap = geometry->discard;
    }
}

void virtio_blk_config_init(VirtIOBlockConfig *config, VirtIOBlockRules *rules,
                            BlockBackend *blk, const VirtIOBlockConf *conf)
{
    BlkGeometry geometry = blk_geometry(blk);
    bool writable = blk_is_writable(blk);
    struct virtio_blk_config *space = &config->space;

    *config = (VirtIOBlockConfig) {
        .blk = blk,
        .host_features = offered_features(conf, writable, &geometry),
        .original_wce = blk_write_cache(blk),
    };
    space->capacity = htole64(blk_length(blk) / SECTOR_SIZE);
    space->seg_max = htole32(SEG_MAX);
    space->num_queues = htole16(conf->num_queues);
    space->wce = config->original_wce;
    fill_topology(space, conf->logical_block_size, &geometry);
    if (writable) {
        fill_discard(space, conf->logical_block_size, &geometry);
    }

    *rules = (VirtIOBlockRules) {
        .length = blk_length(blk),
        .block_size = conf->logical_block_size,
        .writable = writable,
        .discard = geometry.discard,
        .write_zeroes = geometry.write_zeroes,
    };
    if (conf->serial) {
        memcpy(rules->serial, conf->serial,
               strnlen(conf->serial, sizeof(rules->serial)));
    }
    update_write_cache(config); /* off until a driver says that it flushes */
}

void virtio_blk_config_resize(VirtIOBlockConfig *config,
                              VirtIOBlockRules *rules)
{
    rules->length = blk_length(config->blk);
    config->space.capacity = htole64(rules->length / SECTOR_SIZE);
}

void virtio_blk_config_set_features(VirtIOBlockConfig *config,
                                    uint64_t features)
{
    config->features = features & config->host_features;
    /* 5.2.5.2: without FLUSH the field has to say write-through */
    if ((config->features & FEATURE(VIRTIO_BLK_F_CONFIG_WCE)) &&
        !(config->features & FEATURE(VIRTIO_BLK_F_FLUSH))) {
        config->space.wce = 0;
    }
    update_write_cache(config);
}

/* Whether the range has the byte that says so. */
static bool covers_wce(uint32_t offset, uint32_t bytes)
{
    uint32_t wce = G_STRUCT_OFFSET(struct virtio_blk_config, wce);

    return offset <= wce && bytes > wce - offset;
}

void virtio_blk_config_read(VirtIOBlockConfig *config, uint32_t offset,
                            void *buf, uint32_t bytes)
{
    if (config->unseen_wce && covers_wce(offset, bytes)) {
        config->unseen_wce = false;
        update_write_cache(config);
    }
    memset(buf, 0, bytes);
    if (offset < sizeof(config->space)) {
        memcpy(buf, (const char *)&config->space + offset,
               MIN(bytes, sizeof(config->space) - offset));
    }
}

int virtio_blk_config_write(VirtIOBlockConfig *config, uint32_t offset,
                            const void *buf, uint32_t bytes)
{
    uint8_t value;

    if (!(config->host_features & FEATURE(VIRTIO_BLK_F_CONFIG_WCE))) {
        return -ENOTSUP;
    }
    if (offset != G_STRUCT_OFFSET(struct virtio_blk_config, wce) ||
        bytes != 1) {
        return -EINVAL;
    }
    memcpy(&value, buf, 1);
    if (value > 1) {
        return -EINVAL;
    }
    config->space.wce = value;
    config->unseen_wce = false;
    update_write_cache(config);
    return 0;
}

/* A guest that has turned the cache off does not flush, whichever process it
 * was that it told. */
void virtio_blk_config_keep(VirtIOBlockConfig *config, uint64_t *word)
{
    uint64_t kept = word ? __atomic_load_n(word, __ATOMIC_RELAXED) : 0;

    config->kept = word;
    if ((kept & KEPT_VALID) &&
        (config->host_features & FEATURE(VIRTIO_BLK_F_CONFIG_WCE))) {
        config->space.wce = !!(kept & KEPT_WCE);
        config->unseen_wce = kept & KEPT_UNSEEN_WCE;
    }
    update_write_cache(config);
}

void virtio_blk_config_reset(VirtIOBlockConfig *config)
{
    config->features = 0;
    config->unseen_wce = config->unseen_wce ||
                         config->space.wce != config->original_wce;
    config->space.wce = config->original_wce;
    update_write_cache(config);
}
