/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the qcow2 driver share. Private to block/format.
 *
 * A node of this driver lives in one thread (one_home): no locks but s->lock,
 * a coroutine mutex that is held while tables are looked up and changed with
 * yields in between. Requests whose mapping is in memory and whose clusters
 * are allocated never take it.
 *
 *     qcow2.c           driver table, open, where a request goes
 *     qcow2-close.h     what is known goes to the disk, and is forgotten
 *     qcow2-options.c   runtime options: cache sizes, overlap-check, ...
 *     qcow2-header.c    header: read and checked
 *     qcow2-extensions.c  header extensions: read
 *     qcow2-header-write.c  both written
 *     qcow2-io.c        tables to and from the file
 *     qcow2-cache.c     L2 slices and refcount blocks in memory
 *     qcow2-map.c       guest offset to host extent
 *     qcow2-read.c      reads that are not one extent
 *     qcow2-compress.c  zlib and zstd, in workers
 *     qcow2-status.c    block status
 *     qcow2-info.c      what qemu-img info prints
 *     qcow2-write.h     what the files of the write path share:
 *       qcow2-write.c     bursts of writes that need more than a child request
 *       qcow2-plan.c      what each of them needs
 *       qcow2-run.c       their data, joined, with copy on write
 *       qcow2-link.c      clusters that have their data enter the tables
 *       qcow2-claim.c     who waits for whom
 *     qcow2-write-compressed.c, qcow2-preallocate.c
 *     qcow2-frees.c     clusters given up, until they may be used again
 *     qcow2-ahead.c     host clusters are counted ahead of their use
 *     qcow2-alloc.c     host clusters: finding and counting them
 *     qcow2-grow.c      the file grows ahead of what is written to it
 *     qcow2-l2.c        L2 tables are made, the L1 table grows
 *     qcow2-refcount.c  reference counts: look up and change
 *     qcow2-reftable.c  new refcount blocks, larger refcount tables
 *     qcow2-snapshot-refcount.c  for all that an L1 table leads to
 *     qcow2-discard.c   discard          qcow2-zeroes.c  write-zeroes
 *     qcow2-overlap.c   no write to data hits metadata; the corrupt bit
 *     qcow2-overlap-map.c  where metadata may be
 *     qcow2-create.c    new images; qcow2-create-options.c, qcow2-measure.c,
 *                       qcow2-fallocate.c, qcow2-backing.c
 *     qcow2-check.h     consistency: qcow2-check*.c, qcow2-rebuild.c
 *     qcow2-snapshot.h  qcow2-snapshot*.c
 *     qcow2-bitmap.h    qcow2-bitmap*.c
 *     qcow2-resize.c    qcow2-shrink.c
 *     qcow2-amend.h     qcow2-amend.c, qcow2-version.c, qcow2-expand.c,
 *                       qcow2-refcount-width.c
 *     qcow2-vmstate.c   the state of a machine
 *     qcow2-open.c      what of these open needs
 */
#ifndef BLOCK_FORMAT_QCOW2_H
#define BLOCK_FORMAT_QCOW2_H

#include "qcow2-cache.h"
#include "qcow2-format.h"

#include "block/block-co.h"
#include "block/control.h"
#include "block/driver.h"
#include "block/image.h"

/* --- what lies where --- */

typedef enum Qcow2Kind {
    QCOW2_UNALLOCATED, /* the backing file's, or zeroes */
    QCOW2_NORMAL,
    QCOW2_ZERO_PLAIN,  /* reads as zeroes, no host cluster */
    QCOW2_ZERO_ALLOC,  /* reads as zeroes, has a host cluster */
    QCOW2_COMPRESSED_DATA,
} Qcow2Kind;

/*
 * A stretch of the guest's disk that is alike: of one kind and, where it has
 * a host offset, contiguous there as well.
 */
typedef struct Qcow2Extent {
    Qcow2Kind kind;
    int64_t bytes;      /* from the offset asked for; > 0 */
    int64_t host;       /* of the offset asked for; NORMAL and ZERO_ALLOC: in
                           the data file; COMPRESSED: the L2 entry; else 0,
                           but where a subcluster of a cluster that has a
                           place is unallocated */
    bool in_place;      /* every cluster of it has QCOW2_COPIED: a write may
                           go where the data is */
} Qcow2Extent;

