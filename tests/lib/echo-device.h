/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device for tests of transports: answers each request with its first byte
 * plus one, and can be told to keep one back.
 */
#ifndef TESTS_LIB_ECHO_DEVICE_H
#define TESTS_LIB_ECHO_DEVICE_H

#include "hw/virtio/device.h"

#define ECHO_QUEUES 3
#define ECHO_CONFIG_BYTES 60
/* VERSION_1, EVENT_IDX, INDIRECT_DESC, RING_PACKED */
#define ECHO_FEATURES \
    (UINT64_C(1) << 32 | UINT64_C(1) << 29 | UINT64_C(1) << 28 | \
     UINT64_C(1) << 34)

typedef struct EchoQueue {
    struct Echo *echo;
    VirtQueue *vq;
    AioHandler *handler;
    VirtQueueElement held; /* one request kept, when echo->hold */
    bool holding;
    AioFn *done;
    void *done_opaque;
    unsigned starts, stops;
} EchoQueue;

typedef struct Echo {
    VirtIODevice dev;
    AioContext *ctx;
    EchoQueue queues[ECHO_QUEUES];
    bool running;  /* as the transport says */
    unsigned runs; /* how often it began to say so */
    int front_fd;  /* of the front end: has nothing to read when it is over;
                      0: not looked at */
    bool hold; /* keep the next request; Context: home of the queues */
    bool idle; /* look at no ring; set while none runs */
    uint64_t features;
    unsigned set_features_calls, resets;
    uint8_t config[ECHO_CONFIG_BYTES];
} Echo;

/* Queues run in @ctx. Config space is 1, 2, 3, ...; byte 32 can be written. */
void echo_init(Echo *echo, AioContext *ctx);

/* Completes the request that an EchoQueue holds, if it does. Context: home */
void echo_release_bh(void *opaque);

#endif
