/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of the bitmap directory ("Bitmap directory" in the
 * specification): taken apart, checked, put together.
 */
#include "qcow2-bitmap.h"

#include <string.h>

#include "qcow2-error.h"

#define ALIGNMENT 8

typedef struct Qcow2BitmapHeader {
    uint64_t table_offset;
    uint32_t table_entries;
    uint32_t flags;
    uint8_t type;
    uint8_t granularity_bits;
    uint16_t name_bytes;
    uint32_t extra_bytes;
    /* extra data and name follow */
} Qcow2BitmapHeader;

G_STATIC_ASSERT(sizeof(Qcow2BitmapHeader) == 24);

void qcow2_bitmap_free(void *opaque)
{
    Qcow2Bitmap *bitmap = opaque;

    g_clear_pointer(&bitmap->pending, qcow2_bits_free);
    g_free(bitmap->name);
    g_free(bitmap->extra);
    g_free(bitmap);
}

uint64_t qcow2_bitmap_entry_bytes(uint64_t name_bytes, uint64_t extra_bytes)
{
    uint64_t bytes = sizeof(Qcow2BitmapHeader) + name_bytes + extra_bytes;

    return (bytes + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

/* Not longer than it may ever be. Whether it is as long as the disk needs is
 * for others to say. */
static bool table_fits(const Qcow2BitmapHeader *h,
                       const Qcow2BitmapLimits *limits)
{
    uint64_t entries = GUINT32_FROM_BE(h->table_entries);
    uint64_t bytes = entries * limits->cluster_size;
    uint64_t offset = GUINT64_FROM_BE(h->table_offset);

    return entries > 0 && offset > 0 && offset % limits->cluster_size == 0 &&
           !(offset & ~QCOW2_BITMAP_ENTRY_OFFSET) &&
           bytes <= QCOW2_BITMAP_MAX_BYTES;
}

static bool header_valid(const Qcow2BitmapHeader *h,
                         const Qcow2BitmapLimits *limits)
{
    unsigned name_bytes = GUINT16_FROM_BE(h->name_bytes);

    return h->type == QCOW2_BITMAP_TYPE_DIRTY &&
           !(GUINT32_FROM_BE(h->flags) & QCOW2_BITMAP_FLAGS_RESERVED) &&
           h->granularity_bits >= QCOW2_BITMAP_MIN_GRANULARITY_BITS &&
           h->granularity_bits <= QCOW2_BITMAP_MAX_GRANULARITY_BITS &&
           name_bytes > 0 && name_bytes <= QCOW2_BITMAP_MAX_NAME &&
           table_fits(h, limits);
}

/* @entry is all there. */
static Qcow2Bitmap *parse_entry(const Qcow2BitmapHeader *h,
                                const uint8_t *entry)
{
    Qcow2Bitmap *bitmap = g_new0(Qcow2Bitmap, 1);

    entry += sizeof(*h);
    bitmap->table_offset = GUINT64_FROM_BE(h->table_offset);
    bitmap->table_entries = GUINT32_FROM_BE(h->table_entries);
    bitmap->flags = GUINT32_FROM_BE(h->flags);
    bitmap->granularity_bits = h->granularity_bits;
    bitmap->extra_bytes = GUINT32_FROM_BE(h->extra_bytes);
    bitmap->extra = g_memdup2(entry, bitmap->extra_bytes);
    /* keeps its length even with a NUL in it, which has no business there */
    bitmap->name_bytes = GUINT16_FROM_BE(h->name_bytes);
    bitmap->name = g_malloc0(bitmap->name_bytes + 1);
    memcpy(bitmap->name, entry + bitmap->extra_bytes, bitmap->name_bytes);
    return bitmap;
}

/* What comes at @at, into *bitmap; the length that it takes, or 0 with
 * @error. */
static uint64_t parse_next(const uint8_t *at, size_t left,
                           const Qcow2BitmapLimits *limits,
                           Qcow2Bitmap **bitmap, GError **error)
{
    Qcow2BitmapHeader h;
    uint64_t bytes;

    if (left < sizeof(h)) {
        qcow2_error(error, "Broken bitmap directory");
        return 0;
    }
    memcpy(&h, at, sizeof(h));
    bytes = qcow2_bitmap_entry_bytes(GUINT16_FROM_BE(h.name_bytes),
                                     GUINT32_FROM_BE(h.extra_bytes));
    if (bytes > left) {
        qcow2_error(error, "Broken bitmap directory");
        return 0;
    }
    if (!header_valid(&h, limits)) {
        qcow2_error(error, "Bitmap '%.*s' doesn't satisfy the constraints",
                    MIN(GUINT16_FROM_BE(h.name_bytes), QCOW2_BITMAP_MAX_NAME),
                    (const char *)at + sizeof(h) +
                        GUINT32_FROM_BE(h.extra_bytes));
        return 0;
    }
    *bitmap = parse_entry(&h, at);
    return bytes;
}

GPtrArray *qcow2_bitmap_directory_parse(const uint8_t *bytes, size_t length,
                                        const Qcow2BitmapLimits *limits,
                                        GError **error)
{
    g_autoptr(GPtrArray) bitmaps =
        g_ptr_array_new_with_free_func(qcow2_bitmap_free);
    size_t at = 0;

    while (at < length) {
        Qcow2Bitmap *bitmap;
        uint64_t taken;

        if (bitmaps->len == limits->count) {
            qcow2_error(error, "More bitmaps found than specified in header "
                        "extension");
            return NULL;
        }
        taken = parse_next(bytes + at, length - at, limits, &bitmap, error);
        if (taken == 0) {
            return NULL;
        }
        g_ptr_array_add(bitmaps, bitmap);
        at += taken;
    }
    if (bitmaps->len < limits->count) {
        qcow2_error(error, "Less bitmaps found than specified in header "
                    "extension");
        return NULL;
    }
    return g_steal_pointer(&bitmaps);
}

static void append_entry(GByteArray *directory, const Qcow2Bitmap *bitmap)
{
    static const uint8_t zeroes[ALIGNMENT];
    Qcow2BitmapHeader h = {
        .table_offset = GUINT64_TO_BE(bitmap->table_offset),
        .table_entries = GUINT32_TO_BE(bitmap->table_entries),
        .flags = GUINT32_TO_BE(bitmap->flags),
        .type = QCOW2_BITMAP_TYPE_DIRTY,
        .granularity_bits = bitmap->granularity_bits,
        .name_bytes = GUINT16_TO_BE(bitmap->name_bytes),
        .extra_bytes = GUINT32_TO_BE(bitmap->extra_bytes),
    };

    g_byte_array_append(directory, (const uint8_t *)&h, sizeof(h));
    if (bitmap->extra_bytes) {
        g_byte_array_append(directory, bitmap->extra, bitmap->extra_bytes);
    }
    g_byte_array_append(directory, (const uint8_t *)bitmap->name,
                        bitmap->name_bytes);
    if (directory->len % ALIGNMENT) {
        g_byte_array_append(directory, zeroes,
                            ALIGNMENT - directory->len % ALIGNMENT);
    }
}

GByteArray *qcow2_bitmap_directory_build(GPtrArray *bitmaps)
{
    GByteArray *directory = g_byte_array_new();

    for (unsigned i = 0; i < bitmaps->len; i++) {
        append_entry(directory, bitmaps->pdata[i]);
    }
    return directory;
}

void qcow2_bitmap_directory_placed(GPtrArray *bitmaps, uint64_t offset)
{
    for (unsigned i = 0; i < bitmaps->len; i++) {
        Qcow2Bitmap *bitmap = bitmaps->pdata[i];

        bitmap->flags_offset = offset + offsetof(Qcow2BitmapHeader, flags);
        offset += qcow2_bitmap_entry_bytes(bitmap->name_bytes,
                                           bitmap->extra_bytes);
    }
}