typedef struct Qcow2Snapshot {
    uint64_t l1_offset;
    uint32_t l1_entries;
    char *id;
    char *name;
    uint64_t disk_bytes;
    uint64_t vm_state_bytes;
    uint32_t date_s, date_ns;
    uint64_t vm_clock_ns;
    uint64_t icount;
    uint32_t extra_bytes;   /* as read, for what we do not know of */
    void *unknown_extra;
    unsigned unknown_extra_bytes;
} Qcow2Snapshot;

/* A header extension that we do not know and keep. */
typedef struct Qcow2UnknownExt {
    uint32_t magic;
    GBytes *data;
} Qcow2UnknownExt;

/* What writes are checked against; one bit of s->overlap_check each. */
typedef enum Qcow2Metadata {
    QCOW2_OL_MAIN_HEADER     = 1 << 0,
    QCOW2_OL_ACTIVE_L1       = 1 << 1,
    QCOW2_OL_ACTIVE_L2       = 1 << 2,
    QCOW2_OL_REFCOUNT_BLOCK  = 1 << 3,
    QCOW2_OL_REFCOUNT_TABLE  = 1 << 4,
    QCOW2_OL_SNAPSHOT_TABLE  = 1 << 5,
    QCOW2_OL_INACTIVE_L1     = 1 << 6,
    QCOW2_OL_INACTIVE_L2     = 1 << 7,
    QCOW2_OL_BITMAP_DIRECTORY = 1 << 8,
} Qcow2Metadata;

#define QCOW2_OL_CONSTANT (QCOW2_OL_MAIN_HEADER | QCOW2_OL_ACTIVE_L1 |       \
                           QCOW2_OL_REFCOUNT_TABLE | QCOW2_OL_SNAPSHOT_TABLE | \
                           QCOW2_OL_BITMAP_DIRECTORY)
#define QCOW2_OL_CACHED   (QCOW2_OL_CONSTANT | QCOW2_OL_ACTIVE_L2 |          \
                           QCOW2_OL_REFCOUNT_BLOCK | QCOW2_OL_INACTIVE_L1)
#define QCOW2_OL_ALL      (QCOW2_OL_CACHED | QCOW2_OL_INACTIVE_L2)

/* Why clusters are given up: decides whether the file gets a discard. */
typedef enum Qcow2DiscardType {
    QCOW2_DISCARD_NEVER,
    QCOW2_DISCARD_ALWAYS,
    QCOW2_DISCARD_REQUEST,  /* pass-discard-request */
    QCOW2_DISCARD_SNAPSHOT, /* pass-discard-snapshot */
    QCOW2_DISCARD_OTHER,    /* pass-discard-other */
    QCOW2_DISCARD__COUNT
} Qcow2DiscardType;

typedef struct Qcow2WriteState Qcow2WriteState; /* qcow2-write.h */
typedef struct Qcow2Decompressed Qcow2Decompressed; /* qcow2-compress.c */

/* Requests that began between two flushes; see qcow2-frees.c. */
typedef struct Qcow2Epoch {
    unsigned in_flight;
    struct Qcow2Epoch *next; /* younger */
} Qcow2Epoch;

/* What an image that other processes write to has to keep. */
typedef struct Qcow2Shape {
    unsigned cluster_bits, l2_entry_bytes;
    bool has_data_file;
    char *data_file_name, *backing_file; /* or NULL */
} Qcow2Shape;

