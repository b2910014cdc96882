/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sparse array of counts, in chunks that a hash table finds.
 *
 * Chunks are small because a hostile image may refer to clusters far from
 * each other: an entry of 8 bytes in a table then costs no more than a chunk.
 * Nearly all counts are 0 or 1: they are bytes, until one of a chunk is more
 * than that can say.
 */
#include "qcow2-counts.h"

#include <errno.h>
#include <glib.h>

#define CHUNK_BITS 7
#define CHUNK_COUNTS (1 << CHUNK_BITS)
#define WIDE_BYTES (CHUNK_COUNTS * (int64_t)sizeof(uint64_t))

typedef struct CountsChunk {
    uint64_t index;      /* of its first cluster, in chunks */
    uint64_t *wide;      /* the counts; NULL: they are in bytes */
    unsigned used;       /* counts that are not 0 */
    uint8_t bytes[CHUNK_COUNTS];
} CountsChunk;

/* With what malloc, the hash table and the order take for it, about. */
#define CHUNK_BYTES ((int64_t)sizeof(CountsChunk) + 64)

struct Qcow2Counts {
    uint64_t max;
    int64_t *room;       /* bytes that are left, to all that share it */
    int64_t taken;       /* of it, by this one */
    GHashTable *chunks;  /* by index */
    GPtrArray *order;    /* the same chunks; sorted unless @unsorted */
    bool unsorted;
    CountsChunk *last;   /* looked up; or NULL */
};

static void chunk_free(void *opaque)
{
    CountsChunk *chunk = opaque;

    g_free(chunk->wide);
    g_free(chunk);
}

Qcow2Counts *qcow2_counts_new(uint64_t max, int64_t *room)
{
    Qcow2Counts *counts = g_new0(Qcow2Counts, 1);

    counts->max = max;
    counts->room = room;
    counts->chunks = g_hash_table_new(g_int64_hash, g_int64_equal);
    counts->order = g_ptr_array_new_with_free_func(chunk_free);
    return counts;
}

void qcow2_counts_free(Qcow2Counts *counts)
{
    g_hash_table_unref(counts->chunks);
    g_ptr_array_unref(counts->order);
    *counts->room += counts->taken;
    g_free(counts);
}

static bool take_room(Qcow2Counts *counts, int64_t bytes)
{
    if (*counts->room < bytes) {
        return false;
    }
    *counts->room -= bytes;
    counts->taken += bytes;
    return true;
}

static CountsChunk *find_chunk(Qcow2Counts *counts, uint64_t cluster)
{
    uint64_t index = cluster >> CHUNK_BITS;

    if (!counts->last || counts->last->index != index) {
        CountsChunk *chunk = g_hash_table_lookup(counts->chunks, &index);

        if (!chunk) {
            return NULL;
        }
        counts->last = chunk;
    }
    return counts->last;
}

static CountsChunk *make_chunk(Qcow2Counts *counts, uint64_t cluster)
{
    CountsChunk *chunk = find_chunk(counts, cluster);
    GPtrArray *order = counts->order;

    if (chunk) {
        return chunk;
    }
    chunk = take_room(counts, CHUNK_BYTES) ? g_try_new0(CountsChunk, 1)
                                           : NULL;
    if (!chunk) {
        return NULL;
    }
    chunk->index = cluster >> CHUNK_BITS;
    if (order->len > 0) {
        const CountsChunk *before = order->pdata[order->len - 1];

        counts->unsorted |= before->index > chunk->index;
    }
    g_ptr_array_add(order, chunk);
    g_hash_table_insert(counts->chunks, &chunk->index, chunk);
    counts->last = chunk;
    return chunk;
}

static uint64_t chunk_get(const CountsChunk *chunk, unsigned i)
{
    return chunk->wide ? chunk->wide[i] : chunk->bytes[i];
}

uint64_t qcow2_counts_get(Qcow2Counts *counts, uint64_t cluster)
{
    const CountsChunk *chunk = find_chunk(counts, cluster);

    return chunk ? chunk_get(chunk, cluster % CHUNK_COUNTS) : 0;
}

static bool make_wide(Qcow2Counts *counts, CountsChunk *chunk)
{
    if (!take_room(counts, WIDE_BYTES)) {
        return false;
    }
    chunk->wide = g_try_new(uint64_t, CHUNK_COUNTS);
    for (unsigned i = 0; chunk->wide && i < CHUNK_COUNTS; i++) {
        chunk->wide[i] = chunk->bytes[i];
    }
    return chunk->wide;
}

