/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What guest-blk.c asks of the two ways to reach a device. Private to
 * guest-blk*.c.
 */
#ifndef TESTS_LIB_GUEST_BLK_TRANSPORT_H
#define TESTS_LIB_GUEST_BLK_TRANSPORT_H

#include "guest-blk.h"

#define GUEST_BLK_BASE      UINT64_C(0x10000000)     /* guest physical */
#define GUEST_BLK_USER_BASE UINT64_C(0x7f1200000000) /* front end's */
#define GUEST_BLK_PATIENCE_MS 30000

typedef struct GuestTransport {
    uint64_t (*get_features)(GuestBlk *guest);
    void (*set_features)(GuestBlk *guest, uint64_t features);
    void (*get_config)(GuestBlk *guest, uint32_t offset, void *buf,
                       uint32_t bytes);
    bool (*set_config)(GuestBlk *guest, uint32_t offset, const void *buf,
                       uint32_t bytes);
    void (*reset)(GuestBlk *guest);
    void (*start_queue)(GuestBlk *guest, unsigned index, uint32_t base);
    uint32_t (*stop_queue)(GuestBlk *guest, unsigned index);
    /* NULL: the queue's kick and call eventfds. wait returns when something
     * may have come back. */
    void (*kick)(GuestBlk *guest, unsigned index);
    void (*wait)(GuestBlk *guest, unsigned index);
    void (*close)(GuestBlk *guest);
} GuestTransport;

typedef struct GuestQueue {
    VirtioRing *ring;
    VirtioRingConfig ring_config;
    VirtQueue *vq;     /* direct only */
    int kick_fd, call_fd;
    bool running;
} GuestQueue;

struct GuestBlk {
    const GuestTransport *transport;
    GuestBlkConf conf;
    uint8_t *mem;
    int memfd;
    uint64_t base;          /* guest physical address of mem */
    size_t mem_used;
    uint64_t offered, features;
    unsigned max_queues;
    GuestQueue queues[GUEST_BLK_MAX_QUEUES];
    GPtrArray *reqs;        /* owned */
    uint64_t completed;
    /* direct */
    VirtIODevice *dev;
    AioContext *pump;       /* NULL: the device has its own threads */
    GuestMemory *memory;
    /* socket */
    int sock;
    uint64_t protocol_features;
    int inflight_fd;        /* -1: nobody keeps what is in flight */
    uint64_t inflight_bytes;
    bool logging;
    uint8_t *log;           /* NULL: there has been none */
    size_t log_bytes;
    /* qemu */
    void *transport_state;
};

/* Makes the memory, which begins at @base in the guest and whose first
 * @reserved bytes are not used, and the rings' places. */
GuestBlk *guest_blk_new(const GuestTransport *transport,
                        const GuestBlkConf *conf, uint64_t base,
                        size_t reserved);

/* Once the transport is connected. */
void guest_blk_negotiate(GuestBlk *guest);

#endif
