/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's side of a virtqueue, as a guest's kernel has it: builds chains
 * in a split or packed ring that lies in a block of memory, and takes back
 * what the device used. For tests and for vblk-bench, which play the guest.
 *
 * One thread drives a ring; the device may run in another.
 */
#ifndef GUEST_VIRTIO_RING_H
#define GUEST_VIRTIO_RING_H

#include "hw/virtio/virtqueue.h"

typedef struct VirtioRingConfig {
    void *mem;            /* where ring and indirect tables go; 4096-aligned */
    uint64_t guest_addr;  /* of @mem; also of all buffers, see below */
    unsigned size;        /* descriptors */
    unsigned indirect_max; /* entries of an indirect table; 0: never used */
    bool packed;
    bool event_idx;
    bool tolerant;        /* see virtio_ring_error() */
} VirtioRingConfig;

typedef struct VirtioRing VirtioRing;

/* How much of config->mem a ring takes. */
size_t virtio_ring_bytes(const VirtioRingConfig *config);

/* Zeroes its memory. */
VirtioRing *virtio_ring_new(const VirtioRingConfig *config);
void virtio_ring_free(VirtioRing *ring);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtioRing, virtio_ring_free)

/* Where the three parts lie, as host pointers. Subtract config->mem and add
 * guest_addr (or the user address) for what a front end sends. */
void *virtio_ring_desc(const VirtioRing *ring);
void *virtio_ring_avail(const VirtioRing *ring); /* packed: driver events */
void *virtio_ring_used(const VirtioRing *ring);  /* packed: device events */

/* What a device that was just reset starts from: 0, or 0x80008000. */
uint32_t virtio_ring_initial_base(const VirtioRing *ring);

/* Fills what the ring decides in @config: size, format, pointers, base. */
void virtio_ring_fill_config(const VirtioRing *ring, VirtQueueConfig *config);

/* A request's buffers: host pointers into the memory that starts at
 * config->mem and lies at guest_addr in the guest. */
typedef struct VirtioChain {
    const struct iovec *out; /* the device reads these */
    unsigned n_out;
    const struct iovec *in;  /* and writes those */
    unsigned n_in;
    bool indirect;           /* one descriptor and a table */
    void *token;             /* comes back with it; not NULL */
} VirtioChain;

/* Puts a chain in the ring; the device sees it after virtio_ring_publish().
 * False: no room. */
bool virtio_ring_add(VirtioRing *ring, const VirtioChain *chain);

/* Makes all that was added visible and returns whether the device wants a
 * kick for it. */
bool virtio_ring_publish(VirtioRing *ring);

/* The next used chain's token, or NULL; @len (may be NULL) gets the device's
 * count of bytes. When the device returns what it did not have: aborts, or
 * with config->tolerant returns NULL, now and from then on. */
void *virtio_ring_get_used(VirtioRing *ring, uint32_t *len);

/* What the device did wrong, or NULL. */
const char *virtio_ring_error(const VirtioRing *ring);

/* Whether virtio_ring_get_used() would find one. */
bool virtio_ring_has_used(VirtioRing *ring);

/* Asks for an interrupt with the next used chain. Returns whether one came
 * in before the device could know. The default is on. */
bool virtio_ring_enable_call(VirtioRing *ring);
void virtio_ring_disable_call(VirtioRing *ring);

/* Event index only: an interrupt once @n more chains were used (1: the next
 * one; packed: chains of one descriptor). */
bool virtio_ring_enable_call_after(VirtioRing *ring, unsigned n);

unsigned virtio_ring_in_flight(const VirtioRing *ring); /* chains */
unsigned virtio_ring_free_descs(const VirtioRing *ring);

#endif
