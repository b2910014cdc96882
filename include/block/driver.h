/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a format or protocol driver implements, and the node it works on.
 * For block/ only: devices see block-backend.h.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/coroutine.h"
#include "block/handover.h"
#include "block/options.h"
#include "block/request.h"

typedef struct BlockDriver BlockDriver;
typedef struct BlockDriverState BlockDriverState;
typedef struct BlockImageOps BlockImageOps; /* block/image.h */
typedef struct BlockDebugOps BlockDebugOps; /* block/debug.h */

/* What a node asks of requests, and how it would like them. Bytes. */
typedef struct BlockLimits {
    uint32_t request_alignment;  /* offset and length; a power of 2, >= 1 */
    uint32_t memory_alignment;   /* buffers; a power of 2, >= 1 */
    uint32_t min_transfer;       /* granularity that costs no rewrite; 0: none */
    uint32_t opt_transfer;       /* best size; 0: none */
    uint32_t physical_block_size; /* 0: unknown */
    int64_t max_transfer;        /* a driver's 0 becomes ENGINE_MAX_BYTES */
    unsigned max_iov;            /* a driver's 0 becomes IOV_MAX */
    uint32_t discard_alignment;  /* granularity of deallocation; 0: unknown */
    bool can_discard;            /* discard does something */
    bool can_write_zeroes;       /* cheaper than writing zeroes */
} BlockLimits;

typedef enum BlockDetectZeroes {
    DETECT_ZEROES_OFF,
    DETECT_ZEROES_ON,
    DETECT_ZEROES_UNMAP,
} BlockDetectZeroes;

/*
 * A node of the block graph. Written by the main thread while it is opened,
 * closed or drained; read by every home thread in between.
 */
struct BlockDriverState {
    const BlockDriver *drv;
    char *node_name;
    unsigned refcount;         /* main thread */
    void *opaque;              /* drv->instance_size bytes */
    GPtrArray *children;       /* a reference each; closed last to first */
    GPtrArray *child_keys;     /* the option that named each of them */
    GArray *child_flags;       /* BDRV_CHILD_ of each of them; unsigned */
    BlockDriverState *file;    /* of these, the one with the image's bytes;
                                  NULL for a protocol node */
    BlockDriverState *backing; /* of these, what shows where the image has
                                  nothing; or NULL */
    int64_t total_bytes;       /* main; of a node that grows also its home */
    BlockLimits limits;

    /* generic options */
    bool read_only;
    bool auto_read_only;       /* fall back to read-only when it must be */
    bool cache_direct;
    bool cache_no_flush;
    bool discard_unmap;        /* discard=unmap */
    bool force_share;
    BlockDetectZeroes detect_zeroes;

    char *filename;            /* as a person would name it: a file's name if
                                  that opens this node, else "json:{...}" */
    JsonObject *full_options;  /* what opens this node again */
    char *backing_file;        /* as the image names it, or NULL */
    char *backing_format;      /* driver of it, or NULL */
    bool grows;                /* writes past the end make it longer: */
    unsigned growers;          /* there are parents that do so; main */
    BlockDriverState *claimed; /* of the nodes below, the one that claim() was
                                  called for, or NULL; main */
    unsigned claims;           /* nodes that have claimed this one; main */
    bool probed;               /* the driver was guessed from the contents */
    unsigned open_flags;       /* BDRV_OPEN_ of block/image.h */
    const BlockDriverState *overlay; /* whose backing file it is going to be;
                                  while it is opened */
    unsigned open_depth;       /* nodes above the one that was asked for */
    bool debugged;             /* drv->debug wants to know what happens */
    bool inactive;             /* the image is another process's: see
                                  bdrv_activate() */
    bool starts_inactive;      /* as the options said */
    unsigned must_be_active;   /* users that an inactive node is no good to;
                                  main thread */

    unsigned outlived;         /* users whose guests go on when this process
                                  dies; relaxed atomic, main writes */
    AioContext *home;          /* of a driver with one_home, else NULL; only
                                  changes while nothing is in flight */
    EngineStats stats;         /* of requests without a device; home writes */
    unsigned attached;         /* contexts, each as often as it was attached;
                                  written in the home threads, one at a time:
                                  the main thread waits */
    struct RangeLock *range_lock; /* for read-modify-write, or NULL; node.c */
};

