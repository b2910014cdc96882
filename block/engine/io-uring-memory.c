/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that a ring holds, so that the kernel need not find and count the
 * pages of a buffer for each request. Owners of memory call engine_memory_add()
 * and _remove(), io-uring.c asks where a buffer is.
 *
 * How it works: memory is registered in pieces, when a request first falls into
 * one. That request goes as it is; a bottom half has the kernel take hold of
 * the piece afterwards, one in each round of the loop, because that takes its
 * time: a millisecond where pages are there, 20 where they have to be made.
 * From then on requests to it bear the slot.
 *
 * The rule to know: the kernel's hold is on pages, not on addresses. Who
 * punches a hole there and has the page made anew sees another one than the
 * disk. That is for the owner of the memory to rule out.
 */
#include <errno.h>
#include <string.h>

#include "block/log.h"
#include "io-uring-internal.h"

enum {
    PIECE_UNTRIED = -1,
    PIECE_REFUSED = -2,
};

typedef struct UringRegion {
    uint8_t *base;
    size_t bytes;
    unsigned users;
    int16_t *slots;   /* of each piece, or one of the above */
} Region;

static bool holds(const Region *region, const uint8_t *addr)
{
    return (uintptr_t)addr - (uintptr_t)region->base < region->bytes;
}

/* How many regions begin at @addr or before. */
static unsigned count_up_to(const UringMemory *memory, const uint8_t *addr)
{
    unsigned low = 0, high = memory->n_regions;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;

        if ((uintptr_t)memory->regions[mid].base <= (uintptr_t)addr) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* NULL: in none. */
static Region *find_region(UringMemory *memory, const uint8_t *addr)
{
    unsigned n = count_up_to(memory, addr);

    if (n == 0 || !holds(&memory->regions[n - 1], addr)) {
        return NULL;
    }
    memory->hint = n - 1;
    return &memory->regions[n - 1];
}

static unsigned n_pieces(const Region *region)
{
    return (region->bytes + URING_PIECE_BYTES - 1) / URING_PIECE_BYTES;
}

/* --- Slots of the ring's table --- */

static bool make_table(UringMemory *memory)
{
    struct io_uring_rsrc_register table = {
        .nr = URING_MEMORY_SLOTS,
        .flags = IORING_RSRC_REGISTER_SPARSE,
    };

    memory->has_table = memory->has_table ||
        engine_syscalls->uring_register(memory->ring,
                                        IORING_REGISTER_BUFFERS2, &table,
                                        sizeof(table)) == 0;
    return memory->has_table;
}

/* An empty @iov empties the slot. Returns 0 or a negative errno. */
static int slot_set(UringMemory *memory, unsigned slot, struct iovec iov)
{
    struct io_uring_rsrc_update2 update = {
        .offset = slot,
        .data = (uintptr_t)&iov,
        .nr = 1,
    };
    int ret = engine_syscalls->uring_register(memory->ring,
                                              IORING_REGISTER_BUFFERS_UPDATE,
                                              &update, sizeof(update));

    if (ret == 1) {
        return 0;
    }
    return ret < 0 ? ret : -EINVAL;
}

/* Returns -1 when all are taken. */
static int slot_find(const UringMemory *memory)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(memory->used); i++) {
        if (~memory->used[i]) {
            return i * 64 + __builtin_ctzll(~memory->used[i]);
        }
    }
    return -1;
}

/* --- Pieces --- */

static void warn_once(UringMemory *memory, int err)
{
    if (!memory->warned) {
        memory->warned = true;
        log_warn("io_uring: cannot register guest memory: %s%s; going on "
                 "without", g_strerror(-err),
                 err == -ENOMEM ? " (raise the locked memory limit, ulimit -l)"
                                : "");
    }
}

/* Returns the slot, or why there is none. Limits are the ring's or the user's:
 * other pieces would meet them, too, after a long time each. */
static int register_piece(UringMemory *memory, struct iovec iov)
{
    int slot = make_table(memory) ? slot_find(memory) : -1;
    int err;

    if (slot < 0) {
        memory->full = true;
        return PIECE_UNTRIED;
    }
    err = slot_set(memory, slot, iov);
    if (err) {
        memory->full = err == -ENOMEM;
        warn_once(memory, err);
        return memory->full ? PIECE_UNTRIED : PIECE_REFUSED;
    }
    memory->used[slot / 64] |= UINT64_C(1) << (slot % 64);
    return slot;
}

