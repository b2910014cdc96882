/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtqueue as a guest's driver works on it: the data path of guest-disk.c.
 * Requests are laid out once and sent any number of times; nothing here
 * allocates.
 */
#ifndef TOOLS_BENCH_GUEST_QUEUE_H
#define TOOLS_BENCH_GUEST_QUEUE_H

#include "disk.h"
#include "guest/virtio-ring.h"

#include <linux/virtio_blk.h>

typedef struct GuestIo {
    BenchIo io;
    struct virtio_blk_outhdr *header;
    uint8_t *status;
    struct iovec *iov; /* header, segments, status */
} GuestIo;

typedef struct GuestQueue {
    BenchQueue queue;
    VirtioRing *ring;
    GuestIo *ios;
    struct iovec *iovs;
    unsigned n_segments;
    bool indirect;
    bool poll;
    int kick_fd, call_fd;
} GuestQueue;

extern const BenchQueueOps guest_queue_ops;

#endif
