/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A write-back cache of equally large tables of the image: L2 slices, or
 * refcount blocks. In-memory tables are as on disk, big-endian.
 *
 * Order of writes: dirty tables go to the file when the cache is flushed or
 * when room is needed. A dependency says that another cache has to be written
 * (and, with depends_on_flush, be stable) before any table of this one is.
 * All: Context: home of the node, under its lock where it may yield.
 */
#ifndef BLOCK_FORMAT_QCOW2_CACHE_H
#define BLOCK_FORMAT_QCOW2_CACHE_H

#include "block/coroutine.h"
#include "block/driver.h"

typedef struct Qcow2Cache Qcow2Cache;

/* @tables of @table_bytes each; NULL when there is no memory. Buffers are
 * aligned for direct I/O. Context: any */
Qcow2Cache *qcow2_cache_new(BlockDriverState *bs, unsigned tables,
                            unsigned table_bytes);
/* What is dirty is lost. */
void qcow2_cache_free(Qcow2Cache *cache);

/*
 * Pins the table at @offset (aligned, not 0) of the file and returns it, read if necessary.
 * *table stays valid across yields until it is put. 0 or a negative errno.
 */
int coroutine_fn qcow2_cache_get(Qcow2Cache *cache, uint64_t offset,
                                 void **table);
/* The same without reading what is there: the caller fills it all. */
int coroutine_fn qcow2_cache_get_empty(Qcow2Cache *cache, uint64_t offset,
                                       void **table);
void qcow2_cache_put(Qcow2Cache *cache, void **table);

/* The table if it is in memory, else NULL. Not pinned: valid until the caller
 * yields or returns to the loop. Counts as a use. */
void *qcow2_cache_peek(Qcow2Cache *cache, uint64_t offset);

/* The table is pinned and has changed: all of it, or these bytes. */
void qcow2_cache_mark_dirty(Qcow2Cache *cache, void *table);
void qcow2_cache_mark_part(Qcow2Cache *cache, void *table, size_t from,
                           size_t bytes);

/* Writes what is dirty, with what it depends on; does not flush the file. */
int coroutine_fn qcow2_cache_write(Qcow2Cache *cache);
/* The same, and flushes the file. After L2 tables the L1 entries that lead to
 * new ones are written and flushed, too. */
int coroutine_fn qcow2_cache_flush(Qcow2Cache *cache);

/* No table of @cache is written before all of @dependency are. */
int coroutine_fn qcow2_cache_set_dependency(Qcow2Cache *cache,
                                            Qcow2Cache *dependency);
/* No table of @cache is written before the file was flushed. */
void qcow2_cache_depends_on_flush(Qcow2Cache *cache);

/* The cluster at @offset is not a table any more: its dirty contents must
 * never be written. Not pinned. */
void qcow2_cache_forget(Qcow2Cache *cache, uint64_t offset, uint64_t bytes);
/* Writes and drops everything: the tables may change behind the cache. */
int coroutine_fn qcow2_cache_empty(Qcow2Cache *cache);
/* Gives memory back of clean tables not used since the last call. */
void qcow2_cache_clean_unused(Qcow2Cache *cache);

bool qcow2_cache_is_dirty(const Qcow2Cache *cache);
/* Whether there is any table in memory. */
bool qcow2_cache_in_use(const Qcow2Cache *cache);

#endif