typedef struct Qcow2State {
    /* geometry; fixed while open but for amend and resize */
    unsigned version;
    unsigned cluster_bits;
    int64_t cluster_size;
    unsigned l2_entry_bytes;     /* 8, or 16 with subclusters */
    unsigned l2_bits;            /* log2 of the entries of an L2 table */
    unsigned l2_slice_entries;   /* of the part that is cached as one */
    unsigned subclusters;        /* in a cluster: 1 or 32 */
    unsigned subcluster_bits;
    unsigned l1_shift;           /* from guest offset to L1 index */
    uint64_t plain_bits;         /* what an entry may have that
                                    qcow2_plain_entry() finds; 0: none */
    unsigned refcount_order;
    unsigned refcount_bits;
    uint64_t refcount_max;
    unsigned refcount_block_bits; /* log2 of the entries of a block */
    Qcow2Compression compression;
    uint32_t header_length;

    uint64_t incompatible, compatible, autoclear; /* as on disk now */
    bool found_dirty;            /* and not repaired: refcounts may be wrong */
    bool dirty_stable;           /* since the dirty bit was last set, the disk
                                    has it; see qcow2_counts_may_lag() */

    /* the active L1 table, in host byte order, as on disk */
    uint64_t l1_offset;
    unsigned l1_entries;
    uint64_t *l1;

    /* the refcount table, in host byte order, as on disk */
    uint64_t reftable_offset;
    unsigned reftable_clusters;
    unsigned reftable_entries;
    uint64_t *reftable;
    unsigned reftable_last;      /* index of its last used entry */
    uint64_t free_hint;          /* no free cluster index below it */
    bool refblocks_distinct;     /* each is in the table once: was looked
                                    into, see qcow2-alloc.c */

    Qcow2Cache *l2_cache;        /* slices */
    Qcow2Cache *refcount_cache;  /* blocks */
    CoMutex lock;

    BlockDriverState *data_file; /* external, or bs->file */
    char *data_file_name;        /* as in the header, or NULL */

    uint64_t snapshots_offset;
    uint64_t snapshots_bytes;    /* of the table */
    unsigned snapshot_count;
    Qcow2Snapshot *snapshots;

    /* bitmaps extension */
    uint32_t bitmap_count;
    uint64_t bitmap_directory_offset;
    uint64_t bitmap_directory_bytes;
    GPtrArray *bitmaps;          /* of Qcow2Bitmap; NULL: none, or not read */
    bool tracking;               /* writes have to be noted in some of them */
    int64_t pending_bytes;       /* of memory with what they noted */
    bool bitmaps_in_use;         /* these are marked so on the disk: writing
                                    has begun */

    GSList *unknown_exts;        /* of Qcow2UnknownExt, in order */
    void *unknown_header;        /* bytes of a longer header */
    unsigned unknown_header_bytes;
    uint64_t backing_name_offset;
    Qcow2Shape shape;            /* as the node was opened */

    /* options */
    uint64_t l2_cache_bytes, refcount_cache_bytes;
    unsigned cache_clean_s;      /* cache-clean-interval; 0: never */
    unsigned overlap_check;      /* Qcow2Metadata */
    bool use_lazy_refcounts;
    bool pass_discard[QCOW2_DISCARD__COUNT];
    bool discard_no_unref;
    int64_t check_room;          /* see QCOW2_COUNTS_ROOM; tests set less */
    bool for_check;              /* opened to be checked: repair nothing on
                                    the way in, and open what is corrupt */

    Qcow2Decompressed *decompressed; /* qcow2-compress.c */
    AioTimer clean_timer;
    bool holes_looked_for;       /* by block status: */
    bool has_holes;              /* clusters in use that the file has not */
    bool corrupt_signaled;       /* says so once */
    bool broken;                 /* every request fails: -ENOMEDIUM */
    Qcow2WriteState *write;      /* allocations under way; made by open */
    Qcow2Epoch *epoch;           /* for requests that begin now */
    bool write_ready;            /* what has to precede the first write is
                                    done; until then all writes go to
                                    qcow2_write_submit() */
} Qcow2State;

static inline int64_t qcow2_offset_in_cluster(const Qcow2State *s,
                                              int64_t offset)
{
    return offset & (s->cluster_size - 1);
}

static inline int64_t qcow2_cluster_start(const Qcow2State *s, int64_t offset)
{
    return offset & ~(s->cluster_size - 1);
}

/* Clusters that @bytes take. */
static inline uint64_t qcow2_size_to_clusters(const Qcow2State *s,
                                              uint64_t bytes)
{
    return (bytes >> s->cluster_bits) +
           ((bytes & (s->cluster_size - 1)) != 0);
}

/* Entries of the L1 table for a disk of @bytes. */
static inline uint64_t qcow2_l1_entries_for(const Qcow2State *s,
                                            uint64_t bytes)
{
    uint64_t clusters = qcow2_size_to_clusters(s, bytes);

    return (clusters >> s->l2_bits) +
           ((clusters & ((UINT64_C(1) << s->l2_bits) - 1)) != 0);
}

static inline bool qcow2_has_data_file(const Qcow2State *s)
{
    return s->incompatible & QCOW2_INCOMPAT_DATA_FILE;
}

static inline bool qcow2_data_file_is_raw(const Qcow2State *s)
{
    return s->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW;
}

static inline bool qcow2_has_subclusters(const Qcow2State *s)
{
    return s->incompatible & QCOW2_INCOMPAT_EXTL2;
}

/* Whether refcounts need no order and no flush, as whoever finds the image
 * makes them anew. Not yet while the dirty bit is on its way to the disk. */
static inline bool qcow2_counts_may_lag(const Qcow2State *s)
{
    return (s->incompatible & QCOW2_INCOMPAT_DIRTY) && s->dirty_stable;
}

