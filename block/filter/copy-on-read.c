/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy-on-read: what a read finds in a backing file is written to the image
 * above it, so that the next one finds it there.
 *
 * Each request is a coroutine. The rule to know: from the look at who has the
 * data to the end of the copy, nobody else may change it, or a guest's write
 * in between would be undone. Copies are whole clusters, as the image would
 * otherwise fetch the rest of each a second time, and bounded in size.
 */
#include "block/debug.h"

#include <errno.h>
#include <stdlib.h>

#include "block/block-co.h"
#include "block/graph.h"
#include "block/image.h"
#include "block/iov.h"
#include "filter.h"

#define COPY_MAX     (2 * 1024 * 1024) /* at least one cluster of any size */
#define COPY_ALIGN   4096
#define SECTOR       512

/* A range that a request works on; on its coroutine's stack. */
typedef struct CorRange {
    int64_t start, end;
    bool copies;            /* nobody else may be in the range */
    CoQueue waiters;
    struct CorRange *next;  /* one that came before */
} CorRange;

typedef struct CorState {
    BlockDriverState *base; /* first one that is not copied from, or NULL */
    bool bounded;           /* by "bottom" */
    int64_t cluster_bytes;
    CorRange *ranges;       /* newest first; home */
} CorState;

/* --- ranges --- */

static CorRange *find_conflict(const CorRange *range)
{
    CorRange *other = range->next;

    while (other && !((range->copies || other->copies) &&
                      range->start < other->end &&
                      other->start < range->end)) {
        other = other->next;
    }
    return other;
}

static void coroutine_fn range_lock(CorState *s, CorRange *range)
{
    CorRange *other;

    co_queue_init(&range->waiters);
    range->next = s->ranges;
    s->ranges = range;
    while ((other = find_conflict(range))) {
        co_queue_wait(&other->waiters);
    }
}

static void coroutine_fn range_unlock(CorState *s, CorRange *range)
{
    CorRange **link = &s->ranges;

    while (*link != range) {
        link = &(*link)->next;
    }
    *link = range->next;
    while (co_queue_restart_next(&range->waiters)) {
        /* all of them: each looks for itself whether it may go on */
    }
}

/* --- reads --- */

/* One read on its way, piece by piece. */
typedef struct CorRead {
    BlockDriverState *bs;
    const BlockRequest *req;
    int64_t done;
    char *buf; /* COPY_MAX bytes, once there is something to copy */
} CorRead;

static int64_t cluster_down(const CorState *s, int64_t offset)
{
    return offset / s->cluster_bytes * s->cluster_bytes;
}

/*
 * Of @bytes from @offset on the first *same are alike: to be copied (1), to
 * be read as they are (0).
 */
static int coroutine_fn needs_copy(CorState *s, BlockDriverState *file,
                                   int64_t offset, int64_t bytes,
                                   int64_t *same)
{
    BlockStatus status;
    unsigned depth;
    int ret = bdrv_co_block_status_above(file, s->base, offset, bytes,
                                         &status, &depth);

    if (ret < 0) {
        return ret;
    }
    *same = status.bytes > 0 ? MIN(bytes, status.bytes) : bytes;
    /* with a bottom, only what somebody down to there has */
    return depth > 0 &&
           (!s->bounded || (status.flags & BLOCK_STATUS_ALLOCATED));
}

static bool need_buffer(CorRead *r)
{
    return r->buf ||
           posix_memalign((void **)&r->buf, COPY_ALIGN, COPY_MAX) == 0;
}

/* Reads [start, end) and writes it where it will be found next time; the
 * request gets its @bytes of it. */
static int coroutine_fn copy(CorRead *r, int64_t start, int64_t end,
                             int64_t bytes)
{
    BlockDriverState *file = r->bs->file;
    int64_t offset = r->req->offset + r->done;
    struct iovec iov = { r->buf, end - start };
    int ret = bdrv_co_pread(file, start, end - start, r->buf);

    if (ret < 0) {
        return ret;
    }
    bdrv_co_debug_event(file, BLKDBG_COR_WRITE);
    ret = iov_is_zero(&iov, 1)
              ? bdrv_co_pwrite_zeroes(file, start, end - start, 0)
              : bdrv_co_pwrite(file, start, end - start, r->buf, 0);
    if (ret == 0) {
        iov_from_buf(r->req->iov, r->req->niov, r->done,
                     r->buf + (offset - start), bytes);
    }
    return ret;
}

/* With the range locked from @start on. *@piece is how much of the request
 * was done if it was to be copied (1); 0: the next *@piece bytes are not. */
static int coroutine_fn try_copy(CorRead *r, const CorRange *range,
                                 int64_t *piece)
{
    CorState *s = r->bs->opaque;
    int64_t offset = r->req->offset + r->done;
    int64_t bytes = MIN(r->req->bytes - r->done, range->end - offset);
    int64_t end;
    int ret = needs_copy(s, r->bs->file, offset, bytes, piece);

    if (ret <= 0) {
        return ret;
    }
    if (!need_buffer(r)) {
        return -ENOMEM;
    }
    end = cluster_down(s, offset + *piece + s->cluster_bytes - 1);
    ret = copy(r, range->start, MIN(end, range->end), *piece);
    return ret < 0 ? ret : 1;
}

