/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long the image file is, and where it has never been written to. Under
 * s->lock, but for the end.
 *
 * Two things are gained from knowing. Clusters behind what the file had when
 * it was opened read as zeroes until somebody writes there, so that copy on
 * write has nothing to write where the guest's disk is empty. And a write
 * that makes a file longer keeps all others waiting in the kernel; so the
 * file is made longer ahead of them, in steps that double, and cut when it is
 * closed. After a crash it stays longer, with a hole at its end.
 */
#include "qcow2-write.h"

#include <errno.h>

#define STEP_MIN (1024 * 1024)
#define STEP_MAX (64 * 1024 * 1024)

/* Failing is no matter: writes make it longer, or fail themselves. */
static void coroutine_fn grow_file(BlockDriverState *bs, int64_t end)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    BlockTruncate to = { 0 };

    w->file_end = MAX(w->file_end, bs->file->total_bytes);
    if (w->cannot_grow || end <= w->file_end) {
        return;
    }
    w->grow_step = CLAMP(2 * w->grow_step, STEP_MIN, STEP_MAX);
    to.bytes = qcow2_cluster_start(s, end + w->grow_step +
                                          s->cluster_size - 1);
    if (bdrv_co_truncate(bs->file, &to, NULL)) {
        w->file_end = to.bytes;
        w->grown = true;
    } else {
        w->cannot_grow = true;
    }
}

void qcow2_grow_init(Qcow2WriteState *w)
{
    BlockDriverState *bs = w->bs;
    const Qcow2State *s = bs->opaque;

    w->file_end = bs->file->total_bytes;
    w->used_end = qcow2_cluster_start(s, w->file_end + s->cluster_size - 1);
    w->fresh_from = w->used_end;
    w->cannot_grow = !bs->file->grows;
}

bool coroutine_fn qcow2_co_use_clusters(BlockDriverState *bs, int64_t host,
                                        int64_t bytes)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    bool fresh = bs->file->grows && host >= w->fresh_from;

    w->fresh_from = MAX(w->fresh_from, host + bytes);
    w->used_end = MAX(w->used_end, host + bytes);
    grow_file(bs, host + bytes);
    return fresh;
}

/* A row that begins in what was freed and goes on into what is fresh does not
 * say where: it stays behind fresh_from. */
void qcow2_unuse_row(BlockDriverState *bs, const Qcow2Row *row)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    int64_t host = row->first << s->cluster_bits;
    int64_t end = (row->first + row->clusters) << s->cluster_bits;

    if (w->used_end == end) {
        w->used_end = host;
    }
    if (row->fresh && w->fresh_from == end) {
        w->fresh_from = host;
    }
}

void qcow2_freed_cluster(BlockDriverState *bs, uint64_t cluster)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    int64_t end = (cluster + 1) << s->cluster_bits;

    w->fresh_from = MAX(w->fresh_from, end);
}

/* Behind the last cluster that is in use, but not below @from. An image may
 * have clusters in use behind its end that we have not made. */
static int64_t coroutine_fn find_end(BlockDriverState *bs, int64_t from,
                                     int64_t to)
{
    const Qcow2State *s = bs->opaque;
    uint64_t first = from >> s->cluster_bits;
    uint64_t cluster = to >> s->cluster_bits;

    for (; cluster > first; cluster--) {
        uint64_t count;
        int ret = qcow2_co_get_refcount(bs, cluster - 1, &count);

        if (ret < 0) {
            return ret;
        }
        if (count > 0) {
            break;
        }
    }
    return cluster << s->cluster_bits;
}

int coroutine_fn qcow2_co_trim_file(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    BlockTruncate to = { 0 };
    int64_t end;

    if (!w->grown || bs->file->total_bytes != w->file_end) {
        return 0; /* somebody else has set the length since */
    }
    co_mutex_lock(&s->lock);
    end = find_end(bs, w->used_end, w->file_end);
    co_mutex_unlock(&s->lock);
    if (end < 0) {
        return end;
    }
    to.bytes = end;
    return bdrv_co_truncate(bs->file, &to, NULL) ? 0 : -EIO;
}
