/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds out where the bytes of a stretch of the guest's disk are. Called for
 * every request; asks the cache of L2 slices, changes nothing.
 *
 * How it works: the L1 table is in memory as a whole. An L2 table is cached
 * in slices, which are tables of their own to the cache. With clusters of
 * 64 KiB and slices of 4 KiB, 512 entries, offset 0x2_4321_8800 is found so:
 *
 *     0x243218800 >> 29          = L1 index 18      the table's offset
 *     0x243218800 >> 16 & 0x1fff = L2 index 801     slice 1, entry 289
 *     0x243218800 & 0xffff       = 0x8800           within the cluster
 *
 * From there on entries are taken together as long as they are of one kind
 * and their host clusters follow each other, up to the end of the slice. With
 * subclusters a step may also end inside a cluster.
 *
 * Nothing that an entry says is believed: one that the specification does not
 * allow is a Fault, which ends the stretch before it.
 */
#include "qcow2.h"

#include <errno.h>
#include <inttypes.h>

/* What is wrong with an entry. */
typedef enum Fault {
    FAULT_NONE,
    FAULT_L1_UNALIGNED,
    FAULT_L1_RESERVED,
    FAULT_RESERVED,
    FAULT_UNALIGNED,
    FAULT_ZERO_IN_V2,
    FAULT_SUBCLUSTERS,
    FAULT_COMPRESSED_DATA_FILE,
    FAULT_NOT_GUEST_OFFSET,
} Fault;

/* One guest offset, and what was found on the way to it. */
typedef struct Place {
    int64_t offset;
    unsigned l1_index;
    uint64_t l2_offset;   /* of the table; 0: there is none */
    unsigned l2_index;    /* in the table */
    unsigned slice_index; /* in the slice */
} Place;

/* The rest of one cluster, from some offset on, as far as it is alike. */
typedef struct Piece {
    Qcow2Kind kind;
    int64_t bytes;
    int64_t host;
    bool copied;
} Piece;

/* --- entries --- */

uint64_t qcow2_l2_entry(const Qcow2State *s, const void *slice,
                        unsigned index)
{
    const uint64_t *words = slice;

    return GUINT64_FROM_BE(words[index << (s->subclusters > 1)]);
}

uint64_t qcow2_l2_bitmap(const Qcow2State *s, const void *slice,
                         unsigned index)
{
    const uint64_t *words = slice;

    return s->subclusters > 1 ? GUINT64_FROM_BE(words[2 * index + 1]) : 0;
}

void qcow2_set_l2_entry(const Qcow2State *s, void *slice, unsigned index,
                        uint64_t entry)
{
    uint64_t *words = slice;

    words[index << (s->subclusters > 1)] = GUINT64_TO_BE(entry);
}

void qcow2_set_l2_bitmap(const Qcow2State *s, void *slice, unsigned index,
                         uint64_t bitmap)
{
    uint64_t *words = slice;

    g_assert(s->subclusters > 1);
    words[2 * index + 1] = GUINT64_TO_BE(bitmap);
}

void qcow2_parse_compressed(const Qcow2State *s, uint64_t entry,
                            uint64_t *host, unsigned *bytes)
{
    unsigned size_bits = s->cluster_bits - 8;
    unsigned offset_bits = 62 - size_bits;
    uint64_t sectors = (entry >> offset_bits) & ((1ULL << size_bits) - 1);

    *host = entry & ((1ULL << offset_bits) - 1);
    *bytes = (sectors + 1) * 512 - (*host & 511);
}

/* --- one cluster --- */

/* Subclusters from @first on whose bit is as the first one's in @bits. */
static unsigned run_of_bits(uint32_t bits, unsigned first)
{
    uint32_t rest = bits >> first;

    if (rest & 1) {
        rest = ~rest;
    }
    return rest ? MIN((unsigned)__builtin_ctz(rest), 32 - first) : 32 - first;
}

