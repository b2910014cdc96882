/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What hw/virtio knows of a device: this table and nothing else.
 */
#ifndef HW_VIRTIO_DEVICE_H
#define HW_VIRTIO_DEVICE_H

#include "block/aio.h"
#include "block/log.h"
#include "hw/virtio/virtqueue.h"

typedef struct VirtIODevice VirtIODevice;

typedef struct VirtIODeviceOps {
    /* Device feature bits, ring features included. Context: main */
    uint64_t (*get_features)(VirtIODevice *dev);

    /* The driver's choice, a subset; no queue runs, or only ring features
     * that do not matter to the device changed. Context: main */
    void (*set_features)(VirtIODevice *dev, uint64_t features);

    /* Copies config space; what lies behind its end reads zero.
     * Context: main */
    void (*get_config)(VirtIODevice *dev, uint32_t offset, void *buf,
                       uint32_t bytes);
    /* Returns 0, or a negative errno for a field that cannot be written.
     * Context: main */
    int (*set_config)(VirtIODevice *dev, uint32_t offset, const void *buf,
                      uint32_t bytes);

    /* Back to the state after creation; no queue runs. Context: main */
    void (*reset)(VirtIODevice *dev);

    /*
     * @word outlives this process: it holds what the device kept there in a
     * process before this one, or 0. The device keeps it up to date until it
     * is given another one, or NULL. Optional; no queue runs. Context: main
     */
    void (*keep_state)(VirtIODevice *dev, uint64_t *word);

    /*
     * The driver is about to use its queues: true, before the first of them
     * starts. It does not any more: false, after the last has stopped and
     * before the front end is told; or when that has gone. Queues that stop
     * only to go on are in use, and those of a driver that another process
     * takes over are never said not to be. Optional. Context: main
     */
    void (*set_running)(VirtIODevice *dev, bool running);

    /* The context whose thread runs queue @index. Context: any */
    AioContext *(*queue_context)(VirtIODevice *dev, unsigned index);

    /*
     * Work on @vq, which the transport keeps until queue_stop has finished.
     * Looks at the ring at once: kicks may have come before.
     * Context: home of the queue
     */
    void (*queue_start)(VirtIODevice *dev, unsigned index, VirtQueue *vq);

    /*
     * Takes no more chains, completes those taken (drains), pushes and
     * publishes them, then calls @done in the same thread, possibly from
     * inside. The ring is not touched afterwards. Context: home of the queue
     */
    void (*queue_stop)(VirtIODevice *dev, unsigned index, AioFn *done,
                       void *opaque);
} VirtIODeviceOps;

/* Embedded first in the device's own struct. */
struct VirtIODevice {
    const VirtIODeviceOps *ops;
    const char *name;       /* "export 'e0'", for log lines; borrowed */
    LogLimit log_limit;     /* for lines that its guest or front end causes */
    unsigned num_queues;
    uint32_t config_size;
    /*
     * Set by the transport: tells the guest that config space changed. NULL
     * when it cannot. Context: main
     */
    void (*config_changed)(VirtIODevice *dev, void *opaque);
    void *config_changed_opaque;
};

#endif
