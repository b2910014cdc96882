/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discards and zeroes ranges of a file or block device, in a worker thread:
 * these calls wait for direct I/O in flight, and no engine has them.
 *
 * Called by file-posix.c. A request carries its own ThreadPoolWork (the one
 * its engine part would use), so that nothing is allocated. What the file
 * turns out not to support is remembered for the next request.
 */
#include "file-posix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ZERO_BYTES (64 * 1024)
#define ZERO_IOV   16

/* Zeroes go past the end of a file that grows. Beside BLOCK_REQ_ flags. */
#define ZERO_GROWS 0x10000

/* Written by nobody; one piece of memory stands for all zeroes. */
static char zero_bytes[ZERO_BYTES] __attribute__((aligned(4096)));

typedef struct Range {
    int64_t offset, bytes;
} Range;

static BlockRequest *request_of_work(ThreadPoolWork *work)
{
    return (BlockRequest *)((char *)work -
                            offsetof(BlockRequest, engine.work));
}

static bool is_unsupported(int ret)
{
    return ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -ENOTTY;
}

static int range_fallocate(int fd, int mode, int64_t offset, int64_t bytes)
{
    int ret;

    do {
        ret = fallocate(fd, mode, offset, bytes);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

static int range_ioctl(int fd, unsigned long cmd, int64_t offset,
                       int64_t bytes)
{
    uint64_t range[2] = { offset, bytes };
    int ret;

    do {
        ret = ioctl(fd, cmd, range);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

/* The range reads as zeroes after, and holds no storage where possible. */
static int punch_hole(FileState *s, Range range)
{
    int ret;

    if (file_flag(&s->no_punch_hole)) {
        return -EOPNOTSUPP;
    }
    ret = range_fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          range.offset, range.bytes);
    if (is_unsupported(ret)) {
        file_flag_set(&s->no_punch_hole);
    }
    return ret;
}

/* The range reads as zeroes after, and keeps its storage. */
static int zero_range(FileState *s, Range range, unsigned flags)
{
    int mode = FALLOC_FL_ZERO_RANGE |
               (flags & ZERO_GROWS ? 0 : FALLOC_FL_KEEP_SIZE);
    int ret;

    if (file_flag(&s->no_zero_range)) {
        return -EOPNOTSUPP;
    }
    if (s->is_device) {
        ret = range_ioctl(s->fd, BLKZEROOUT, range.offset, range.bytes);
    } else {
        ret = range_fallocate(s->fd, mode, range.offset, range.bytes);
    }
    if (is_unsupported(ret)) {
        file_flag_set(&s->no_zero_range);
    }
    return ret;
}

int file_write_zero_bytes(int fd, int64_t offset, int64_t bytes)
{
    struct iovec iov[ZERO_IOV];
    int64_t done = 0;

    while (done < bytes) {
        int64_t rest = bytes - done;
        unsigned n;
        ssize_t ret;

        for (n = 0; n < ZERO_IOV && rest > 0; n++) {
            iov[n].iov_base = zero_bytes;
            iov[n].iov_len = MIN(rest, ZERO_BYTES);
            rest -= iov[n].iov_len;
        }
        ret = pwritev(fd, iov, n, offset + done);
        if (ret < 0 && errno != EINTR) {
            return -errno;
        }
        if (ret == 0) {
            return -ENOSPC;
        }
        done += MAX(ret, 0);
    }
    return 0;
}

static int write_zero_bytes(FileState *s, Range range)
{
    return file_write_zero_bytes(s->fd, range.offset, range.bytes);
}

static int worker_sync(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    if (fdatasync(s->fd) < 0) {
        int ret = -errno;

        file_sync_failed(bs, ret);
        return ret;
    }
    return 0;
}

static int zero_blocks(FileState *s, Range range, unsigned flags)
{
    int ret = -EOPNOTSUPP;

    if ((flags & BLOCK_REQ_MAY_UNMAP) && !(flags & ZERO_GROWS)) {
        ret = punch_hole(s, range);
    }
    if (is_unsupported(ret)) {
        ret = zero_range(s, range, flags);
    }
    if (is_unsupported(ret)) {
        ret = write_zero_bytes(s, range);
    }
    return ret;
}

/*
 * What of @range is whole blocks of the device; all of it in a file. Through
 * the page cache requests may be smaller than these, but the calls here may
 * not.
 */
static Range whole_blocks(const FileState *s, Range range)
{
    int64_t block = s->device_block_size;
    int64_t first, last;

    if (!s->is_device) {
        return range;
    }
    first = (range.offset + block - 1) / block * block;
    last = (range.offset + range.bytes) / block * block;
    return (Range){ first, MAX(last - first, 0) };
}

/* Whole blocks by call, what is around them by writing. */
static int zero_pieces(FileState *s, Range range, unsigned flags)
{
    Range inner = whole_blocks(s, range);
    Range head = { range.offset, inner.offset - range.offset };
    Range tail = { inner.offset + inner.bytes, 0 };
    int ret;

    if (inner.bytes == 0) {
        return write_zero_bytes(s, range);
    }
    tail.bytes = range.offset + range.bytes - tail.offset;
    ret = write_zero_bytes(s, head);
    if (ret == 0) {
        ret = zero_blocks(s, inner, flags);
    }
    return ret < 0 ? ret : write_zero_bytes(s, tail);
}

static int write_zeroes(BlockDriverState *bs, const BlockRequest *req)
{
    Range range = { req->offset, req->bytes };
    int ret = zero_pieces(bs->opaque, range,
                          req->flags | (req->engine.flags & ZERO_GROWS));

    if (ret == 0 && (req->flags & BLOCK_REQ_FUA) && !bs->cache_no_flush) {
        ret = worker_sync(bs);
    }
    return ret;
}

static int discard(FileState *s, const BlockRequest *req)
{
    Range range = whole_blocks(s, (Range){ req->offset, req->bytes });
    int ret;

    if (range.bytes == 0) {
        return 0;
    }
    if (!s->is_device) {
        ret = punch_hole(s, range);
    } else {
        ret = range_ioctl(s->fd, BLKDISCARD, range.offset, range.bytes);
        if (is_unsupported(ret)) {
            file_flag_set(&s->no_discard);
        }
    }
    return is_unsupported(ret) ? 0 : ret;
}

static int range_fn(ThreadPoolWork *work)
{
    BlockRequest *req = request_of_work(work);
    BlockDriverState *bs = req->protocol;

    file_status_forget(bs->opaque);
    return req->op == BLOCK_DISCARD ? discard(bs->opaque, req)
                                    : write_zeroes(bs, req);
}

static int cut_tail_fn(ThreadPoolWork *work)
{
    BlockRequest *req = request_of_work(work);
    BlockDriverState *bs = req->protocol;
    FileState *s = bs->opaque;
    int ret;

    do {
        ret = ftruncate(s->fd, bs->total_bytes);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

static void worker_cb(ThreadPoolWork *work, int ret)
{
    block_request_complete(request_of_work(work), ret);
}

/* Nobody shortens the file meanwhile: it is as long as the longest write. */
static void range_cb(ThreadPoolWork *work, int ret)
{
    BlockRequest *req = request_of_work(work);
    BlockDriverState *bs = req->protocol;

    if (ret == 0 && (req->engine.flags & ZERO_GROWS)) {
        bs->total_bytes = MAX(bs->total_bytes, req->offset + req->bytes);
    }
    block_request_complete(req, ret);
}

static void submit_work(BlockRequest *req, int (*fn)(ThreadPoolWork *),
                        void (*cb)(ThreadPoolWork *, int))
{
    ThreadPoolWork *work = &req->engine.work;

    work->fn = fn;
    work->cb = cb;
    thread_pool_submit(thread_pool_get(req->ctx), work);
}

void file_worker_submit(BlockDriverState *bs, BlockRequest *req)
{
    bool grows = req->op == BLOCK_WRITE_ZEROES && bs->grows &&
                 req->offset + req->bytes > bs->total_bytes;

    req->engine.flags = grows ? ZERO_GROWS : 0;
    submit_work(req, range_fn, range_cb);
}

void file_worker_cut_tail(BlockDriverState *bs, BlockRequest *req)
{
    submit_work(req, cut_tail_fn, worker_cb);
}