/* --- qcow2.c --- */

/* Reads everything anew, as after open; the caches have nothing dirty and are
 * empty afterwards. For what changes the image's tables under the driver:
 * snapshot apply, repair, amend. If it fails, so does every later request.
 * Not under s->lock. */
bool coroutine_fn qcow2_co_reload(BlockDriverState *bs, GError **error);

/* A table came into a cache: unused ones are given back after a while.
 * Context: home */
void qcow2_cache_used(BlockDriverState *bs);

/* Writes all dirty metadata and flushes. Not under s->lock. */
int coroutine_fn qcow2_co_flush_metadata(BlockDriverState *bs);
/* As much of that as keeps what a guest has written: of an image that is
 * dirty, refcounts stay behind. */
int coroutine_fn qcow2_co_flush_for_guest(BlockDriverState *bs);

/*
 * Guests that outlive this process (BlockDriverState.outlived): whether there
 * are any and the file lacks something of the tables, which would die with us;
 * writes that, so that requests may be acknowledged. Not under s->lock.
 * Context: home
 */
bool qcow2_tables_are_behind(BlockDriverState *bs);
int coroutine_fn qcow2_co_write_tables(BlockDriverState *bs);

/* --- qcow2-options.c --- */

bool qcow2_take_options(BlockDriverState *bs, Options *opts, GError **error);
/* Cache sizes in tables, from the options and the image's size. */
bool qcow2_caches_new(BlockDriverState *bs, GError **error);

/* --- qcow2-header.c --- */

/* Reads, checks and takes over the header and its extensions, the L1 and the
 * refcount table; nothing that it says is believed unchecked. */
bool coroutine_fn qcow2_co_read_header(BlockDriverState *bs, GError **error);
bool coroutine_fn qcow2_co_read_tables(BlockDriverState *bs, GError **error);
/* What the header has left in memory. Context: main, or home */
void qcow2_free_header(BlockDriverState *bs);

/* Writes header and extensions from @bs and its state, in one write of the
 * first cluster. Not flushed. */
int coroutine_fn qcow2_co_write_header(BlockDriverState *bs);
/* The same, and flushes. */
int coroutine_fn qcow2_co_change_header(BlockDriverState *bs);
/*
 * After that has failed and the state is again what it was before: makes sure
 * that the header is. Where it cannot, either header may be in force, and
 * what was written by one of them would be lost to the other: the image is
 * not used any more. The caller reports an error anyhow.
 */
void coroutine_fn qcow2_co_restore_header(BlockDriverState *bs);

/* Set or clear incompatible bits; stable when it returns. The last two write
 * all metadata first and are not called under s->lock. */
int coroutine_fn qcow2_co_mark_dirty(BlockDriverState *bs);
int coroutine_fn qcow2_co_mark_corrupt(BlockDriverState *bs);
int coroutine_fn qcow2_co_mark_clean(BlockDriverState *bs);
int coroutine_fn qcow2_co_mark_consistent(BlockDriverState *bs);

/* Before the image is written to: feature bits that we do not know and that
 * say so are cleared. Stable when it returns. */
int coroutine_fn qcow2_co_clear_autoclear(BlockDriverState *bs);

/* Whether a table of @entries of @entry_bytes at @offset can be where the
 * header says: aligned, within 56 bits, no larger than @max_bytes. */
bool qcow2_validate_table(BlockDriverState *bs, uint64_t offset,
                          uint64_t entries, unsigned entry_bytes,
                          uint64_t max_bytes, const char *name,
                          GError **error);
/* The same for that of a snapshot: 0, -EFBIG or -EINVAL. */
int qcow2_validate_snapshot_l1(BlockDriverState *bs, const Qcow2Snapshot *sn,
                               GError **error);

/* --- qcow2-io.c --- */

/* Reads what @file has of the range; zeroes behind its end, as a table may
 * lie in a cluster that was never written. 0 or a negative errno. */
int coroutine_fn qcow2_co_read_file(BlockDriverState *file, uint64_t offset,
                                    uint64_t bytes, void *buf);

/* Writes part of a table. Where that is no whole blocks of @file, the rest of
 * them is read and written as it was: the caller sees to it that nobody else
 * writes there, as under s->lock nobody does in a table's clusters. */
int coroutine_fn qcow2_co_write_file(BlockDriverState *file, uint64_t offset,
                                     uint64_t bytes, const void *buf);

