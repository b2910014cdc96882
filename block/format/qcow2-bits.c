/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sparse bits: chunks of 4 KiB that a hash table finds. */
#include "qcow2-bits.h"

#include <glib.h>
#include <string.h>

#define CHUNK_BYTES 4096
#define CHUNK_BITS (CHUNK_BYTES * 8)

typedef struct BitsChunk {
    uint64_t index;
    uint8_t bytes[CHUNK_BYTES];
} BitsChunk;

struct Qcow2Bits {
    GHashTable *chunks; /* of BitsChunk, by index */
    BitsChunk *last;    /* used; or NULL */
    GArray *order;      /* of their indices, sorted; or NULL */
    int64_t *total;     /* bytes of chunks, of all that share it */
};

Qcow2Bits *qcow2_bits_new(int64_t *total)
{
    Qcow2Bits *bits = g_new0(Qcow2Bits, 1);

    bits->chunks = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                         g_free);
    bits->total = total;
    return bits;
}

void qcow2_bits_free(Qcow2Bits *bits)
{
    *bits->total -= (int64_t)(g_hash_table_size(bits->chunks) *
                              sizeof(BitsChunk));
    g_clear_pointer(&bits->order, g_array_unref);
    g_hash_table_unref(bits->chunks);
    g_free(bits);
}

bool qcow2_bits_empty(const Qcow2Bits *bits)
{
    return g_hash_table_size(bits->chunks) == 0;
}

static BitsChunk *get_chunk(Qcow2Bits *bits, uint64_t index)
{
    BitsChunk *chunk = bits->last;

    if (chunk && chunk->index == index) {
        return chunk;
    }
    chunk = g_hash_table_lookup(bits->chunks, &index);
    if (!chunk) {
        chunk = g_new0(BitsChunk, 1);
        *bits->total += sizeof(BitsChunk);
        chunk->index = index;
        g_hash_table_insert(bits->chunks, &chunk->index, chunk);
        g_clear_pointer(&bits->order, g_array_unref);
    }
    bits->last = chunk;
    return chunk;
}

static void set_in_chunk(uint8_t *bytes, unsigned first, unsigned count)
{
    unsigned end = first + count;

    while (first < end && (first % 8 || end - first < 8)) {
        bytes[first / 8] |= 1U << (first % 8);
        first++;
    }
    memset(bytes + first / 8, 0xff, (end - first) / 8);
    first += (end - first) / 8 * 8;
    for (; first < end; first++) {
        bytes[first / 8] |= 1U << (first % 8);
    }
}

void qcow2_bits_set(Qcow2Bits *bits, uint64_t first, uint64_t count)
{
    while (count > 0) {
        unsigned at = first % CHUNK_BITS;
        unsigned part = MIN(count, CHUNK_BITS - at);

        set_in_chunk(get_chunk(bits, first / CHUNK_BITS)->bytes, at, part);
        first += part;
        count -= part;
    }
}

void qcow2_bits_truncate(Qcow2Bits *bits, uint64_t first)
{
    GHashTableIter iter;
    BitsChunk *chunk;

    bits->last = NULL;
    g_clear_pointer(&bits->order, g_array_unref);
    g_hash_table_iter_init(&iter, bits->chunks);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&chunk)) {
        uint64_t start = chunk->index * CHUNK_BITS;

        if (start >= first) {
            g_hash_table_iter_remove(&iter);
            *bits->total -= sizeof(BitsChunk);
            continue;
        }
        for (uint64_t i = first - start; i < CHUNK_BITS; i++) {
            chunk->bytes[i / 8] &= ~(1U << (i % 8));
        }
    }
}

static int compare_indices(gconstpointer a, gconstpointer b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void sort_chunks(Qcow2Bits *bits)
{
    GHashTableIter iter;
    BitsChunk *chunk;

    bits->order = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_hash_table_iter_init(&iter, bits->chunks);
    while (g_hash_table_iter_next(&iter, NULL, (void **)&chunk)) {
        g_array_append_val(bits->order, chunk->index);
    }
    g_array_sort(bits->order, compare_indices);
}

uint64_t qcow2_bits_next(Qcow2Bits *bits, uint64_t byte)
{
    unsigned low = 0, high;

    if (!bits->order) {
        sort_chunks(bits);
    }
    high = bits->order->len;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (g_array_index(bits->order, uint64_t, middle) <
            byte / CHUNK_BYTES) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == bits->order->len) {
        return UINT64_MAX;
    }
    return MAX(g_array_index(bits->order, uint64_t, low) * CHUNK_BYTES, byte);
}

bool qcow2_bits_or_into(Qcow2Bits *bits, uint64_t byte, size_t length,
                        uint8_t *buf)
{
    bool changed = false;

    for (size_t done = 0; done < length;) {
        uint64_t index = (byte + done) / CHUNK_BYTES;
        unsigned at = (byte + done) % CHUNK_BYTES;
        size_t part = MIN(length - done, CHUNK_BYTES - at);
        const BitsChunk *chunk = g_hash_table_lookup(bits->chunks, &index);

        for (size_t i = 0; chunk && i < part; i++) {
            changed |= chunk->bytes[at + i] & ~buf[done + i];
            buf[done + i] |= chunk->bytes[at + i];
        }
        done += part;
    }
    return changed;
}
