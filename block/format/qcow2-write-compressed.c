/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes whole clusters compressed: what convert -c does. Several coroutines
 * may be at it; they compress side by side in workers, and share the host's
 * clusters to the byte.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/debug.h"

typedef struct Compressed {
    BlockDriverState *bs;
    int64_t offset;
    const void *data;
    unsigned bytes;
    int64_t host;
    Qcow2Claim claim;
} Compressed;

static uint64_t compressed_entry(const Qcow2State *s, const Compressed *c)
{
    unsigned offset_bits = 62 - (s->cluster_bits - 8);
    uint64_t sectors = (c->host + c->bytes - 1) / 512 - c->host / 512;

    return QCOW2_COMPRESSED | sectors << offset_bits | c->host;
}

/* What has room in the file, shared or not, keeps it: -EIO, as nobody asks for
 * that who means it. */
static int coroutine_fn check_unused(Compressed *c)
{
    Qcow2State *s = c->bs->opaque;
    unsigned index;
    void *slice;
    uint64_t entry;
    int ret = qcow2_co_make_l2(c->bs, c->offset);

    if (ret == 0) {
        ret = qcow2_co_get_l2_slice(c->bs, c->offset, &slice, &index);
    }
    if (ret < 0) {
        return ret;
    }
    entry = qcow2_l2_entry(s, slice, index);
    qcow2_cache_put(s->l2_cache, &slice);
    return entry & (QCOW2_COMPRESSED | QCOW2_L2_OFFSET) ? -EIO : 0;
}

/* Finds room and claims the cluster; s->lock is held. */
static int coroutine_fn begin(Compressed *c)
{
    BlockDriverState *bs = c->bs;
    Qcow2State *s = bs->opaque;
    int64_t end = c->offset + s->cluster_size;
    int ret;

    qcow2_co_wait_claims(bs, c->offset, end);
    ret = check_unused(c);
    if (ret < 0) {
        return ret;
    }
    c->host = qcow2_co_alloc_bytes(bs, c->bytes);
    if (c->host < 0) {
        return c->host;
    }
    ret = qcow2_co_check_overlap(bs, 0, c->host, c->bytes);
    if (ret < 0) {
        return ret;
    }
    qcow2_claim_add(s->write, &c->claim, c->offset, end);
    return 0;
}

static int coroutine_fn enter(Compressed *c)
{
    BlockDriverState *bs = c->bs;
    Qcow2State *s = bs->opaque;
    unsigned index;
    void *slice;
    int ret = qcow2_co_order_l2(bs);

    if (ret == 0) {
        ret = qcow2_co_get_l2_slice(bs, c->offset, &slice, &index);
    }
    if (ret < 0) {
        return ret;
    }
    /* what had this entry before had other data */
    qcow2_decompressed_forget(bs);
    bdrv_co_debug_event(bs->file, BLKDBG_L2_UPDATE_COMPRESSED);
    qcow2_cache_depends_on_flush(s->l2_cache);
    qcow2_free_entry_later(bs, qcow2_l2_entry(s, slice, index),
                           QCOW2_DISCARD_OTHER);
    qcow2_set_l2_entry(s, slice, index, compressed_entry(s, c));
    if (qcow2_has_subclusters(s)) {
        qcow2_set_l2_bitmap(s, slice, index, 0);
    }
    qcow2_mark_l2_entries(bs, slice, index, 1);
    qcow2_cache_put(s->l2_cache, &slice);
    return 0;
}

/* Enters the cluster, or gives up the room for it; s->lock is held. */
static int coroutine_fn finish(Compressed *c, int ret)
{
    Qcow2State *s = c->bs->opaque;

    if (ret == 0) {
        ret = enter(c);
    }
    if (ret < 0) {
        qcow2_co_free_clusters(c->bs, c->host, c->bytes, QCOW2_DISCARD_NEVER);
    }
    qcow2_claim_remove(s->write, &c->claim);
    return ret;
}

/*
 * Whole blocks of the file, which others share. Reading, changing and writing
 * them is for one at a time; that is not what takes the time.
 */