/* Reads a table of @entries of 64 bits, into new memory in the byte
 * order of the host: *table, to be freed with g_free(). -ENOMEM, too. */
int coroutine_fn qcow2_co_read_table(BlockDriverState *file, uint64_t offset,
                                     uint64_t entries, uint64_t **table);

/* --- qcow2-map.c --- */

/*
 * Looks [offset, offset + bytes) up in memory: 1 and *extent for as much from
 * the start as is alike, 0 when the table is not in memory, or a negative
 * errno (-EIO: the image is corrupt there, which coroutines report). Never
 * yields.
 */
int qcow2_map_cached(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     Qcow2Extent *extent);

/*
 * The short way for most requests: the L2 entry of the one cluster that all of
 * [offset, offset + bytes) is in, if it is in memory and the cluster is
 * allocated and neither zero nor compressed. 0: qcow2_map_cached() knows.
 */
uint64_t qcow2_plain_entry(const Qcow2State *s, int64_t offset,
                           int64_t bytes);

/* The same, reading tables as needed; s->lock is held. 0 or an errno. */
int coroutine_fn qcow2_co_map(BlockDriverState *bs, int64_t offset,
                              int64_t bytes, Qcow2Extent *extent);

/* Pins the L2 slice that maps @offset, which must exist; *index is the
 * entry's. s->lock is held. */
int coroutine_fn qcow2_co_get_l2_slice(BlockDriverState *bs, int64_t offset,
                                       void **slice, unsigned *index);

uint64_t qcow2_l2_entry(const Qcow2State *s, const void *slice,
                        unsigned index);
uint64_t qcow2_l2_bitmap(const Qcow2State *s, const void *slice,
                         unsigned index); /* 0 without subclusters */
void qcow2_set_l2_entry(const Qcow2State *s, void *slice, unsigned index,
                        uint64_t entry);
void qcow2_set_l2_bitmap(const Qcow2State *s, void *slice, unsigned index,
                         uint64_t bitmap);

/* Host offset and bytes (whole sectors) of a compressed cluster. */
void qcow2_parse_compressed(const Qcow2State *s, uint64_t entry,
                            uint64_t *host, unsigned *bytes);

/* --- qcow2-read.c --- */

/* Takes a read that is not one extent in memory. Completes from the loop. */
void qcow2_read_submit(BlockDriverState *bs, BlockRequest *req);

/* Reads as the guest would; also for copy on write. Not under s->lock. */
int coroutine_fn qcow2_co_pread(BlockDriverState *bs, int64_t offset,
                                int64_t bytes, const struct iovec *iov,
                                unsigned niov);

/* --- qcow2-compress.c --- */

/* The whole cluster that @entry describes, into @buf of cluster_size; in a
 * worker. 0 or a negative errno. */
int coroutine_fn qcow2_co_decompress(BlockDriverState *bs, uint64_t entry,
                                     void *buf);

/* A few clusters that were decompressed last, for reads of parts of them. */
Qcow2Decompressed *qcow2_decompressed_new(BlockDriverState *bs);
void qcow2_decompressed_free(Qcow2Decompressed *cache);
/* As much of the cluster as @iov has room for, from byte @from on. The caller
 * is in an epoch. */
int coroutine_fn qcow2_co_read_compressed(BlockDriverState *bs,
                                          uint64_t entry, int64_t from,
                                          const struct iovec *iov,
                                          unsigned niov);
/* Compressed data has been written, and no entry leads to it yet: what is
 * remembered may be what was there before. */
void qcow2_decompressed_forget(BlockDriverState *bs);

/* Returns the compressed size, less than cluster_size, or -ENOMEM when that
 * cannot be had, or another errno; in a worker. */
ssize_t coroutine_fn qcow2_co_compress(BlockDriverState *bs, const void *data,
                                       void *buf);

/* --- qcow2-write.c --- */

Qcow2WriteState *qcow2_write_state_new(BlockDriverState *bs);
/* Nothing is in flight. */
void qcow2_write_state_free(Qcow2WriteState *write);

/*
 * Takes a write, whatever it needs. Completes from the loop. Writes come here
 * that are not one NORMAL in_place extent in memory, while !s->write_ready,
 * with FUA while qcow2_is_unflushed(), and all when s->overlap_check has
 * QCOW2_OL_INACTIVE_L2 or qcow2_overlaps() found something.
 */
void qcow2_write_submit(BlockDriverState *bs, BlockRequest *req);

/* The same for a coroutine. Not under s->lock. */
int coroutine_fn qcow2_co_write(BlockDriverState *bs, const BlockIo *io);

