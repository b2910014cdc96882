/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps tables of the image in memory and writes what is dirty in an order
 * that a crash cannot harm. Used by all of the driver that maps and allocates.
 *
 * How it works: the memory of all tables is one mapping that costs nothing
 * until it is touched. A slot holds one table; slots are found by the table's
 * offset through chains, taken from a list of free ones, and when there are
 * none, by a hand that goes round and takes the first one that was not used
 * again since it was read or the hand last came by:
 *
 *     chains     [0] [1] [2] [3] ...           by hash of the offset
 *                     |
 *     slots      | 0 | 1 | 2 | 3 | ...         hand -> 2
 *     memory     |###|###|   |###| ...
 *     dirty      3 - 0                         newest first
 *
 * Of a dirty table only the parts are written that were changed, all of them
 * side by side: an entry of a table of 64 KiB costs a write of 4 KiB.
 *
 * A slot that is being read is in no chain yet, so that qcow2_cache_peek()
 * sees whole tables only.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/debug.h"

/* Bits of Slot.used, set by every use and cleared one at a time. */
#define USED_HAND  0x1 /* again, since the hand came by */
#define USED_CLEAN 0x2 /* since qcow2_cache_clean_unused() */

/* The longest write of neighbours in one go. */
#define WRITE_RUN 64

/* Of a table that is dirty, only parts may be; one bit each. */
#define PARTS 64
#define PART_BYTES_MIN 4096

/* Numbers of slots count from 1; 0 is none. */
typedef struct Slot {
    uint64_t offset;      /* in the file; 0: free */
    uint32_t next;        /* in its chain, or of the free ones */
    uint32_t dirty_prev, dirty_next;
    uint64_t dirty;       /* parts that the file has not; 0: clean */
    uint16_t pins;
    uint8_t used;
} Slot;

struct Qcow2Cache {
    BlockDriverState *bs;
    char *memory;
    size_t memory_bytes;
    unsigned table_bytes;
    unsigned table_bits;
    unsigned part_bits;   /* log2 of the bytes of a part */
    unsigned tables;
    Slot *slots;
    uint32_t *chains;
    unsigned hash_shift;
    uint32_t fresh;       /* slots below it have been used */
    uint32_t free;        /* first of a list */
    uint32_t hand;
    uint32_t dirty;       /* first of a list */
    unsigned n_dirty;
    unsigned n_used;      /* in chains */
    Qcow2Cache *depends;  /* to be stable before any of ours is written */
    bool depends_on_flush;
};

static Slot *slot_at(const Qcow2Cache *cache, uint32_t n)
{
    return &cache->slots[n - 1];
}

static void *slot_table(const Qcow2Cache *cache, uint32_t n)
{
    return cache->memory + ((size_t)(n - 1) << cache->table_bits);
}

static uint32_t slot_of_table(const Qcow2Cache *cache, const void *table)
{
    size_t at = (const char *)table - cache->memory;

    g_assert(at < cache->memory_bytes && at % cache->table_bytes == 0);
    return (at >> cache->table_bits) + 1;
}

/* Parts are what a file can be written in without reading it, and as large
 * as pages and the blocks of most file systems. */
static unsigned choose_part_bits(const BlockDriverState *bs,
                                 unsigned table_bytes)
{
    unsigned bytes = MAX(table_bytes / PARTS, PART_BYTES_MIN);

    bytes = MAX(bytes, bs->file->limits.request_alignment);
    return g_bit_storage(MIN(bytes, table_bytes)) - 1;
}

