/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the header of an image, checks it and sets up the driver's state by
 * it. Called when an image is opened or read anew. Errors are in the words of
 * qemu-img, in its order: scripts look for them.
 *
 * Nothing is allocated, and no offset followed, before it was checked against
 * the limits of qcow2-format.h.
 */
#include "qcow2-header.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "block/debug.h"

bool qcow2_validate_table(BlockDriverState *bs, uint64_t offset,
                          uint64_t entries, unsigned entry_bytes,
                          uint64_t max_bytes, const char *name,
                          GError **error)
{
    const Qcow2State *s = bs->opaque;

    if (entries > max_bytes / entry_bytes) {
        return qcow2_error(error, "%s too large", name);
    }
    if (offset > INT64_MAX - entries * entry_bytes ||
        (offset & (s->cluster_size - 1))) {
        return qcow2_error(error, "%s offset invalid", name);
    }
    return true;
}

int qcow2_validate_snapshot_l1(BlockDriverState *bs, const Qcow2Snapshot *sn,
                               GError **error)
{
    if (qcow2_validate_table(bs, sn->l1_offset, sn->l1_entries,
                             sizeof(uint64_t), QCOW2_MAX_L1_BYTES,
                             "Snapshot L1 table", error)) {
        return 0;
    }
    return sn->l1_entries > QCOW2_MAX_L1_BYTES / sizeof(uint64_t) ? -EFBIG
                                                                  : -EINVAL;
}

/* --- the fixed part --- */

static void header_from_disk(Qcow2Header *h)
{
    h->magic = GUINT32_FROM_BE(h->magic);
    h->version = GUINT32_FROM_BE(h->version);
    h->backing_file_offset = GUINT64_FROM_BE(h->backing_file_offset);
    h->backing_file_size = GUINT32_FROM_BE(h->backing_file_size);
    h->cluster_bits = GUINT32_FROM_BE(h->cluster_bits);
    h->size = GUINT64_FROM_BE(h->size);
    h->crypt_method = GUINT32_FROM_BE(h->crypt_method);
    h->l1_size = GUINT32_FROM_BE(h->l1_size);
    h->l1_table_offset = GUINT64_FROM_BE(h->l1_table_offset);
    h->refcount_table_offset = GUINT64_FROM_BE(h->refcount_table_offset);
    h->refcount_table_clusters =
        GUINT32_FROM_BE(h->refcount_table_clusters);
    h->nb_snapshots = GUINT32_FROM_BE(h->nb_snapshots);
    h->snapshots_offset = GUINT64_FROM_BE(h->snapshots_offset);
    h->incompatible_features = GUINT64_FROM_BE(h->incompatible_features);
    h->compatible_features = GUINT64_FROM_BE(h->compatible_features);
    h->autoclear_features = GUINT64_FROM_BE(h->autoclear_features);
    h->refcount_order = GUINT32_FROM_BE(h->refcount_order);
    h->header_length = GUINT32_FROM_BE(h->header_length);
}

/* What a header does not have reads as the default. */
static void fill_in_absent(Qcow2Header *h)
{
    if (h->version == 2) {
        memset((char *)h + QCOW2_V2_HEADER_LENGTH, 0,
               sizeof(*h) - QCOW2_V2_HEADER_LENGTH);
        h->refcount_order = 4;
        h->header_length = QCOW2_V2_HEADER_LENGTH;
    } else if (h->header_length <= offsetof(Qcow2Header, compression_type)) {
        h->compression_type = 0;
    }
}

static bool coroutine_fn read_fixed(BlockDriverState *bs, Qcow2Header *h,
                                    GError **error)
{
    int ret = qcow2_co_read_file(bs->file, 0, sizeof(*h), h);

    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Could not read qcow2 header");
    }
    header_from_disk(h);
    if (h->magic != QCOW2_MAGIC) {
        return qcow2_error(error, "Image is not in qcow2 format");
    }
    if (h->version < 2 || h->version > 3) {
        return qcow2_error(error, "Unsupported qcow2 version %" PRIu32,
                                 h->version);
    }
    if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
        h->cluster_bits > QCOW2_MAX_CLUSTER_BITS) {
        return qcow2_error(error, "Unsupported cluster size: 2^%" PRIu32,
                                 h->cluster_bits);
    }
    if (h->version >= 3 && h->header_length < QCOW2_V3_HEADER_LENGTH) {
        return qcow2_error(error, "qcow2 header too short");
    }
    fill_in_absent(h);
    if (h->header_length > 1U << h->cluster_bits) {
        return qcow2_error(error, "qcow2 header exceeds cluster size");
    }
    if (h->backing_file_offset > 1U << h->cluster_bits) {
        return qcow2_error(error, "Invalid backing file offset");
    }
    return true;
}

/* --- is it one that we can handle --- */