/* A slice of the request, as it is. */
static int coroutine_fn pass_slice(CorRead *r, int64_t bytes)
{
    const BlockRequest *req = r->req;
    g_autofree struct iovec *slice = g_new(struct iovec, req->niov);
    BlockRequest part = {
        .op = BLOCK_READ,
        .offset = req->offset + r->done,
        .bytes = bytes,
        .iov = slice,
        .niov = iov_slice(slice, req->iov, req->niov, r->done, bytes),
    };

    return filter_co_pass(r->bs, &part);
}

static int coroutine_fn read_piece(CorRead *r)
{
    CorState *s = r->bs->opaque;
    int64_t offset = r->req->offset + r->done;
    int64_t start = cluster_down(s, offset);
    int64_t end = cluster_down(s, r->req->offset + r->req->bytes +
                                      s->cluster_bytes - 1);
    CorRange range = {
        .start = start,
        .end = MIN(MIN(end, start + COPY_MAX), r->bs->file->total_bytes),
        .copies = true,
    };
    int64_t piece = 0;
    int ret;

    if (offset >= range.end) { /* behind the end are zeroes */
        piece = r->req->bytes - r->done;
        ret = pass_slice(r, piece);
    } else {
        range_lock(s, &range);
        ret = try_copy(r, &range, &piece);
        range_unlock(s, &range);
        if (ret == 0) {
            ret = pass_slice(r, piece);
        }
    }
    r->done += piece;
    return MIN(ret, 0);
}

static int coroutine_fn co_read(BlockDriverState *bs, const BlockRequest *req)
{
    CorRead r = { .bs = bs, .req = req };
    int ret = 0;

    while (ret == 0 && r.done < req->bytes) {
        ret = read_piece(&r);
    }
    free(r.buf);
    return ret;
}

static int coroutine_fn co_modify(BlockDriverState *bs,
                                  const BlockRequest *req)
{
    CorState *s = bs->opaque;
    CorRange range = {
        .start = req->offset,
        .end = req->offset + req->bytes,
    };
    int ret;

    range_lock(s, &range);
    ret = filter_co_pass(bs, req);
    range_unlock(s, &range);
    return ret;
}

static void cor_submit(BlockDriverState *bs, BlockRequest *req)
{
    if (req->op == BLOCK_FLUSH) {
        filter_pass(bs, req);
    } else {
        bdrv_submit_co(bs, req, req->op == BLOCK_READ ? co_read
                                                      : co_modify);
    }
}

/* --- opening --- */

/* The layer below @bs: filters are none. */
static BlockDriverState *skip_filters(BlockDriverState *bs)
{
    while (bs && bs->drv->is_filter) {
        bs = bs->file;
    }
    return bs;
}

static bool find_bottom(BlockDriverState *bs, Options *opts, GError **error)
{
    CorState *s = bs->opaque;
    g_autofree char *name = NULL;
    BlockDriverState *bottom, *layer;

    if (!options_take_str(opts, "bottom", &name, error)) {
        return false;
    }
    if (!name) {
        return true;
    }
    bottom = bdrv_find_node(name);
    if (!bottom) {
        return options_fail(opts, error, "Bottom node '%.64s' not found",
                            name);
    }
    if (bottom->drv->is_filter) {
        return options_fail(opts, error, "Bottom node '%s' is a filter",
                            name);
    }
    layer = skip_filters(bs->file);
    while (layer && layer != bottom) {
        layer = skip_filters(layer->backing);
    }
    if (!layer) {
        return options_fail(opts, error, "Bottom node '%s' is not in the "
                            "backing chain of '%s'", name,
                            bs->file->node_name);
    }
    s->bounded = true;
    s->base = skip_filters(bottom->backing);
    return true;
}

/* The unit in which the image keeps its data; without one, sectors. */
static void find_cluster(BlockDriverState *bs)
{
    CorState *s = bs->opaque;
    BlockDriverState *layer = skip_filters(bs->file);
    BlockImageInfo info = { 0 };

    s->cluster_bytes = SECTOR;
    if (layer->drv->image && layer->drv->image->info &&
        layer->drv->image->info(layer, &info, NULL) &&
        info.cluster_bytes > 0 && info.cluster_bytes <= COPY_MAX) {
        s->cluster_bytes = info.cluster_bytes;
    }
    block_image_info_clear(&info);
}

static bool cor_open(BlockDriverState *bs, Options *opts, GError **error)
{
    if (bs->file->read_only) {
        return options_fail(opts, error, "Block node is read-only");
    }
    if (!filter_open(bs, opts, error) || !find_bottom(bs, opts, error)) {
        return false;
    }
    find_cluster(bs);
    return true;
}

static bool cor_reopen(BlockDriverState *bs, unsigned flags, GError **error)
{
    if (flags & BDRV_OPEN_READ_ONLY) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Can't set node '%s' to r/o with copy-on-read enabled",
                    bs->file->node_name);
        return false;
    }
    return true;
}

static const char *const cor_strong_options[] = { "bottom", NULL };

const BlockDriver bdrv_copy_on_read = {
    .name = "copy-on-read",
    .is_filter = true,
    .one_home = true,
    .instance_size = sizeof(CorState),
    .strong_options = cor_strong_options,
    .open = cor_open,
    .reopen = cor_reopen,
    .submit = cor_submit,
};