static void unregister_piece(UringMemory *memory, int slot)
{
    int err = slot_set(memory, slot, (struct iovec){ 0 });

    g_assert(err == 0);
    memory->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

static void register_wanted(void *opaque)
{
    UringMemory *memory = opaque;
    uint8_t *addr = memory->wanted;
    Region *region = addr ? find_region(memory, addr) : NULL;
    size_t piece, skip;

    memory->wanted = NULL;
    if (!region || !memory->ring) {
        return; /* gone meanwhile */
    }
    piece = (addr - region->base) / URING_PIECE_BYTES;
    skip = piece * URING_PIECE_BYTES;
    region->slots[piece] = register_piece(memory, (struct iovec){
        .iov_base = region->base + skip,
        .iov_len = MIN(region->bytes - skip, URING_PIECE_BYTES),
    });
}

static void want_piece(UringMemory *memory, uint8_t *addr)
{
    if (memory->ring && !memory->full && !memory->wanted) {
        memory->wanted = addr;
        aio_bh_schedule(memory->bh);
    }
}

int uring_memory_lookup(UringMemory *memory, const struct iovec *iov)
{
    uint8_t *addr = iov->iov_base;
    Region *region = &memory->regions[memory->hint];
    size_t skip, piece;

    if (!holds(region, addr)) {
        region = find_region(memory, addr);
        if (!region) {
            return -1;
        }
    }
    skip = addr - region->base;
    piece = skip / URING_PIECE_BYTES;
    if (iov->iov_len > region->bytes - skip ||
        (skip + iov->iov_len - 1) / URING_PIECE_BYTES != piece) {
        return -1;
    }
    if (region->slots[piece] == PIECE_UNTRIED) {
        want_piece(memory, addr);
    }
    return region->slots[piece];
}

/* --- Regions --- */

/* Index of that region, or -1. */
static int find_same(const UringMemory *memory, const void *base, size_t bytes)
{
    for (unsigned i = 0; i < memory->n_regions; i++) {
        if (memory->regions[i].base == base &&
            memory->regions[i].bytes == bytes) {
            return i;
        }
    }
    return -1;
}

static void insert_region(UringMemory *memory, void *base, size_t bytes)
{
    unsigned at = count_up_to(memory, base);
    Region *region;

    memory->regions = g_renew(Region, memory->regions, memory->n_regions + 1);
    region = &memory->regions[at];
    memmove(region + 1, region, (memory->n_regions - at) * sizeof(*region));
    memory->n_regions++;
    *region = (Region){ .base = base, .bytes = bytes, .users = 1 };
    region->slots = g_new(int16_t, n_pieces(region));
    for (unsigned i = 0; i < n_pieces(region); i++) {
        region->slots[i] = PIECE_UNTRIED;
    }
}

void engine_memory_add(AioContext *ctx, void *base, size_t bytes)
{
    UringMemory *memory = uring_memory_get(ctx);
    int i = find_same(memory, base, bytes);

    if (i >= 0) {
        memory->regions[i].users++;
    } else {
        insert_region(memory, base, bytes);
    }
}

static void remove_region(UringMemory *memory, unsigned at)
{
    Region *region = &memory->regions[at];

    for (unsigned i = 0; i < n_pieces(region); i++) {
        if (region->slots[i] >= 0) {
            unregister_piece(memory, region->slots[i]);
        }
    }
    if (memory->wanted && holds(region, memory->wanted)) {
        memory->wanted = NULL;
    }
    g_free(region->slots);
    memory->n_regions--;
    memmove(region, region + 1, (memory->n_regions - at) * sizeof(*region));
    memory->hint = 0;
    memory->full = false;
}

void engine_memory_remove(AioContext *ctx, void *base, size_t bytes)
{
    UringMemory *memory = uring_memory_get(ctx);
    int i = find_same(memory, base, bytes);

    g_assert(i >= 0);
    if (--memory->regions[i].users == 0) {
        remove_region(memory, i);
    }
}

/* --- Set-up --- */

static void memory_free(void *opaque)
{
    UringMemory *memory = opaque;

    g_assert(!memory->n_regions);
    aio_bh_free(memory->bh);
    g_free(memory->regions);
    g_free(memory);
}

UringMemory *uring_memory_get(AioContext *ctx)
{
    UringMemory *memory = aio_context_slot(ctx, AIO_SLOT_MEMORY);

    if (!memory) {
        memory = g_new0(UringMemory, 1);
        memory->bh = aio_bh_new(ctx, register_wanted, memory);
        aio_context_set_slot(ctx, AIO_SLOT_MEMORY, memory, memory_free);
    }
    return memory;
}

void uring_memory_set_ring(UringMemory *memory, struct io_uring *ring)
{
    g_assert(ring || !memory->n_regions);
    memory->ring = ring;
}
