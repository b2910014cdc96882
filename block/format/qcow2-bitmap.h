/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent dirty bitmaps, as the files of that name share them.
 *
 *     qcow2-bitmap.c            what tools do with bitmaps
 *     qcow2-bitmap-track.c      writes are noted, stored at close
 *     qcow2-bitmap-store.c      tables and clusters of one bitmap
 *     qcow2-bitmap-merge.c      one added to another
 *     qcow2-bitmap-resize.c     all of them when the disk's size changes
 *     qcow2-bitmap-directory.c  the bytes of the directory
 *     qcow2-bits.c              bits in memory
 */
#ifndef BLOCK_FORMAT_QCOW2_BITMAP_H
#define BLOCK_FORMAT_QCOW2_BITMAP_H

#include "qcow2-bits.h"
#include "qcow2.h"

#define QCOW2_BITMAP_IN_USE           (1U << 0)
#define QCOW2_BITMAP_AUTO             (1U << 1)
#define QCOW2_BITMAP_EXTRA_COMPATIBLE (1U << 2)
#define QCOW2_BITMAP_FLAGS_RESERVED   0xfffffff8U

#define QCOW2_BITMAP_TYPE_DIRTY 1
#define QCOW2_BITMAP_MIN_GRANULARITY_BITS 9
#define QCOW2_BITMAP_MAX_GRANULARITY_BITS 31
#define QCOW2_BITMAP_MAX_NAME 1023
#define QCOW2_BITMAP_MAX_BYTES (512 * 1024 * 1024) /* of its clusters */

/* entries of a bitmap's table */
#define QCOW2_BITMAP_ENTRY_OFFSET   0x00fffffffffffe00ULL
#define QCOW2_BITMAP_ENTRY_ONES     (1ULL << 0) /* where there is no cluster */
#define QCOW2_BITMAP_ENTRY_RESERVED 0xff000000000001feULL

typedef struct Qcow2Bitmap {
    char *name;
    unsigned name_bytes;
    uint64_t table_offset;
    uint32_t table_entries;
    uint32_t flags;            /* as on the disk */
    unsigned granularity_bits;
    void *extra;               /* unknown; kept */
    uint32_t extra_bytes;
    uint64_t flags_offset;     /* of the flags, in the file */

    Qcow2Bits *pending;        /* set, and not yet on the disk; or NULL */
    bool in_use;               /* it is we who have it in use */
    bool lost;                 /* and it misses writes: in use it stays */
} Qcow2Bitmap;

void qcow2_bitmap_free(void *bitmap);

/* --- qcow2-bitmap.c --- */

/* The bitmap of that name, whose bits mean something; or NULL with @error. */
Qcow2Bitmap *qcow2_bitmap_need_good(BlockDriverState *bs, const char *name,
                                    GError **error);

/* --- qcow2-bitmap-resize.c --- */

/* False, with @error, where there are bitmaps that nobody can resize. */
bool qcow2_bitmaps_allow_resize(BlockDriverState *bs, GError **error);
/* Before the disk's size changes: all are in use, and after it: all are of
 * that size. Under s->lock. */
int coroutine_fn qcow2_bitmaps_begin_resize(BlockDriverState *bs);
int coroutine_fn qcow2_bitmaps_resize(BlockDriverState *bs);

/* --- qcow2-bitmap-directory.c --- */

/* What an entry takes in the directory. */
uint64_t qcow2_bitmap_entry_bytes(uint64_t name_bytes, uint64_t extra_bytes);

/* What the directory has to fit. */
typedef struct Qcow2BitmapLimits {
    uint32_t count;
    int64_t cluster_size;
} Qcow2BitmapLimits;

/* Of Qcow2Bitmap; NULL with @error. Context: any */
GPtrArray *qcow2_bitmap_directory_parse(const uint8_t *bytes, size_t length,
                                        const Qcow2BitmapLimits *limits,
                                        GError **error);
GByteArray *qcow2_bitmap_directory_build(GPtrArray *bitmaps);
/* The directory of exactly these is at @offset: sets their flags_offset. */
void qcow2_bitmap_directory_placed(GPtrArray *bitmaps, uint64_t offset);

/* --- qcow2-bitmap-store.c: under s->lock --- */

/* How many bits a disk of @disk_bytes needs. */
uint64_t qcow2_bitmap_bits(const Qcow2Bitmap *bitmap, int64_t disk_bytes);
/* Entries of its table. */
uint64_t qcow2_bitmap_clusters(const Qcow2State *s, const Qcow2Bitmap *bitmap,
                               int64_t disk_bytes);

/* Into new memory, checked: 0, or -EINVAL for one that cannot be. */
int coroutine_fn qcow2_bitmap_read_table(BlockDriverState *bs,
                                         const Qcow2Bitmap *bitmap,
                                         uint64_t **table);
/* As long as the disk needs it. One that is in use need not be. */
bool qcow2_bitmap_size_valid(BlockDriverState *bs, const Qcow2Bitmap *bitmap);
bool qcow2_bitmap_entry_valid(const Qcow2State *s, uint64_t entry);

/* A new table with these entries; sets offset and number. */
int coroutine_fn qcow2_bitmap_new_table(BlockDriverState *bs,
                                        Qcow2Bitmap *bitmap,
                                        const uint64_t *table,
                                        uint32_t entries);
/* All bits become 0, then the clusters are free. */
int coroutine_fn qcow2_bitmap_clear_data(BlockDriverState *bs,
                                         const Qcow2Bitmap *bitmap);
void coroutine_fn qcow2_bitmap_free_clusters(BlockDriverState *bs,
                                             const uint64_t *table,
                                             uint32_t first, uint32_t end);
void coroutine_fn qcow2_bitmap_free_table(BlockDriverState *bs,
                                          uint64_t offset, uint32_t entries);

/* Puts what is pending on the disk; the bitmap is in use meanwhile. */
int coroutine_fn qcow2_bitmap_write_pending(BlockDriverState *bs,
                                            Qcow2Bitmap *bitmap);

/* Changes the flags on the disk, in their sector; not flushed. */
int coroutine_fn qcow2_bitmap_write_flags(BlockDriverState *bs,
                                          Qcow2Bitmap *bitmap,
                                          uint32_t flags);
/* A new directory from s->bitmaps, in force when it returns. */
int coroutine_fn qcow2_bitmaps_write_directory(BlockDriverState *bs);

/* --- qcow2-bitmap-track.c --- */

/* It was in use by somebody who did not finish, or has unknown extra data:
 * not to be used. */
bool qcow2_bitmap_is_stale(const Qcow2Bitmap *bitmap);
/* Puts a bitmap in use / what is pending away and out of use again, unless
 * writes are being noted in it. Under s->lock. */
int coroutine_fn qcow2_bitmap_begin(BlockDriverState *bs,
                                    Qcow2Bitmap *bitmap);
int coroutine_fn qcow2_bitmap_end(BlockDriverState *bs, Qcow2Bitmap *bitmap);
/* Writes are being noted in it. */
bool qcow2_bitmap_stays_in_use(BlockDriverState *bs,
                               const Qcow2Bitmap *bitmap);
/* Whether writes are to be noted in one has changed. While the node is
 * read-only there are none; when it ceases to be, qcow2.h has
 * qcow2_bitmaps_start_tracking(). */
void qcow2_bitmaps_update_tracking(BlockDriverState *bs);

#endif
