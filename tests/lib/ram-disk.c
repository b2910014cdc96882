/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The node itself; block/ calls it as it calls any driver.
 */
#include "ram-disk.h"

#include "block/iov.h"

#include <string.h>

struct RamDisk {
    BlockDriverState bs;
    uint8_t *data;
    GArray *log;
    GPtrArray *held;      /* BlockRequest, in order */
    bool holding;
    bool logging;
    BlockOp fail_op;      /* the three: relaxed atomics */
    int64_t fail_offset;
    int fail_ret;
};

/* What @req is to fail with, or 0. */
static int failure(RamDisk *disk, const BlockRequest *req)
{
    int64_t offset = __atomic_load_n(&disk->fail_offset, __ATOMIC_RELAXED);

    if (req->op != __atomic_load_n(&disk->fail_op, __ATOMIC_RELAXED) ||
        (offset >= 0 && (offset < req->offset ||
                         offset >= req->offset + MAX(req->bytes, 1)))) {
        return 0;
    }
    return __atomic_load_n(&disk->fail_ret, __ATOMIC_RELAXED);
}

static int transfer(RamDisk *disk, const BlockRequest *req)
{
    uint8_t *data = disk->data + req->offset;

    int ret = failure(disk, req);

    if (ret) {
        return ret;
    }
    switch (req->op) {
    case BLOCK_READ:
        iov_from_buf(req->iov, req->niov, 0, data, req->bytes);
        return 0;
    case BLOCK_WRITE:
        iov_to_buf(req->iov, req->niov, 0, data, req->bytes);
        return 0;
    case BLOCK_FLUSH:
        return 0;
    default:
        memset(data, 0, req->bytes);
        return 0;
    }
}

static void ram_submit(BlockDriverState *bs, BlockRequest *req)
{
    RamDisk *disk = (RamDisk *)bs;

    if (disk->logging) {
        RamDiskEntry entry = {
            req->op, req->flags, req->offset, req->bytes, req->niov,
        };

        g_array_append_val(disk->log, entry);
    }
    if (disk->holding) {
        g_ptr_array_add(disk->held, req);
        return;
    }
    block_request_complete_later(req, transfer(disk, req));
}

static const BlockDriver ram_driver = {
    .name = "ram",
    .is_protocol = true,
    .submit = ram_submit,
};

RamDisk *ram_disk_new(int64_t bytes)
{
    RamDisk *disk = g_new0(RamDisk, 1);

    disk->bs = (BlockDriverState) {
        .drv = &ram_driver,
        .node_name = (char *)"ram0",
        .refcount = 1,
        .children = g_ptr_array_new(),
        .total_bytes = bytes,
        .limits = {
            .request_alignment = 1, .memory_alignment = 1,
            .physical_block_size = 4096, .opt_transfer = 65536,
            .discard_alignment = 4096,
            .can_discard = true, .can_write_zeroes = true,
        },
        .discard_unmap = true,
    };
    bdrv_finish_limits(&disk->bs);
    disk->data = g_malloc0(bytes);
    disk->log = g_array_new(FALSE, FALSE, sizeof(RamDiskEntry));
    disk->held = g_ptr_array_new();
    disk->logging = true;
    return disk;
}

void ram_disk_free(RamDisk *disk)
{
    g_assert_cmpuint(disk->bs.refcount, ==, 1);
    g_assert_cmpuint(disk->held->len, ==, 0);
    g_ptr_array_unref(disk->bs.children);
    g_array_unref(disk->log);
    g_ptr_array_unref(disk->held);
    g_free(disk->data);
    g_free(disk);
}

BlockDriverState *ram_disk_node(RamDisk *disk)
{
    return &disk->bs;
}

uint8_t *ram_disk_data(RamDisk *disk)
{
    return disk->data;
}

void ram_disk_fail(RamDisk *disk, BlockOp op, int64_t offset, int ret)
{
    __atomic_store_n(&disk->fail_op, op, __ATOMIC_RELAXED);
    __atomic_store_n(&disk->fail_offset, offset, __ATOMIC_RELAXED);
    __atomic_store_n(&disk->fail_ret, ret, __ATOMIC_RELAXED);
}

void ram_disk_hold(RamDisk *disk)
{
    disk->holding = true;
}

void ram_disk_release(void *opaque)
{
    RamDisk *disk = opaque;

    disk->holding = false;
    for (unsigned i = 0; i < disk->held->len; i++) {
        BlockRequest *req = g_ptr_array_index(disk->held, i);

        block_request_complete_later(req, transfer(disk, req));
    }
    g_ptr_array_set_size(disk->held, 0);
}

void ram_disk_release_backwards(RamDisk *disk)
{
    GPtrArray *held = disk->held;

    for (unsigned i = 0; i < held->len / 2; i++) {
        void *first = held->pdata[i];

        held->pdata[i] = held->pdata[held->len - 1 - i];
        held->pdata[held->len - 1 - i] = first;
    }
    ram_disk_release(disk);
}

unsigned ram_disk_held(const RamDisk *disk)
{
    return disk->held->len;
}

unsigned ram_disk_log_length(const RamDisk *disk)
{
    return disk->log->len;
}

const RamDiskEntry *ram_disk_log(const RamDisk *disk, unsigned i)
{
    g_assert_cmpuint(i, <, disk->log->len);
    return &g_array_index(disk->log, RamDiskEntry, i);
}

void ram_disk_log_clear(RamDisk *disk)
{
    g_array_set_size(disk->log, 0);
}

void ram_disk_log_stop(RamDisk *disk)
{
    disk->logging = false;
}