static Fault look_at_subclusters(const Qcow2State *s, uint64_t bitmap,
                                 bool has_host, int64_t in_cluster,
                                 Piece *piece)
{
    unsigned first = in_cluster >> s->subcluster_bits;
    uint32_t alloc = bitmap, zero = bitmap >> 32;
    unsigned run = MIN(run_of_bits(alloc, first), run_of_bits(zero, first));

    if ((alloc & zero) || (alloc && !has_host)) {
        return FAULT_SUBCLUSTERS;
    }
    if (alloc >> first & 1) {
        piece->kind = QCOW2_NORMAL;
    } else if (zero >> first & 1) {
        piece->kind = has_host ? QCOW2_ZERO_ALLOC : QCOW2_ZERO_PLAIN;
    } else {
        piece->kind = QCOW2_UNALLOCATED;
    }
    piece->bytes = ((int64_t)(first + run) << s->subcluster_bits) -
                   in_cluster;
    return FAULT_NONE;
}

static Fault look_at_compressed(const Qcow2State *s, uint64_t entry,
                                Piece *piece)
{
    piece->kind = QCOW2_COMPRESSED_DATA;
    piece->host = entry;
    piece->copied = false;
    return qcow2_has_data_file(s) ? FAULT_COMPRESSED_DATA_FILE : FAULT_NONE;
}

static Fault check_host(const Qcow2State *s, int64_t offset, uint64_t host)
{
    if (host & (s->cluster_size - 1)) {
        return FAULT_UNALIGNED;
    }
    if (qcow2_has_data_file(s) &&
        host != (uint64_t)qcow2_cluster_start(s, offset)) {
        return FAULT_NOT_GUEST_OFFSET;
    }
    return FAULT_NONE;
}

/* With a data file, the first cluster's host offset is 0. */
static bool entry_has_host(const Qcow2State *s, uint64_t entry)
{
    return (entry & QCOW2_L2_OFFSET) ||
           ((entry & QCOW2_COPIED) && qcow2_has_data_file(s));
}

static Fault look_at_standard(const Qcow2State *s, uint64_t entry,
                              uint64_t bitmap, int64_t offset, Piece *piece)
{
    int64_t in_cluster = qcow2_offset_in_cluster(s, offset);
    bool zero = entry & QCOW2_ZERO;
    bool has_host = entry_has_host(s, entry);
    Fault fault;

    if (G_UNLIKELY(entry & QCOW2_L2_RESERVED) ||
        G_UNLIKELY(zero && s->subclusters > 1)) {
        return FAULT_RESERVED;
    }
    if (G_UNLIKELY(zero && s->version < 3)) {
        return FAULT_ZERO_IN_V2;
    }
    if (has_host) {
        fault = check_host(s, offset, entry & QCOW2_L2_OFFSET);
        if (G_UNLIKELY(fault != FAULT_NONE)) {
            return fault;
        }
    }
    piece->host = has_host ? (entry & QCOW2_L2_OFFSET) + in_cluster : 0;
    piece->copied = entry & QCOW2_COPIED;
    if (s->subclusters > 1) {
        return look_at_subclusters(s, bitmap, has_host, in_cluster, piece);
    }
    if (zero) {
        piece->kind = has_host ? QCOW2_ZERO_ALLOC : QCOW2_ZERO_PLAIN;
    } else {
        piece->kind = has_host ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
    }
    return FAULT_NONE;
}

static Fault look(const Qcow2State *s, const void *slice, unsigned index,
                  int64_t offset, Piece *piece)
{
    uint64_t entry = qcow2_l2_entry(s, slice, index);

    piece->bytes = s->cluster_size - qcow2_offset_in_cluster(s, offset);
    if (G_UNLIKELY(entry & QCOW2_COMPRESSED)) {
        return look_at_compressed(s, entry, piece);
    }
    return look_at_standard(s, entry, qcow2_l2_bitmap(s, slice, index),
                            offset, piece);
}

/* --- a stretch of them --- */

/* Offset 0 of the data file is not told from no offset: it is nobody's
 * successor. */
static bool continues(const Qcow2Extent *extent, const Piece *piece)
{
    return extent->kind == piece->kind &&
           extent->kind != QCOW2_COMPRESSED_DATA &&
           (piece->host == extent->host + extent->bytes ||
            (piece->host == 0 && extent->host == 0));
}

