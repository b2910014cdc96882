/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Brings a header to the disk that may lose power between any two sectors:
 * where parts of it go, and in which order. Called by qcow2-header-write.c,
 * which says what is in it. After each cut a reader finds the old header or
 * the new one.
 *
 * How it works: a sector is written whole, and the first one has all fields.
 * A header is *within* it when its list of extensions and the name of the
 * backing file end there; of what lies behind nobody reads anything then.
 *
 *     new one is within       1. first sector, flush   2. the rest
 *     old one is within       1. the rest, flush       2. first sector
 *     the name is elsewhere   1. name, flush           2. first sector
 *
 * The last one is for names that the first sector has no room for: a name
 * stays where it is for as long as it is the same, and another one goes where
 * the old header has nothing.
 *
 * Two lists that both are longer, without a backing file: they begin alike but
 * for the extension of bitmaps, and differ in length. Where one of them ends,
 * the other part has zeroes, which is the mark of an end.
 *
 * What is left is written at once, and not safe: a name or a list that is too
 * long where the cluster has no room for another.
 */
#include "qcow2-header.h"

#include <string.h>

static uint32_t get_be32(const uint8_t *from)
{
    uint32_t word;

    memcpy(&word, from, sizeof(word));
    return GUINT32_FROM_BE(word);
}

/* Behind its mark; or @limit, if it has none before. */
static size_t find_list_end(const uint8_t *buf, size_t at, size_t limit)
{
    while (at + QCOW2_EXT_HEADER_BYTES <= limit) {
        uint32_t magic = get_be32(buf + at);
        uint64_t bytes = get_be32(buf + at + 4);

        at += QCOW2_EXT_HEADER_BYTES;
        if (magic == QCOW2_EXT_END) {
            return at;
        }
        bytes = (bytes + 7) & ~UINT64_C(7);
        if (bytes > limit - at) {
            break;
        }
        at += bytes;
    }
    return limit;
}

Qcow2HeaderLayout qcow2_header_layout(const uint8_t *buf, size_t bytes)
{
    Qcow2HeaderLayout layout = { 0 };
    size_t start, limit;
    Qcow2Header h;

    memcpy(&h, buf, sizeof(h));
    if (GUINT32_FROM_BE(h.magic) != QCOW2_MAGIC) {
        return layout; /* a new image */
    }
    start = GUINT32_FROM_BE(h.version) < 3 ? QCOW2_V2_HEADER_LENGTH
                                           : GUINT32_FROM_BE(h.header_length);
    layout.name_at = MIN(GUINT64_FROM_BE(h.backing_file_offset), bytes);
    layout.name_end = layout.name_at +
                      MIN(GUINT32_FROM_BE(h.backing_file_size),
                          bytes - layout.name_at);
    limit = layout.name_at ? layout.name_at : bytes;
    layout.list_end = find_list_end(buf, MIN(start, limit), limit);
    if (layout.name_at == 0) {
        layout.name_end = 0;
    }
    return layout;
}

bool qcow2_header_is_within(const Qcow2HeaderLayout *layout, size_t sector)
{
    return MAX(layout->list_end, layout->name_end) <= sector;
}

/* --- a name elsewhere --- */

static bool are_disjoint(size_t at, size_t end, size_t from, size_t to)
{
    return end <= from || at >= to;
}

static size_t round_up(size_t at, size_t sector)
{
    return (at + sector - 1) / sector * sector;
}

size_t qcow2_place_name(const Qcow2HeaderChange *change, const char *name,
                        size_t bytes)
{
    const Qcow2HeaderLayout *was = &change->was;
    size_t sector = change->sector, size = round_up(bytes, sector);

    if (was->name_at >= sector && was->name_end - was->name_at == bytes &&
        memcmp(change->old + was->name_at, name, bytes) == 0) {
        return was->name_at;
    }
    for (size_t at = sector; at + size <= change->bytes; at += sector) {
        if (are_disjoint(at, at + size, 0, round_up(was->list_end, sector)) &&
            are_disjoint(at, at + size, was->name_at / sector * sector,
                         round_up(was->name_end, sector))) {
            return at;
        }
    }
    return 0;
}

/* --- writing --- */

static int coroutine_fn write_part(BlockDriverState *bs,
                                   const Qcow2HeaderChange *change,
                                   size_t start, size_t end)
{
    return bdrv_co_pwrite(bs->file, start, end - start, change->new + start,
                          0);
}

static int coroutine_fn write_first(BlockDriverState *bs,
                                    const Qcow2HeaderChange *change)
{
    return write_part(bs, change, 0, change->sector);
}

static int coroutine_fn write_rest(BlockDriverState *bs,
                                   const Qcow2HeaderChange *change)
{
    return write_part(bs, change, change->sector, change->bytes);
}

static int coroutine_fn write_in_order(BlockDriverState *bs,
                                       const Qcow2HeaderChange *change,
                                       bool first_sector_first)
{
    int ret = first_sector_first ? write_first(bs, change)
                                 : write_rest(bs, change);

    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret == 0) {
        ret = first_sector_first ? write_rest(bs, change)
                                 : write_first(bs, change);
    }
    return ret;
}

/* What lies between is not read, and stays. */
static int coroutine_fn write_name_first(BlockDriverState *bs,
                                         const Qcow2HeaderChange *change)
{
    size_t at = change->is.name_at, end = change->is.name_end;
    int ret = 0;

    if (at != change->was.name_at) {
        ret = write_part(bs, change, at, round_up(end, change->sector));
        if (ret == 0) {
            ret = bdrv_co_flush(bs->file);
        }
    }
    return ret == 0 ? write_first(bs, change) : ret;
}

int coroutine_fn qcow2_co_put_header(BlockDriverState *bs,
                                     const Qcow2HeaderChange *change)
{
    size_t first = change->sector;

    if (memcmp(change->new + first, change->old + first,
               change->bytes - first) == 0) {
        return write_first(bs, change);
    }
    if (qcow2_header_is_within(&change->is, first)) {
        return write_in_order(bs, change, true);
    }
    if (qcow2_header_is_within(&change->was, first)) {
        return write_in_order(bs, change, false);
    }
    if (change->name_apart) {
        return write_name_first(bs, change);
    }
    if (change->is.name_at == 0 && change->was.name_at == 0) {
        return write_in_order(bs, change,
                              change->is.list_end >= change->was.list_end);
    }
    return write_part(bs, change, 0, change->bytes);
}
