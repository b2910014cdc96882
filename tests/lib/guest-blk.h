/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest with a virtio-blk driver, for tests. It drives a device model in
 * this process without a transport, or any vhost-user-blk server through its
 * socket, as a front end or inside QEMU; tests look the same for all.
 *
 * One thread drives a guest. Memory is a block of its own; requests and their
 * buffers are carved out of it and live until guest_blk_free().
 */
#ifndef TESTS_LIB_GUEST_BLK_H
#define TESTS_LIB_GUEST_BLK_H

#include <linux/virtio_blk.h>

#include "hw/virtio/device.h"
#include "guest/virtio-ring.h"

typedef struct GuestBlk GuestBlk;

#define GUEST_BLK_MAX_QUEUES 16
#define GUEST_BLK_ALL_FEATURES UINT64_MAX

typedef struct GuestBlkConf {
    unsigned num_queues;     /* 0: 1 */
    unsigned queue_size;     /* 0: 128 */
    size_t memory_bytes;     /* 0: 64 MiB */
    bool packed;
    bool no_event_idx;
    bool no_indirect;        /* not negotiated */
    uint64_t features;       /* of those offered; 0: all */
} GuestBlkConf;

/*
 * On a device in this process. @pump is the device's context when the calling
 * thread is its home: the guest runs it while it waits. NULL: the device has
 * threads of its own. Negotiates; no queue is started.
 */
GuestBlk *guest_blk_new_direct(VirtIODevice *dev, AioContext *pump,
                               const GuestBlkConf *conf);

/* On a server's socket: connects and negotiates; no queue is started. */
GuestBlk *guest_blk_new_socket(const char *path, const GuestBlkConf *conf);

/* Inside a stock QEMU, which is started and connects to the server. Queues
 * are started and stopped all together. */
GuestBlk *guest_blk_new_qemu(const char *path, const GuestBlkConf *conf);

/* Stops what runs; closes the connection. */
void guest_blk_free(GuestBlk *guest);
/* The virtual machine dies: the connection closes, and that is all. */
void guest_blk_kill(GuestBlk *guest);

uint64_t guest_blk_offered(const GuestBlk *guest);  /* feature bits */
uint64_t guest_blk_features(const GuestBlk *guest); /* negotiated */
bool guest_blk_has(const GuestBlk *guest, unsigned feature_bit);
int guest_blk_socket(const GuestBlk *guest);        /* or -1 */
int guest_blk_memfd(const GuestBlk *guest);
/* Sends the memory table again and waits until it was taken; socket only. */
void guest_blk_send_memory(GuestBlk *guest);
/* Takes all memory away from the device; likewise. What runs rests until it
 * is sent again. */
void guest_blk_drop_memory(GuestBlk *guest);
unsigned guest_blk_max_queues(const GuestBlk *guest); /* the device's */

/* Negotiates again, no queue runs. */
void guest_blk_set_features(GuestBlk *guest, uint64_t features);
void guest_blk_get_config(GuestBlk *guest, uint32_t offset, void *buf,
                          uint32_t bytes);
void guest_blk_read_config(GuestBlk *guest, struct virtio_blk_config *config);
/* Whether the device took it. */
bool guest_blk_set_config(GuestBlk *guest, uint32_t offset, const void *buf,
                          uint32_t bytes);

/* Starts a queue with an empty ring. */
void guest_blk_start_queue(GuestBlk *guest, unsigned index);
void guest_blk_start(GuestBlk *guest); /* all of conf->num_queues */
/* The same with another kick descriptor, this once. */
void guest_blk_start_queue_on(GuestBlk *guest, unsigned index, int kick_fd);

/* Drains and stops; returns the base the device went to. Requests that came
 * back meanwhile are marked done. */
uint32_t guest_blk_stop_queue(GuestBlk *guest, unsigned index);
/* The same, and nothing is taken back: for a ring that makes no sense any
 * more, or that shall stay as the device left it. */
uint32_t guest_blk_stop_queue_quietly(GuestBlk *guest, unsigned index);
/* Goes on with the ring as it is. */
void guest_blk_resume_queue(GuestBlk *guest, unsigned index, uint32_t base);
/* Socket only. Has the server note what is in flight; before the queues are
 * started. */
