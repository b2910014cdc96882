/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of GuestMemory, for the rings: their translations happen for every
 * descriptor, so the common case (the region that was right last time) is
 * inline.
 */
#ifndef GUEST_MEMORY_TABLE_H
#define GUEST_MEMORY_TABLE_H

#include "hw/virtio/guest-memory.h"
#include "guest-mapping.h"

typedef struct GuestRange {
    uint64_t guest_addr;
    uint64_t size;
    uint64_t user_addr;
    uint8_t *host;
    GuestMapping *mapping; /* shared by all tables that hold the region */
} GuestRange;

/* Immutable but for the reference count. */
struct GuestMemory {
    gatomicrefcount refs;
    unsigned n_ranges;
    GuestRange ranges[]; /* by guest_addr, disjoint */
};

/* Index of the range that holds @addr, or -1. Context: any */
int guest_memory_find(const GuestMemory *mem, uint64_t addr);

static inline bool guest_range_holds(const GuestRange *range, uint64_t addr,
                                     uint64_t bytes)
{
    uint64_t skip = addr - range->guest_addr; /* wraps when addr is below */

    return skip < range->size && bytes <= range->size - skip;
}

/*
 * All of [@addr, @addr + @bytes), or NULL when it is not within one range.
 * @hint remembers the range that was hit; it belongs to the caller.
 */
static inline void *guest_memory_translate(const GuestMemory *mem,
                                           unsigned *hint, uint64_t addr,
                                           uint64_t bytes)
{
    const GuestRange *range = &mem->ranges[*hint];

    if (G_UNLIKELY(!guest_range_holds(range, addr, bytes))) {
        int i = guest_memory_find(mem, addr);

        if (i < 0 || !guest_range_holds(&mem->ranges[i], addr, bytes)) {
            return NULL;
        }
        *hint = i;
        range = &mem->ranges[i];
    }
    return range->host + (addr - range->guest_addr);
}

#endif