/* As much of [place, place + bytes) as is in the slice and alike. */
static Fault map_slice(const Qcow2State *s, const void *slice,
                       const Place *place, int64_t bytes, Qcow2Extent *extent)
{
    unsigned index = place->slice_index;
    Piece piece;
    Fault fault = look(s, slice, index, place->offset, &piece);

    if (G_UNLIKELY(fault != FAULT_NONE)) {
        return fault;
    }
    extent->kind = piece.kind;
    extent->bytes = piece.bytes;
    extent->host = piece.host;
    extent->in_place = piece.copied;
    while (extent->bytes < bytes) {
        int64_t offset = place->offset + extent->bytes;

        index += qcow2_offset_in_cluster(s, offset) == 0;
        if (index == s->l2_slice_entries ||
            look(s, slice, index, offset, &piece) != FAULT_NONE ||
            !continues(extent, &piece)) {
            break;
        }
        extent->bytes += piece.bytes;
        extent->in_place &= piece.copied;
    }
    extent->bytes = MIN(extent->bytes, bytes);
    return FAULT_NONE;
}

/* Where L1 has no table, up to where the next one could begin. */
static void map_nothing(const Qcow2State *s, int64_t offset, int64_t bytes,
                        Qcow2Extent *extent)
{
    int64_t span = 1LL << s->l1_shift;

    extent->kind = QCOW2_UNALLOCATED;
    extent->bytes = MIN(bytes, span - (offset & (span - 1)));
    extent->host = 0;
    extent->in_place = false;
}

static Fault find_place(const Qcow2State *s, int64_t offset, Place *place)
{
    uint64_t l1_index = (uint64_t)offset >> s->l1_shift;
    uint64_t entry;

    place->offset = offset;
    place->l1_index = l1_index;
    if (G_UNLIKELY(l1_index >= s->l1_entries)) {
        place->l2_offset = 0;
        return FAULT_NONE;
    }
    entry = s->l1[l1_index];
    place->l2_offset = entry & QCOW2_L1_OFFSET;
    place->l2_index = (offset >> s->cluster_bits) & ((1U << s->l2_bits) - 1);
    place->slice_index = place->l2_index & (s->l2_slice_entries - 1);
    if (G_UNLIKELY(entry & QCOW2_L1_RESERVED)) {
        return FAULT_L1_RESERVED;
    }
    if (G_UNLIKELY(place->l2_offset & (s->cluster_size - 1))) {
        return FAULT_L1_UNALIGNED;
    }
    return FAULT_NONE;
}

static uint64_t slice_offset(const Qcow2State *s, const Place *place)
{
    return place->l2_offset +
           (uint64_t)(place->l2_index - place->slice_index) *
               s->l2_entry_bytes;
}

int qcow2_map_cached(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     Qcow2Extent *extent)
{
    const Qcow2State *s = bs->opaque;
    const void *slice;
    Place place;

    if (G_UNLIKELY(find_place(s, offset, &place) != FAULT_NONE)) {
        return -EIO;
    }
    if (G_UNLIKELY(place.l2_offset == 0)) {
        map_nothing(s, offset, bytes, extent);
        return 1;
    }
    slice = qcow2_cache_peek(s->l2_cache, slice_offset(s, &place));
    if (!slice) {
        return 0;
    }
    return map_slice(s, slice, &place, bytes, extent) == FAULT_NONE ? 1
                                                                    : -EIO;
}

/* Everything that is not as usual shows as a bit that should not be there. */
static bool is_plain(const Qcow2State *s, uint64_t entry)
{
    return (entry & ~s->plain_bits) == 0 && (entry & ~QCOW2_COPIED);
}

uint64_t qcow2_plain_entry(const Qcow2State *s, int64_t offset,
                           int64_t bytes)
{
    uint64_t l1_index = (uint64_t)offset >> s->l1_shift;
    unsigned l2_index = (offset >> s->cluster_bits) & ((1U << s->l2_bits) - 1);
    unsigned slice_index = l2_index & (s->l2_slice_entries - 1);
    const uint64_t *slice;
    uint64_t entry;

    if (qcow2_offset_in_cluster(s, offset) + bytes > s->cluster_size ||
        l1_index >= s->l1_entries || !is_plain(s, s->l1[l1_index])) {
        return 0;
    }
    slice = qcow2_cache_peek(s->l2_cache,
                             (s->l1[l1_index] & ~QCOW2_COPIED) +
                                 (l2_index - slice_index) * sizeof(*slice));
    if (!slice) {
        return 0;
    }
    entry = GUINT64_FROM_BE(slice[slice_index]);
    return is_plain(s, entry) ? entry : 0;
}

