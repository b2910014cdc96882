/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of VirtQueue: what the two ring formats share. virtqueue.c is the
 * face; virtqueue-split.c and virtqueue-packed.c implement the functions at
 * the end of this file and have no state outside the struct.
 */
#ifndef VIRTQUEUE_INTERNAL_H
#define VIRTQUEUE_INTERNAL_H

#include "hw/virtio/virtqueue.h"
#include "guest-memory-table.h"
#include "inflight.h"

#include <linux/virtio_ring.h>

typedef enum KickState {
    KICK_UNKNOWN,  /* whatever the ring held when we came */
    KICK_DISABLED,
    KICK_ENABLED,
} KickState;

struct VirtQueue {
    /* every pop and push */
    uint8_t *desc;
    uint8_t *avail;
    uint8_t *used;
    GuestMemory *memory;
    unsigned memory_hint;   /* region of the last translation */
    unsigned size;
    bool packed;
    bool event_idx;
    bool indirect;
    bool broken;
    bool signalled;         /* published once since it was made */
    KickState kick;
    unsigned in_use;        /* chains */

    /* Split: free-running indexes. Packed: positions below size. */
    uint16_t last_avail;    /* next to pop */
    uint16_t shadow_avail;  /* split: avail->idx as last read */
    uint16_t fetched;       /* split: up to where chains were looked at */
    uint16_t used_idx;      /* next to push */
    uint16_t avail_event;   /* as last written (packed: with wrap bit) */
    uint16_t unpublished;   /* slots of the ring pushed since last publish */

    /* packed only */
    bool avail_wrap;
    bool used_wrap;
    uint16_t in_use_slots;
    uint16_t first_pos;     /* of the batch: its flags are held back */
    uint16_t first_flags;

    DirtyLog *log;
    bool log_used_ring;
    uint64_t used_guest_addr;
    InflightQueue *inflight; /* owned; NULL: not recorded */
    bool may_abandon;

    struct vring_desc *scratch; /* a table that crosses regions; or NULL */
    int kick_fd;
    int call_fd;
    int error_fd;
    char *name;
    LogLimit *log_limit; /* borrowed; NULL: none */

    /* Heads, or buffer ids, that the device holds. */
    uint64_t in_flight[VIRTQUEUE_MAX_SIZE / 64];
};

/* A descriptor of either format, read once. */
typedef struct RingDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t third;  /* split: flags; packed: buffer id */
    uint16_t fourth; /* split: next;  packed: flags */
} RingDesc;

/* Tables may lie anywhere: two words, each loaded exactly once. */
static inline RingDesc ring_desc_read(const void *where)
{
    const volatile struct {
        uint64_t word;
    } __attribute__((packed, may_alias)) *from = where;
    uint64_t addr = from[0].word;
    uint64_t rest = from[1].word;

    return (RingDesc){
        .addr = addr,
        .len = (uint32_t)rest,
        .third = (uint16_t)(rest >> 32),
        .fourth = (uint16_t)(rest >> 48),
    };
}

/* Its first word alone. */
static inline uint64_t ring_desc_addr(const void *where)
{
    const volatile struct {
        uint64_t word;
    } __attribute__((packed, may_alias)) *from = where;

    return from->word;
}

/* A chain while it is collected; becomes an element when it is complete. */
typedef struct Chain {
    VirtQueueElement *elem; /* owner of iov, grown when needed */
    unsigned n;             /* pieces so far */
    unsigned n_out;         /* of these, readable */
    bool writable;          /* a writable descriptor was seen */
    uint64_t bytes;
} Chain;

/* The rare cases of chain_add(). */
bool virtqueue_chain_add_slow(VirtQueue *vq, Chain *chain, uint64_t addr,
                              uint32_t len);
bool virtqueue_chain_misordered(VirtQueue *vq);

/* Adds one descriptor's buffer. False: the queue is broken now. */
static inline bool chain_add(VirtQueue *vq, Chain *chain,
                             const RingDesc *desc, bool writable)
{
    void *host;

    if (G_UNLIKELY(chain->writable && !writable)) {
        return virtqueue_chain_misordered(vq);
    }
    chain->writable = writable;
    chain->bytes += desc->len;
    host = guest_memory_translate(vq->memory, &vq->memory_hint, desc->addr,
                                  desc->len);
    if (G_UNLIKELY(!host || !desc->len ||
                   chain->n == chain->elem->iov_capacity)) {
        if (!virtqueue_chain_add_slow(vq, chain, desc->addr, desc->len)) {
            return false;
        }
    } else {
        chain->elem->iov[chain->n++] = (struct iovec){ host, desc->len };
    }
    if (!writable) {
        chain->n_out = chain->n;
    }
    return true;
}

/* Checks the total; false: broken. */
bool virtqueue_chain_finish(VirtQueue *vq, const Chain *chain);

/*
 * The table an indirect descriptor refers to: in place, or, when it crosses
 * regions, a copy. @n gets the number of entries. NULL: broken.
 */
const void *virtqueue_indirect_table(VirtQueue *vq, const RingDesc *desc,
                                     unsigned *n);

/* Marks @id as held; false (broken) when it was already. */
static inline bool in_flight_begin(VirtQueue *vq, unsigned id)
{
    uint64_t bit = UINT64_C(1) << (id % 64);

    if (G_UNLIKELY(vq->in_flight[id / 64] & bit)) {
        virtqueue_set_broken(vq, "buffer %u was made available while in use",
                             id);
        return false;
    }
    vq->in_flight[id / 64] |= bit;
    return true;
}

static inline void in_flight_end(VirtQueue *vq, unsigned id)
{
    vq->in_flight[id / 64] &= ~(UINT64_C(1) << (id % 64));
}

/* Marks what the device wrote in the used ring, or the packed device area. */
static inline void log_used(VirtQueue *vq, uint64_t offset, uint64_t bytes)
{
    if (G_UNLIKELY(vq->log && vq->log_used_ring)) {
        dirty_log_mark(vq->log, vq->used_guest_addr + offset, bytes);
    }
}

/* What a format does; contracts as in virtqueue.h. */
bool split_restore(VirtQueue *vq, uint32_t base, GError **error);
uint32_t split_base(const VirtQueue *vq);
bool split_has_work(const VirtQueue *vq);
int split_pop(VirtQueue *vq, VirtQueueElement *elem);
void split_push(VirtQueue *vq, const VirtQueueElement *elem, uint32_t written);
bool split_publish(VirtQueue *vq);
void split_disable_kick(VirtQueue *vq);
bool split_enable_kick(VirtQueue *vq);

bool packed_restore(VirtQueue *vq, uint32_t base, GError **error);
uint32_t packed_base(const VirtQueue *vq);
bool packed_has_work(const VirtQueue *vq);
int packed_pop(VirtQueue *vq, VirtQueueElement *elem);
void packed_push(VirtQueue *vq, const VirtQueueElement *elem,
                 uint32_t written);
bool packed_publish(VirtQueue *vq);
void packed_disable_kick(VirtQueue *vq);
bool packed_enable_kick(VirtQueue *vq);

#endif
