/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes the header and its extensions: as a whole after they changed, or
 * only the feature bits, which say in what state the image is.
 *
 *     | fields | unknown | ext | ext | ... | end | backing name | 0 ...   |
 *     0                                                        first cluster
 *
 * What we read and did not understand is written back as it was.
 *
 * Power may fail between two sectors. What changes often is in the first one:
 * all fields, and the extension of bitmaps, which is the only one that comes
 * and goes while a disk is in use and is therefore in front. Where sectors
 * behind it change, too, because extensions have moved, the order is such that
 * where a list ends according to one, there are zeroes in the other: the end.
 */
#include "qcow2-header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512

/* In the order of the specification, as QEMU names them. */
static const Qcow2FeatureName feature_names[] = {
    { 0, 0, "dirty bit" },
    { 0, 1, "corrupt bit" },
    { 0, 2, "external data file" },
    { 0, 3, "compression type" },
    { 0, 4, "extended L2 entries" },
    { 1, 0, "lazy refcounts" },
    { 2, 0, "bitmaps" },
    { 2, 1, "raw external data" },
};

/* Fills a buffer; what does not fit sets full, and nothing after it comes. */
typedef struct HeaderWriter {
    uint8_t *buf;
    size_t size, at;
    bool full;
} HeaderWriter;

static void put(HeaderWriter *writer, const void *data, size_t bytes)
{
    if (writer->full || bytes > writer->size - writer->at) {
        writer->full = true;
        return;
    }
    if (bytes) {
        memcpy(writer->buf + writer->at, data, bytes);
    }
    writer->at += bytes;
}

/* The buffer is zeroed: padding is there already. */
static void pad_to_8(HeaderWriter *writer)
{
    static const uint8_t zeroes[8];

    put(writer, zeroes, -writer->at & 7);
}

static void put_ext(HeaderWriter *writer, uint32_t magic, const void *data,
                    size_t bytes)
{
    uint32_t head[2] = { GUINT32_TO_BE(magic), GUINT32_TO_BE(bytes) };

    put(writer, head, sizeof(head));
    put(writer, data, bytes);
    pad_to_8(writer);
}

static void put_string(HeaderWriter *writer, uint32_t magic,
                       const char *string)
{
    if (string && *string) {
        put_ext(writer, magic, string, strlen(string));
    }
}

static void put_bitmaps(HeaderWriter *writer, const Qcow2State *s)
{
    Qcow2BitmapsExt bitmaps = {
        .count = GUINT32_TO_BE(s->bitmap_count),
        .directory_bytes = GUINT64_TO_BE(s->bitmap_directory_bytes),
        .directory_offset = GUINT64_TO_BE(s->bitmap_directory_offset),
    };

    if (s->bitmap_count) {
        put_ext(writer, QCOW2_EXT_BITMAPS, &bitmaps, sizeof(bitmaps));
    }
}

static void put_unknown(HeaderWriter *writer, const Qcow2State *s)
{
    for (GSList *l = s->unknown_exts; l; l = l->next) {
        const Qcow2UnknownExt *ext = l->data;
        gsize bytes;
        const void *data = g_bytes_get_data(ext->data, &bytes);

        put_ext(writer, ext->magic, data, bytes);
    }
}

static void put_extensions(HeaderWriter *writer, const BlockDriverState *bs,
                           bool with_names)
{
    const Qcow2State *s = bs->opaque;

    put_bitmaps(writer, s);
    put_string(writer, QCOW2_EXT_BACKING_FORMAT, bs->backing_format);
    put_string(writer, QCOW2_EXT_DATA_FILE, s->data_file_name);
    if (with_names) {
        put_ext(writer, QCOW2_EXT_FEATURE_NAMES, feature_names,
                sizeof(feature_names));
    }
    put_unknown(writer, s);
    put_ext(writer, QCOW2_EXT_END, NULL, 0);
}

