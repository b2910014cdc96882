/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the header and its extensions from the state, for
 * qcow2-header-place.c to write; and writes the feature bits alone, which say
 * in what state the image is.
 *
 *     | fields | unknown | ext | ext | ... | end | backing name | 0 ...   |
 *     0                                                        first cluster
 *
 * What we read and did not understand is written back as it was.
 *
 * Power may fail between two sectors. All that matters is in the first one
 * where it fits: the fields; the extension of bitmaps, which comes and goes
 * while a disk is in use and is therefore in front; the backing file's name.
 * Feature names are for readers that know less than we do, and are left out
 * where that name would be in another sector with them.
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
    Qcow2HeaderLayout layout;
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

static size_t backing_name_bytes(const BlockDriverState *bs)
{
    return MIN(strlen(bs->backing_file), QCOW2_MAX_BACKING_NAME);
}

/* @at: where it goes, or 0: behind the list of extensions. */
static void put_backing_name(HeaderWriter *writer, const BlockDriverState *bs,
                             Qcow2Header *h, size_t at)
{
    size_t bytes;

    if (!bs->backing_file) {
        return;
    }
    bytes = backing_name_bytes(bs);
    if (at && !writer->full) {
        g_assert(at >= writer->at);
        writer->at = at;
    }
    writer->layout.name_at = writer->at;
    h->backing_file_offset = GUINT64_TO_BE(writer->at);
    h->backing_file_size = GUINT32_TO_BE(bytes);
    put(writer, bs->backing_file, bytes);
    writer->layout.name_end = writer->at;
}

typedef struct HeaderForm {
    bool feature_names;
    size_t name_at;      /* of the backing file; 0: behind the extensions */
} HeaderForm;

/* False where the cluster has no room. */
static bool compose(HeaderWriter *writer, const BlockDriverState *bs,
                    HeaderForm form)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Header h = header_of(bs);

    memset(writer->buf, 0, writer->size);
    writer->at = 0;
    writer->full = false;
    writer->layout = (Qcow2HeaderLayout){ 0 };
    put_fields(writer, s, &h);
    put_extensions(writer, bs, form.feature_names);
    writer->layout.list_end = writer->at;
    put_backing_name(writer, bs, &h, form.name_at);
    if (writer->full) {
        return false;
    }
    memcpy(writer->buf, &h, s->version < 3 ? QCOW2_V2_HEADER_LENGTH
                                           : QCOW2_KNOWN_HEADER_BYTES);
    return true;
}

/* --- writing it --- */

/* Of the file, as much as is written whole and holds the fields. */
static size_t first_part(const BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return MIN(MAX(bs->file->limits.request_alignment, SECTOR),
               s->cluster_size);
}

/* The smallest clusters are left to other names: they would just be full. */
static bool wants_feature_names(const Qcow2State *s)
{
    return s->version >= 3 && s->cluster_bits > QCOW2_MIN_CLUSTER_BITS;
}

/* Whether feature names, which are there now, do no harm: see
 * qcow2-header-place.c for what can be written. */
static bool may_have_feature_names(const HeaderWriter *writer,
                                   const Qcow2HeaderChange *change)
{
    return qcow2_header_is_within(&writer->layout, change->sector) ||
           (writer->layout.name_at == 0 &&
            (change->was.name_at == 0 ||
             qcow2_header_is_within(&change->was, change->sector)));
}

/* The name of the backing file is too long for the first sector. If there is
 * no place where it can go by itself, it is behind the list as it was. */
static void move_name(HeaderWriter *writer, const BlockDriverState *bs,
                      Qcow2HeaderChange *change)
{
    size_t at = 0;

    if (writer->layout.list_end <= change->sector) {
        at = qcow2_place_name(change, bs->backing_file,
                              backing_name_bytes(bs));
    }
    change->name_apart = at > 0;
    compose(writer, bs, (HeaderForm){ .name_at = at });
}

static int choose_form(HeaderWriter *writer, const BlockDriverState *bs,
                       Qcow2HeaderChange *change)
{
    if (wants_feature_names(bs->opaque) &&
        compose(writer, bs, (HeaderForm){ .feature_names = true }) &&
        may_have_feature_names(writer, change)) {
        return 0;
    }
    if (!compose(writer, bs, (HeaderForm){ 0 })) {
        return -ENOSPC;
    }
    if (bs->backing_file &&
        !qcow2_header_is_within(&writer->layout, change->sector)) {
        move_name(writer, bs, change);
    }
    return 0;
}

int coroutine_fn qcow2_co_write_header(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    HeaderWriter writer = { .size = s->cluster_size };
    g_autofree uint8_t *buf = g_try_malloc(writer.size);
    g_autofree uint8_t *old = g_try_malloc(writer.size);
    Qcow2HeaderChange change = { old, buf, writer.size, first_part(bs) };
    int ret;

    if (!buf || !old) {
        return -ENOMEM;
    }
    writer.buf = buf;
    ret = qcow2_co_read_file(bs->file, 0, writer.size, old);
    if (ret == 0) {
        change.was = qcow2_header_layout(old, writer.size);
        ret = choose_form(&writer, bs, &change);
    }
    if (ret == 0) {
        change.is = writer.layout;
        ret = qcow2_co_put_header(bs, &change);
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
