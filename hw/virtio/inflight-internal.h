/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The in-flight area as it lies in memory, and what a ring keeps beside it.
 * Private to hw/virtio/inflight*.c. */
#ifndef INFLIGHT_INTERNAL_H
#define INFLIGHT_INTERNAL_H

#include "inflight.h"

#define INFLIGHT_VERSION 1

typedef struct InflightSplitDesc {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;     /* of the last batch */
    uint64_t counter;
} InflightSplitDesc;

typedef struct InflightSplit {
    uint64_t features; /* 0 */
    uint16_t version;  /* 0: not in use */
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;
    InflightSplitDesc desc[];
} InflightSplit;

typedef struct InflightPackedDesc {
    uint8_t inflight;  /* these four: of a chain's first entry */
    uint8_t padding;
    uint16_t next;     /* of the chain, or of the free list */
    uint16_t last;
    uint16_t num;
    uint64_t counter;
    uint16_t id;
    uint16_t flags;
    uint32_t len;
    uint64_t addr;
} InflightPackedDesc;

typedef struct InflightPacked {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t free_head;
    uint16_t old_free_head;
    uint16_t used_idx;
    uint16_t old_used_idx;
    uint8_t used_wrap_counter;
    uint8_t old_used_wrap_counter;
    uint8_t padding[7];
    InflightPackedDesc desc[];
} InflightPacked;

/*
 * A crash stops the process between two instructions, and what it stored
 * before is in memory: the order of stores is all that counts, and that is
 * the compiler's. Release stores keep it.
 */
#define STORE(field, value) \
    __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

struct InflightQueue {
    union {
        InflightSplit *split;
        InflightPacked *packed;
    };
    unsigned size;        /* entries of the region */
    uint64_t counter;     /* of buffers taken */
    uint16_t *batch;      /* used and not published */
    unsigned n_batch;
    uint16_t *left;       /* by the process before us */
    uint16_t *left_num;   /* packed: slots of each of these, by its entry */
    unsigned n_left, next_left;
    /* packed: the chain being collected */
    unsigned chain_first, chain_at, chain_num, chain_last;
};

/* The ring has at most as many that are used and not published as slots. */
static inline void inflight_queue_batch(InflightQueue *queue, unsigned i)
{
    g_assert(queue->n_batch < queue->size);
    queue->batch[queue->n_batch++] = i;
}

/* Sorts what was collected in queue->left by the counters of @key. */
void inflight_queue_sort(InflightQueue *queue,
                         uint64_t (*key)(const InflightQueue *, unsigned));

bool inflight_queue_bad(GError **error, const char *what);

#endif
