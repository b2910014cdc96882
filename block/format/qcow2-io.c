/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables and the header, to and from the image file.
 *
 * What is read may lie behind the file's end. A file that was cut off, or not
 * yet written so far, reads as zeroes there, which to a table means: nothing.
 * What is written may be shorter than a block of the file.
 */
#include "qcow2.h"

#include <errno.h>
#include <string.h>

int coroutine_fn qcow2_co_read_file(BlockDriverState *file, uint64_t offset,
                                    uint64_t bytes, void *buf)
{
    uint64_t length = file->total_bytes;
    uint64_t there = offset < length ? MIN(bytes, length - offset) : 0;
    int ret = 0;

    if (there) {
        ret = bdrv_co_pread(file, offset, there, buf);
    }
    memset((char *)buf + there, 0, bytes - there);
    return ret;
}

static int coroutine_fn write_blocks(BlockDriverState *file, uint64_t offset,
                                     uint64_t bytes, const void *buf)
{
    uint64_t mask = file->limits.request_alignment - 1;
    uint64_t start = offset & ~mask;
    uint64_t length = ((offset + bytes + mask) & ~mask) - start;
    g_autofree char *blocks = g_try_malloc(length);
    int ret;

    if (!blocks) {
        return -ENOMEM;
    }
    ret = qcow2_co_read_file(file, start, length, blocks);
    if (ret < 0) {
        return ret;
    }
    memcpy(blocks + (offset - start), buf, bytes);
    return bdrv_co_pwrite(file, start, length, blocks, 0);
}

int coroutine_fn qcow2_co_write_file(BlockDriverState *file, uint64_t offset,
                                     uint64_t bytes, const void *buf)
{
    uint64_t mask = file->limits.request_alignment - 1;

    /* with a range lock the node does it, for clusters below its blocks */
    return ((offset | bytes) & mask) && !file->range_lock
               ? write_blocks(file, offset, bytes, buf)
               : bdrv_co_pwrite(file, offset, bytes, buf, 0);
}

int coroutine_fn qcow2_co_read_table(BlockDriverState *file, uint64_t offset,
                                     uint64_t entries, uint64_t **table)
{
    g_autofree uint64_t *read = g_try_new(uint64_t, MAX(entries, 1));
    int ret;

    if (!read) {
        return -ENOMEM;
    }
    ret = qcow2_co_read_file(file, offset, entries * sizeof(*read), read);
    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = 0; i < entries; i++) {
        read[i] = GUINT64_FROM_BE(read[i]);
    }
    *table = g_steal_pointer(&read);
    return 0;
}
