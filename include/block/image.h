/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can be done with an image besides reading and writing it: guessing
 * its format, creating, describing, checking, resizing, snapshots, bitmaps.
 * For formats to implement and for tools to call.
 *
 * Operations marked coroutine_fn run where the node is at home (bdrv_run_co()
 * or a coroutine of the tool's own), with nothing else in flight unless they
 * say otherwise. The functions bdrv_co_...() of this header take their question
 * to the home of each node they ask.
 */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include "block/coroutine.h"
#include "block/driver.h"
#include "block/options.h"

/* --- what is where --- */

#define BLOCK_STATUS_DATA       0x1  /* reads as what is stored */
#define BLOCK_STATUS_ZERO       0x2  /* reads as zeroes */
#define BLOCK_STATUS_ALLOCATED  0x4  /* this layer decides, not the backing */
#define BLOCK_STATUS_OFFSET     0x8  /* file and map say where */
#define BLOCK_STATUS_COMPRESSED 0x10
#define BLOCK_STATUS_EOF        0x20 /* the range ends with the node */
#define BLOCK_STATUS_RECURSE    0x40 /* ask file at map for holes */

typedef struct BlockStatus {
    unsigned flags;
    int64_t bytes;           /* > 0: this much from the offset is alike */
    int64_t map;             /* offset in file */
    BlockDriverState *file;  /* borrowed */
} BlockStatus;

/*
 * Of [offset, offset + bytes) of @bs, the longest known stretch from offset
 * on. May run beside requests. Returns 0 or a negative errno.
 */
int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, BlockStatus *status);

/*
 * The same through the backing chain down to, not including, @base (NULL: all
 * of it): *depth counts from 0 for @bs, or is the chain's length when nobody
 * has it.
 */
int coroutine_fn bdrv_co_block_status_above(BlockDriverState *bs,
                                            BlockDriverState *base,
                                            int64_t offset, int64_t bytes,
                                            BlockStatus *status,
                                            unsigned *depth);

/* --- options of create and amend --- */

typedef enum BlockOptionType {
    BLOCK_OPTION_STRING, BLOCK_OPTION_BOOL, BLOCK_OPTION_NUMBER,
    BLOCK_OPTION_SIZE,
} BlockOptionType;

/* One line of "-o help". */
typedef struct BlockOptionHelp {
    const char *name;
    BlockOptionType type;
    const char *help;
    const char *def;   /* shown as "(default: x)", or NULL */
    bool amendable;    /* offered by "amend -o help" */
} BlockOptionHelp;

typedef enum BlockPrealloc {
    PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL,
} BlockPrealloc;

extern const char *const block_prealloc_names[]; /* "off", ... NULL */

/* --- a check --- */

#define BLOCK_CHECK_FIX_LEAKS  0x1
#define BLOCK_CHECK_FIX_ERRORS 0x2

/* "ERROR ...", "Leaked cluster ...", "Repairing ...": one line without
 * newline for the user. Context: the coroutine's thread */
typedef void BlockReportFn(void *opaque, const char *line);

typedef struct BlockCheck {
    unsigned fix;          /* BLOCK_CHECK_FIX_ */
    BlockReportFn *report;
    void *report_opaque;
    /* results */
    int64_t corruptions, leaks, check_errors;
    int64_t corruptions_fixed, leaks_fixed;
    int64_t image_end_offset;
    int64_t total_clusters, allocated_clusters;
    int64_t fragmented_clusters, compressed_clusters;
} BlockCheck;

/* --- internal snapshots --- */

typedef struct BlockSnapshot {
    char *id;
    char *name;
    int64_t vm_state_bytes;
    int64_t date_s;          /* seconds since the epoch */
    uint32_t date_ns;
    int64_t vm_clock_ns;
    uint64_t icount;         /* UINT64_MAX: unknown */
    int64_t disk_bytes;
} BlockSnapshot;

/* --- what an image says of itself --- */

typedef struct BlockBitmapInfo {
    char *name;
    uint32_t granularity;
    bool in_use, autoload;
} BlockBitmapInfo;

/* Frees one element; for g_ptr_array_new_with_free_func(). */
void block_snapshot_free(void *snapshot);
void block_bitmap_info_free(void *bitmap);

typedef struct BlockImageInfo {
    int64_t cluster_bytes;      /* 0: none */
    int64_t vm_state_offset;    /* where the state of a virtual machine goes,
                                   in guest bytes; 0: nowhere */
    bool dirty;
    bool corrupt;
    GPtrArray *snapshots;       /* of BlockSnapshot, owned; or NULL */
    /*
     * "format-specific": an object with "type" and "data", in the words and
     * the order that qemu-img prints; owned, or NULL.
     */
    JsonObject *specific;
} BlockImageInfo;