/* --- qcow2-vmstate.c --- */

/* Where it begins, in guest bytes; a multiple of what an L2 table maps. */
int64_t qcow2_vm_state_offset(const BlockDriverState *bs);
/* The same for a disk of that length. Context: any */
int64_t qcow2_vm_state_offset_at(const Qcow2State *s, int64_t disk_bytes);
/* BlockImageOps.co_vmstate; not under s->lock. */
int coroutine_fn qcow2_co_vmstate(BlockDriverState *bs, BlockOp op,
                                  int64_t offset, int64_t bytes, void *buf);

/* --- qcow2-write-compressed.c, qcow2-preallocate.c: not under s->lock --- */

int coroutine_fn qcow2_co_pwrite_compressed(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            const void *buf);

/* Allocates [offset, offset + bytes) without writing data there: metadata
 * preallocation. The file is long enough for all of it afterwards. */
int coroutine_fn qcow2_co_preallocate(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, GError **error);

/* --- qcow2-frees.c --- */

/*
 * Every read and write of clusters is in an epoch from before it looks at the
 * mapping until it has ended, so that no cluster is used anew meanwhile.
 */
static inline Qcow2Epoch *qcow2_epoch_enter(Qcow2State *s)
{
    s->epoch->in_flight++;
    return s->epoch;
}

static inline void qcow2_epoch_leave(Qcow2Epoch *epoch)
{
    epoch->in_flight--;
}

/* Leaves; for a frame of a request that is passed on:
 * block_request_push(req, qcow2_epoch_cb, qcow2_epoch_enter(s)) */
void qcow2_epoch_cb(BlockRequest *req, void *opaque, int ret);

/*
 * The cluster or clusters, referred to by tables until now, have one
 * reference less once that is stable on disk. Under s->lock, never fails,
 * does not yield; a crash before leaks them. What is to be discarded on the
 * host is, too.
 */
void qcow2_free_later(BlockDriverState *bs, int64_t host, uint64_t bytes,
                      Qcow2DiscardType type);
/* Whatever an L2 entry holds on to. */
void qcow2_free_entry_later(BlockDriverState *bs, uint64_t entry,
                            Qcow2DiscardType type);

/*
 * For qcow2_co_flush_metadata(), both under s->lock: what it is about to make
 * stable, before it writes the caches; and that it has succeeded, after which
 * what was freed before the mark may be used again.
 */
typedef struct Qcow2FlushMark {
    uint64_t changes;
    uint64_t frees;
} Qcow2FlushMark;

Qcow2FlushMark qcow2_flush_mark(BlockDriverState *bs);
int coroutine_fn qcow2_co_flush_done(BlockDriverState *bs,
                                     Qcow2FlushMark mark);

/* Whether a flush of the file alone would leave out anything of ours. */
bool qcow2_is_unflushed(BlockDriverState *bs);

/* Flushes until nothing is left to be freed: before refcounts are compared
 * with what is used, and at close. Nothing is in flight; not under s->lock. */
int coroutine_fn qcow2_co_settle(BlockDriverState *bs);

/* --- qcow2-ahead.c --- */

/* What was counted ahead of its use and is not used is free again. Under
 * s->lock. */
void coroutine_fn qcow2_co_give_ahead_back(BlockDriverState *bs);

/* --- qcow2-grow.c --- */

/* At close, nothing in flight: cuts off what the file was grown ahead. */
int coroutine_fn qcow2_co_trim_file(BlockDriverState *bs);

/* --- qcow2-alloc.c: all under s->lock --- */

/* Contiguous free clusters, refcount 1 from now on: their offset in the file,
 * or a negative errno. */
int64_t coroutine_fn qcow2_co_alloc_clusters(BlockDriverState *bs,
                                             uint64_t bytes);
/* The same at @host, as many as are free there: *clusters of them, maybe 0. */
int coroutine_fn qcow2_co_alloc_clusters_at(BlockDriverState *bs,
                                            int64_t host, uint64_t *clusters);
/* Room for a compressed cluster of @bytes, sharing host clusters. */
int64_t coroutine_fn qcow2_co_alloc_bytes(BlockDriverState *bs,
                                          unsigned bytes);

/*
 * One reference less, at once: for clusters that no table on the disk refers
 * to, because none ever did or because that was flushed. Failing leaks.
 */
void coroutine_fn qcow2_co_free_clusters(BlockDriverState *bs, int64_t host,
                                         uint64_t bytes,
                                         Qcow2DiscardType type);