static Qcow2Header header_of(const BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return (Qcow2Header){
        .magic = GUINT32_TO_BE(QCOW2_MAGIC),
        .version = GUINT32_TO_BE(s->version),
        .cluster_bits = GUINT32_TO_BE(s->cluster_bits),
        .size = GUINT64_TO_BE(bs->total_bytes),
        .l1_size = GUINT32_TO_BE(s->l1_entries),
        .l1_table_offset = GUINT64_TO_BE(s->l1_offset),
        .refcount_table_offset = GUINT64_TO_BE(s->reftable_offset),
        .refcount_table_clusters = GUINT32_TO_BE(s->reftable_clusters),
        .nb_snapshots = GUINT32_TO_BE(s->snapshot_count),
        .snapshots_offset = GUINT64_TO_BE(s->snapshots_offset),
        .incompatible_features = GUINT64_TO_BE(s->incompatible),
        .compatible_features = GUINT64_TO_BE(s->compatible),
        .autoclear_features = GUINT64_TO_BE(s->autoclear),
        .refcount_order = GUINT32_TO_BE(s->refcount_order),
        .compression_type = s->compression,
    };
}

static void put_fields(HeaderWriter *writer, const Qcow2State *s,
                       Qcow2Header *h)
{
    if (s->version < 3) {
        put(writer, h, QCOW2_V2_HEADER_LENGTH);
        return;
    }
    put(writer, h, QCOW2_KNOWN_HEADER_BYTES);
    put(writer, s->unknown_header, s->unknown_header_bytes);
    pad_to_8(writer);
    h->header_length = GUINT32_TO_BE(writer->at);
}

static void put_backing_name(HeaderWriter *writer, const BlockDriverState *bs,
                             Qcow2Header *h)
{
    if (bs->backing_file) {
        size_t bytes = MIN(strlen(bs->backing_file), QCOW2_MAX_BACKING_NAME);

        h->backing_file_offset = GUINT64_TO_BE(writer->at);
        h->backing_file_size = GUINT32_TO_BE(bytes);
        put(writer, bs->backing_file, bytes);
    }
}

static bool compose(HeaderWriter *writer, const BlockDriverState *bs,
                    bool with_names)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Header h = header_of(bs);

    memset(writer->buf, 0, writer->size);
    writer->at = 0;
    writer->full = false;
    put_fields(writer, s, &h);
    put_extensions(writer, bs, with_names);
    put_backing_name(writer, bs, &h);
    if (writer->full) {
        return false;
    }
    memcpy(writer->buf, &h, s->version < 3 ? QCOW2_V2_HEADER_LENGTH
                                           : QCOW2_KNOWN_HEADER_BYTES);
    return true;
}

/* --- writing it --- */

/* Of the file, as much as is written at once and holds the fields. */
static size_t first_part(const BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return MIN(MAX(bs->file->limits.request_alignment, SECTOR),
               s->cluster_size);
}

/* Behind the last byte that is not 0. */
static size_t content_end(const uint8_t *buf, size_t bytes)
{
    while (bytes > 0 && buf[bytes - 1] == 0) {
        bytes--;
    }
    return bytes;
}

typedef struct HeaderPart {
    size_t start, end;
} HeaderPart;

static int coroutine_fn write_part(BlockDriverState *bs, const uint8_t *buf,
                                   HeaderPart part)
{
    return bdrv_co_pwrite(bs->file, part.start, part.end - part.start,
                          buf + part.start, 0);
}

static bool names_backing_file(const uint8_t *buf)
{
    return ((const Qcow2Header *)buf)->backing_file_offset != 0;
}

/*
 * @old is what is there. The name of a backing file moves with the extensions:
 * with half of that on the disk its data would be another's, or zeroes, and so
 * it is all or nothing as far as the file can do it.
 */
static int coroutine_fn write_parts(BlockDriverState *bs, const uint8_t *buf,
                                    const uint8_t *old)
{
    const Qcow2State *s = bs->opaque;
    size_t bytes = s->cluster_size, first = first_part(bs);
    HeaderPart fields = { 0, first }, rest = { first, bytes };
    bool longer = content_end(buf, bytes) >= content_end(old, bytes);
    int ret;

    if (memcmp(buf + first, old + first, bytes - first) == 0) {
        return write_part(bs, buf, fields);
    }
    if (names_backing_file(buf) || names_backing_file(old)) {
        return write_part(bs, buf, (HeaderPart){ 0, bytes });
    }
    ret = write_part(bs, buf, longer ? fields : rest);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    return ret < 0 ? ret : write_part(bs, buf, longer ? rest : fields);
}

/* Names are for readers that know less than we do. The smallest clusters are
 * left to other names: they would just be full. */
