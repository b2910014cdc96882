/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The region table: sorted by guest address, searched by bisection. Ring and
 * request addresses come through here, so every byte a device touches has
 * been checked against the table exactly once.
 *
 * Tables are immutable. Adding or removing a region copies the table and
 * shares the mappings, so that memory which stays keeps its host address.
 */
#include "guest-memory-table.h"
#include "guest-sigbus.h"

#include <gio/gio.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static GuestMemory *table_alloc(unsigned n_ranges)
{
    /* One spare (empty) range, so that a hint of 0 is valid even in an empty
     * table. */
    GuestMemory *mem = g_malloc0(sizeof(*mem) +
                                 (n_ranges + 1) * sizeof(GuestRange));

    g_atomic_ref_count_init(&mem->refs);
    return mem;
}

static int compare_ranges(const void *a, const void *b)
{
    const GuestRange *x = a, *y = b;

    return (x->guest_addr > y->guest_addr) - (x->guest_addr < y->guest_addr);
}

/* Sorts; fails when two ranges share a byte. */
static bool table_sort(GuestMemory *mem, GError **error)
{
    qsort(mem->ranges, mem->n_ranges, sizeof(GuestRange), compare_ranges);
    for (unsigned i = 1; i < mem->n_ranges; i++) {
        const GuestRange *low = &mem->ranges[i - 1];
        const GuestRange *high = &mem->ranges[i];

        if (high->guest_addr - low->guest_addr < low->size) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                        "memory region 0x%" PRIx64 "+0x%" PRIx64
                        " overlaps the one at 0x%" PRIx64, high->guest_addr,
                        high->size, low->guest_addr);
            return false;
        }
    }
    return true;
}

/* Appends @region to a table that has room for it. */
static bool table_append(GuestMemory *mem, const GuestMemoryRegion *region,
                         GError **error)
{
    GuestRange *range = &mem->ranges[mem->n_ranges];
    uint64_t end;

    if (__builtin_add_overflow(region->guest_addr, region->size, &end) ||
        __builtin_add_overflow(region->user_addr, region->size, &end)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "memory region 0x%" PRIx64 "+0x%" PRIx64
                    " wraps around the address space", region->guest_addr,
                    region->size);
        return false;
    }
    range->mapping = guest_mapping_new(region->fd, region->mmap_offset,
                                       region->size, error);
    if (!range->mapping) {
        g_prefix_error(error, "memory region 0x%" PRIx64 "+0x%" PRIx64 ": ",
                       region->guest_addr, region->size);
        return false;
    }
    range->guest_addr = region->guest_addr;
    range->size = region->size;
    range->user_addr = region->user_addr;
    range->host = guest_mapping_data(range->mapping);
    mem->n_ranges++;
    return true;
}

static bool check_count(unsigned n_regions, GError **error)
{
    if (n_regions > GUEST_MEMORY_MAX_REGIONS) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%u memory regions are more than %u", n_regions,
                    GUEST_MEMORY_MAX_REGIONS);
        return false;
    }
    return true;
}

GuestMemory *guest_memory_new(const GuestMemoryRegion *regions,
                              unsigned n_regions, GError **error)
{
    g_autoptr(GuestMemory) mem = NULL;

    if (!check_count(n_regions, error)) {
        return NULL;
    }
    mem = table_alloc(n_regions);
    for (unsigned i = 0; i < n_regions; i++) {
        if (!table_append(mem, &regions[i], error)) {
            return NULL;
        }
    }
    if (!table_sort(mem, error)) {
        return NULL;
    }
    return g_steal_pointer(&mem);
}

GuestMemory *guest_memory_new_borrowed(void *base, uint64_t guest_addr,
                                       uint64_t size)
{
    GuestMemory *mem = table_alloc(1);

    mem->n_ranges = 1;
    mem->ranges[0] = (GuestRange){
        .guest_addr = guest_addr,
        .size = size,
        .user_addr = (uintptr_t)base,
        .host = base,
        .mapping = guest_mapping_new_borrowed(base),
    };
    return mem;
}

