/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a ring of io_uring knows in advance: memory. Private to io-uring.c and
 * its neighbours. All functions: Context: home.
 */
#ifndef BLOCK_ENGINE_IO_URING_INTERNAL_H
#define BLOCK_ENGINE_IO_URING_INTERNAL_H

#include "engine-internal.h"
#include "syscalls.h"

/* --- io-uring-memory.c: memory that the ring holds --- */

/* A piece of memory that is registered as one; no buffer that crosses from one
 * to the next can be used so. */
#define URING_PIECE_BYTES (UINT64_C(64) << 20)

#define URING_MEMORY_SLOTS 4096 /* of one ring: 256 GiB */

typedef struct UringMemory {
    struct io_uring *ring; /* NULL: nothing can be registered */
    struct UringRegion *regions; /* by base, disjoint */
    unsigned n_regions;
    unsigned hint;         /* region of the last buffer */
    AioBH *bh;             /* registers the piece ... */
    uint8_t *wanted;       /* ... that holds this; NULL: none */
    bool has_table;
    bool full;             /* by our table or the kernel's limits */
    bool warned;
    uint64_t used[URING_MEMORY_SLOTS / 64]; /* bitmap of slots */
} UringMemory;

/* The context's, made when needed. */
UringMemory *uring_memory_get(AioContext *ctx);

/* There is a ring to register it with, until it is set to NULL: then nothing
 * may be left in it. */
void uring_memory_set_ring(UringMemory *memory, struct io_uring *ring);

/* For when there is a region. */
int uring_memory_lookup(UringMemory *memory, const struct iovec *iov);

/* Slot of the piece that holds all of @iov, or negative. A piece of memory that
 * was added, but is not with the ring yet, will be soon. */
static inline int uring_memory_find(UringMemory *memory,
                                    const struct iovec *iov)
{
    return memory->n_regions ? uring_memory_lookup(memory, iov) : -1;
}

#endif
