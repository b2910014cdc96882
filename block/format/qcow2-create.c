/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes new images. Called by "create" and "convert" of the tools.
 *
 * How it works: what an empty image needs is known beforehand and written in
 * one go, the header last:
 *
 *     header | refcount table | refcount blocks | L1 table (all zero)
 *
 * Then the image is opened like any other, to add what is optional: names in
 * the header, preallocated clusters.
 */
#include "qcow2-create.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "block/graph.h"
#include "qcow2-error.h"

#define ENTRY_BYTES 8 /* of L1 and refcount tables */

static uint64_t div_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

uint64_t qcow2_create_l1_entries(const Qcow2CreateOptions *create)
{
    unsigned entry_bits = create->extended_l2 ? 4 : 3;
    unsigned bits = 2 * create->cluster_bits - entry_bits;

    return div_up(create->bytes, UINT64_C(1) << bits);
}

bool qcow2_create_fits(const Qcow2CreateOptions *create)
{
    return qcow2_create_l1_entries(create) <=
           QCOW2_MAX_L1_BYTES / ENTRY_BYTES;
}

Qcow2RefcountSize qcow2_refcount_size(uint64_t clusters,
                                      unsigned cluster_bits,
                                      unsigned refcount_order)
{
    uint64_t per_block = UINT64_C(1) << (cluster_bits + 3 - refcount_order);
    uint64_t per_table = UINT64_C(1) << (cluster_bits - 3);
    Qcow2RefcountSize size = { 0, 0 };
    uint64_t last;

    do {
        last = size.blocks;
        size.blocks = div_up(clusters + size.blocks + size.table_clusters,
                             per_block);
        size.table_clusters = div_up(size.blocks, per_table);
    } while (size.blocks != last);
    return size;
}

/* Where things are, in clusters. */
typedef struct Qcow2Layout {
    unsigned cluster_bits;
    uint64_t table;         /* follows the header */
    uint64_t table_clusters;
    uint64_t blocks;
    uint64_t block_count;
    uint64_t l1;
    uint64_t l1_clusters;
    uint64_t l1_entries;
    uint64_t total;
} Qcow2Layout;

static Qcow2Layout lay_out(const Qcow2CreateOptions *create)
{
    Qcow2Layout lay = { .cluster_bits = create->cluster_bits };
    Qcow2RefcountSize refcounts;

    lay.l1_entries = qcow2_create_l1_entries(create);
    lay.l1_clusters = div_up(lay.l1_entries * ENTRY_BYTES,
                             UINT64_C(1) << create->cluster_bits);
    refcounts = qcow2_refcount_size(1 + lay.l1_clusters, create->cluster_bits,
                                    create->refcount_order);
    lay.table = 1;
    lay.table_clusters = refcounts.table_clusters;
    lay.blocks = lay.table + lay.table_clusters;
    lay.block_count = refcounts.blocks;
    lay.l1 = lay.blocks + lay.block_count;
    lay.total = lay.l1 + lay.l1_clusters;
    return lay;
}

/* Everything of making one image. */
typedef struct Qcow2Creation {
    const char *filename;
    const Qcow2CreateOptions *create;
    Qcow2Layout lay;
    BlockDriverState *bs;
    bool ok;
    GError **error;
} Qcow2Creation;

/* --- the bare image --- */

static int coroutine_fn write_table(const Qcow2Creation *c)
{
    const Qcow2Layout *lay = &c->lay;
    size_t bytes = lay->table_clusters << lay->cluster_bits;
    g_autofree uint64_t *table = g_malloc0(bytes);

    for (uint64_t i = 0; i < lay->block_count; i++) {
        table[i] = GUINT64_TO_BE((lay->blocks + i) << lay->cluster_bits);
    }
    return bdrv_co_pwrite(c->bs, lay->table << lay->cluster_bits, bytes,
                          table, 0);
}

/* One for each of the first @count clusters that block @number covers. */
static void fill_block(Qcow2State *s, uint8_t *block, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        qcow2_set_refcount_at(s, block, i, 1);
    }
}

static int coroutine_fn write_blocks(const Qcow2Creation *c)
{
    const Qcow2Layout *lay = &c->lay;
    unsigned order = c->create->refcount_order;
    size_t bytes = (size_t)1 << lay->cluster_bits;
    uint64_t per_block = UINT64_C(1) << (lay->cluster_bits + 3 - order);
    Qcow2State s = { .refcount_order = order, .refcount_bits = 1U << order,
                     .refcount_max = UINT64_MAX >> (64 - (1U << order)) };
    int ret = 0;

    for (uint64_t i = 0; i < lay->block_count && ret == 0; i++) {
        g_autofree uint8_t *block = g_malloc0(bytes);

        fill_block(&s, block, MIN(per_block, lay->total - i * per_block));
        ret = bdrv_co_pwrite(c->bs, (lay->blocks + i) << lay->cluster_bits,
                             bytes, block, 0);
    }
    return ret;
}