/* Copies ranges, skipping index @skip (-1: none), into @mem. */
static void table_copy(GuestMemory *mem, const GuestMemory *from, int skip)
{
    for (unsigned i = 0; from && i < from->n_ranges; i++) {
        if ((int)i != skip) {
            mem->ranges[mem->n_ranges] = from->ranges[i];
            guest_mapping_ref(from->ranges[i].mapping);
            mem->n_ranges++;
        }
    }
}

GuestMemory *guest_memory_with_region(GuestMemory *mem,
                                      const GuestMemoryRegion *region,
                                      GError **error)
{
    unsigned n_old = mem ? mem->n_ranges : 0;
    g_autoptr(GuestMemory) new_mem = NULL;

    if (!check_count(n_old + 1, error)) {
        return NULL;
    }
    new_mem = table_alloc(n_old + 1);
    table_copy(new_mem, mem, -1);
    if (!table_append(new_mem, region, error) ||
        !table_sort(new_mem, error)) {
        return NULL;
    }
    return g_steal_pointer(&new_mem);
}

GuestMemory *guest_memory_without_region(GuestMemory *mem,
                                         const GuestMemoryRegion *region,
                                         GError **error)
{
    int i = mem ? guest_memory_find(mem, region->guest_addr) : -1;
    const GuestRange *range = i < 0 ? NULL : &mem->ranges[i];
    GuestMemory *new_mem;

    if (!range || range->guest_addr != region->guest_addr ||
        range->size != region->size ||
        range->user_addr != region->user_addr) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "no memory region 0x%" PRIx64 "+0x%" PRIx64
                    " with user address 0x%" PRIx64, region->guest_addr,
                    region->size, region->user_addr);
        return NULL;
    }
    new_mem = table_alloc(mem->n_ranges - 1);
    table_copy(new_mem, mem, i);
    return new_mem;
}

GuestMemory *guest_memory_ref(GuestMemory *mem)
{
    g_atomic_ref_count_inc(&mem->refs);
    return mem;
}

void guest_memory_unref(GuestMemory *mem)
{
    if (!mem || !g_atomic_ref_count_dec(&mem->refs)) {
        return;
    }
    for (unsigned i = 0; i < mem->n_ranges; i++) {
        guest_mapping_unref(mem->ranges[i].mapping);
    }
    g_free(mem);
}

bool guest_memory_hand_over(const GuestMemory *mem, Handover *handover,
                            const char *id, GError **error)
{
    for (unsigned i = 0; i < mem->n_ranges; i++) {
        const GuestRange *range = &mem->ranges[i];
        HandoverRecord *record = handover_add(handover, "region", id);

        handover_put_uint(record, "guest-addr", range->guest_addr);
        handover_put_uint(record, "user-addr", range->user_addr);
        if (!guest_mapping_hand_over(range->mapping, record, error)) {
            return false;
        }
    }
    return true;
}

/* Adds a region to *mem. */
static bool take_region(HandoverRecord *record, GuestMemory **mem,
                        GError **error)
{
    GuestMemoryRegion region;
    GuestMemory *more;

    if (!handover_need_uint(record, "guest-addr", UINT64_MAX,
                            &region.guest_addr, error) ||
        !handover_need_uint(record, "user-addr", UINT64_MAX,
                            &region.user_addr, error) ||
        !handover_need_uint(record, "offset", UINT64_MAX, &region.mmap_offset,
                            error) ||
        !handover_need_uint(record, "bytes", UINT64_MAX, &region.size,
                            error)) {
        return false;
    }
    region.fd = handover_take_fd(record, "fd");
    more = guest_memory_with_region(*mem, &region, error);
    if (region.fd >= 0) {
        close(region.fd);
    }
    if (!more) {
        return false;
    }
    guest_memory_unref(*mem);
    *mem = more;
    return handover_record_finish(record, error);
}