void guest_blk_keep_inflight(GuestBlk *guest);
/* Socket only. The server has died: goes on with the one that now listens on
 * @path, in the middle of everything. */
void guest_blk_reconnect(GuestBlk *guest, const char *path);
/*
 * Socket only. As a front end does when its machine begins to migrate, while
 * queues run or not: the device marks each page it writes. Returns the bits,
 * one for each 4 KiB from guest address 0, *bytes of them, until the guest is
 * freed.
 */
uint8_t *guest_blk_start_logging(GuestBlk *guest, size_t *bytes);
void guest_blk_stop_logging(GuestBlk *guest);

/* A reset by the driver: stops all queues, resets the device, negotiates. */
void guest_blk_reset(GuestBlk *guest);

/* Guest memory for a test's own use; zero, because it is never given twice. */
void *guest_blk_alloc(GuestBlk *guest, size_t bytes, size_t align);
uint64_t guest_blk_addr(const GuestBlk *guest, const void *ptr);
VirtioRing *guest_blk_ring(GuestBlk *guest, unsigned index);
VirtQueue *guest_blk_virtqueue(GuestBlk *guest, unsigned index); /* direct */

/* How a request is laid out in descriptors. */
typedef enum GuestLayout {
    GUEST_LAYOUT_STANDARD, /* header, data, status */
    GUEST_LAYOUT_JOINED,   /* header with data, or data with status, in one */
    GUEST_LAYOUT_SPLIT,    /* header in three, data cut at odd places */
    GUEST_LAYOUT__COUNT
} GuestLayout;

typedef struct GuestReq {
    uint32_t type;
    uint64_t sector;
    GuestLayout layout;
    unsigned n_segments;   /* pieces of data; 0: 1 */
    bool indirect;
    /* result */
    bool done;
    uint8_t status;
    uint32_t used_len;
    /* made by guest_req_new() */
    uint8_t *data;
    size_t bytes;
    uint8_t *frame;        /* header, data, status in a row */
    bool writes_guest;     /* data is for the device to fill */
    uint64_t number;       /* set when it completes: 1, 2, ... */
} GuestReq;

/* A request with @bytes of data, to be sent any number of times. */
GuestReq *guest_req_new(GuestBlk *guest, uint32_t type, uint64_t sector,
                        size_t bytes);

/* Puts it into the ring; the device need not see it before the kick. False:
 * the ring is full. */
bool guest_blk_submit(GuestBlk *guest, unsigned queue, GuestReq *req);

/* The same for any chain; the request is there for the result only. */
bool guest_blk_submit_chain(GuestBlk *guest, unsigned queue, GuestReq *req,
                            VirtioChain *chain);

/* Publishes; kicks if the device wants it, which is returned. */
bool guest_blk_kick(GuestBlk *guest, unsigned queue);
/* Kicks for no reason; publishes nothing. */
void guest_blk_kick_only(GuestBlk *guest, unsigned queue);

/* Takes back what is there; returns how many. */
unsigned guest_blk_reap(GuestBlk *guest, unsigned queue);

/* Waits until @req is done; the status. Aborts after half a minute. */
uint8_t guest_blk_wait(GuestBlk *guest, unsigned queue, GuestReq *req);
void guest_blk_wait_all(GuestBlk *guest, unsigned queue);

/* Submit, kick, wait. */
uint8_t guest_blk_run(GuestBlk *guest, unsigned queue, GuestReq *req);
uint8_t guest_blk_read(GuestBlk *guest, uint64_t sector, void *buf,
                       size_t bytes);
uint8_t guest_blk_write(GuestBlk *guest, uint64_t sector, const void *buf,
                        size_t bytes);

/* Waits for the next interrupt without asking for one. */
void guest_blk_wait_call(GuestBlk *guest, unsigned queue);

/* Interrupts that came: reads of the queue's call eventfd. */
uint64_t guest_blk_take_calls(GuestBlk *guest, unsigned queue);

#endif
