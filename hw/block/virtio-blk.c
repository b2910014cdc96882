/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio block device: its creation, its queues' places, and the table
 * through which a transport works with it.
 *
 * Called by the program (new, free) and by a transport; calls config for what
 * the guest reads and queue for what it does. The one rule: config belongs to
 * the main thread, each queue to its own, and what both see never changes.
 */
#include "hw/block/virtio-blk.h"

#include "virtio-blk-config.h"
#include "virtio-blk-error.h"
#include "virtio-blk-queue.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>

#define MAX_BLOCK_SIZE 65536

struct VirtIOBlock {
    VirtIODevice dev;         /* first: the ops get a pointer to it */
    char *name;
    BlockBackend *blk;
    VirtIOBlockConfig config; /* main thread */
    VirtIOBlockRules rules;   /* constant while queues run */
    VirtIOBlockErrors *errors;
    VirtIOBlockQueue **queues;
    void (*set_running)(void *opaque, bool running);
    void *opaque;
};

static VirtIOBlock *to_block(VirtIODevice *dev)
{
    return (VirtIOBlock *)dev;
}

static uint64_t device_get_features(VirtIODevice *dev)
{
    return to_block(dev)->config.host_features;
}

static void device_set_features(VirtIODevice *dev, uint64_t features)
{
    virtio_blk_config_set_features(&to_block(dev)->config, features);
}

static void device_get_config(VirtIODevice *dev, uint32_t offset, void *buf,
                              uint32_t bytes)
{
    virtio_blk_config_read(&to_block(dev)->config, offset, buf, bytes);
}

static int device_set_config(VirtIODevice *dev, uint32_t offset,
                             const void *buf, uint32_t bytes)
{
    return virtio_blk_config_write(&to_block(dev)->config, offset, buf, bytes);
}

static void device_reset(VirtIODevice *dev)
{
    virtio_blk_config_reset(&to_block(dev)->config);
}

/* Who keeps a word for the next process means to go on with it. */
static void device_keep_state(VirtIODevice *dev, uint64_t *word)
{
    blk_set_outlived(to_block(dev)->blk, word != NULL);
    virtio_blk_config_keep(&to_block(dev)->config, word);
}

static void device_set_running(VirtIODevice *dev, bool running)
{
    VirtIOBlock *vblk = to_block(dev);

    if (vblk->set_running) {
        vblk->set_running(vblk->opaque, running);
    }
}

static AioContext *device_queue_context(VirtIODevice *dev, unsigned index)
{
    return virtio_blk_queue_context(to_block(dev)->queues[index]);
}

static void device_queue_start(VirtIODevice *dev, unsigned index,
                               VirtQueue *vq)
{
    virtio_blk_queue_start(to_block(dev)->queues[index], vq);
}

static void device_queue_stop(VirtIODevice *dev, unsigned index, AioFn *done,
                              void *opaque)
{
    virtio_blk_queue_stop(to_block(dev)->queues[index], done, opaque);
}

static const VirtIODeviceOps device_ops = {
    .get_features = device_get_features,
    .set_features = device_set_features,
    .get_config = device_get_config,
    .set_config = device_set_config,
    .reset = device_reset,
    .keep_state = device_keep_state,
    .set_running = device_set_running,
    .queue_context = device_queue_context,
    .queue_start = device_queue_start,
    .queue_stop = device_queue_stop,
};

static bool check_conf(const VirtIOBlockConf *conf, GError **error)
{
    uint32_t block_size = conf->logical_block_size;

    if (conf->num_queues == 0 || conf->num_queues > VIRTIO_BLK_MAX_QUEUES) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: num-queues must be between 1 and %d, not %u",
                    conf->name, VIRTIO_BLK_MAX_QUEUES, conf->num_queues);
        return false;
    }
    if (block_size < 512 || block_size > MAX_BLOCK_SIZE ||
        (block_size & (block_size - 1)) != 0) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: logical-block-size must be a power of 2 between 512 "
                    "and %d, not %u", conf->name, MAX_BLOCK_SIZE, block_size);
        return false;
    }
    if (conf->serial && strlen(conf->serial) > VIRTIO_BLK_ID_BYTES) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: serial '%s' is longer than %d bytes", conf->name,
                    conf->serial, VIRTIO_BLK_ID_BYTES);
        return false;
    }
    g_assert(conf->n_contexts > 0);
    return true;
}

