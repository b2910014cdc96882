/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Says how large an image would be, without making it.
 *
 * All tables are counted as if every cluster were allocated, because that is
 * what they may become; of the guest's clusters only those that would be
 * written, when there is an image to take them from.
 */
#include "qcow2-create.h"

#include <string.h>

#include "qcow2-bitmap.h"
#include "qcow2-error.h"

#define ENTRY_BYTES 8 /* of L1, refcount and bitmap tables */

typedef struct Qcow2Measuring {
    const Qcow2CreateOptions *create;
    BlockDriverState *from;
    int64_t data_clusters; /* of @from that have to be written */
    bool ok;
    GError **error;
} Qcow2Measuring;

static uint64_t div_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

static int64_t cluster_bytes(const Qcow2CreateOptions *create)
{
    return INT64_C(1) << create->cluster_bits;
}

/* Clusters of metadata when all is allocated. */
static uint64_t metadata_clusters(const Qcow2CreateOptions *create)
{
    uint64_t data = div_up(create->bytes, cluster_bytes(create));
    unsigned l2_bits = create->cluster_bits - (create->extended_l2 ? 4 : 3);
    uint64_t l2 = div_up(data, UINT64_C(1) << l2_bits);
    uint64_t l1 = div_up(l2 * ENTRY_BYTES, cluster_bytes(create));
    uint64_t clusters = 1 + l1 + l2;
    Qcow2RefcountSize refcounts =
        qcow2_refcount_size(clusters + data, create->cluster_bits,
                            create->refcount_order);

    return clusters + refcounts.blocks + refcounts.table_clusters;
}

static bool is_data(unsigned flags)
{
    return (flags & (BLOCK_STATUS_DATA | BLOCK_STATUS_ZERO)) ==
           BLOCK_STATUS_DATA;
}

/* Counts a cluster once, however little of it there is to write. */
static int coroutine_fn count_data(Qcow2Measuring *m)
{
    int64_t size = m->from->total_bytes;
    int64_t mask = cluster_bytes(m->create) - 1;
    int64_t counted_to = 0;
    int64_t offset = 0;

    while (offset < size) {
        BlockStatus status;
        unsigned depth;
        int ret = bdrv_co_block_status_above(m->from, NULL, offset,
                                             size - offset, &status, &depth);

        if (ret < 0) {
            return ret;
        }
        if (is_data(status.flags)) {
            int64_t start = MAX(offset & ~mask, counted_to);
            int64_t end = (offset + status.bytes + mask) & ~mask;

            m->data_clusters += MAX(end - start, 0) >> m->create->cluster_bits;
            counted_to = MAX(end, counted_to);
        }
        offset += status.bytes;
    }
    return 0;
}

static void coroutine_fn count_entry(void *opaque)
{
    Qcow2Measuring *m = opaque;
    int ret = count_data(m);

    m->ok = ret == 0 || qcow2_error_errno(m->error, ret,
                                          "Unable to get block status");
}

/* What the image shows that has bitmaps takes with all bits in use. */
static int64_t bitmaps_bytes(const Qcow2CreateOptions *create,
                             BlockDriverState *from)
{
    g_autoptr(GPtrArray) bitmaps = qcow2_bitmap_list(from);
    int64_t directory = 0;
    uint64_t clusters = 0;

    for (unsigned i = 0; bitmaps && i < bitmaps->len; i++) {
        const BlockBitmapInfo *info = bitmaps->pdata[i];
        uint64_t bits = div_up(create->bytes, info->granularity);
        uint64_t data = div_up(div_up(bits, 8), cluster_bytes(create));

        clusters += data + div_up(data * ENTRY_BYTES, cluster_bytes(create));
        directory += qcow2_bitmap_entry_bytes(strlen(info->name), 0);
    }
    clusters += div_up(directory, cluster_bytes(create));
    return clusters << create->cluster_bits;
}

static bool has_bitmaps(BlockDriverState *from)
{
    const Qcow2State *s = from->opaque;

    return from->drv == bdrv_find_driver("qcow2") && s->version >= 3;
}

static bool measure_from(Qcow2CreateOptions *create, BlockDriverState *from,
                         BlockMeasure *measure, GError **error)
{
    Qcow2Measuring m = { .create = create, .from = from, .error = error };
    int64_t data = div_up(create->bytes, cluster_bytes(create));

    if (create->version >= 3 && has_bitmaps(from)) {
        measure->bitmaps = bitmaps_bytes(create, from);
    }
    if (create->backing_file) {
        /* what differs from that file is not known here: perhaps all does */
        measure->required += data << create->cluster_bits;
        return true;
    }
    bdrv_run_co(from, count_entry, &m);
    measure->required += m.data_clusters << create->cluster_bits;
    return m.ok;
}

bool qcow2_measure(Options *opts, BlockDriverState *from,
                   BlockMeasure *measure, GError **error)
{
    g_auto(Qcow2CreateOptions) create = { 0 };
    int64_t metadata, data;

    if (!qcow2_measure_options_take(opts, &create, error)) {
        return false;
    }
    if (from) {
        create.bytes = from->total_bytes;
    }
    if (!qcow2_create_fits(&create)) {
        return qcow2_error(error, "The image size is too large (try using a "
                           "larger cluster size)");
    }
    metadata = (int64_t)metadata_clusters(&create) << create.cluster_bits;
    data = (int64_t)div_up(create.bytes, cluster_bytes(&create))
           << create.cluster_bits;
    measure->fully_allocated = metadata + data;
    measure->required = metadata;
    measure->bitmaps = -1;
    if (from && !measure_from(&create, from, measure, error)) {
        return false;
    }
    if (create.prealloc == PREALLOC_FALLOC ||
        create.prealloc == PREALLOC_FULL) {
        measure->required = measure->fully_allocated;
    }
    return true;
}