static bool chunk_set(Qcow2Counts *counts, CountsChunk *chunk, unsigned i,
                      uint64_t count)
{
    if (!chunk->wide && count > UINT8_MAX && !make_wide(counts, chunk)) {
        return false;
    }
    if (chunk->wide) {
        chunk->wide[i] = count;
    } else {
        chunk->bytes[i] = count;
    }
    return true;
}

int qcow2_counts_take(Qcow2Counts *counts, uint64_t cluster)
{
    CountsChunk *chunk = find_chunk(counts, cluster);
    unsigned i = cluster % CHUNK_COUNTS;
    uint64_t count = chunk ? chunk_get(chunk, i) : 0;

    if (count == 0) {
        return -ERANGE;
    }
    chunk->used -= count == 1;
    chunk_set(counts, chunk, i, count - 1);
    return 0;
}

int qcow2_counts_add(Qcow2Counts *counts, uint64_t cluster, uint64_t times)
{
    CountsChunk *chunk = make_chunk(counts, cluster);
    unsigned i = cluster % CHUNK_COUNTS;
    uint64_t count;

    if (!chunk) {
        return -ENOMEM;
    }
    count = chunk_get(chunk, i);
    if (times > counts->max - count) {
        return -ERANGE;
    }
    if (!chunk_set(counts, chunk, i, count + times)) {
        return -ENOMEM;
    }
    chunk->used += count == 0 && times > 0;
    return 0;
}

void qcow2_counts_clear(Qcow2Counts *counts, uint64_t cluster)
{
    CountsChunk *chunk = find_chunk(counts, cluster);
    unsigned i = cluster % CHUNK_COUNTS;

    if (chunk && chunk_get(chunk, i)) {
        chunk->used--;
        chunk_set(counts, chunk, i, 0);
    }
}

static int compare_chunks(gconstpointer a, gconstpointer b)
{
    uint64_t x = (*(CountsChunk *const *)a)->index;
    uint64_t y = (*(CountsChunk *const *)b)->index;

    return x < y ? -1 : x > y;
}

/* Position in the sorted order of the first chunk from @index on. */
static unsigned lower_bound(Qcow2Counts *counts, uint64_t index)
{
    unsigned low = 0, high = counts->order->len;

    if (counts->unsorted) {
        g_ptr_array_sort(counts->order, compare_chunks);
        counts->unsorted = false;
    }
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        const CountsChunk *chunk = counts->order->pdata[middle];

        if (chunk->index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* In its chunk, from index @i on; UINT64_MAX: there is none. */
static uint64_t next_in_chunk(const CountsChunk *chunk, unsigned i)
{
    for (; chunk->used > 0 && i < CHUNK_COUNTS; i++) {
        if (chunk_get(chunk, i)) {
            return (chunk->index << CHUNK_BITS) + i;
        }
    }
    return UINT64_MAX;
}

uint64_t qcow2_counts_next(Qcow2Counts *counts, uint64_t cluster)
{
    const CountsChunk *chunk = find_chunk(counts, cluster);
    uint64_t found = chunk ? next_in_chunk(chunk, cluster % CHUNK_COUNTS)
                           : UINT64_MAX;
    unsigned at;

    if (found != UINT64_MAX) {
        return found;
    }
    at = lower_bound(counts, (cluster >> CHUNK_BITS) + 1);
    for (; at < counts->order->len && found == UINT64_MAX; at++) {
        found = next_in_chunk(counts->order->pdata[at], 0);
    }
    return found;
}

/* No cluster from @used, which is, up to there is free. */
static uint64_t behind(Qcow2Counts *counts, uint64_t used)
{
    const CountsChunk *chunk = find_chunk(counts, used);

    return chunk->used == CHUNK_COUNTS ? (chunk->index + 1) << CHUNK_BITS
                                       : used + 1;
}

uint64_t qcow2_counts_find_free(Qcow2Counts *counts, uint64_t cluster,
                                uint64_t clusters)
{
    uint64_t used = qcow2_counts_next(counts, cluster);

    while (used != UINT64_MAX && used - cluster < clusters) {
        cluster = behind(counts, used);
        used = qcow2_counts_next(counts, cluster);
    }
    return cluster;
}
