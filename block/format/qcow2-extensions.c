/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the header extensions: names of the backing format and the data
 * file, bitmaps, feature names; what we do not know is kept for when the
 * header is written.
 *
 * The area is read as a whole and walked once. It ends with the end marker,
 * the backing file's name or the first cluster.
 */
#include "qcow2-header.h"

#include <inttypes.h>
#include <string.h>

#include "block/log.h"

typedef struct ExtArea {
    uint8_t *data;
    uint64_t bytes;
    uint64_t at;        /* of the next extension */
} ExtArea;

static void ext_area_clear(ExtArea *area)
{
    g_clear_pointer(&area->data, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ExtArea, ext_area_clear)

typedef struct Ext {
    uint32_t magic;
    uint32_t bytes;
    const uint8_t *data;
} Ext;

typedef enum ExtNext { EXT_FOUND, EXT_NO_MORE, EXT_TOO_LARGE } ExtNext;

static bool coroutine_fn read_area(BlockDriverState *bs, const Qcow2Header *h,
                                   ExtArea *area, GError **error)
{
    uint64_t end = h->backing_file_offset ? h->backing_file_offset
                                          : 1ULL << h->cluster_bits;
    int ret;

    if (end <= h->header_length) {
        return true;
    }
    area->bytes = end - h->header_length;
    area->data = g_malloc(area->bytes + QCOW2_EXT_HEADER_BYTES);
    ret = qcow2_co_read_file(bs->file, h->header_length,
                             area->bytes + QCOW2_EXT_HEADER_BYTES,
                             area->data);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Could not read header extensions");
}

static uint32_t get_be32(const uint8_t *from)
{
    uint32_t word;

    memcpy(&word, from, sizeof(word));
    return GUINT32_FROM_BE(word);
}

static ExtNext next_ext(ExtArea *area, Ext *ext)
{
    uint64_t left = area->bytes - area->at;

    if (left == 0) {
        return EXT_NO_MORE;
    }
    ext->magic = get_be32(area->data + area->at);
    ext->bytes = get_be32(area->data + area->at + 4);
    ext->data = area->data + area->at + QCOW2_EXT_HEADER_BYTES;
    if (ext->magic == QCOW2_EXT_END) {
        return EXT_NO_MORE;
    }
    if (left < QCOW2_EXT_HEADER_BYTES ||
        ext->bytes > left - QCOW2_EXT_HEADER_BYTES) {
        return EXT_TOO_LARGE;
    }
    area->at += MIN(QCOW2_EXT_HEADER_BYTES + ((ext->bytes + 7ULL) & ~7ULL), left);
    return EXT_FOUND;
}

/* --- features that we do not know --- */

static void append_name(GString *names, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

static void append_name(GString *names, const char *fmt, ...)
{
    va_list args;

    if (names->len) {
        g_string_append(names, ", ");
    }
    va_start(args, fmt);
    g_string_append_vprintf(names, fmt, args);
    va_end(args);
}

/* Takes the bits that have names out of @unknown. The last name may be cut
 * short, with zeroes behind it. */
static uint64_t name_features(const Ext *table, uint64_t unknown,
                              GString *names)
{
    for (uint64_t at = 0; at < table->bytes; at += sizeof(Qcow2FeatureName)) {
        Qcow2FeatureName feature = { 0 };

        memcpy(&feature, table->data + at,
               MIN(sizeof(feature), table->bytes - at));
        if (feature.name[0] == '\0') {
            break;
        }
        if (feature.type == 0 && feature.bit < 64 &&
            (unknown >> feature.bit & 1)) {
            g_autofree char *raw =
                g_strndup(feature.name, sizeof(feature.name));
            g_autofree char *shown = g_strescape(raw, NULL);

            append_name(names, "%s", shown);
            unknown &= ~(1ULL << feature.bit);
        }
    }
    return unknown;
}

bool coroutine_fn qcow2_co_check_features(BlockDriverState *bs,
                                          const Qcow2Header *h,
                                          GError **error)
{
    uint64_t unknown = h->incompatible_features & ~QCOW2_INCOMPAT_KNOWN;
    g_auto(ExtArea) area = { 0 };
    g_autoptr(GString) names = NULL;
    Ext ext;

    if (!unknown) {
        return true;
    }
    names = g_string_new(NULL);
    if (!read_area(bs, h, &area, error)) {
        return false;
    }
    while (next_ext(&area, &ext) == EXT_FOUND) {
        if (ext.magic == QCOW2_EXT_FEATURE_NAMES) {
            unknown = name_features(&ext, unknown, names);
        }
    }
    if (unknown) {
        append_name(names, "Unknown incompatible feature: %" PRIx64, unknown);
    }
    return qcow2_error(error, "Unsupported qcow2 feature(s): %s",
                             names->str);
}

/* --- the ones that we know --- */

static bool take_backing_format(BlockDriverState *bs, const Ext *ext,
                                GError **error)
{
    if (ext->bytes > QCOW2_MAX_BACKING_FORMAT) {
        return qcow2_error(error, "ERROR: ext_backing_format: len=%"
                                 PRIu32 " too large (>=%d)", ext->bytes,
                                 QCOW2_MAX_BACKING_FORMAT + 1);
    }
    g_free(bs->backing_format);
    bs->backing_format = g_strndup((const char *)ext->data, ext->bytes);
    return true;
}

static void take_data_file_name(BlockDriverState *bs, const Ext *ext)
{
    Qcow2State *s = bs->opaque;

    g_free(s->data_file_name);
    s->data_file_name = g_strndup((const char *)ext->data, ext->bytes);
}

static bool check_bitmaps(BlockDriverState *bs, const Qcow2BitmapsExt *bitmaps,
                          GError **error)
{
    const Qcow2State *s = bs->opaque;

    if (bitmaps->reserved) {
        return qcow2_error(error, "bitmaps_ext: Reserved field is not "
                                 "zero");
    }
    if (bitmaps->count > QCOW2_MAX_BITMAPS) {
        return qcow2_error(error, "bitmaps_ext: Image has %" PRIu32
                                 " bitmaps, exceeding the QEMU supported "
                                 "maximum of %d", bitmaps->count,
                                 QCOW2_MAX_BITMAPS);
    }
    if (bitmaps->count == 0) {
        return qcow2_error(error, "found bitmaps extension with zero "
                                 "bitmaps");
    }
    if ((bitmaps->directory_offset & (s->cluster_size - 1)) ||
        bitmaps->directory_offset > INT64_MAX) {
        return qcow2_error(error, "bitmaps_ext: invalid bitmap "
                                 "directory offset");
    }
    if (bitmaps->directory_bytes > QCOW2_MAX_BITMAP_DIRECTORY_BYTES) {
        return qcow2_error(error, "bitmaps_ext: bitmap directory size (%"
                                 PRIu64 ") exceeds the maximum supported "
                                 "size (%d)", bitmaps->directory_bytes,
                                 QCOW2_MAX_BITMAP_DIRECTORY_BYTES);
    }
    return true;
}

/* Without the feature bit nobody can say what the bitmaps are worth: they are
 * left alone, and go with the next header that is written. */
static void warn_of_stale_bitmaps(const Qcow2State *s)
{
    if (s->version < 3) {
        log_warn("This qcow2 v2 image contains bitmaps, but they may have "
                 "been modified by a program without persistent bitmap "
                 "support; so now they must all be considered inconsistent");
    } else {
        log_warn("a program lacking bitmap support modified this file, so "
                 "all bitmaps are now considered inconsistent");
    }
}

static bool take_bitmaps(BlockDriverState *bs, const Ext *ext, GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2BitmapsExt bitmaps;

    if (ext->bytes != sizeof(bitmaps)) {
        return qcow2_error(error, "bitmaps_ext: Invalid extension "
                                 "length");
    }
    if (!(s->autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
        warn_of_stale_bitmaps(s);
        return true;
    }
    memcpy(&bitmaps, ext->data, sizeof(bitmaps));
    bitmaps.count = GUINT32_FROM_BE(bitmaps.count);
    bitmaps.directory_bytes = GUINT64_FROM_BE(bitmaps.directory_bytes);
    bitmaps.directory_offset = GUINT64_FROM_BE(bitmaps.directory_offset);
    if (!check_bitmaps(bs, &bitmaps, error)) {
        return false;
    }
    s->bitmap_count = bitmaps.count;
    s->bitmap_directory_offset = bitmaps.directory_offset;
    s->bitmap_directory_bytes = bitmaps.directory_bytes;
    return true;
}

/* --- all of them --- */

static void unknown_ext_free(void *ext)
{
    Qcow2UnknownExt *unknown = ext;

    g_bytes_unref(unknown->data);
    g_free(unknown);
}

void qcow2_free_extensions(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    g_slist_free_full(g_steal_pointer(&s->unknown_exts), unknown_ext_free);
    g_clear_pointer(&s->data_file_name, g_free);
    g_clear_pointer(&bs->backing_format, g_free);
    s->bitmap_count = 0;
    s->bitmap_directory_offset = 0;
    s->bitmap_directory_bytes = 0;
}

static void keep_unknown(BlockDriverState *bs, const Ext *ext)
{
    Qcow2State *s = bs->opaque;
    Qcow2UnknownExt *unknown = g_new0(Qcow2UnknownExt, 1);

    unknown->magic = ext->magic;
    unknown->data = g_bytes_new(ext->data, ext->bytes);
    s->unknown_exts = g_slist_prepend(s->unknown_exts, unknown);
}

static bool take_ext(BlockDriverState *bs, const Ext *ext, GError **error)
{
    switch (ext->magic) {
    case QCOW2_EXT_BACKING_FORMAT:
        return take_backing_format(bs, ext, error);
    case QCOW2_EXT_DATA_FILE:
        take_data_file_name(bs, ext);
        return true;
    case QCOW2_EXT_BITMAPS:
        return take_bitmaps(bs, ext, error);
    case QCOW2_EXT_CRYPTO:
        return qcow2_error(error, "CRYPTO header extension only "
                                 "expected with LUKS encryption method");
    case QCOW2_EXT_FEATURE_NAMES:
        return true; /* ours is written in its place */
    default:
        keep_unknown(bs, ext);
        return true;
    }
}

bool coroutine_fn qcow2_co_read_extensions(BlockDriverState *bs,
                                           const Qcow2Header *h,
                                           GError **error)
{
    Qcow2State *s = bs->opaque;
    g_auto(ExtArea) area = { 0 };
    ExtNext next;
    Ext ext;

    if (!read_area(bs, h, &area, error)) {
        return false;
    }
    while ((next = next_ext(&area, &ext)) == EXT_FOUND) {
        if (!take_ext(bs, &ext, error)) {
            return false;
        }
    }
    s->unknown_exts = g_slist_reverse(s->unknown_exts);
    if (s->bitmap_count == 0) {
        s->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
    }
    return next == EXT_NO_MORE ||
           qcow2_error(error, "Header extension too large");
}