struct BlockDriver {
    const char *name;          /* "file", "raw", ... */
    bool is_protocol;
    bool is_filter;            /* shows its file's bytes, unchanged */
    bool grows_file;           /* writes past the end of its file */
    bool one_home;             /* all requests come in one thread, that of the
                                  first context attached, which stays until
                                  the last is detached */
    size_t instance_size;
    const BlockImageOps *image; /* what tools do with an image, or NULL */
    /*
     * Options that change what the node shows, "driver" and children aside;
     * ends with NULL. They are part of a "json:{...}" name.
     */
    const char *const *strong_options;
    /*
     * The name that opens the node as it is, or NULL if none does. Without
     * this it is "filename" for a protocol, and its file's for a format, if no
     * other strong option was given. Caller frees. Context: main
     */
    char *(*exact_name)(BlockDriverState *bs);
    const BlockDebugOps *debug; /* of blkdebug, else NULL */

    /*
     * Takes its options from @opts and opens. Formats find bs->file open,
     * other children they open themselves: bdrv_open_child(). A protocol may
     * have a file, too, which it opens itself.
     * Sets total_bytes and limits; may set read_only if auto_read_only. On
     * failure nothing stays open. Context: main
     */
    bool (*open)(BlockDriverState *bs, Options *opts, GError **error);

    /*
     * A format has opened the node for its file: takes the locks that keep
     * others from writing to it. @flags: BDRV_CLAIM_. Optional. Context: main
     */
    bool (*claim)(BlockDriverState *bs, unsigned flags, GError **error);

    /* The format that has claimed the file was none after all, or claim() has
     * failed, and nobody else has claimed it: gives back what claim() took.
     * Along with that. Context: main */
    void (*unclaim)(BlockDriverState *bs);

    /*
     * Access and caching change: @flags are what BDRV_OPEN_READ_ONLY, _DIRECT
     * and _NO_FLUSH will be; fields of @bs are set after. The file has been
     * reopened if it is to be written to, else it will be. On failure nothing
     * has changed. Optional. Context: main, nothing in flight
     */
    bool (*reopen)(BlockDriverState *bs, unsigned flags, GError **error);

    /*
     * The node becomes active or inactive: bdrv_activate(), bdrv_inactivate().
     * bs->inactive changes after; children are active for both. What is read
     * when a node is opened inactive may be half of what another process was
     * writing: open keeps to what does not change while an image is in use,
     * activate reads all of it, anew. On failure the node is what it was.
     * Optional. Context: main, nothing in flight
     */
    bool (*activate)(BlockDriverState *bs, GError **error);
    bool (*inactivate)(BlockDriverState *bs, GError **error);

    /* No request is in flight, no context attached. Context: main */
    void (*close)(BlockDriverState *bs);

    /* Leaves what a process that takes over needs to open the node beside
     * us, as a record about its file. Optional. Context: main */
    bool (*hand_over)(BlockDriverState *bs, Handover *handover,
                      GError **error);

    /*
     * The thread of @ctx is going to submit requests / will not any more.
     * The place to make engines. Optional. Context: home of @ctx
     */
    void (*attach_context)(BlockDriverState *bs, AioContext *ctx);
    void (*detach_context)(BlockDriverState *bs, AioContext *ctx);

    /*
     * Requests that wait here for nothing but their turn, and whose channel is
     * cancelled, complete with -ECANCELED; those that come later do as well.
     * Optional. Context: home of the node, or of each context attached
     */
    void (*cancel_waiting)(BlockDriverState *bs);

    /*
     * Takes the request: passes it on, splits or queues it. It completes
     * from the loop, never from inside. Checked before: range within
     * total_bytes (rounded up to request_alignment), alignment and size as in
     * limits (by node.c), not a write to a read-only node.
     * Context: home of req->ctx
     */
    void (*submit)(BlockDriverState *bs, BlockRequest *req);
};

/*
 * Hands @req to @bs: what node.c does for every driver (bounce what is
 * misaligned, read-modify-write, detect zeroes, ignored discards), then
 * drv->submit. Context: home of req->ctx
 */
void bdrv_submit(BlockDriverState *bs, BlockRequest *req);

/* Works on a copy of @req: 0 or a negative errno. */
typedef int coroutine_fn BdrvRequestFn(BlockDriverState *bs,
                                       const BlockRequest *req);

/* For drv->submit: runs @fn for @req, which stays with @bs until it returns and
 * then completes with its result. Allocates. Context: home */