static bool check_compression(const Qcow2Header *h, GError **error)
{
    bool has_bit = h->incompatible_features & QCOW2_INCOMPAT_COMPRESSION;

    if (h->compression_type >= QCOW2_COMPRESSION__COUNT) {
        return qcow2_error(error, "qcow2: unknown compression type: %u",
                                 h->compression_type);
    }
    if (has_bit != (h->compression_type != QCOW2_COMPRESSION_ZLIB)) {
        return qcow2_error(error, "qcow2: Compression type incompatible "
                                 "feature bit must %sbe set",
                                 has_bit ? "not " : "");
    }
    return true;
}

static bool check_encryption(const Qcow2Header *h, GError **error)
{
    static const char *const names[] = { "none", "AES", "LUKS" };

    if (h->crypt_method >= G_N_ELEMENTS(names)) {
        return qcow2_error(error, "Unsupported encryption method %"
                                 PRIu32, h->crypt_method);
    }
    if (h->crypt_method) {
        return qcow2_error(error, "The image is encrypted (%s), which "
                                 "is not supported", names[h->crypt_method]);
    }
    return true;
}

static bool check_writable(BlockDriverState *bs, const Qcow2Header *h,
                           GError **error)
{
    const Qcow2State *s = bs->opaque;

    if ((h->incompatible_features & QCOW2_INCOMPAT_CORRUPT) &&
        !bs->read_only && !s->for_check) {
        return qcow2_error(error, "qcow2: Image is corrupt; cannot be "
                                 "opened read/write");
    }
    return true;
}

static bool check_geometry(const Qcow2Header *h, GError **error)
{
    if ((h->incompatible_features & QCOW2_INCOMPAT_EXTL2) &&
        h->cluster_bits < QCOW2_MIN_CLUSTER_BITS_EXTL2) {
        return qcow2_error(error, "Unsupported subcluster size: %u",
                                 1U << (h->cluster_bits - 5));
    }
    if (h->refcount_order > 6) {
        return qcow2_error(error, "Reference count entry width too "
                                 "large; may not exceed 64 bits");
    }
    return true;
}

static bool check_tables(BlockDriverState *bs, const Qcow2Header *h,
                         GError **error)
{
    const Qcow2State *s = bs->opaque;

    if (h->refcount_table_clusters == 0 && !s->for_check) {
        return qcow2_error(error, "Image does not contain a reference "
                                 "count table");
    }
    return qcow2_validate_table(bs, h->refcount_table_offset,
                                h->refcount_table_clusters,
                                1U << h->cluster_bits,
                                QCOW2_MAX_REFTABLE_BYTES,
                                "Reference count table", error) &&
           (s->for_check || /* which can do something about it */
            qcow2_validate_table(bs, h->snapshots_offset, h->nb_snapshots,
                                 QCOW2_SNAPSHOT_HEADER_BYTES,
                                 QCOW2_MAX_SNAPSHOTS *
                                     QCOW2_SNAPSHOT_HEADER_BYTES,
                                 "Snapshot table", error)) &&
           qcow2_validate_table(bs, h->l1_table_offset, h->l1_size,
                                sizeof(uint64_t), QCOW2_MAX_L1_BYTES,
                                "Active L1 table", error);
}

/* Whether the L1 table covers the disk. */
static bool check_size(BlockDriverState *bs, const Qcow2Header *h,
                       GError **error)
{
    const Qcow2State *s = bs->opaque;
    unsigned shift = s->cluster_bits + s->l2_bits;
    uint64_t needed = (h->size >> shift) +
                      ((h->size & ((1ULL << shift) - 1)) != 0);

    if (h->size > UINT64_MAX - (1ULL << shift) + 1) {
        return qcow2_error_errno(error, -EFBIG,
                                 "Could not refresh total sector count");
    }
    if (needed > INT_MAX || h->size > INT64_MAX) {
        return qcow2_error(error, "Image is too big");
    }
    if (h->l1_size < needed) {
        return qcow2_error(error, "L1 table is too small");
    }
    return true;
}

/* --- taking it over --- */

static void take_geometry(BlockDriverState *bs, const Qcow2Header *h)
{
    Qcow2State *s = bs->opaque;
    bool extended = h->incompatible_features & QCOW2_INCOMPAT_EXTL2;

    s->version = h->version;
    s->cluster_bits = h->cluster_bits;
    s->cluster_size = 1LL << h->cluster_bits;
    s->l2_entry_bytes = extended ? 16 : 8;
    s->l2_bits = h->cluster_bits - (extended ? 4 : 3);
    s->subclusters = extended ? 32 : 1;
    s->subcluster_bits = h->cluster_bits - (extended ? 5 : 0);
    s->l1_shift = s->cluster_bits + s->l2_bits;
    s->refcount_order = h->refcount_order;
    s->refcount_bits = 1U << h->refcount_order;
    s->refcount_max = UINT64_MAX >> (64 - s->refcount_bits);
    s->refcount_block_bits = h->cluster_bits + 3 - h->refcount_order;
    s->compression = h->compression_type;
    s->header_length = h->header_length;
    s->incompatible = h->incompatible_features;
    s->found_dirty = s->incompatible & QCOW2_INCOMPAT_DIRTY;
    s->compatible = h->compatible_features;
    s->autoclear = h->autoclear_features;
    s->plain_bits = extended || qcow2_has_data_file(s)
                        ? 0
                        : QCOW2_COPIED |
                              (QCOW2_L2_OFFSET & ~(s->cluster_size - 1));
}

