/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SIGBUS handler and the table it reads.
 *
 * How it works: ranges lie in slots of chunks that are never freed, so that
 * the handler can walk them without a lock. A slot is guarded by a sequence
 * number, odd while it changes. The handler may skip a slot that changes under
 * its eyes: the slot it looks for belongs to memory that is being touched
 * right now, hence is registered and stands still.
 */
#include "guest-sigbus.h"

#include <glib.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#define SLOTS_PER_CHUNK 64

struct SigbusRange {
    atomic_uint seq;           /* odd: being changed, under table_lock */
    atomic_uintptr_t start;    /* 0: free */
    atomic_size_t bytes;
    atomic_size_t page_size;
    atomic_bool broken;        /* written by the handler */
};

typedef struct Chunk {
    SigbusRange slots[SLOTS_PER_CHUNK];
    _Atomic(struct Chunk *) next;
} Chunk;

static Chunk first_chunk;
static GMutex table_lock; /* writers; the handler takes no lock */
static struct sigaction previous_action;
static atomic_bool any_broken;

/* Consistent copy of a slot; false when it is free or changing. */
static bool slot_read(SigbusRange *slot, uintptr_t *start, size_t *bytes,
                      size_t *page_size)
{
    unsigned seq = atomic_load(&slot->seq);

    *start = atomic_load(&slot->start);
    *bytes = atomic_load(&slot->bytes);
    *page_size = atomic_load(&slot->page_size);
    return *start && !(seq & 1) && atomic_load(&slot->seq) == seq;
}

/* Puts a zero page where @addr lies; false when @addr is not ours. */
static bool replace_page(uintptr_t addr)
{
    for (Chunk *chunk = &first_chunk; chunk;
         chunk = atomic_load(&chunk->next)) {
        for (unsigned i = 0; i < SLOTS_PER_CHUNK; i++) {
            SigbusRange *slot = &chunk->slots[i];
            uintptr_t start;
            size_t bytes, page_size;

            if (!slot_read(slot, &start, &bytes, &page_size) ||
                addr < start || addr - start >= bytes) {
                continue;
            }
            atomic_store(&slot->broken, true);
            atomic_store(&any_broken, true);
            addr = start + (addr - start) / page_size * page_size;
            return mmap((void *)addr, page_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                        -1, 0) != MAP_FAILED;
        }
    }
    return false;
}

static void sigbus_handler(int sig, siginfo_t *info, void *context)
{
    /* of memory that is not there; what is misaligned stays so */
    bool is_fault = info->si_code > 0 && info->si_code != BUS_ADRALN;

    if (is_fault && replace_page((uintptr_t)info->si_addr)) {
        return;
    }
    /* Not ours: whoever was there before us (or the default action) gets it
     * when the instruction faults again. */
    sigaction(SIGBUS, &previous_action, NULL);
    if (info->si_code <= 0) {
        raise(SIGBUS);
    }
}

static void install_handler(void)
{
    static gsize installed;

    if (g_once_init_enter(&installed)) {
        struct sigaction action = {
            .sa_sigaction = sigbus_handler,
            .sa_flags = SA_SIGINFO | SA_ONSTACK,
        };

        sigemptyset(&action.sa_mask);
        sigaction(SIGBUS, &action, &previous_action);
        g_once_init_leave(&installed, 1);
    }
}

/* A free slot; chunks are added as needed. Under table_lock. */
static SigbusRange *find_free_slot(void)
{
    for (Chunk *chunk = &first_chunk;; chunk = atomic_load(&chunk->next)) {
        for (unsigned i = 0; i < SLOTS_PER_CHUNK; i++) {
            if (!atomic_load(&chunk->slots[i].start)) {
                return &chunk->slots[i];
            }
        }
        if (!atomic_load(&chunk->next)) {
            atomic_store(&chunk->next, g_new0(Chunk, 1));
        }
    }
}

SigbusRange *sigbus_range_register(void *base, size_t bytes, size_t page_size)
{
    SigbusRange *slot;

    install_handler();
    g_mutex_lock(&table_lock);
    slot = find_free_slot();
    atomic_fetch_add(&slot->seq, 1);
    atomic_store(&slot->bytes, bytes);
    atomic_store(&slot->page_size, page_size);
    atomic_store(&slot->broken, false);
    atomic_store(&slot->start, (uintptr_t)base);
    atomic_fetch_add(&slot->seq, 1);
    g_mutex_unlock(&table_lock);
    return slot;
}

void sigbus_range_unregister(SigbusRange *range)
{
    g_mutex_lock(&table_lock);
    atomic_fetch_add(&range->seq, 1);
    atomic_store(&range->start, 0);
    atomic_fetch_add(&range->seq, 1);
    g_mutex_unlock(&table_lock);
}

bool sigbus_range_is_broken(const SigbusRange *range)
{
    return atomic_load(&range->broken);
}

bool sigbus_any_broken(void)
{
    return atomic_load_explicit(&any_broken, memory_order_relaxed);
}