static int coroutine_fn write_blocks(Compressed *c)
{
    BlockDriverState *file = c->bs->file;
    Qcow2State *s = c->bs->opaque;
    int64_t mask = file->limits.request_alignment - 1;
    int64_t start = c->host & ~mask;
    int64_t bytes = ((c->host + c->bytes + mask) & ~mask) - start;
    char *buf = NULL;
    int ret;

    if (posix_memalign((void **)&buf, 4096, bytes)) {
        return -ENOMEM;
    }
    co_mutex_lock(&s->write->compressed_lock);
    ret = qcow2_co_read_file(file, start, bytes, buf);
    if (ret == 0) {
        memcpy(buf + (c->host - start), c->data, c->bytes);
        ret = bdrv_co_pwrite(file, start, bytes, buf, 0);
    }
    co_mutex_unlock(&s->write->compressed_lock);
    free(buf);
    return ret;
}

static int coroutine_fn write_data(Compressed *c)
{
    BlockDriverState *file = c->bs->file;

    bdrv_co_debug_event(file, BLKDBG_WRITE_COMPRESSED);
    /* with a range lock the node does it, for clusters below its blocks */
    if (file->limits.request_alignment == 1 || file->range_lock) {
        return bdrv_co_pwrite(file, c->host, c->bytes, c->data, 0);
    }
    return write_blocks(c);
}

static int coroutine_fn write_compressed(Compressed *c)
{
    Qcow2State *s = c->bs->opaque;
    int ret;

    co_mutex_lock(&s->lock);
    ret = begin(c);
    co_mutex_unlock(&s->lock);
    if (ret < 0) {
        return ret;
    }
    ret = write_data(c);
    co_mutex_lock(&s->lock);
    ret = finish(c, ret);
    co_mutex_unlock(&s->lock);
    return ret;
}

/* As it is, without what was added at the end of the disk. */
static int coroutine_fn write_plain(BlockDriverState *bs, int64_t offset,
                                    int64_t bytes, const void *data)
{
    struct iovec iov = { .iov_base = (void *)data, .iov_len = bytes };

    return qcow2_co_write(bs, &(BlockIo){ .op = BLOCK_WRITE, .offset = offset,
                                          .bytes = bytes, .iov = &iov,
                                          .niov = 1 });
}

/* @data is a whole cluster, of which @bytes are the disk's. */
static int coroutine_fn compress_cluster(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes, const void *data)
{
    Qcow2State *s = bs->opaque;
    g_autofree void *buf = g_try_malloc(s->cluster_size);
    Compressed c = { .bs = bs, .offset = offset, .data = buf };
    ssize_t size;

    if (!buf) {
        return -ENOMEM;
    }
    size = qcow2_co_compress(bs, data, buf);
    if (size == -ENOMEM) {
        return write_plain(bs, offset, bytes, data);
    }
    if (size < 0) {
        return size;
    }
    c.bytes = size;
    return write_compressed(&c);
}

/* The last cluster of the disk may be short. */
static int coroutine_fn compress_part(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, const void *data)
{
    const Qcow2State *s = bs->opaque;
    g_autofree char *whole = NULL;

    if (bytes == s->cluster_size) {
        return compress_cluster(bs, offset, bytes, data);
    }
    whole = g_try_malloc0(s->cluster_size);
    if (!whole) {
        return -ENOMEM;
    }
    memcpy(whole, data, bytes);
    return compress_cluster(bs, offset, bytes, whole);
}

int coroutine_fn qcow2_co_pwrite_compressed(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            const void *buf)
{
    const Qcow2State *s = bs->opaque;
    int ret;

    if (qcow2_has_data_file(s)) {
        return -ENOTSUP;
    }
    if (qcow2_offset_in_cluster(s, offset) ||
        (qcow2_offset_in_cluster(s, bytes) &&
         offset + bytes != bs->total_bytes)) {
        return -EINVAL;
    }
    qcow2_track_write(bs, offset, bytes);
    ret = qcow2_co_prepare_write(bs);
    for (int64_t done = 0; done < bytes && ret == 0;
         done += s->cluster_size) {
        ret = compress_part(bs, offset + done,
                            MIN(bytes - done, s->cluster_size),
                            (const char *)buf + done);
    }
    return ret;
}
