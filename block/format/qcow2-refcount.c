/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts of host clusters: looking them up and changing them in the
 * cached refcount blocks. All of it under s->lock.
 *
 * The one rule: a change is made for the whole range or not at all, so that
 * who gets an error has nothing to take back.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <inttypes.h>

/* --- counts in a block --- */

/* Widths below a byte: the first count is in the low bits. */
static uint64_t bits_at(const uint8_t *block, uint64_t index, unsigned order)
{
    unsigned bits = 1U << order;
    unsigned shift = (index & ((8U >> order) - 1)) << order;

    return block[index >> (3 - order)] >> shift & ((1U << bits) - 1);
}

static void set_bits_at(uint8_t *block, uint64_t index, unsigned order,
                        unsigned value)
{
    unsigned mask = (1U << (1U << order)) - 1;
    unsigned shift = (index & ((8U >> order) - 1)) << order;
    uint8_t *byte = &block[index >> (3 - order)];

    *byte = (*byte & ~(mask << shift)) | value << shift;
}

uint64_t qcow2_refcount_at(const Qcow2State *s, const void *block,
                           uint64_t index)
{
    switch (s->refcount_order) {
    case 3:
        return ((const uint8_t *)block)[index];
    case 4:
        return GUINT16_FROM_BE(((const uint16_t *)block)[index]);
    case 5:
        return GUINT32_FROM_BE(((const uint32_t *)block)[index]);
    case 6:
        return GUINT64_FROM_BE(((const uint64_t *)block)[index]);
    default:
        return bits_at(block, index, s->refcount_order);
    }
}

bool qcow2_set_refcount_at(const Qcow2State *s, void *block, uint64_t index,
                           uint64_t value)
{
    if (value > s->refcount_max) {
        return false;
    }
    switch (s->refcount_order) {
    case 3:
        ((uint8_t *)block)[index] = value;
        break;
    case 4:
        ((uint16_t *)block)[index] = GUINT16_TO_BE(value);
        break;
    case 5:
        ((uint32_t *)block)[index] = GUINT32_TO_BE(value);
        break;
    case 6:
        ((uint64_t *)block)[index] = GUINT64_TO_BE(value);
        break;
    default:
        set_bits_at(block, index, s->refcount_order, value);
        break;
    }
    return true;
}

/* --- looking up --- */

int64_t coroutine_fn qcow2_co_refblock_offset(BlockDriverState *bs,
                                              uint64_t cluster)
{
    Qcow2State *s = bs->opaque;
    uint64_t index = cluster >> s->refcount_block_bits;
    uint64_t offset;

    if (index >= s->reftable_entries) {
        return 0;
    }
    offset = s->reftable[index] & QCOW2_REFTABLE_OFFSET;
    if ((offset & (s->cluster_size - 1)) || offset > INT64_MAX) {
        qcow2_co_signal_corruption(bs, true, -1,
                                   "Refblock offset %#" PRIx64
                                   " unaligned (reftable index: %#" PRIx64
                                   ")", offset, index);
        return -EIO;
    }
    return offset;
}

/* Pins the block with the count of @cluster; *block is NULL without one. */
static int coroutine_fn get_block(BlockDriverState *bs, uint64_t cluster,
                                  void **block)
{
    Qcow2State *s = bs->opaque;
    int64_t offset = qcow2_co_refblock_offset(bs, cluster);

    *block = NULL;
    if (offset <= 0) {
        return offset;
    }
    return qcow2_cache_get(s->refcount_cache, offset, block);
}

static uint64_t index_in_block(const Qcow2State *s, uint64_t cluster)
{
    return cluster & ((1ULL << s->refcount_block_bits) - 1);
}

int coroutine_fn qcow2_co_get_refcount(BlockDriverState *bs,
                                       uint64_t cluster_index,
                                       uint64_t *refcount)
{
    Qcow2State *s = bs->opaque;
    void *block;
    int ret = get_block(bs, cluster_index, &block);

    if (ret < 0) {
        return ret;
    }
    *refcount = 0;
    if (block) {
        *refcount = qcow2_refcount_at(s, block,
                                      index_in_block(s, cluster_index));
        qcow2_cache_put(s->refcount_cache, &block);
    }
    return 0;
}

/* --- changing --- */

static bool add_to_count(const Qcow2State *s, uint64_t *count,
                         const Qcow2RefcountChange *change)
{
    if (change->decrease ? *count < change->addend
                         : change->addend > s->refcount_max - *count) {
        return false;
    }
    *count += change->decrease ? -change->addend : change->addend;
    return true;
}

static uint64_t clusters_in_block(const Qcow2State *s,
                                  const Qcow2RefcountChange *change)
{
    uint64_t rest = (1ULL << s->refcount_block_bits) -
                    index_in_block(s, change->first);

    return MIN(change->clusters, rest);
}

/* All or nothing of what @change and @block have in common. */
static bool check_counts(const Qcow2State *s, const void *block,
                         const Qcow2RefcountChange *change)
{
    uint64_t index = index_in_block(s, change->first);
    uint64_t clusters = clusters_in_block(s, change);

    for (uint64_t i = 0; i < clusters; i++) {
        uint64_t count = qcow2_refcount_at(s, block, index + i);

        if (!add_to_count(s, &count, change)) {
            return false;
        }
    }
    return true;
}

static void mark_counts(BlockDriverState *bs, void *block, uint64_t index,
                        uint64_t count)
{
    Qcow2State *s = bs->opaque;
    uint64_t from = index << s->refcount_order >> 3;
    uint64_t end = (((index + count) << s->refcount_order) + 7) >> 3;

    qcow2_cache_mark_part(s->refcount_cache, block, from, end - from);
}

