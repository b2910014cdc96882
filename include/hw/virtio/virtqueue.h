/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's side of a virtqueue, split (virtio 1.2, 2.7) or packed (2.8),
 * behind one face.
 *
 * Everything in the rings is written by the guest: each word is read once,
 * every chain is bounded, and a ring that breaks the rules marks the queue
 * broken until it is reset. All functions are for the home thread of the
 * queue unless tagged otherwise.
 */
#ifndef HW_VIRTIO_VIRTQUEUE_H
#define HW_VIRTIO_VIRTQUEUE_H

#include "block/log.h"
#include "hw/virtio/guest-memory.h"

typedef struct VirtQueue VirtQueue;

#define VIRTQUEUE_MAX_SIZE 1024 /* descriptors of a ring */

/* Pieces of one chain after translation: more than there are descriptors when
 * buffers cross memory regions. */
#define VIRTQUEUE_MAX_IOV  2048

/* Where the rings are, and how far they have been used. */
typedef struct VirtQueueConfig {
    unsigned size;       /* a power of 2 for split */
    bool packed;
    bool event_idx;      /* VIRTIO_F_EVENT_IDX negotiated */
    bool indirect;       /* VIRTIO_F_INDIRECT_DESC negotiated */
    GuestMemory *memory; /* a reference is taken */
    void *desc;          /* descriptor table, or packed descriptor ring */
    void *avail;         /* available ring, or driver event suppression */
    void *used;          /* used ring, or device event suppression */
    uint64_t used_guest_addr; /* for the dirty log */
    DirtyLog *log;       /* NULL: not logging; a reference is taken */
    bool log_used_ring;  /* mark writes to the used ring too */
    /* Split: last_avail_idx; packed: the avail index with its wrap counter in
     * bit 15, and the used ones in the upper half, as vhost-user sends it. */
    uint32_t base;
    /* Records what is held, and knows what the process before us held; taken
     * by virtqueue_new() in any case. NULL: not recorded. */
    struct InflightQueue *inflight;
    const char *name;    /* for log lines, "export 'e0' queue 2" */
    LogLimit *log_limit; /* for the same; borrowed; NULL: none */
} VirtQueueConfig;

/*
 * One chain taken from the ring. The caller provides the element and owns it
 * until it is pushed; iov is grown with g_realloc() when a chain needs more
 * than iov_capacity and stays with the element.
 */
typedef struct VirtQueueElement {
    uint16_t index;        /* head descriptor, or packed buffer id */
    uint16_t n_ring_descs; /* slots of the ring it takes up */
    uint16_t inflight;     /* where the chain is recorded; private */
    unsigned out_num;      /* elements the device reads: iov[0 .. out_num) */
    unsigned in_num;       /* elements it writes: the next in_num */
    struct iovec *iov;
    unsigned iov_capacity;
} VirtQueueElement;

void virtqueue_element_init(VirtQueueElement *elem);  /* no iov yet */
void virtqueue_element_clear(VirtQueueElement *elem); /* frees iov */

/* NULL with @error when a ring is missing or misaligned. Context: main */
VirtQueue *virtqueue_new(const VirtQueueConfig *config, GError **error);
void virtqueue_free(VirtQueue *vq);

/* Borrowed descriptors; -1: none. kick is read, call is written, error is
 * written when the queue breaks.
 * Context: home, or main before the queue is handed over */
void virtqueue_set_kick_fd(VirtQueue *vq, int fd);
void virtqueue_set_call_fd(VirtQueue *vq, int fd);
void virtqueue_set_error_fd(VirtQueue *vq, int fd);
int virtqueue_kick_fd(const VirtQueue *vq);

unsigned virtqueue_size(const VirtQueue *vq);
const GuestMemory *virtqueue_memory(const VirtQueue *vq); /* borrowed */
const char *virtqueue_name(const VirtQueue *vq);

/* Starts or stops logging while the queue runs. */
void virtqueue_set_log(VirtQueue *vq, DirtyLog *log, bool log_used_ring,
                       uint64_t used_guest_addr);

/* Reads the avail side of the ring, at most one cache line; no side effect. */
bool virtqueue_has_work(VirtQueue *vq);

/*
 * Takes the next chain. Returns 1; 0 when the ring is empty; -1 when the
 * queue is broken, now or before. The ring's index is read again only when
 * what was known of it is used up.
 */
int virtqueue_pop(VirtQueue *vq, VirtQueueElement *elem);

/*
 * Gives a chain back; @written bytes of its writable part were filled. The
 * guest sees it after virtqueue_publish().
 */
void virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                    uint32_t written);

/*
 * Lets go of a chain without giving it back to the guest. It stays recorded
 * as in flight, and whoever works on the ring next finds it with what is left:
 * for requests of which nothing was done yet, or which failed, and
 * only where virtqueue_may_abandon() says so, which is while the ring is
 * being stopped for somebody who goes on with the same record.
 */
void virtqueue_abandon(VirtQueue *vq, const VirtQueueElement *elem);
bool virtqueue_may_abandon(const VirtQueue *vq);
void virtqueue_allow_abandon(VirtQueue *vq); /* where there is a record */

/*
 * Publishes all pushed chains with one index store, and tells whether the
 * guest wants to be notified of them. Nothing pushed: false.
 */
bool virtqueue_publish(VirtQueue *vq);

/* Writes the call eventfd, if there is one. Never blocks. */
void virtqueue_notify(VirtQueue *vq);

/* Whether the guest shall kick. virtqueue_enable_kick() returns whether work
 * came in before the guest could know: look again. */
void virtqueue_disable_kick(VirtQueue *vq);
bool virtqueue_enable_kick(VirtQueue *vq);

/* Chains the process before us had taken: virtqueue_pop() returns them first,
 * in the order in which it took them. */
unsigned virtqueue_resubmits(const VirtQueue *vq);

unsigned virtqueue_in_use(const VirtQueue *vq); /* popped, not yet pushed */

/* One line in the log about what the guest did. */
void virtqueue_warn(VirtQueue *vq, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Marks it broken and logs one line; later calls are silent. */
void virtqueue_set_broken(VirtQueue *vq, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);
bool virtqueue_is_broken(const VirtQueue *vq);

/* Where to go on, in the form of VirtQueueConfig.base. Nothing in use. */
uint32_t virtqueue_base(const VirtQueue *vq);

#endif