/* The same, for those who say themselves what has failed. */
int coroutine_fn qcow2_co_try_free_clusters(BlockDriverState *bs, int64_t host,
                                            uint64_t bytes,
                                            Qcow2DiscardType type);

/* --- qcow2-l2.c: all under s->lock --- */

/* The L2 table for @offset is there and not shared: it may be changed. */
int coroutine_fn qcow2_co_make_l2(BlockDriverState *bs, int64_t offset);

/* Room for @entries, and for some more unless @exact. */
int coroutine_fn qcow2_co_grow_l1(BlockDriverState *bs, uint64_t entries,
                                  bool exact);
/* Writes s->l1[index] to the disk, in its sector. */
int coroutine_fn qcow2_co_write_l1_entry(BlockDriverState *bs,
                                         unsigned index);
/*
 * Entries that lead to new L2 tables wait until these are stable: flushing
 * the cache of L2 tables writes them. Whoever reads or writes L1 on the disk
 * does that first. Whether there are any; and, for the cache, writes and
 * flushes them.
 */
bool qcow2_l1_is_dirty(BlockDriverState *bs);
int coroutine_fn qcow2_co_flush_l1(BlockDriverState *bs);

/* --- qcow2-refcount.c: all under s->lock --- */

int coroutine_fn qcow2_co_get_refcount(BlockDriverState *bs,
                                       uint64_t cluster_index,
                                       uint64_t *refcount);
/*
 * Adds @addend (or takes, when @decrease) for each cluster that the range
 * touches; all or nothing. Decreases reach the disk after the L2 tables that
 * are dirty now. -EINVAL where that overflows or falls below 0.
 */
int coroutine_fn qcow2_co_update_refcount(BlockDriverState *bs, int64_t host,
                                          uint64_t bytes, uint64_t addend,
                                          bool decrease,
                                          Qcow2DiscardType type);

uint64_t qcow2_refcount_at(const Qcow2State *s, const void *block,
                           uint64_t index);
/* False when @value does not fit. */
bool qcow2_set_refcount_at(const Qcow2State *s, void *block, uint64_t index,
                           uint64_t value);

/* --- qcow2-discard.c --- */

void qcow2_discard_submit(BlockDriverState *bs, BlockRequest *req);
void qcow2_write_zeroes_submit(BlockDriverState *bs, BlockRequest *req);
/* Whole clusters, or up to the end of the image; not under s->lock. @full
 * drops zero clusters as well. */
int coroutine_fn qcow2_co_discard(BlockDriverState *bs, int64_t offset,
                                  int64_t bytes, Qcow2DiscardType type,
                                  bool full);

/* --- qcow2-overlap.c --- */

/*
 * What of s->overlap_check a write to the image file would hit, but for @ign
 * and QCOW2_OL_INACTIVE_L2: bits of Qcow2Metadata. Does not yield; for every
 * write of data it looks at one bit a cluster.
 */
unsigned qcow2_overlaps(BlockDriverState *bs, unsigned ign, int64_t offset,
                        int64_t bytes);
/* Tables are elsewhere now; snapshots, bitmap directory included. */
void qcow2_overlap_changed(BlockDriverState *bs);
/*
 * Before a write of metadata or data to the image file: 0, or -EIO when it
 * would hit metadata of another kind than @ign; then the image is marked
 * corrupt.
 */
int coroutine_fn qcow2_co_check_overlap(BlockDriverState *bs, unsigned ign,
                                        int64_t offset, int64_t bytes);

/*
 * "qcow2: Marking image as corrupt: ...; further corruption events will be
 * suppressed", once; @fatal: nothing is read or written any more.
 */
void coroutine_fn qcow2_co_signal_corruption(BlockDriverState *bs, bool fatal,
                                             int64_t offset, const char *fmt,
                                             ...) G_GNUC_PRINTF(4, 5);
/* False once it was fatal: operations on the whole image are not begun, since
 * what they change would not be written. Context: any */
bool qcow2_may_change(BlockDriverState *bs, GError **error);

/* --- operations on whole images --- */

bool qcow2_create(const char *filename, Options *opts, GError **error);
extern const BlockOptionHelp qcow2_create_options[];
bool qcow2_measure(Options *opts, BlockDriverState *from,
                   BlockMeasure *measure, GError **error);
/* qcow2_co_preallocate() in any @mode but off: also on the host. */
bool coroutine_fn qcow2_co_preallocate_mode(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            BlockPrealloc mode,
                                            GError **error);
