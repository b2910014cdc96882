/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio block device (virtio 1.2, 5.2) over a BlockBackend.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_H
#define HW_BLOCK_VIRTIO_BLK_H

#include "block/block-backend.h"
#include "hw/virtio/device.h"

typedef struct VirtIOBlock VirtIOBlock;

#define VIRTIO_BLK_MAX_QUEUES 256

/* rerror=, werror=: of reads, and of all else. */
typedef enum BlockdevOnError {
    BLOCKDEV_ON_ERROR_REPORT, /* to the guest */
    BLOCKDEV_ON_ERROR_IGNORE, /* the guest sees success */
    BLOCKDEV_ON_ERROR_ENOSPC, /* hold when there is no space, else report */
    BLOCKDEV_ON_ERROR_STOP,   /* hold */
} BlockdevOnError;

typedef enum BlockErrorAction {
    BLOCK_ERROR_ACTION_REPORT,
    BLOCK_ERROR_ACTION_IGNORE,
    BLOCK_ERROR_ACTION_STOP,
} BlockErrorAction;

/* A request that failed, and what was done about it. */
typedef struct VirtIOBlockError {
    BlockOp op;
    int error;                /* a positive errno */
    BlockErrorAction action;
    bool nospace;             /* ENOSPC of a write */
} VirtIOBlockError;

/* Context: main */
typedef void VirtIOBlockErrorFn(void *opaque, const VirtIOBlockError *error);

typedef struct VirtIOBlockConf {
    const char *name;             /* "export 'e0'"; copied */
    unsigned num_queues;          /* 1 .. VIRTIO_BLK_MAX_QUEUES */
    uint32_t logical_block_size;  /* 512 .. 4096 and up to 64 KiB, power of 2 */
    const char *serial;           /* up to 20 bytes; copied; NULL: empty */
    bool request_merging;
    bool register_buffers;        /* the guest's memory may be held, so that no
                                     page of it may be exchanged: no balloon */
    bool config_wce;              /* offer VIRTIO_BLK_F_CONFIG_WCE */
    bool packed;                  /* offer VIRTIO_F_RING_PACKED */
    AioContext *const *contexts;  /* queues are dealt out in turn; copied */
    unsigned n_contexts;

    /* What becomes of requests that fail. With ENOSPC or STOP the caller of
     * virtio_blk_new() has a context. */
    BlockdevOnError rerror, werror;
    VirtIOBlockErrorFn *io_error; /* told of errors: each that stops the
                                     device, others at most once a second */
    AioFn *resumed;               /* it goes on after one that stopped it */
    void (*set_running)(void *opaque, bool running); /* as that of
                                     VirtIODeviceOps; or NULL */
    void *opaque;                 /* of these three */
} VirtIOBlockConf;

typedef enum BlockDeviceIoStatus {
    BLOCK_DEVICE_IO_STATUS_OK,
    BLOCK_DEVICE_IO_STATUS_FAILED,
    BLOCK_DEVICE_IO_STATUS_NOSPACE,
} BlockDeviceIoStatus;

/* Whether the device rests because of an error. */
typedef struct VirtIOBlockHold {
    BlockDeviceIoStatus io_status;
    unsigned n_held;              /* requests that wait to be tried again */
} VirtIOBlockHold;

/* Takes @blk on success. Makes a channel for each queue; waits for the
 * contexts' threads. Context: main */
VirtIOBlock *virtio_blk_new(BlockBackend *blk, const VirtIOBlockConf *conf,
                            GError **error);

/* No queue runs. Frees its BlockBackend too. Context: main */
void virtio_blk_free(VirtIOBlock *vblk);

/* What a transport works with; borrowed. Context: any */
VirtIODevice *virtio_blk_device(VirtIOBlock *vblk);

/* Context: main */
VirtIOBlockHold virtio_blk_get_hold(VirtIOBlock *vblk);

/* Tries what is held again, in each queue in the order in which the guest
 * sent it, and goes on. Context: main */
void virtio_blk_resume(VirtIOBlock *vblk);

/*
 * Waits until nothing is in flight and no queue takes anything, for the disk
 * to be changed; afterwards looks at its length, tells the guest if that is
 * another, and goes on. Context: main, of no queue the home
 */
void virtio_blk_pause(VirtIOBlock *vblk);
void virtio_blk_unpause(VirtIOBlock *vblk);

/* Requests that it has taken and not given back, those that are held among
 * them; merged ones count once. Context: main */
unsigned virtio_blk_in_flight(VirtIOBlock *vblk);

/* Sum over queues. Context: main */
void virtio_blk_get_stats(VirtIOBlock *vblk, BlockStats *stats);

#endif