static void make_queues(VirtIOBlock *vblk, const VirtIOBlockConf *conf)
{
    VirtIOBlockQueueConf queue_conf = {
        .blk = vblk->blk,
        .rules = &vblk->rules,
        .errors = vblk->errors,
        .request_merging = conf->request_merging,
        .register_buffers = conf->register_buffers,
    };

    vblk->queues = g_new0(VirtIOBlockQueue *, conf->num_queues);
    for (unsigned i = 0; i < conf->num_queues; i++) {
        queue_conf.ctx = conf->contexts[i % conf->n_contexts];
        vblk->queues[i] = virtio_blk_queue_new(&queue_conf);
    }
}

static void wake_queues(void *opaque)
{
    VirtIOBlock *vblk = opaque;

    for (unsigned i = 0; i < vblk->dev.num_queues; i++) {
        virtio_blk_queue_wake(vblk->queues[i]);
    }
}

VirtIOBlock *virtio_blk_new(BlockBackend *blk, const VirtIOBlockConf *conf,
                            GError **error)
{
    VirtIOBlock *vblk;

    if (!check_conf(conf, error)) {
        return NULL;
    }
    vblk = g_new0(VirtIOBlock, 1);
    vblk->blk = blk;
    vblk->name = g_strdup(conf->name);
    vblk->set_running = conf->set_running;
    vblk->opaque = conf->opaque;
    vblk->dev = (VirtIODevice) {
        .ops = &device_ops,
        .name = vblk->name,
        .num_queues = conf->num_queues,
        .config_size = sizeof(struct virtio_blk_config),
    };
    virtio_blk_config_init(&vblk->config, &vblk->rules, blk, conf);
    vblk->errors = virtio_blk_errors_new(conf, wake_queues, vblk);
    make_queues(vblk, conf);
    return vblk;
}

void virtio_blk_free(VirtIOBlock *vblk)
{
    for (unsigned i = 0; i < vblk->dev.num_queues; i++) {
        virtio_blk_queue_free(vblk->queues[i]);
    }
    virtio_blk_errors_free(vblk->errors);
    blk_free(vblk->blk);
    g_free(vblk->queues);
    g_free(vblk->name);
    g_free(vblk);
}

VirtIODevice *virtio_blk_device(VirtIOBlock *vblk)
{
    return &vblk->dev;
}

VirtIOBlockHold virtio_blk_get_hold(VirtIOBlock *vblk)
{
    return virtio_blk_errors_get(vblk->errors);
}

void virtio_blk_resume(VirtIOBlock *vblk)
{
    virtio_blk_errors_resume(vblk->errors);
}

static void queue_paused(void *opaque)
{
    sem_post(opaque);
}

void virtio_blk_pause(VirtIOBlock *vblk)
{
    sem_t paused;

    sem_init(&paused, 0, 0);
    for (unsigned i = 0; i < vblk->dev.num_queues; i++) {
        virtio_blk_queue_pause(vblk->queues[i], queue_paused, &paused);
    }
    for (unsigned i = 0; i < vblk->dev.num_queues; i++) {
        while (sem_wait(&paused) < 0) {
            g_assert(errno == EINTR);
        }
    }
    sem_destroy(&paused);
}

void virtio_blk_unpause(VirtIOBlock *vblk)
{
    VirtIODevice *dev = &vblk->dev;
    bool resized = vblk->rules.length != blk_length(vblk->blk);

    if (resized) {
        virtio_blk_config_resize(&vblk->config, &vblk->rules);
    }
    for (unsigned i = 0; i < dev->num_queues; i++) {
        virtio_blk_queue_unpause(vblk->queues[i]);
    }
    if (resized && dev->config_changed) {
        dev->config_changed(dev, dev->config_changed_opaque);
    }
}

unsigned virtio_blk_in_flight(VirtIOBlock *vblk)
{
    return blk_in_flight(vblk->blk) + virtio_blk_get_hold(vblk).n_held;
}

void virtio_blk_get_stats(VirtIOBlock *vblk, BlockStats *stats)
{
    blk_get_stats(vblk->blk, stats);
}
