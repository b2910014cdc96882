/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of a virtual machine: guest bytes behind the disk, from the next
 * L2 table on, which no request of a device reaches. Internal snapshots say
 * how much of it is theirs. Called by vblk-io's -b.
 */
#include "qcow2.h"

#include <errno.h>

#include "block/debug.h"

int64_t qcow2_vm_state_offset_at(const Qcow2State *s, int64_t disk_bytes)
{
    int64_t table = INT64_C(1) << s->l1_shift;

    return (disk_bytes + table - 1) & ~(table - 1);
}

int64_t qcow2_vm_state_offset(const BlockDriverState *bs)
{
    return qcow2_vm_state_offset_at(bs->opaque, bs->total_bytes);
}

int coroutine_fn qcow2_co_vmstate(BlockDriverState *bs, BlockOp op,
                                  int64_t offset, int64_t bytes, void *buf)
{
    int64_t start = qcow2_vm_state_offset(bs);
    struct iovec iov = { .iov_base = buf, .iov_len = bytes };
    BlockIo io = { .op = op, .bytes = bytes, .iov = &iov, .niov = 1 };

    if (bytes > INT64_MAX - start || offset > INT64_MAX - start - bytes) {
        return -EIO;
    }
    io.offset = start + offset;
    bdrv_co_debug_event(bs->file, op == BLOCK_READ ? BLKDBG_VMSTATE_LOAD
                                                   : BLKDBG_VMSTATE_SAVE);
    return op == BLOCK_READ ? qcow2_co_pread(bs, io.offset, bytes, &iov, 1)
                            : qcow2_co_write(bs, &io);
}