static void take_tables(BlockDriverState *bs, const Qcow2Header *h)
{
    Qcow2State *s = bs->opaque;

    bs->total_bytes = h->size & ~511ULL;
    s->l1_offset = h->l1_table_offset;
    s->l1_entries = h->l1_size;
    s->reftable_offset = h->refcount_table_offset;
    s->reftable_clusters = h->refcount_table_clusters;
    s->reftable_entries = (uint64_t)h->refcount_table_clusters
                          << (h->cluster_bits - 3);
    s->snapshots_offset = h->snapshots_offset;
    s->snapshot_count = h->nb_snapshots;
}

/* Everything in the header that follows the fields we know, padding
 * included, is written back as it was. */
static bool coroutine_fn read_unknown(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    int ret;

    if (s->header_length <= QCOW2_KNOWN_HEADER_BYTES) {
        return true;
    }
    s->unknown_header_bytes = s->header_length - QCOW2_KNOWN_HEADER_BYTES;
    s->unknown_header = g_malloc(s->unknown_header_bytes);
    ret = qcow2_co_read_file(bs->file, QCOW2_KNOWN_HEADER_BYTES,
                             s->unknown_header_bytes, s->unknown_header);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Could not read unknown qcow2 "
                             "header fields");
}

void qcow2_free_header(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    g_clear_pointer(&s->unknown_header, g_free);
    s->unknown_header_bytes = 0;
    g_clear_pointer(&bs->backing_file, g_free);
    qcow2_free_extensions(bs);
}

static bool coroutine_fn read_backing_name(BlockDriverState *bs,
                                           const Qcow2Header *h,
                                           GError **error)
{
    char name[QCOW2_MAX_BACKING_NAME + 1] = "";
    int64_t room = (1LL << h->cluster_bits) - h->backing_file_offset;
    int ret;

    if (h->backing_file_offset == 0) {
        return true;
    }
    if (h->backing_file_size > MIN(QCOW2_MAX_BACKING_NAME, room)) {
        return qcow2_error(error, "Backing file name too long");
    }
    ret = qcow2_co_read_file(bs->file, h->backing_file_offset,
                             h->backing_file_size, name);
    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Could not read backing file name");
    }
    bs->backing_file = *name ? g_strdup(name) : NULL;
    return true;
}

bool coroutine_fn qcow2_co_read_header(BlockDriverState *bs, GError **error)
{
    Qcow2Header h;

    if (!read_fixed(bs, &h, error) ||
        !qcow2_co_check_features(bs, &h, error) ||
        !check_compression(&h, error) || !check_writable(bs, &h, error) ||
        !check_geometry(&h, error) || !check_encryption(&h, error)) {
        return false;
    }
    take_geometry(bs, &h);
    if (!check_tables(bs, &h, error) || !check_size(bs, &h, error)) {
        return false;
    }
    take_tables(bs, &h);
    qcow2_free_header(bs);
    return read_unknown(bs, error) &&
           qcow2_co_read_extensions(bs, &h, error) &&
           read_backing_name(bs, &h, error);
}

/* The last entry in use; 0 also when none is. */
static unsigned last_reftable_entry(const Qcow2State *s)
{
    for (unsigned i = s->reftable_entries; i > 1; i--) {
        if (s->reftable[i - 1] & QCOW2_REFTABLE_OFFSET) {
            return i - 1;
        }
    }
    return 0;
}

bool coroutine_fn qcow2_co_read_tables(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    uint64_t *l1 = NULL, *reftable = NULL;
    int ret;

    ret = s->l1_offset > QCOW2_L1_OFFSET
              ? -EIO /* where no file has bytes */
              : qcow2_co_read_table(bs->file, s->l1_offset, s->l1_entries,
                                    &l1);
    if (ret < 0) {
        return qcow2_error_errno(error, ret, "Could not read L1 table");
    }
    g_free(s->l1);
    s->l1 = l1;
    bdrv_co_debug_event(bs->file, BLKDBG_REFTABLE_LOAD);
    ret = qcow2_co_read_table(bs->file, s->reftable_offset,
                              s->reftable_entries, &reftable);
    if (ret < 0) {
        return qcow2_error_errno(error, ret,
                                 "Could not initialize refcount handling");
    }
    g_free(s->reftable);
    s->reftable = reftable;
    s->reftable_last = last_reftable_entry(s);
    s->free_hint = 0;
    s->refblocks_distinct = false;
    return true;
}