/* --- with waiting --- */

/* In QEMU's words. @entry is L2's or, where the fault is there, L1's. */
static char *describe(const Qcow2State *s, Fault fault, const Place *place,
                      uint64_t entry)
{
    uint64_t host = entry & QCOW2_L2_OFFSET;
    g_autofree char *where =
        g_strdup_printf("(L2 offset: %#" PRIx64 ", L2 index: %#x)",
                        place->l2_offset, place->l2_index);

    switch (fault) {
    case FAULT_L1_UNALIGNED:
        return g_strdup_printf("L2 table offset %#" PRIx64 " unaligned (L1 "
                               "index: %#x)", host, place->l1_index);
    case FAULT_L1_RESERVED:
        return g_strdup_printf("L1 entry with reserved bits set: %" PRIx64
                               " (L1 index: %#x)", entry, place->l1_index);
    case FAULT_RESERVED:
        return g_strdup_printf("L2 entry with reserved bits set: %" PRIx64
                               " %s", entry, where);
    case FAULT_UNALIGNED:
        return g_strdup_printf("Cluster allocation offset %#" PRIx64
                               " unaligned %s", host, where);
    case FAULT_ZERO_IN_V2:
        return g_strdup_printf("Zero cluster entry found in pre-v3 image %s",
                               where);
    case FAULT_SUBCLUSTERS:
        return g_strdup_printf("Invalid cluster entry found  %s", where);
    case FAULT_COMPRESSED_DATA_FILE:
        return g_strdup_printf("Compressed cluster entry found in image with "
                               "external data file %s", where);
    case FAULT_NOT_GUEST_OFFSET:
        return g_strdup_printf("External data file host cluster offset %#"
                               PRIx64 " does not match guest cluster offset: "
                               "%#" PRIx64 ", L2 index: %#x)", host,
                               qcow2_cluster_start(s, place->offset),
                               place->l2_index);
    case FAULT_NONE:
        break;
    }
    g_assert_not_reached();
}

/* What only has bits that nobody has given a meaning yet costs the guest that
 * cluster, and not the disk. */
static void coroutine_fn report(BlockDriverState *bs, Fault fault,
                                const Place *place, uint64_t entry)
{
    bool fatal = fault != FAULT_RESERVED && fault != FAULT_L1_RESERVED;
    g_autofree char *what = describe(bs->opaque, fault, place, entry);

    qcow2_co_signal_corruption(bs, fatal, -1, "%s", what);
}

static int coroutine_fn get_slice(BlockDriverState *bs, int64_t offset,
                                  Place *place, void **slice)
{
    const Qcow2State *s = bs->opaque;
    Fault fault = find_place(s, offset, place);

    *slice = NULL;
    if (fault != FAULT_NONE) {
        report(bs, fault, place, s->l1[place->l1_index]);
        return -EIO;
    }
    if (place->l2_offset == 0) {
        return 0;
    }
    return qcow2_cache_get(s->l2_cache, slice_offset(s, place), slice);
}

int coroutine_fn qcow2_co_map(BlockDriverState *bs, int64_t offset,
                              int64_t bytes, Qcow2Extent *extent)
{
    const Qcow2State *s = bs->opaque;
    uint64_t entry;
    void *slice;
    Place place;
    Fault fault;
    int ret = get_slice(bs, offset, &place, &slice);

    if (ret < 0) {
        return ret;
    }
    if (!slice) {
        map_nothing(s, offset, bytes, extent);
        return 0;
    }
    fault = map_slice(s, slice, &place, bytes, extent);
    entry = qcow2_l2_entry(s, slice, place.slice_index);
    qcow2_cache_put(s->l2_cache, &slice);
    if (fault != FAULT_NONE) {
        report(bs, fault, &place, entry);
        return -EIO;
    }
    return 0;
}

int coroutine_fn qcow2_co_get_l2_slice(BlockDriverState *bs, int64_t offset,
                                       void **slice, unsigned *index)
{
    Place place;
    int ret = get_slice(bs, offset, &place, slice);

    if (ret < 0 || !*slice) {
        return ret < 0 ? ret : -EIO;
    }
    *index = place.slice_index;
    return 0;
}
