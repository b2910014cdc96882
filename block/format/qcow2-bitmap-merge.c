/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Adds the bits of one bitmap to another, of the same image or of another one
 * whose disk is as large. Granularities may differ: what is set in the source
 * is a range of the disk, which is noted in the destination.
 */
#include "qcow2-bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "qcow2-error.h"

typedef struct Qcow2BitmapMerge {
    BlockDriverState *from_bs;
    const Qcow2Bitmap *from;
    Qcow2Bitmap *to;
    int64_t disk_bytes;
    uint8_t *buf;       /* a cluster of the source */
} Qcow2BitmapMerge;

/* Bits [first, first + count) of the source are set. */
static void add_run(Qcow2BitmapMerge *m, uint64_t first, uint64_t count)
{
    uint64_t start = first << m->from->granularity_bits;
    uint64_t end = (first + count) << m->from->granularity_bits;
    uint64_t to_first, to_last;

    end = MIN(end, (uint64_t)m->disk_bytes);
    if (start >= end) {
        return;
    }
    to_first = start >> m->to->granularity_bits;
    to_last = (end - 1) >> m->to->granularity_bits;
    qcow2_bits_set(m->to->pending, to_first, to_last - to_first + 1);
}

/* Those in m->buf, of which bit 0 is bit @base. */
static void add_bits(Qcow2BitmapMerge *m, uint64_t base, uint64_t bits)
{
    uint64_t run = 0;

    for (uint64_t i = 0; i < bits; i++) {
        if (m->buf[i / 8] >> (i % 8) & 1) {
            run++;
        } else if (run) {
            add_run(m, base + i - run, run);
            run = 0;
        }
    }
    if (run) {
        add_run(m, base + bits - run, run);
    }
}

static int coroutine_fn add_cluster(Qcow2BitmapMerge *m, uint64_t entry,
                                    uint32_t index)
{
    const Qcow2State *s = m->from_bs->opaque;
    uint64_t offset = entry & QCOW2_BITMAP_ENTRY_OFFSET;
    uint64_t bits = s->cluster_size * 8;
    int ret = 0;

    if (entry & QCOW2_BITMAP_ENTRY_ONES) {
        add_run(m, index * bits, bits);
        return 0;
    }
    memset(m->buf, 0, s->cluster_size);
    if (offset) {
        ret = qcow2_co_read_file(m->from_bs->file, offset, s->cluster_size,
                                 m->buf);
    }
    if (m->from->pending) {
        qcow2_bits_or_into(m->from->pending, index * s->cluster_size,
                           s->cluster_size, m->buf);
    }
    if (ret == 0) {
        add_bits(m, index * bits, bits);
    }
    return ret;
}

static int coroutine_fn add_all(Qcow2BitmapMerge *m)
{
    const Qcow2State *s = m->from_bs->opaque;
    g_autofree uint64_t *table = NULL;
    int ret = qcow2_bitmap_read_table(m->from_bs, m->from, &table);

    m->buf = g_malloc(s->cluster_size);
    for (uint32_t i = 0; i < m->from->table_entries && ret == 0; i++) {
        if (table[i] || m->from->pending) {
            ret = add_cluster(m, table[i], i);
        }
    }
    g_free(m->buf);
    return ret;
}

/* --- the other image --- */

/* The engine that completed the last request may be at work above us. */
static void coroutine_fn leave_other(BlockDriverState *bs)
{
    coroutine_give_way();
    bdrv_detach_context(bs, aio_context_current());
}

/* An image that nobody uses at the moment is at home nowhere. */
static int coroutine_fn add_from(BlockDriverState *bs, Qcow2BitmapMerge *m)
{
    bool foreign = m->from_bs != bs && !m->from_bs->home;
    int ret;

    if (m->from_bs != bs && m->from_bs->home &&
        m->from_bs->home != aio_context_current()) {
        return -EBUSY;
    }
    if (foreign) {
        bdrv_attach_context(m->from_bs, aio_context_current());
    }
    ret = add_all(m);
    if (foreign) {
        leave_other(m->from_bs);
    }
    return ret;
}

static int coroutine_fn merge_locked(BlockDriverState *bs,
                                     Qcow2BitmapMerge *m)
{
    Qcow2State *s = bs->opaque;
    int ret = qcow2_bitmap_begin(bs, m->to);

    if (ret < 0) {
        return ret;
    }
    if (!m->to->pending) {
        m->to->pending = qcow2_bits_new(&s->pending_bytes);
    }
    if (m->from != m->to) {
        ret = add_from(bs, m);
    }
    return ret == 0 ? qcow2_bitmap_end(bs, m->to) : ret;
}

static bool same_size(BlockDriverState *bs, BlockDriverState *from_bs,
                      GError **error)
{
    return bs->total_bytes == from_bs->total_bytes ||
           qcow2_error(error, "Bitmaps are of different sizes (destination "
                       "size is %" PRId64 ", source size is %" PRId64 ") and "
                       "can't be merged", bs->total_bytes,
                       from_bs->total_bytes);
}

bool coroutine_fn qcow2_co_bitmap_merge(BlockDriverState *bs,
                                        const char *name,
                                        BlockDriverState *from_bs,
                                        const char *from, GError **error)
{
    Qcow2State *s = bs->opaque;
    Qcow2BitmapMerge m = {
        .from_bs = from_bs,
        .disk_bytes = bs->total_bytes,
    };
    int ret;

    m.to = qcow2_bitmap_need_good(bs, name, error);
    if (!m.to || !qcow2_may_change(bs, error)) {
        return false;
    }
    if (from_bs->drv != bs->drv) {
        return qcow2_error(error, "Dirty bitmap '%s' not found", from);
    }
    m.from = qcow2_bitmap_need_good(from_bs, from, error);
    if (!m.from || !same_size(bs, from_bs, error)) {
        return false;
    }
    co_mutex_lock(&s->lock);
    ret = merge_locked(bs, &m);
    qcow2_bitmaps_update_tracking(bs);
    co_mutex_unlock(&s->lock);
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Failed to write bitmap '%s' to "
                             "file", name);
}