static bool wants_names(const Qcow2State *s)
{
    return s->version >= 3 && s->cluster_bits > QCOW2_MIN_CLUSTER_BITS;
}

int coroutine_fn qcow2_co_write_header(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    HeaderWriter writer = { .size = s->cluster_size };
    g_autofree uint8_t *buf = g_try_malloc(writer.size);
    g_autofree uint8_t *old = g_try_malloc(writer.size);
    int ret;

    if (!buf || !old) {
        return -ENOMEM;
    }
    writer.buf = buf;
    if (!(wants_names(s) && compose(&writer, bs, true)) &&
        !compose(&writer, bs, false)) {
        return -ENOSPC;
    }
    ret = qcow2_co_read_file(bs->file, 0, writer.size, old);
    if (ret == 0) {
        ret = write_parts(bs, buf, old);
    }
    if (ret == 0 && s->version >= 3) {
        s->header_length = GUINT32_FROM_BE(((Qcow2Header *)buf)->header_length);
    }
    return ret;
}

int coroutine_fn qcow2_co_change_header(BlockDriverState *bs)
{
    int ret = qcow2_co_write_header(bs);

    return ret == 0 ? bdrv_co_flush(bs->file) : ret;
}

void coroutine_fn qcow2_co_restore_header(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    if (qcow2_co_change_header(bs) < 0) {
        s->broken = true;
    }
}

/* --- the state of the image --- */

/* The block of the file that the feature bits are in is written anew, with
 * the bits of the moment when it is. */
static int coroutine_fn write_features(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    size_t bytes = first_part(bs);
    g_autofree uint8_t *buf = g_malloc(bytes);
    int ret = qcow2_co_read_file(bs->file, 0, bytes, buf);
    uint64_t features[3];

    if (ret < 0) {
        return ret;
    }
    features[0] = GUINT64_TO_BE(s->incompatible);
    features[1] = GUINT64_TO_BE(s->compatible);
    features[2] = GUINT64_TO_BE(s->autoclear);
    memcpy(buf + offsetof(Qcow2Header, incompatible_features), features,
           sizeof(features));
    ret = bdrv_co_pwrite(bs->file, 0, bytes, buf, 0);
    return ret < 0 ? ret : bdrv_co_flush(bs->file);
}

int coroutine_fn qcow2_co_clear_autoclear(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    if (!(s->autoclear & ~QCOW2_AUTOCLEAR_KNOWN)) {
        return 0;
    }
    s->autoclear &= QCOW2_AUTOCLEAR_KNOWN;
    return write_features(bs);
}

/* Version 2 has no bits on the disk. */
static int coroutine_fn change_incompatible(BlockDriverState *bs,
                                            uint64_t set, uint64_t clear)
{
    Qcow2State *s = bs->opaque;
    uint64_t before = s->incompatible;
    int ret;

    if ((before | set) == before && !(before & clear)) {
        return 0;
    }
    s->incompatible = (before | set) & ~clear;
    if (s->version < 3) {
        return 0;
    }
    ret = write_features(bs);
    if (ret < 0) {
        s->incompatible = (s->incompatible & ~set) | (before & (set | clear));
    }
    return ret;
}

int coroutine_fn qcow2_co_mark_dirty(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    g_assert(s->version >= 3);
    return change_incompatible(bs, QCOW2_INCOMPAT_DIRTY, 0);
}

int coroutine_fn qcow2_co_mark_clean(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    int ret = 0;

    if (s->incompatible & QCOW2_INCOMPAT_DIRTY) {
        ret = qcow2_co_flush_metadata(bs);
    }
    if (ret == 0) {
        ret = change_incompatible(bs, 0, QCOW2_INCOMPAT_DIRTY);
    }
    if (ret == 0) {
        s->found_dirty = false;
    }
    return ret;
}

int coroutine_fn qcow2_co_mark_corrupt(BlockDriverState *bs)
{
    return change_incompatible(bs, QCOW2_INCOMPAT_CORRUPT, 0);
}

int coroutine_fn qcow2_co_mark_consistent(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    int ret = 0;

    if (s->incompatible & QCOW2_INCOMPAT_CORRUPT) {
        ret = qcow2_co_flush_metadata(bs);
    }
    return ret < 0 ? ret : change_incompatible(bs, 0, QCOW2_INCOMPAT_CORRUPT);
}