void bdrv_submit_co(BlockDriverState *bs, BlockRequest *req,
                    BdrvRequestFn *fn);

/*
 * Says that requests in units of @block_size will come, from a device or from
 * a format for its child. Where that is less than a node's request_alignment,
 * its writes become read-modify-write, and the range lock that serialises
 * these is made; fails when that node is in use already. Context: main
 */
bool bdrv_set_block_size(BlockDriverState *bs, uint32_t block_size,
                         GError **error);

/* After drv->open: fills in what it left 0. Context: main */
void bdrv_finish_limits(BlockDriverState *bs);

/* Whether it may change anything in the image now. Context: any */
static inline bool bdrv_may_write(const BlockDriverState *bs)
{
    return !bs->read_only && !bs->inactive;
}

/*
 * Which nodes are not what their options say, from one process to the next;
 * bdrv_take_over() and its end call the last two. bdrv_left_inactive() changes
 * *inactive for a node of that name that was left. Context: main
 */
void bdrv_hand_over_states(Handover *handover);
void bdrv_take_over_states(Handover *handover);
void bdrv_take_over_states_end(void);
void bdrv_left_inactive(const char *node_name, bool *inactive);

/* Others may not write to the node's file, for a format's metadata is in it. */
#define BDRV_CLAIM_RESIZE 0x1 /* and the format will make it longer */

/* That many more users, or fewer, whose guests outlive this process, of the
 * node and of all below it. Context: main, nothing is in flight */
void bdrv_add_outlived(BlockDriverState *bs, int users);

/* Context: any */
static inline bool bdrv_is_outlived(const BlockDriverState *bs)
{
    return __atomic_load_n(&bs->outlived, __ATOMIC_RELAXED);
}

/* Down the graph, children first. Context: home of @ctx */
void bdrv_attach_context(BlockDriverState *bs, AioContext *ctx);
void bdrv_detach_context(BlockDriverState *bs, AioContext *ctx);

/* After that, by whoever had it called: lets nodes leave their homes that
 * were in other threads than the last user's. Context: main */
void bdrv_detach_finish(void);

/*
 * For blk_channel_cancel(): lets every node of the graph look for requests of
 * channels that were cancelled before. In other threads than that of @ctx this
 * comes later, but before those detach. Context: home of @ctx
 */
void bdrv_cancel_waiting(BlockDriverState *bs, AioContext *ctx);

/* What a child is for; how it is opened when its options do not say. */
#define BDRV_CHILD_OPTIONAL  0x1 /* no option, no child, no error */
#define BDRV_CHILD_GROWS     0x2 /* the format writes past its end */
#define BDRV_CHILD_BACKING   0x4 /* read-only, shared, never written */
#define BDRV_CHILD_IMAGE     0x8 /* may have any format: without "driver" it is
                                    found out */

/*
 * For drv->open: opens the child that option @key names or describes, makes
 * it one of bs->children and sets *@child, which stays NULL without the
 * option. Closed by whoever closes @bs, after drv->close. Context: main
 */
bool bdrv_open_child(BlockDriverState *bs, Options *opts, const char *key,
                     unsigned flags, BlockDriverState **child,
                     GError **error);

/* The same for options that @bs made itself. Consumes @child_opts. */
bool bdrv_open_child_options(BlockDriverState *bs, Options *child_opts,
                             unsigned flags, BlockDriverState **child,
                             GError **error);

/* By name, or NULL. The table is in block/drivers.c. Context: any */
const BlockDriver *bdrv_find_driver(const char *name);

/* "file, raw, ...", for an error message. Caller frees. Context: main */
char *bdrv_driver_names(void);

/* Makes @driver known beside those of the table: for tests. Context: main */
void bdrv_register(const BlockDriver *driver);

/* The table's. */
extern const BlockDriver bdrv_blkdebug;
extern const BlockDriver bdrv_blkverify;
extern const BlockDriver bdrv_copy_on_read;
extern const BlockDriver bdrv_file;
extern const BlockDriver bdrv_host_device;
extern const BlockDriver bdrv_nbd;
extern const BlockDriver bdrv_null_aio;
extern const BlockDriver bdrv_null_co;
extern const BlockDriver bdrv_qcow2;
extern const BlockDriver bdrv_raw;
extern const BlockDriver bdrv_throttle;

#endif
