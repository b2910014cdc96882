/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtqueue between a driver (virtio-ring.h) and a device in one process:
 * over one region that both see at the same address, or over two mapped
 * elsewhere for the device. Collects the log lines.
 */
#ifndef TESTS_LIB_VIRTQUEUE_RIG_H
#define TESTS_LIB_VIRTQUEUE_RIG_H

#include "guest/virtio-ring.h"

typedef struct RigConfig {
    unsigned size;
    bool packed, event_idx, indirect;
    bool two_regions; /* with the border in the middle of the buffers */
} RigConfig;

#define RIG_GUEST_ADDR 0x100000u
#define RIG_INDIRECT_MAX 32

typedef struct Rig {
    RigConfig config;
    uint8_t *mem;       /* the driver's view */
    size_t bytes;
    uint8_t *buffers;   /* behind the ring, for chains */
    size_t buffer_bytes;
    uint8_t *border;    /* first byte of the second region */
    GuestMemory *memory;
    VirtioRing *ring;
    VirtQueue *vq;
    VirtQueueElement elem; /* for one pop at a time */
    GString *log;
} Rig;

Rig *rig_new(const RigConfig *config);
void rig_free(Rig *rig);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)

/* A new device queue on the same ring, from the base of the old one. */
void rig_restart_device(Rig *rig);

/* The config rig_new() made the queue from. */
void rig_fill_config(Rig *rig, VirtQueueConfig *config);

/* Guest address of a pointer in the driver's view, and of one in the
 * device's. */
uint64_t rig_guest(const Rig *rig, const void *driver_ptr);
uint64_t rig_guest_of_device(const Rig *rig, const void *device_ptr);

/* Expects the next pop to break the queue with a log line that says @why,
 * and only that line, however often it is tried. */
void rig_expect_broken(Rig *rig, const char *why);

/* --- The same tests over every kind of ring --- */

typedef struct RigTest {
    const char *name;
    GTestDataFunc fn; /* gets a RigConfig */
} RigTest;

/* Each of @tests for split and packed, with and without event index and
 * indirect descriptors, in one region and in two. */
void rig_add_tests(const char *suite, const RigTest *tests, unsigned n_tests);

#endif
