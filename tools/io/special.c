/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that only formats know. Called by read and write. */
#include "special.h"

#include <errno.h>

#include "block/driver.h"
#include "image.h"

typedef struct Special {
    IoImage *image;
    IoSpecialOp op;
    int64_t offset;
    int64_t bytes;
    void *buf;
    IoResult result;
} Special;

/* No back end has checked the range. */
static int coroutine_fn write_compressed(const Special *special)
{
    BlockDriverState *bs = special->image->bs;
    int64_t length = bs->total_bytes;

    if (special->offset > length ||
        special->bytes > length - special->offset) {
        return -EIO;
    }
    while (bs->drv->is_filter && bs->file) {
        bs = bs->file;
    }
    if (!bs->drv->image || !bs->drv->image->co_pwrite_compressed) {
        return -ENOTSUP;
    }
    return bs->drv->image->co_pwrite_compressed(bs, special->offset,
                                                special->bytes, special->buf);
}

static int coroutine_fn send(const Special *special)
{
    BlockDriverState *bs = special->image->bs;

    switch (special->op) {
    case IO_LOAD_VMSTATE:
        return bdrv_co_load_vmstate(bs, special->offset, special->bytes,
                                    special->buf);
    case IO_SAVE_VMSTATE:
        return bdrv_co_save_vmstate(bs, special->offset, special->bytes,
                                    special->buf);
    default:
        return write_compressed(special);
    }
}

/* No back end has seen the request: what it does about writes without a cache
 * is done here. */
static int coroutine_fn send_through(const Special *special)
{
    int ret = send(special);

    if (ret == 0 && special->op != IO_LOAD_VMSTATE &&
        !blk_write_cache(special->image->blk)) {
        ret = bdrv_co_flush(special->image->bs);
    }
    return ret;
}

static void coroutine_fn special_co(void *opaque)
{
    Special *special = opaque;
    int64_t start_ns = aio_clock_ns();

    special->result.ret = send_through(special);
    special->result.elapsed_ns = MAX(aio_clock_ns() - start_ns, 1);
}

IoResult io_request_special(Io *io, IoSpecialOp op, int64_t offset,
                            int64_t bytes, void *buf)
{
    Special special = {
        .image = io->image, .op = op, .offset = offset, .bytes = bytes,
        .buf = buf,
    };

    io_run_co(special_co, &special);
    return special.result;
}