bool guest_memory_take_over(Handover *handover, const char *id,
                            GuestMemory **mem, GError **error)
{
    HandoverRecord *record;
    bool ok = true;

    *mem = NULL;
    while (ok && (record = handover_take(handover, "region", id))) {
        ok = take_region(record, mem, error);
        handover_record_free(record);
    }
    if (!ok) {
        g_clear_pointer(mem, guest_memory_unref);
    }
    return ok;
}

unsigned guest_memory_n_regions(const GuestMemory *mem)
{
    return mem->n_ranges;
}

void *guest_memory_region(const GuestMemory *mem, unsigned i, uint64_t *bytes)
{
    *bytes = mem->ranges[i].size;
    return mem->ranges[i].host;
}

int guest_memory_find(const GuestMemory *mem, uint64_t addr)
{
    unsigned low = 0, high = mem->n_ranges;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        const GuestRange *range = &mem->ranges[mid];

        if (addr < range->guest_addr) {
            high = mid;
        } else if (addr - range->guest_addr >= range->size) {
            low = mid + 1;
        } else {
            return mid;
        }
    }
    return -1;
}

int guest_memory_map(const GuestMemory *mem, uint64_t addr, uint64_t bytes,
                     struct iovec *iov, unsigned max)
{
    unsigned n = 0;
    int i;

    if (!bytes) {
        return 0;
    }
    i = guest_memory_find(mem, addr);
    if (i < 0 || bytes - 1 > UINT64_MAX - addr) {
        return -1;
    }
    for (; bytes; i++) {
        const GuestRange *range = &mem->ranges[i];
        uint64_t skip = addr - range->guest_addr;
        uint64_t part;

        if ((unsigned)i == mem->n_ranges || skip >= range->size || n == max) {
            return -1;
        }
        part = MIN(bytes, range->size - skip);
        iov[n++] = (struct iovec){ range->host + skip, part };
        addr += part;
        bytes -= part;
    }
    return n;
}

void *guest_memory_map_contiguous(const GuestMemory *mem, uint64_t addr,
                                  uint64_t bytes)
{
    unsigned hint = 0;

    return guest_memory_translate(mem, &hint, addr, bytes);
}

void *guest_memory_map_user(const GuestMemory *mem, uint64_t user_addr,
                            uint64_t bytes)
{
    for (unsigned i = 0; i < mem->n_ranges; i++) {
        const GuestRange *range = &mem->ranges[i];
        uint64_t skip = user_addr - range->user_addr;

        if (skip < range->size && bytes <= range->size - skip) {
            return range->host + skip;
        }
    }
    return NULL;
}

bool guest_memory_read(const GuestMemory *mem, uint64_t addr, void *buf,
                       uint64_t bytes)
{
    uint8_t *to = buf;

    while (bytes) {
        int i = guest_memory_find(mem, addr);
        const GuestRange *range;
        uint64_t skip, part;

        if (i < 0 || bytes - 1 > UINT64_MAX - addr) {
            return false;
        }
        range = &mem->ranges[i];
        skip = addr - range->guest_addr;
        part = MIN(bytes, range->size - skip);
        memcpy(to, range->host + skip, part);
        to += part;
        addr += part;
        bytes -= part;
    }
    return true;
}

bool guest_memory_to_guest(const GuestMemory *mem, const void *ptr,
                           uint64_t *guest_addr)
{
    for (unsigned i = 0; i < mem->n_ranges; i++) {
        const GuestRange *range = &mem->ranges[i];
        uintptr_t skip = (uintptr_t)ptr - (uintptr_t)range->host;

        if (skip < range->size) {
            *guest_addr = range->guest_addr + skip;
            return true;
        }
    }
    return false;
}

bool guest_memory_is_broken(const GuestMemory *mem)
{
    if (G_LIKELY(!sigbus_any_broken())) {
        return false;
    }
    for (unsigned i = 0; i < mem->n_ranges; i++) {
        if (guest_mapping_is_broken(mem->ranges[i].mapping)) {
            return true;
        }
    }
    return false;
}