static uint64_t incompatible_features(const Qcow2CreateOptions *create)
{
    uint64_t bits = 0;

    if (create->data_file) {
        bits |= QCOW2_INCOMPAT_DATA_FILE;
    }
    if (create->compression != QCOW2_COMPRESSION_ZLIB) {
        bits |= QCOW2_INCOMPAT_COMPRESSION;
    }
    if (create->extended_l2) {
        bits |= QCOW2_INCOMPAT_EXTL2;
    }
    return GUINT64_TO_BE(bits);
}

static void fill_header(const Qcow2Creation *c, Qcow2Header *header)
{
    const Qcow2CreateOptions *create = c->create;
    const Qcow2Layout *lay = &c->lay;

    header->magic = GUINT32_TO_BE(QCOW2_MAGIC);
    header->version = GUINT32_TO_BE(create->version);
    header->cluster_bits = GUINT32_TO_BE(create->cluster_bits);
    header->size = GUINT64_TO_BE(create->bytes);
    header->l1_size = GUINT32_TO_BE(lay->l1_entries);
    header->l1_table_offset =
        GUINT64_TO_BE(lay->l1_entries ? lay->l1 << lay->cluster_bits : 0);
    header->refcount_table_offset =
        GUINT64_TO_BE(lay->table << lay->cluster_bits);
    header->refcount_table_clusters = GUINT32_TO_BE(lay->table_clusters);
    if (create->version < 3) {
        return;
    }
    header->incompatible_features = incompatible_features(create);
    if (create->lazy_refcounts) {
        header->compatible_features =
            GUINT64_TO_BE(QCOW2_COMPAT_LAZY_REFCOUNTS);
    }
    if (create->data_file_raw) {
        header->autoclear_features =
            GUINT64_TO_BE(QCOW2_AUTOCLEAR_DATA_FILE_RAW);
    }
    header->refcount_order = GUINT32_TO_BE(create->refcount_order);
    header->header_length = GUINT32_TO_BE(sizeof(*header));
    header->compression_type = create->compression;
}

/* Zeroes behind it end the header extensions. */
static int coroutine_fn write_header(const Qcow2Creation *c)
{
    const char *name = c->create->data_file;
    size_t bytes = (size_t)1 << c->lay.cluster_bits;
    g_autofree uint8_t *cluster = g_malloc0(bytes);
    uint32_t ext[2];

    fill_header(c, (Qcow2Header *)cluster);
    if (name) {
        size_t at = sizeof(Qcow2Header) + sizeof(ext);

        if (strlen(name) > bytes - at) {
            return -ENOSPC;
        }
        ext[0] = GUINT32_TO_BE(QCOW2_EXT_DATA_FILE);
        ext[1] = GUINT32_TO_BE(strlen(name));
        memcpy(cluster + sizeof(Qcow2Header), ext, sizeof(ext));
        memcpy(cluster + at, name, strlen(name));
    }
    return bdrv_co_pwrite(c->bs, 0, bytes, cluster, 0);
}

/* In a new file there is nothing to do; a device has what it had. */
static int coroutine_fn zero_l1(const Qcow2Creation *c)
{
    const Qcow2Layout *lay = &c->lay;
    int64_t offset = lay->l1 << lay->cluster_bits;
    int64_t bytes = lay->l1_clusters << lay->cluster_bits;
    BlockStatus status;

    if (bytes == 0) {
        return 0;
    }
    if (bdrv_co_block_status(c->bs, offset, bytes, &status) == 0 &&
        status.bytes == bytes && (status.flags & BLOCK_STATUS_ZERO)) {
        return 0;
    }
    return bdrv_co_pwrite_zeroes(c->bs, offset, bytes, 0);
}

/* The header comes last: what is there before is not an image. */
static int coroutine_fn write_all(const Qcow2Creation *c)
{
    int ret = zero_l1(c);

    if (ret == 0) {
        ret = write_table(c);
    }
    if (ret == 0) {
        ret = write_blocks(c);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(c->bs);
    }
    return ret == 0 ? write_header(c) : ret;
}

static void coroutine_fn write_bare_entry(void *opaque)
{
    Qcow2Creation *c = opaque;
    BlockTruncate to = {
        .bytes = c->lay.total << c->lay.cluster_bits,
    };
    int ret;

    if (!bdrv_co_truncate(c->bs, &to, c->error)) {
        return;
    }
    ret = write_all(c);
    c->ok = ret == 0 || qcow2_error_errno(c->error, ret,
                                          "Could not write qcow2 header");
}

static bool write_bare(Qcow2Creation *c)
{
    g_autoptr(BlockDriverState) bs =
        bdrv_open_image(c->filename, "raw", NULL, 0, c->error);

    if (!bs) {
        return false;
    }
    c->bs = bs;
    c->ok = false;
    bdrv_run_co(bs, write_bare_entry, c);
    return c->ok;
}