static void change_counts(BlockDriverState *bs, void *block,
                          const Qcow2RefcountChange *change)
{
    Qcow2State *s = bs->opaque;
    uint64_t index = index_in_block(s, change->first);
    uint64_t clusters = clusters_in_block(s, change);

    for (uint64_t i = 0; i < clusters; i++) {
        uint64_t count = qcow2_refcount_at(s, block, index + i);
        bool ok = add_to_count(s, &count, change) &&
                  qcow2_set_refcount_at(s, block, index + i, count);

        g_assert(ok);
        if (count == 0 && change->decrease) {
            qcow2_note_free(bs, change->first + i);
        }
    }
    mark_counts(bs, block, index, clusters);
}

/* Of @change, what is in its first block. */
static int coroutine_fn change_one_block(BlockDriverState *bs,
                                         const Qcow2RefcountChange *change)
{
    Qcow2State *s = bs->opaque;
    void *block;
    int ret = 0;

    if (!change->decrease) {
        ret = qcow2_co_make_refblock(bs, change->first);
    }
    if (ret >= 0) {
        ret = get_block(bs, change->first, &block);
    }
    if (ret < 0) {
        return ret;
    }
    if (!block) {
        return -EINVAL; /* less than nothing */
    }
    if (check_counts(s, block, change)) {
        change_counts(bs, block, change);
    } else {
        ret = -EINVAL;
    }
    qcow2_cache_put(s->refcount_cache, &block);
    return ret;
}

/* What has just worked works backwards, but for an I/O error: then what is
 * counted too high is a leak, and what is counted too low was free before. */
static void coroutine_fn undo(BlockDriverState *bs,
                              const Qcow2RefcountChange *change,
                              uint64_t clusters)
{
    Qcow2State *s = bs->opaque;
    Qcow2RefcountChange inverse = *change;
    uint64_t step;

    inverse.decrease = !change->decrease;
    inverse.clusters = clusters;
    inverse.type = QCOW2_DISCARD_NEVER;
    while (inverse.clusters > 0) {
        step = clusters_in_block(s, &inverse);
        change_one_block(bs, &inverse);
        inverse.first += step;
        inverse.clusters -= step;
    }
}

/* All blocks, or none. */
static int coroutine_fn change_blocks(BlockDriverState *bs,
                                      const Qcow2RefcountChange *change)
{
    Qcow2State *s = bs->opaque;
    Qcow2RefcountChange rest = *change;

    while (rest.clusters > 0) {
        uint64_t step = clusters_in_block(s, &rest);
        int ret = change_one_block(bs, &rest);

        if (ret < 0) {
            undo(bs, change, rest.first - change->first);
            return ret;
        }
        rest.first += step;
        rest.clusters -= step;
    }
    return 0;
}

static bool wants_discard(BlockDriverState *bs,
                          const Qcow2RefcountChange *change)
{
    Qcow2State *s = bs->opaque;

    return change->decrease && s->pass_discard[change->type] &&
           bs->file->discard_unmap;
}

/* Free, that is: but not what is a table all the same, in an image that is
 * corrupt. */
static bool coroutine_fn may_be_discarded(BlockDriverState *bs,
                                          uint64_t cluster)
{
    const Qcow2State *s = bs->opaque;
    int64_t offset = (int64_t)(cluster << s->cluster_bits);
    uint64_t count = 1;

    if (qcow2_co_get_refcount(bs, cluster, &count) < 0 || count > 0) {
        return false;
    }
    if (qcow2_overlaps(bs, 0, offset, s->cluster_size)) {
        qcow2_co_signal_corruption(bs, false, offset,
                                   "Cluster %#" PRIx64 " is in use as a table "
                                   "and is not counted", (uint64_t)offset);
        return false;
    }
    return true;
}

/* Tells the file of clusters that nobody has any more, run by run. Nobody
 * can get them meanwhile, as the caller holds the lock. */
static void coroutine_fn discard_free(BlockDriverState *bs,
                                      const Qcow2RefcountChange *change)
{
    Qcow2State *s = bs->opaque;
    uint64_t end = change->first + change->clusters;
    uint64_t start = change->first;

    for (uint64_t i = change->first; i <= end; i++) {
        if (i < end && may_be_discarded(bs, i)) {
            continue;
        }
        if (start < i) {
            bdrv_co_pdiscard(bs->file, start << s->cluster_bits,
                             (i - start) << s->cluster_bits);
        }
        start = i + 1;
    }
}

int coroutine_fn qcow2_co_change_refcount(BlockDriverState *bs,
                                          const Qcow2RefcountChange *change)
{
    int ret = change_blocks(bs, change);

    if (ret == 0 && wants_discard(bs, change)) {
        discard_free(bs, change);
    }
    return ret;
}

int coroutine_fn qcow2_co_update_refcount(BlockDriverState *bs, int64_t host,
                                          uint64_t bytes, uint64_t addend,
                                          bool decrease,
                                          Qcow2DiscardType type)
{
    Qcow2State *s = bs->opaque;
    Qcow2RefcountChange change = {
        .first = host >> s->cluster_bits,
        .addend = addend,
        .decrease = decrease,
        .type = type,
    };
    int ret = 0;

    if (bytes == 0) {
        return 0;
    }
    change.clusters = ((host + bytes - 1) >> s->cluster_bits) -
                      change.first + 1;
    if (decrease) {
        ret = qcow2_cache_set_dependency(s->refcount_cache, s->l2_cache);
    }
    return ret < 0 ? ret : qcow2_co_change_refcount(bs, &change);
}
