/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes the tables that are in memory as a whole, L1 and refcount table: all
 * of one, or the sector that holds one entry. Never flushes.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_BYTES sizeof(uint64_t)

uint64_t qcow2_write_unit(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return MIN(MAX(bs->file->limits.request_alignment, 512u),
               (uint64_t)s->cluster_size);
}

/* [from, from + bytes) of the table, zeroes behind its end. */
static int coroutine_fn write_part(BlockDriverState *bs,
                                   const Qcow2Table *table, uint64_t from,
                                   uint64_t bytes)
{
    uint64_t first = from / ENTRY_BYTES;
    uint64_t *buf = NULL;
    int ret;

    ret = qcow2_co_check_overlap(bs, table->kind, table->offset + from, bytes);
    if (ret < 0) {
        return ret;
    }
    if (posix_memalign((void **)&buf, 4096, bytes)) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < bytes / ENTRY_BYTES; i++) {
        buf[i] = first + i < table->count
                     ? GUINT64_TO_BE(table->entries[first + i])
                     : 0;
    }
    ret = bdrv_co_pwrite(bs->file, table->offset + from, bytes, buf, 0);
    free(buf);
    return ret;
}

int coroutine_fn qcow2_co_write_entry(BlockDriverState *bs,
                                      const Qcow2Table *table,
                                      uint64_t index)
{
    uint64_t unit = qcow2_write_unit(bs);

    g_assert(index < table->count);
    return write_part(bs, table, index * ENTRY_BYTES / unit * unit, unit);
}

int coroutine_fn qcow2_co_write_table(BlockDriverState *bs,
                                      const Qcow2Table *table)
{
    const Qcow2State *s = bs->opaque;
    uint64_t bytes = table->count * ENTRY_BYTES;
    int64_t mask = s->cluster_size - 1;

    return write_part(bs, table, 0, (bytes + mask) & ~mask);
}