/* --- what is added to it --- */

/* Writes the header in any case, with the names of the features. */
static bool coroutine_fn name_backing(const Qcow2Creation *c)
{
    const char *file = c->create->backing_file;
    const char *format = c->create->backing_format;
    int ret = qcow2_co_write_backing_names(c->bs, file, format);

    if (ret == 0) {
        return true;
    }
    return file ? qcow2_error_errno(c->error, ret, "Could not assign backing "
                                    "file '%s' with format '%s'", file,
                                    format ? format : "(null)")
                : qcow2_error_errno(c->error, ret,
                                    "Could not update qcow2 header");
}

static bool coroutine_fn add_all(const Qcow2Creation *c)
{
    const Qcow2CreateOptions *create = c->create;
    int ret;

    if (!name_backing(c)) {
        return false;
    }
    if (create->prealloc != PREALLOC_OFF &&
        !qcow2_co_preallocate_mode(c->bs, 0, create->bytes, create->prealloc,
                                   c->error)) {
        return false;
    }
    ret = qcow2_co_flush_metadata(c->bs);
    return ret == 0 || qcow2_error_errno(c->error, ret,
                                         "Could not flush the image");
}

static void coroutine_fn complete_entry(void *opaque)
{
    Qcow2Creation *c = opaque;

    c->ok = add_all(c);
}

static bool complete(Qcow2Creation *c)
{
    g_autoptr(BlockDriverState) bs =
        bdrv_open_image(c->filename, "qcow2", NULL, BDRV_OPEN_NO_BACKING,
                        c->error);

    if (!bs) {
        return false;
    }
    c->bs = bs;
    c->ok = false;
    bdrv_run_co(bs, complete_entry, c);
    return c->ok;
}

/* --- files --- */

/* For the image and its data file: what their file system is to do. */
typedef struct Qcow2FileOptions {
    char *nocow, *extent_size_hint;
} Qcow2FileOptions;

static void qcow2_file_options_clear(Qcow2FileOptions *options)
{
    g_free(options->nocow);
    g_free(options->extent_size_hint);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Qcow2FileOptions, qcow2_file_options_clear)

static bool create_file(const char *filename, int64_t bytes,
                        const Qcow2FileOptions *options, GError **error)
{
    g_autoptr(Options) opts = options_parse("{}", "create", NULL, error);
    g_autofree char *size = g_strdup_printf("%" PRId64, bytes);

    if (!opts) {
        return false;
    }
    options_set_str(opts, "size", size);
    if (options->nocow) {
        options_set_str(opts, "nocow", options->nocow);
    }
    if (options->extent_size_hint) {
        options_set_str(opts, "extent_size_hint", options->extent_size_hint);
    }
    return bdrv_create_file(filename, opts, error);
}

static bool create_files(const char *filename,
                         const Qcow2CreateOptions *create,
                         const Qcow2FileOptions *options, GError **error)
{
    return create_file(filename, 0, options, error) &&
           (!create->data_file ||
            create_file(create->data_file, create->bytes, options, error));
}

static bool create_image(const char *filename,
                         const Qcow2CreateOptions *create,
                         const Qcow2FileOptions *options, GError **error)
{
    Qcow2Creation c = {
        .filename = filename,
        .create = create,
        .lay = lay_out(create),
        .error = error,
    };

    return create_files(filename, create, options, error) && write_bare(&c) &&
           complete(&c);
}

/* What was there before is not ours to remove; and only a file can be. */
static void remove_new(const char *filename, bool existed)
{
    if (filename && !existed && g_file_test(filename, G_FILE_TEST_EXISTS)) {
        unlink(filename);
    }
}

static bool take_options(Options *opts, Qcow2CreateOptions *create,
                         Qcow2FileOptions *options, GError **error)
{
    if (!qcow2_create_options_take(opts, create, error) ||
        !options_take_str(opts, "nocow", &options->nocow, error) ||
        !options_take_str(opts, "extent_size_hint",
                          &options->extent_size_hint, error) ||
        !options_finish(opts, error)) {
        return false;
    }
    return qcow2_create_fits(create) ||
           qcow2_error(error, "The image size is too large for file format "
                       "'qcow2' (try using a larger cluster size)");
}

bool qcow2_create(const char *filename, Options *opts, GError **error)
{
    g_auto(Qcow2CreateOptions) create = { 0 };
    g_auto(Qcow2FileOptions) options = { 0 };
    bool image_existed, data_existed;

    if (!take_options(opts, &create, &options, error)) {
        return false;
    }
    image_existed = g_file_test(filename, G_FILE_TEST_EXISTS);
    data_existed = !create.data_file ||
                   g_file_test(create.data_file, G_FILE_TEST_EXISTS);
    if (create_image(filename, &create, &options, error)) {
        return true;
    }
    remove_new(filename, image_existed);
    remove_new(create.data_file, data_existed);
    return false;
}
