/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads parts of the image file that may lie behind its end: for tables and
 * the header. A file that was cut off, or not yet written so far, reads as
 * zeroes there, which to a table means: nothing.
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
