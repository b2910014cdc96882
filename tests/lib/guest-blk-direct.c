/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest on a device model in this process, without a transport between: it
 * calls the device's table as a transport would, the calling thread being the
 * main thread.
 */
#include "guest-blk-transport.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static uint64_t direct_get_features(GuestBlk *guest)
{
    return guest->dev->ops->get_features(guest->dev);
}

static void direct_set_features(GuestBlk *guest, uint64_t features)
{
    guest->dev->ops->set_features(guest->dev, features);
}

static void direct_get_config(GuestBlk *guest, uint32_t offset, void *buf,
                              uint32_t bytes)
{
    guest->dev->ops->get_config(guest->dev, offset, buf, bytes);
}

static bool direct_set_config(GuestBlk *guest, uint32_t offset,
                              const void *buf, uint32_t bytes)
{
    return guest->dev->ops->set_config(guest->dev, offset, buf, bytes) == 0;
}

static void direct_reset(GuestBlk *guest)
{
    guest->dev->ops->reset(guest->dev);
}

/* What goes to the queue's thread and back. */
typedef struct QueueCall {
    GuestBlk *guest;
    unsigned index;
    int done_fd;
} QueueCall;

static void start_in_home(void *opaque)
{
    QueueCall *call = opaque;
    GuestBlk *guest = call->guest;

    guest->dev->ops->queue_start(guest->dev, call->index,
                                 guest->queues[call->index].vq);
}

static void direct_start_queue(GuestBlk *guest, unsigned index, uint32_t base)
{
    g_autoptr(GError) error = NULL;
    GuestQueue *queue = &guest->queues[index];
    QueueCall call = { .guest = guest, .index = index };
    VirtQueueConfig config = {
        .event_idx = guest_blk_has(guest, VIRTIO_RING_F_EVENT_IDX),
        .indirect = guest_blk_has(guest, VIRTIO_RING_F_INDIRECT_DESC),
        .memory = guest->memory,
        .name = guest->dev->name,
    };

    virtio_ring_fill_config(queue->ring, &config);
    config.base = base;
    queue->vq = virtqueue_new(&config, &error);
    g_assert_no_error(error);
    virtqueue_set_kick_fd(queue->vq, queue->kick_fd);
    virtqueue_set_call_fd(queue->vq, queue->call_fd);
    aio_bh_run_sync(guest->dev->ops->queue_context(guest->dev, index),
                    start_in_home, &call);
}

static void stop_done(void *opaque)
{
    QueueCall *call = opaque;
    uint64_t one = 1;

    g_assert_cmpint(write(call->done_fd, &one, sizeof(one)), ==, sizeof(one));
}

static void stop_in_home(void *opaque)
{
    QueueCall *call = opaque;
    GuestBlk *guest = call->guest;

    guest->dev->ops->queue_stop(guest->dev, call->index, stop_done, call);
}

static uint32_t direct_stop_queue(GuestBlk *guest, unsigned index)
{
    GuestQueue *queue = &guest->queues[index];
    QueueCall call = {
        .guest = guest, .index = index, .done_fd = eventfd(0, EFD_CLOEXEC),
    };
    struct pollfd pfd = { .fd = call.done_fd, .events = POLLIN };
    uint32_t base;

    aio_bh_run_sync(guest->dev->ops->queue_context(guest->dev, index),
                    stop_in_home, &call);
    while (poll(&pfd, 1, guest->pump ? 0 : GUEST_BLK_PATIENCE_MS) == 0) {
        g_assert_nonnull(guest->pump);
        aio_poll(guest->pump, true);
    }
    close(call.done_fd);
    base = virtqueue_base(queue->vq);
    virtqueue_free(queue->vq);
    queue->vq = NULL;
    return base;
}

static void direct_close(GuestBlk *guest)
{
    guest_memory_unref(guest->memory);
}

static const GuestTransport direct_transport = {
    .get_features = direct_get_features,
    .set_features = direct_set_features,
    .get_config = direct_get_config,
    .set_config = direct_set_config,
    .reset = direct_reset,
    .start_queue = direct_start_queue,
    .stop_queue = direct_stop_queue,
    .close = direct_close,
};

GuestBlk *guest_blk_new_direct(VirtIODevice *dev, AioContext *pump,
                               const GuestBlkConf *conf)
{
    GuestBlk *guest = guest_blk_new(&direct_transport, conf,
                                    GUEST_BLK_BASE, 0);

    guest->dev = dev;
    guest->pump = pump;
    guest->max_queues = dev->num_queues;
    guest->memory = guest_memory_new_borrowed(guest->mem, GUEST_BLK_BASE,
                                              guest->conf.memory_bytes);
    guest_blk_negotiate(guest);
    return guest;
}