void block_image_info_clear(BlockImageInfo *info);

typedef struct BlockMeasure {
    int64_t required, fully_allocated;
    int64_t bitmaps;            /* -1: not supported or none */
} BlockMeasure;

/* --- the table --- */

typedef struct BlockTruncate {
    int64_t bytes;
    bool exact;               /* not a byte more */
    bool zero;                /* the new part reads as zeroes even where the
                                 backing file has data */
    BlockPrealloc prealloc;
} BlockTruncate;

/* Every member is optional; NULL: the driver cannot. */
struct BlockImageOps {
    /* 0 to 100: how sure the driver is that this is the start of one of its
     * images. Context: any */
    int (*probe)(const uint8_t *buf, size_t bytes, const char *filename);

    /* Ends with name NULL. A protocol that has them and no create() is of
     * things that are there: devices, exports. Their first sector is cleared. */
    const BlockOptionHelp *create_options;

    /*
     * Makes the image @filename. @opts has "size" and what the user gave of
     * create_options, as strings; what is left over is an error of the
     * driver's. Nothing is left behind on failure that was not there before,
     * as far as that is possible. A protocol that has a "filename" gets that.
     * Context: main
     */
    bool (*create)(const char *filename, Options *opts, GError **error);

    /* What @opts, as for create, would take; with the contents of @from when
     * that is not NULL. Context: main */
    bool (*measure)(Options *opts, BlockDriverState *from,
                    BlockMeasure *measure, GError **error);

    /* Context: main, nothing in flight */
    bool (*amend)(BlockDriverState *bs, Options *opts, bool force,
                  GError **error);

    int coroutine_fn (*co_block_status)(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes, BlockStatus *status);
    bool coroutine_fn (*co_truncate)(BlockDriverState *bs,
                                     const BlockTruncate *to, GError **error);

    /* Bytes the image takes on its medium. Context: any */
    int64_t (*allocated_bytes)(BlockDriverState *bs);
    bool (*info)(BlockDriverState *bs, BlockImageInfo *info, GError **error);

    /* False with @error only when the check itself could not be made. */
    bool coroutine_fn (*co_check)(BlockDriverState *bs, BlockCheck *check,
                                  GError **error);

    /* Names the backing file anew in the image; NULL: none any more. */
    bool coroutine_fn (*co_change_backing)(BlockDriverState *bs,
                                           const char *file,
                                           const char *format,
                                           GError **error);
    /* Nothing is allocated any more: after a commit. */
    int coroutine_fn (*co_make_empty)(BlockDriverState *bs);

    /* Whole clusters, compressed; a shorter last one at the end of the image.
     * -ENOTSUP where it cannot. bytes 0: no more will come. */
    int coroutine_fn (*co_pwrite_compressed)(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             const void *buf);

    /*
     * BLOCK_READ or BLOCK_WRITE: the state of a virtual machine, of which
     * @offset counts from the beginning. What was never written reads as
     * zeroes. May run beside requests.
     */
    int coroutine_fn (*co_vmstate)(BlockDriverState *bs, BlockOp op,
                                   int64_t offset, int64_t bytes, void *buf);

    bool coroutine_fn (*co_snapshot_create)(BlockDriverState *bs,
                                            BlockSnapshot *snapshot,
                                            GError **error);
    /* @name is an id or, if none matches, a name. */
    bool coroutine_fn (*co_snapshot_apply)(BlockDriverState *bs,
                                           const char *name, GError **error);
    bool coroutine_fn (*co_snapshot_delete)(BlockDriverState *bs,
                                            const char *name, GError **error);
    /* Of BlockSnapshot, owned by the caller. Context: main or home */
    GPtrArray *(*snapshot_list)(BlockDriverState *bs);
    /* Shows the snapshot's bytes from now on, read-only: convert -l. */
    bool coroutine_fn (*co_snapshot_load)(BlockDriverState *bs,
                                          const char *name, GError **error);

    /* Of BlockBitmapInfo, owned by the caller; NULL: this image cannot have
     * any. */
    GPtrArray *(*bitmap_list)(BlockDriverState *bs);
    bool coroutine_fn (*co_bitmap_add)(BlockDriverState *bs, const char *name,
                                       uint32_t granularity, GError **error);
    bool coroutine_fn (*co_bitmap_remove)(BlockDriverState *bs,
                                          const char *name, GError **error);
    bool coroutine_fn (*co_bitmap_clear)(BlockDriverState *bs,
                                         const char *name, GError **error);
    bool coroutine_fn (*co_bitmap_enable)(BlockDriverState *bs,
                                          const char *name, bool on,
                                          GError **error);
    /* Adds @from's bits, of an image of the same size, to @name's. */
    bool coroutine_fn (*co_bitmap_merge)(BlockDriverState *bs,
                                         const char *name,
                                         BlockDriverState *from_bs,
                                         const char *from, GError **error);
};

