/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Write-zeroes: whole clusters and subclusters get an entry that says so, what
 * is left over at either end is written.
 *
 * With BLOCK_REQ_MAY_UNMAP host clusters are given up, else they stay for
 * the next write. An image of version 2 has no zero clusters: where there is
 * a backing file, zeroes are written.
 */
#include "qcow2-discard.h"

#include <errno.h>

#include "qcow2-write.h"

#define ZERO_BYTES (64 * 1024)
#define ZERO_IOV   64

static char zeroes[ZERO_BYTES] __attribute__((aligned(4096)));

/* --- writing them --- */

static int coroutine_fn write_zero_bytes(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes)
{
    struct iovec iov[ZERO_IOV];
    int ret = 0;

    while (ret == 0 && bytes > 0) {
        BlockIo io = { .op = BLOCK_WRITE, .offset = offset, .iov = iov };

        for (; io.niov < ZERO_IOV && io.bytes < bytes; io.niov++) {
            iov[io.niov].iov_base = zeroes;
            iov[io.niov].iov_len = MIN(bytes - io.bytes, ZERO_BYTES);
            io.bytes += iov[io.niov].iov_len;
        }
        ret = qcow2_co_write(bs, &io);
        offset += io.bytes;
        bytes -= io.bytes;
    }
    return ret;
}

/* --- parts of clusters --- */

/* Whether the guest reads zeroes there, as far as tables can tell. */
static int coroutine_fn is_zero(BlockDriverState *bs, int64_t offset,
                                int64_t end, bool *zero)
{
    BlockStatus status;
    unsigned depth;
    int ret = 0;

    end = MIN(end, bs->total_bytes);
    *zero = true;
    while (ret == 0 && *zero && offset < end) {
        ret = bdrv_co_block_status_above(bs, NULL, offset, end - offset,
                                         &status, &depth);
        if (ret == 0) {
            *zero = (status.flags & BLOCK_STATUS_ZERO) ||
                    !(status.flags & BLOCK_STATUS_ALLOCATED);
            offset += status.bytes;
        }
    }
    return ret;
}

/* Whole subclusters of one cluster, or the whole cluster if it has none. 1:
 * the tables say that they are zeroes; 0: they cannot. s->lock is held. */