bool qcow2_amend(BlockDriverState *bs, Options *opts, bool force,
                 GError **error);
bool qcow2_info(BlockDriverState *bs, BlockImageInfo *info, GError **error);
int coroutine_fn qcow2_co_block_status(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, BlockStatus *status);
bool coroutine_fn qcow2_co_truncate(BlockDriverState *bs,
                                    const BlockTruncate *to, GError **error);
bool coroutine_fn qcow2_co_check(BlockDriverState *bs, BlockCheck *check,
                                 GError **error);
/* Writes the header with these, and flushes. -ENOSPC: no room for them. */
int coroutine_fn qcow2_co_write_backing_names(BlockDriverState *bs,
                                              const char *file,
                                              const char *format);
bool coroutine_fn qcow2_co_change_backing(BlockDriverState *bs,
                                          const char *file,
                                          const char *format, GError **error);
int coroutine_fn qcow2_co_make_empty(BlockDriverState *bs);

/*
 * For open, once the tables were read: snapshots and bitmaps, unless they are
 * going to be checked. An image that says it is dirty is repaired if it may be
 * written to.
 */
bool coroutine_fn qcow2_co_read_lists(BlockDriverState *bs, GError **error);
/* The last of that, for an image that was read-only until now; its file may be
 * written to. Not under s->lock. */
bool coroutine_fn qcow2_co_mend_dirty(BlockDriverState *bs, GError **error);
bool coroutine_fn qcow2_co_read_snapshots(BlockDriverState *bs,
                                          GError **error);
void qcow2_free_snapshots(BlockDriverState *bs);
bool coroutine_fn qcow2_co_snapshot_create(BlockDriverState *bs,
                                           BlockSnapshot *snapshot,
                                           GError **error);
bool coroutine_fn qcow2_co_snapshot_apply(BlockDriverState *bs,
                                          const char *name, GError **error);
bool coroutine_fn qcow2_co_snapshot_delete(BlockDriverState *bs,
                                           const char *name, GError **error);
bool coroutine_fn qcow2_co_snapshot_load(BlockDriverState *bs,
                                         const char *name, GError **error);
GPtrArray *qcow2_snapshot_list(BlockDriverState *bs);

/* For open, once the header was read: the directory, but no bits. */
bool coroutine_fn qcow2_co_read_bitmaps(BlockDriverState *bs, GError **error);
/* And the tables of those that are to be used, as far as it takes no time. */
bool coroutine_fn qcow2_co_check_bitmap_tables(BlockDriverState *bs,
                                               GError **error);
void qcow2_free_bitmaps(BlockDriverState *bs);

/* Writes are noted from here on; bs->read_only need not say so yet.
 * Context: main, nothing in flight, or under s->lock */
void qcow2_bitmaps_start_tracking(BlockDriverState *bs);

/* Notes that the range is being written, zeroed or discarded in all bitmaps
 * that are enabled. Context: home */
void qcow2_bitmaps_note(BlockDriverState *bs, int64_t offset, int64_t bytes);

static inline void qcow2_track_write(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes)
{
    const Qcow2State *s = bs->opaque;

    if (G_UNLIKELY(s->tracking)) {
        qcow2_bitmaps_note(bs, offset, bytes);
    }
}

/* The bitmaps that are enabled are marked as in use, so that nobody trusts
 * them should we not get to storing them. Not under s->lock. */
bool coroutine_fn qcow2_co_bitmaps_before_write(BlockDriverState *bs,
                                                GError **error);
/* At close, nothing in flight: stores them and marks them as not in use. */
bool coroutine_fn qcow2_co_bitmaps_store(BlockDriverState *bs,
                                         GError **error);

GPtrArray *qcow2_bitmap_list(BlockDriverState *bs);
bool coroutine_fn qcow2_co_bitmap_add(BlockDriverState *bs, const char *name,
                                      uint32_t granularity, GError **error);
bool coroutine_fn qcow2_co_bitmap_remove(BlockDriverState *bs,
                                         const char *name, GError **error);
bool coroutine_fn qcow2_co_bitmap_clear(BlockDriverState *bs,
                                        const char *name, GError **error);
bool coroutine_fn qcow2_co_bitmap_enable(BlockDriverState *bs,
                                         const char *name, bool on,
                                         GError **error);
bool coroutine_fn qcow2_co_bitmap_merge(BlockDriverState *bs,
                                        const char *name,
                                        BlockDriverState *from_bs,
                                        const char *from, GError **error);

#endif