/*
 * Calls the driver's, or its file's for a filter and where raw has nothing
 * to add; says which driver cannot when nobody can.
 */
bool coroutine_fn bdrv_co_truncate(BlockDriverState *bs,
                                   const BlockTruncate *to, GError **error);
/* Bytes, or a negative errno. Context: any */
int64_t bdrv_allocated_bytes(BlockDriverState *bs);

/*
 * The state of a virtual machine, of the first node from @bs downwards whose
 * driver keeps it. 0 or a negative errno: -ENOTSUP where none does, -EFBIG
 * where it would not fit.
 */
int coroutine_fn bdrv_co_load_vmstate(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, void *buf);
int coroutine_fn bdrv_co_save_vmstate(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, const void *buf);

/* --- opening by name --- */

#define BDRV_OPEN_READ_ONLY  0x1
#define BDRV_OPEN_NO_BACKING 0x2  /* leave the backing file alone */
#define BDRV_OPEN_SHARE      0x4  /* -U: take no lock that others mind */
#define BDRV_OPEN_NO_IO      0x8  /* for info and the like: only metadata */
#define BDRV_OPEN_CHECK      0x10 /* repair nothing on the way in */
#define BDRV_OPEN_NO_FLUSH   0x20 /* cache=unsafe */
#define BDRV_OPEN_DIRECT     0x40 /* cache=none, directsync */
#define BDRV_OPEN_DISCARD    0x80 /* discard=unmap */
#define BDRV_OPEN_COPY_ON_READ 0x100
/*
 * Set by bdrv_open_image(): the length of a file is rounded up to 512, and
 * others may write to it as long as no format owns it. So it is in QEMU's
 * tools; a disk that is served is held to what it is.
 */
#define BDRV_OPEN_SECTORS    0x200
/* Of files that do not say aio= themselves, one of these; none: auto */
#define BDRV_OPEN_NATIVE_AIO 0x400
#define BDRV_OPEN_IO_URING   0x800
#define BDRV_OPEN_THREADS    0xc00
#define BDRV_OPEN_AIO_MASK   0xc00
/* With BDRV_OPEN_SECTORS: nobody else may write to the files. */
#define BDRV_OPEN_NO_SHARE   0x1000

/*
 * Opens what people name on a command line: a path, "json:{...}",
 * "nbd://host/export", "blkdebug:config:image", "null-co://" and so on.
 * @format NULL: looks at the contents, and bs->probed is set where that says
 * raw. @extra (consumed, may be NULL) holds further options: file.aio, ...,
 * which go before what name and flags say; with @filename NULL they are all
 * there is (--image-opts). Errors are worded as QEMU's tools do, without the
 * name of the image in front. Context: main
 */
BlockDriverState *bdrv_open_image(const char *filename, const char *format,
                                  Options *extra, unsigned flags,
                                  GError **error);

/* The driver of the protocol that @filename names or, as a path, implies.
 * Context: any */
const BlockDriver *bdrv_find_protocol(const char *filename, GError **error);

/* Makes an image with @drv's create() or, for what can only be used again,
 * clears its first sector. @opts stay the caller's. Context: main */
bool bdrv_create(const BlockDriver *drv, const char *filename, Options *opts,
                 GError **error);

/*
 * The file of a new image, without format: made by @filename's protocol. What
 * is left over of @opts, which stay the caller's, is an error. Context: main
 */
bool bdrv_create_file(const char *filename, Options *opts, GError **error);

/* For formats: bs->backing from bs->backing_file, unless the options say
 * otherwise ("backing" null, a node or an object). Context: main */
bool bdrv_open_backing(BlockDriverState *bs, Options *opts, GError **error);

/* @backing as @image names it: relative names are relative to the image's
 * folder. Caller frees; NULL with @error where that has no answer. */
char *bdrv_backing_path(const char *image, const char *backing,
                        GError **error);

/* The same for an open image that has a backing_file: what it is called by
 * does not matter, but where its file lies. */
char *bdrv_full_backing_path(const BlockDriverState *bs, GError **error);

/* Best driver for these first bytes, never NULL: raw when nobody is sure. */
const BlockDriver *bdrv_probe(const uint8_t *buf, size_t bytes,
                              const char *filename);

/* The format of these first bytes if it is one that there is no driver for
 * and that others look for; else NULL. Context: any */
const char *bdrv_probe_foreign(const uint8_t *buf, size_t bytes);

#endif