static int coroutine_fn mark_zero(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes)
{
    Qcow2State *s = bs->opaque;
    int64_t from = qcow2_offset_in_cluster(s, offset);
    uint64_t mask = qcow2_subcluster_mask(s, from, from + bytes);
    uint64_t entry, bitmap;
    unsigned index;
    void *slice;
    int ret = qcow2_co_make_l2(bs, offset);

    if (ret == 0) {
        ret = qcow2_co_get_l2_slice(bs, offset, &slice, &index);
    }
    if (ret < 0) {
        return ret;
    }
    entry = qcow2_l2_entry(s, slice, index);
    if (!(entry & QCOW2_COMPRESSED)) {
        if (qcow2_has_subclusters(s)) {
            bitmap = qcow2_l2_bitmap(s, slice, index);
            qcow2_set_l2_bitmap(s, slice, index,
                                (bitmap | mask << 32) & ~mask);
        } else {
            qcow2_set_l2_entry(s, slice, index, entry | QCOW2_ZERO);
        }
        qcow2_mark_l2_entries(bs, slice, index, 1);
        ret = 1;
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return ret;
}

/* Whether tables may say it: who reads the data file without us would not
 * see it. */
static bool tables_suffice(const Qcow2State *s)
{
    return s->version >= 3 &&
           !(qcow2_has_data_file(s) && qcow2_data_file_is_raw(s));
}

/* The same, not under s->lock; when @unused only if there is no data. */
static int coroutine_fn zero_by_table(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, bool unused)
{
    Qcow2State *s = bs->opaque;
    Qcow2Extent extent = { .kind = QCOW2_UNALLOCATED };
    int ret = 0;

    co_mutex_lock(&s->lock);
    qcow2_co_wait_claims(bs, offset, offset + bytes);
    if (unused) {
        ret = qcow2_co_map(bs, offset, bytes, &extent);
    }
    if (ret < 0 || extent.kind == QCOW2_NORMAL ||
        extent.kind == QCOW2_COMPRESSED_DATA) {
        goto out;
    }
    if (tables_suffice(s)) {
        ret = mark_zero(bs, offset, bytes);
    } else {
        ret = unused && !bs->backing && !qcow2_has_data_file(s);
    }
out:
    co_mutex_unlock(&s->lock);
    return ret;
}

/* A part of a unit, which is a subcluster or cluster. If the rest of it is
 * zeroes already, it becomes one of zeroes as a whole. */
static int coroutine_fn zero_part(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes)
{
    const Qcow2State *s = bs->opaque;
    int64_t unit = 1LL << s->subcluster_bits;
    int64_t start = offset & ~(unit - 1);
    bool head, tail = false;
    int ret;

    if (bytes <= 0) {
        return 0;
    }
    ret = is_zero(bs, start, offset, &head);
    if (ret == 0 && head) {
        ret = is_zero(bs, offset + bytes, start + unit, &tail);
    }
    if (ret == 0 && tail) {
        ret = zero_by_table(bs, start, unit, true);
    }
    if (ret == 0) {
        ret = write_zero_bytes(bs, offset, bytes);
    }
    return MIN(ret, 0);
}

/* Whole subclusters of one cluster. */
static int coroutine_fn zero_subclusters(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes)
{
    int ret;

    if (bytes <= 0) {
        return 0;
    }
    ret = zero_by_table(bs, offset, bytes, false);
    if (ret == 0) {
        ret = write_zero_bytes(bs, offset,
                               MIN(bytes, bs->total_bytes - offset));
    }
    return MIN(ret, 0);
}

/* --- whole clusters --- */

/* Who reads the data file without us has to see them, too. */
static int coroutine_fn zero_data_file(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, unsigned flags)
{
    Qcow2State *s = bs->opaque;

    return bdrv_co_pwrite_zeroes(s->data_file, offset,
                                 MIN(bytes, bs->total_bytes - offset), flags);
}

static int coroutine_fn zero_clusters(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, unsigned flags)
{
    Qcow2State *s = bs->opaque;
    bool raw = qcow2_has_data_file(s) && qcow2_data_file_is_raw(s);
    Qcow2Clearing how = {
        .type = QCOW2_DISCARD_REQUEST,
        .zero = true,
        .keep_host = raw || s->discard_no_unref ||
                     !(flags & BLOCK_REQ_MAY_UNMAP),
        .keep_data = raw || !(flags & BLOCK_REQ_MAY_UNMAP),
        .prepare = raw ? zero_data_file : NULL,
        .flags = flags & BLOCK_REQ_MAY_UNMAP,
    };

    if (bytes <= 0) {
        return 0;
    }
    if (s->version < 3) {
        if (bs->backing) {
            return write_zero_bytes(bs, offset,
                                    MIN(bytes, bs->total_bytes - offset));
        }
        how.zero = false;
        how.keep_host = false;
    }
    return qcow2_co_clear_clusters(bs, offset, bytes, &how);
}

/* --- a request --- */

static int64_t round_up(int64_t offset, int64_t unit)
{
    return (offset + unit - 1) & ~(unit - 1);
}

/* Whole units: subclusters at either end, clusters in between. */
static int coroutine_fn zero_units(BlockDriverState *bs, int64_t offset,
                                   int64_t end, unsigned flags)
{
    const Qcow2State *s = bs->opaque;
    int64_t first = round_up(offset, s->cluster_size);
    int64_t last = qcow2_cluster_start(s, end);
    int ret;

    if (first > last) {
        return zero_subclusters(bs, offset, end - offset);
    }
    ret = zero_subclusters(bs, offset, first - offset);
    if (ret == 0) {
        ret = zero_clusters(bs, first, last - first, flags);
    }
    return ret < 0 ? ret : zero_subclusters(bs, last, end - last);
}

/* What is behind the end of the disk belongs to its last cluster, as long as
 * nothing has to be written there. */
static int coroutine_fn zero_range(BlockDriverState *bs, int64_t offset,
                                   int64_t bytes, unsigned flags)
{
    const Qcow2State *s = bs->opaque;
    int64_t unit = 1LL << s->subcluster_bits;
    int64_t end = offset + bytes;
    int64_t first = round_up(offset, unit);
    int64_t last = end == bs->total_bytes ? round_up(end, s->cluster_size)
                                          : end & ~(unit - 1);
    int ret;

    if (first > last) {
        return zero_part(bs, offset, bytes);
    }
    ret = zero_part(bs, offset, MIN(first, end) - offset);
    if (ret == 0) {
        ret = zero_units(bs, first, last, flags);
    }
    return ret < 0 ? ret : zero_part(bs, last, end - last);
}

static int coroutine_fn zeroes_request(BlockDriverState *bs,
                                       const BlockRequest *req)
{
    int ret = qcow2_co_prepare_write(bs);

    if (ret == 0) {
        ret = zero_range(bs, req->offset, req->bytes, req->flags);
    }
    if (ret == 0 && (req->flags & BLOCK_REQ_FUA)) {
        ret = qcow2_co_flush_metadata(bs);
    } else if (ret == 0 && qcow2_tables_are_behind(bs)) {
        ret = qcow2_co_write_tables(bs);
    }
    return ret;
}

void qcow2_write_zeroes_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit_co(bs, req, zeroes_request);
}