Qcow2Cache *qcow2_cache_new(BlockDriverState *bs, unsigned tables,
                            unsigned table_bytes)
{
    Qcow2Cache *cache = g_new0(Qcow2Cache, 1);
    unsigned hash_bits = MAX(g_bit_storage(MAX(tables, 2) - 1), 1);

    cache->bs = bs;
    cache->tables = tables;
    cache->table_bytes = table_bytes;
    cache->table_bits = g_bit_storage(table_bytes) - 1;
    cache->part_bits = choose_part_bits(bs, table_bytes);
    cache->hash_shift = 64 - hash_bits;
    cache->memory_bytes = (size_t)tables << cache->table_bits;
    cache->memory = mmap(NULL, cache->memory_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cache->slots = calloc(tables, sizeof(*cache->slots));
    cache->chains = calloc((size_t)1 << hash_bits, sizeof(*cache->chains));
    if (cache->memory == MAP_FAILED || !cache->slots || !cache->chains) {
        qcow2_cache_free(cache);
        return NULL;
    }
    return cache;
}

void qcow2_cache_free(Qcow2Cache *cache)
{
    if (!cache) {
        return;
    }
    if (cache->memory != MAP_FAILED) {
        munmap(cache->memory, cache->memory_bytes);
    }
    free(cache->slots);
    free(cache->chains);
    g_free(cache);
}

/* --- finding --- */

static uint32_t *chain_of(const Qcow2Cache *cache, uint64_t offset)
{
    uint64_t hash = (offset >> cache->table_bits) * 0x9e3779b97f4a7c15ULL;

    return &cache->chains[hash >> cache->hash_shift];
}

static uint32_t find(const Qcow2Cache *cache, uint64_t offset)
{
    uint32_t n = *chain_of(cache, offset);

    while (n && slot_at(cache, n)->offset != offset) {
        n = slot_at(cache, n)->next;
    }
    return n;
}

static void chain_add(Qcow2Cache *cache, uint32_t n, uint64_t offset)
{
    uint32_t *chain = chain_of(cache, offset);
    Slot *slot = slot_at(cache, n);

    slot->offset = offset;
    slot->next = *chain;
    *chain = n;
    cache->n_used++;
}

static void chain_remove(Qcow2Cache *cache, uint32_t n)
{
    Slot *slot = slot_at(cache, n);
    uint32_t *link = chain_of(cache, slot->offset);

    while (*link != n) {
        link = &slot_at(cache, *link)->next;
    }
    *link = slot->next;
    slot->offset = 0;
    cache->n_used--;
}

bool qcow2_cache_in_use(const Qcow2Cache *cache)
{
    return cache->n_used > 0;
}

void *qcow2_cache_peek(Qcow2Cache *cache, uint64_t offset)
{
    uint32_t n = find(cache, offset);

    if (!n) {
        return NULL;
    }
    slot_at(cache, n)->used = USED_HAND | USED_CLEAN;
    return slot_table(cache, n);
}

/* --- writing --- */

static void dirty_add(Qcow2Cache *cache, uint32_t n)
{
    Slot *slot = slot_at(cache, n);

    slot->dirty_prev = 0;
    slot->dirty_next = cache->dirty;
    if (cache->dirty) {
        slot_at(cache, cache->dirty)->dirty_prev = n;
    }
    cache->dirty = n;
    cache->n_dirty++;
}

static void dirty_remove(Qcow2Cache *cache, uint32_t n)
{
    Slot *slot = slot_at(cache, n);

    if (slot->dirty_prev) {
        slot_at(cache, slot->dirty_prev)->dirty_next = slot->dirty_next;
    } else {
        cache->dirty = slot->dirty_next;
    }
    if (slot->dirty_next) {
        slot_at(cache, slot->dirty_next)->dirty_prev = slot->dirty_prev;
    }
    slot->dirty = 0;
    cache->n_dirty--;
}

bool qcow2_cache_is_dirty(const Qcow2Cache *cache)
{
    return cache->n_dirty > 0;
}

void qcow2_cache_mark_part(Qcow2Cache *cache, void *table, size_t from,
                           size_t bytes)
{
    uint32_t n = slot_of_table(cache, table);
    unsigned first = from >> cache->part_bits;
    unsigned last = (from + bytes - 1) >> cache->part_bits;

    g_assert(slot_at(cache, n)->pins > 0);
    g_assert(bytes > 0 && from + bytes <= cache->table_bytes);
    if (!slot_at(cache, n)->dirty) {
        dirty_add(cache, n);
    }
    slot_at(cache, n)->dirty |= (UINT64_MAX >> (PARTS - 1 - last)) &
                                (UINT64_MAX << first);
}

void qcow2_cache_mark_dirty(Qcow2Cache *cache, void *table)
{
    qcow2_cache_mark_part(cache, table, 0, cache->table_bytes);
}

/* Data that tables are going to lead to may be in a file of its own. */
static int coroutine_fn flush_data_file(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return s->data_file != bs->file ? bdrv_co_flush(s->data_file) : 0;
}

/* What has to be stable before a table of this cache may be written. */
static int coroutine_fn write_dependency(Qcow2Cache *cache)
{
    int ret = 0;

    if (cache->depends_on_flush) {
        ret = flush_data_file(cache->bs);
    }
    if (ret == 0 && cache->depends) {
        ret = qcow2_cache_flush(cache->depends);
    } else if (ret == 0 && cache->depends_on_flush) {
        ret = bdrv_co_flush(cache->bs->file);
    }
    if (ret == 0) {
        cache->depends = NULL;
        cache->depends_on_flush = false;
    }
    return ret;
}

static void coroutine_fn tell_update(Qcow2Cache *cache)
{
    const Qcow2State *s = cache->bs->opaque;

    bdrv_co_debug_event(cache->bs->file, cache == s->refcount_cache
                                             ? BLKDBG_REFBLOCK_UPDATE_PART
                                             : BLKDBG_L2_UPDATE);
}

static int by_offset(gconstpointer a, gconstpointer b, gpointer opaque)
{
    const Qcow2Cache *cache = opaque;
    uint64_t left = slot_at(cache, *(const uint32_t *)a)->offset;
    uint64_t right = slot_at(cache, *(const uint32_t *)b)->offset;

    return (left > right) - (left < right);
}

static uint32_t *sorted_dirty(const Qcow2Cache *cache)
{
    uint32_t *slots = g_new(uint32_t, cache->n_dirty);
    unsigned count = 0;

    for (uint32_t n = cache->dirty; n; n = slot_at(cache, n)->dirty_next) {
        slots[count++] = n;
    }
    g_qsort_with_data(slots, count, sizeof(*slots), by_offset,
                      (void *)cache);
    return slots;
}

/* What is going to be written: the dirty parts of tables, neighbours as one. */
typedef struct Writing {
    struct iovec *iov;
    BlockIo *ios;
    unsigned niov, count;
} Writing;

static void add_part(Writing *writing, uint64_t offset, void *data,
                     size_t bytes)
{
    BlockIo *last = writing->count > 0 ? &writing->ios[writing->count - 1]
                                       : NULL;
    struct iovec *iov = &writing->iov[writing->niov++];

    *iov = (struct iovec){ data, bytes };
    if (last && last->niov < WRITE_RUN &&
        last->offset + last->bytes == (int64_t)offset) {
        last->niov++;
        last->bytes += bytes;
        return;
    }
    writing->ios[writing->count++] = (BlockIo){
        .op = BLOCK_WRITE,
        .offset = offset,
        .bytes = bytes,
        .iov = iov,
        .niov = 1,
    };
}

static void add_table(const Qcow2Cache *cache, Writing *writing, uint32_t n)
{
    const Slot *slot = slot_at(cache, n);
    char *table = slot_table(cache, n);
    uint64_t rest = slot->dirty;

    while (rest) {
        unsigned first = __builtin_ctzll(rest);
        unsigned end = first;
        size_t at = (size_t)first << cache->part_bits;

        while (end < PARTS && (rest >> end & 1)) {
            rest &= ~(1ULL << end++);
        }
        add_part(writing, slot->offset + at, table + at,
                 (size_t)(end - first) << cache->part_bits);
    }
}

/* Each run of ones is a part. */
static unsigned count_parts(const Qcow2Cache *cache, const uint32_t *slots)
{
    unsigned parts = 0;

    for (unsigned i = 0; i < cache->n_dirty; i++) {
        uint64_t dirty = slot_at(cache, slots[i])->dirty;

        parts += __builtin_popcountll(dirty & ~(dirty << 1));
    }
    return parts;
}

/* Nothing gets dirty meanwhile, as the caller has the lock. */
static int coroutine_fn write_dirty(Qcow2Cache *cache)
{
    g_autofree uint32_t *slots = sorted_dirty(cache);
    unsigned parts = count_parts(cache, slots), count = cache->n_dirty;
    g_autofree struct iovec *iov = g_new(struct iovec, parts);
    g_autofree BlockIo *ios = g_new(BlockIo, parts);
    Writing writing = { .iov = iov, .ios = ios };
    int ret;

    for (unsigned i = 0; i < count; i++) {
        add_table(cache, &writing, slots[i]);
    }
    for (unsigned i = 0; i < writing.count; i++) {
        tell_update(cache);
    }
    ret = bdrv_co_io_all(cache->bs->file, ios, writing.count);
    for (unsigned i = 0; i < count && ret == 0; i++) {
        dirty_remove(cache, slots[i]);
    }
    return ret;
}

int coroutine_fn qcow2_cache_write(Qcow2Cache *cache)
{
    int ret;

    if (cache->n_dirty == 0) {
        return 0;
    }
    ret = write_dependency(cache);
    return ret < 0 ? ret : write_dirty(cache);
}

/* L1 entries of new L2 tables wait for these. */
int coroutine_fn qcow2_cache_flush(Qcow2Cache *cache)
{
    const Qcow2State *s = cache->bs->opaque;
    int ret = qcow2_cache_write(cache);

    if (ret == 0) {
        ret = bdrv_co_flush(cache->bs->file);
    }
    if (ret == 0 && cache == s->refcount_cache) {
        qcow2_ahead_is_stable(cache->bs);
    }
    if (ret == 0 && cache == s->l2_cache) {
        ret = qcow2_co_flush_l1(cache->bs);
    }
    return ret;
}

int coroutine_fn qcow2_cache_set_dependency(Qcow2Cache *cache,
                                            Qcow2Cache *dependency)
{
    int ret = 0;

    /* no chains: what has to be before the dependency goes now, also when
     * nothing of that is dirty yet */
    if (dependency->depends) {
        ret = write_dependency(dependency);
    }
    if (ret == 0 && cache->depends && cache->depends != dependency) {
        ret = write_dependency(cache);
    }
    if (ret == 0) {
        cache->depends = dependency;
    }
    return ret;
}

void qcow2_cache_depends_on_flush(Qcow2Cache *cache)
{
    cache->depends_on_flush = true;
}

/* --- room --- */

static void slot_free(Qcow2Cache *cache, uint32_t n)
{
    Slot *slot = slot_at(cache, n);

    slot->offset = 0;
    slot->pins = 0;
    slot->used = 0;
    slot->next = cache->free;
    cache->free = n;
}

static void slot_drop(Qcow2Cache *cache, uint32_t n)
{
    g_assert(slot_at(cache, n)->pins == 0);
    if (slot_at(cache, n)->dirty) {
        dirty_remove(cache, n);
    }
    chain_remove(cache, n);
    slot_free(cache, n);
}

/* Two rounds: the first one takes away everybody's mark. */
static uint32_t find_victim(Qcow2Cache *cache)
{
    for (unsigned i = 0; i < 2 * cache->tables; i++) {
        uint32_t n = cache->hand + 1;
        Slot *slot = slot_at(cache, n);

        cache->hand = n % cache->tables;
        if (slot->pins == 0 && !(slot->used & USED_HAND)) {
            return n;
        }
        slot->used &= ~USED_HAND;
    }
    return 0;
}

static uint32_t take_free(Qcow2Cache *cache)
{
    uint32_t n = cache->free;

    if (n) {
        cache->free = slot_at(cache, n)->next;
        return n;
    }
    return cache->fresh < cache->tables ? ++cache->fresh : 0;
}

/* A slot that is pinned and in no chain. */
static int coroutine_fn take_slot(Qcow2Cache *cache, uint32_t *taken)
{
    uint32_t n = take_free(cache);
    int ret;

    if (!n) {
        n = find_victim(cache);
        g_assert(n); /* more pins than a cache has at least */
        if (slot_at(cache, n)->dirty) {
            slot_at(cache, n)->pins = 1;
            ret = qcow2_cache_write(cache);
            slot_at(cache, n)->pins = 0;
            if (ret < 0) {
                return ret;
            }
        }
        chain_remove(cache, n);
    }
    slot_at(cache, n)->pins = 1;
    *taken = n;
    return 0;
}

/* --- using --- */

static int coroutine_fn read_table(Qcow2Cache *cache, uint64_t offset,
                                   void *table)
{
    const Qcow2State *s = cache->bs->opaque;

    if (cache == s->l2_cache) {
        bdrv_co_debug_event(cache->bs->file, BLKDBG_L2_LOAD);
    }
    return qcow2_co_read_file(cache->bs->file, offset, cache->table_bytes,
                              table);
}

static int coroutine_fn get(Qcow2Cache *cache, uint64_t offset, bool fill,
                            void **table)
{
    uint32_t n = find(cache, offset);
    int ret;

    g_assert(offset && offset % cache->table_bytes == 0);
    if (n) {
        slot_at(cache, n)->pins++;
        slot_at(cache, n)->used = USED_HAND | USED_CLEAN;
    } else {
        ret = take_slot(cache, &n);
        if (ret == 0 && fill) {
            ret = read_table(cache, offset, slot_table(cache, n));
            if (ret < 0) {
                slot_free(cache, n);
            }
        }
        if (ret < 0) {
            return ret;
        }
        chain_add(cache, n, offset);
        slot_at(cache, n)->used = USED_CLEAN;
        qcow2_cache_used(cache->bs);
    }
    *table = slot_table(cache, n);
    return 0;
}

int coroutine_fn qcow2_cache_get(Qcow2Cache *cache, uint64_t offset,
                                 void **table)
{
    return get(cache, offset, true, table);
}

int coroutine_fn qcow2_cache_get_empty(Qcow2Cache *cache, uint64_t offset,
                                       void **table)
{
    return get(cache, offset, false, table);
}

void qcow2_cache_put(Qcow2Cache *cache, void **table)
{
    Slot *slot = slot_at(cache, slot_of_table(cache, *table));

    g_assert(slot->pins > 0);
    slot->pins--;
    *table = NULL;
}

/* Of a corrupt image a table in use may be freed: it stays, unwritten. */
static void slot_forget(Qcow2Cache *cache, uint32_t n)
{
    if (slot_at(cache, n)->pins == 0) {
        slot_drop(cache, n);
    } else if (slot_at(cache, n)->dirty) {
        dirty_remove(cache, n);
    }
}

void qcow2_cache_forget(Qcow2Cache *cache, uint64_t offset, uint64_t bytes)
{
    uint64_t end = offset + bytes;

    for (; offset < end; offset += cache->table_bytes) {
        uint32_t n = find(cache, offset);

        if (n) {
            slot_forget(cache, n);
        }
    }
}

int coroutine_fn qcow2_cache_empty(Qcow2Cache *cache)
{
    int ret = qcow2_cache_write(cache);

    for (uint32_t n = 1; n <= cache->fresh && ret == 0; n++) {
        if (slot_at(cache, n)->offset) {
            slot_drop(cache, n);
        }
    }
    return ret;
}

/* Whole pages of slots @from up to, not including, @to. */
static void give_back(Qcow2Cache *cache, uint32_t from, uint32_t to)
{
    size_t page = sysconf(_SC_PAGESIZE);
    size_t start = (size_t)(from - 1) << cache->table_bits;
    size_t end = (size_t)(to - 1) << cache->table_bits;

    start = (start + page - 1) & ~(page - 1);
    end &= ~(page - 1);
    if (start < end) {
        madvise(cache->memory + start, end - start, MADV_DONTNEED);
    }
}

static bool slot_is_idle(Slot *slot)
{
    bool idle = slot->dirty == 0 && slot->pins == 0 &&
                !(slot->used & USED_CLEAN);

    slot->used &= ~USED_CLEAN;
    return idle;
}

void qcow2_cache_clean_unused(Qcow2Cache *cache)
{
    uint32_t from = 0; /* first of a run of idle slots */
    bool dropped = false;

    for (uint32_t n = 1; n <= cache->fresh; n++) {
        bool idle = slot_is_idle(slot_at(cache, n));

        if (idle && slot_at(cache, n)->offset) {
            slot_drop(cache, n);
            dropped = true;
        }
        if (idle && !from) {
            from = n;
        }
        if (from && dropped && (!idle || n == cache->fresh)) {
            give_back(cache, from, idle ? n + 1 : n);
        }
        if (!idle) {
            from = 0;
            dropped = false;
        }
    }
}
