/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkverify: two images that have to show the same. "raw" is known to work,
 * "test" is a format under test: both are written, both are read, and the
 * first difference is reported and, in the programs, ends the process.
 *
 * A guest may change its buffers while we look at them: what is written and
 * what is compared is a copy.
 */
#include "block/debug.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/block-co.h"
#include "block/iov.h"
#include "filter.h"

/* Bounds what a guest can make us allocate: longer requests are split. */
#define VERIFY_MAX_TRANSFER (1024 * 1024)
#define VERIFY_ALIGNMENT    4096

typedef struct BlkverifyState {
    BlockDriverState *test; /* the other is bs->file */
} BlkverifyState;

static bool blkverify_open(BlockDriverState *bs, Options *opts,
                           GError **error)
{
    BlkverifyState *s = bs->opaque;

    if (!bdrv_open_child(bs, opts, "raw", 0, &bs->file, error) ||
        !bdrv_open_child(bs, opts, "test", BDRV_CHILD_IMAGE, &s->test,
                         error) ||
        !filter_open(bs, opts, error)) {
        return false;
    }
    bs->read_only |= s->test->read_only;
    bs->total_bytes = s->test->total_bytes;
    bs->limits.max_transfer = VERIFY_MAX_TRANSFER;
    bs->limits.can_discard = false;
    return true;
}

/* What is past the end of the raw image is no request to make of it. */
static int coroutine_fn co_raw(BlockDriverState *bs, const BlockIo *io)
{
    if (io->offset + io->bytes > bs->file->total_bytes) {
        return -EIO;
    }
    return bdrv_co_io(bs->file, io);
}

static bool same_result(const BlockRequest *req, int test, int raw)
{
    if (test == raw) {
        return true;
    }
    bdrv_debug_mismatch("blkverify: %s offset=%" G_GINT64_FORMAT
                        " bytes=%" G_GINT64_FORMAT
                        " return value mismatch %d != %d",
                        req->op == BLOCK_READ ? "read" : "write", req->offset,
                        req->bytes, test, raw);
    return false;
}

static bool same_contents(const BlockRequest *req, const char *test,
                          const char *raw)
{
    int64_t same = 0;

    if (memcmp(test, raw, req->bytes) == 0) {
        return true;
    }
    while (test[same] == raw[same]) {
        same++;
    }
    bdrv_debug_mismatch("blkverify: read offset=%" G_GINT64_FORMAT
                        " bytes=%" G_GINT64_FORMAT
                        " contents mismatch at offset %" G_GINT64_FORMAT,
                        req->offset, req->bytes, req->offset + same);
    return false;
}

/* Both with @buf, or without; @raw_buf for what is read of the raw one. */
static int coroutine_fn co_both(BlockDriverState *bs, const BlockRequest *req,
                                char *buf, char *raw_buf)
{
    BlkverifyState *s = bs->opaque;
    struct iovec test_iov = { buf, req->bytes };
    struct iovec raw_iov = { raw_buf, req->bytes };
    BlockIo io = {
        .op = req->op,
        .flags = req->flags & BLOCK_REQ_FUA,
        .offset = req->offset,
        .bytes = req->bytes,
        .iov = &test_iov,
        .niov = buf ? 1 : 0,
    };
    int test = bdrv_co_io(s->test, &io);

    io.iov = &raw_iov;
    return same_result(req, test, co_raw(bs, &io)) ? test : -EIO;
}

static int coroutine_fn co_read(BlockDriverState *bs, const BlockRequest *req,
                                char *bufs)
{
    char *raw = bufs + VERIFY_MAX_TRANSFER;
    int ret = co_both(bs, req, bufs, raw);

    if (ret == 0 && !same_contents(req, bufs, raw)) {
        return -EIO;
    }
    if (ret == 0) {
        iov_from_buf(req->iov, req->niov, 0, bufs, req->bytes);
    }
    return ret;
}

static int coroutine_fn co_transfer(BlockDriverState *bs,
                                    const BlockRequest *req)
{
    char *bufs;
    int ret;

    if (posix_memalign((void **)&bufs, VERIFY_ALIGNMENT,
                       2 * VERIFY_MAX_TRANSFER) != 0) {
        return -ENOMEM;
    }
    if (req->op == BLOCK_READ) {
        ret = co_read(bs, req, bufs);
    } else {
        iov_to_buf(req->iov, req->niov, 0, bufs, req->bytes);
        ret = co_both(bs, req, bufs, bufs);
    }
    free(bufs);
    return ret;
}

static int coroutine_fn co_write(BlockDriverState *bs,
                                 const BlockRequest *req)
{
    BlkverifyState *s = bs->opaque;
    int ret = req->op == BLOCK_WRITE ? co_transfer(bs, req)
                                     : co_both(bs, req, NULL, NULL);

    bs->total_bytes = MAX(bs->total_bytes, s->test->total_bytes);
    return ret;
}

static int coroutine_fn co_request(BlockDriverState *bs,
                                   const BlockRequest *req)
{
    BlkverifyState *s = bs->opaque;

    switch (req->op) {
    case BLOCK_READ:
        return co_transfer(bs, req);
    case BLOCK_FLUSH: /* nobody relies on the raw one after a crash */
        return bdrv_co_flush(s->test);
    case BLOCK_DISCARD: /* the two may show different things afterwards */
        return 0;
    default:
        return co_write(bs, req);
    }
}

static void blkverify_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit_co(bs, req, co_request);
}

/* "blkverify:raw:test" */
static char *blkverify_exact_name(BlockDriverState *bs)
{
    BlkverifyState *s = bs->opaque;

    if (g_str_has_prefix(bs->file->filename, "json:") ||
        g_str_has_prefix(s->test->filename, "json:")) {
        return NULL;
    }
    return g_strdup_printf("blkverify:%s:%s", bs->file->filename,
                           s->test->filename);
}

const BlockDriver bdrv_blkverify = {
    .name = "blkverify",
    .is_protocol = true,
    .is_filter = true,
    .one_home = true,
    .instance_size = sizeof(BlkverifyState),
    .exact_name = blkverify_exact_name,
    .open = blkverify_open,
    .submit = blkverify_submit,
};
