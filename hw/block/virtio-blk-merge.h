/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins neighbouring reads, and neighbouring writes, of one pass over a
 * virtqueue. Private to hw/block. All functions: Context: home.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_MERGE_H
#define HW_BLOCK_VIRTIO_BLK_MERGE_H

#include "virtio-blk-request.h"

/* Groups open at a time: half as many interleaved streams merge well, and no
 * more random requests than that wait for the rest of the burst. */
#define VIRTIO_BLK_MERGE_GROUPS 64

/* A merged request holds this much at most. By then the host's cost of a
 * request is spread over so many bytes that more would save nothing, while
 * one huge request keeps a device with several queues from overlapping. */
#define VIRTIO_BLK_MERGE_MAX_BYTES (1024 * 1024)
#define VIRTIO_BLK_MERGE_MAX_IOV   256

/* Four for each group, so that few streams collide; one byte each. */
#define VIRTIO_BLK_MERGE_SLOT_BITS 8

/* Hands @req to the layer below. */
typedef void VirtIOBlockSubmitFn(VirtIOBlockReq *req, void *opaque);

/* Requests of one direction that follow each other without a gap. */
typedef struct MergeGroup {
    VirtIOBlockReq *first, *last; /* linked by mr_next */
    int64_t start, end;           /* bytes of the disk, end excluded */
    unsigned n_reqs;
    unsigned n_iov;
    BlockOp op;
} MergeGroup;

typedef struct MergeIov {
    struct MergeIov *next;
    struct iovec iov[VIRTIO_BLK_MERGE_MAX_IOV];
} MergeIov;

typedef struct MultiReqBuffer {
    VirtIOBlockSubmitFn *submit;
    void *opaque;
    unsigned max_iov;
    int64_t max_bytes;
    unsigned n_groups;
    MergeGroup groups[VIRTIO_BLK_MERGE_GROUPS]; /* in order of submission */
    /* Hash of a group's end: its index. May be stale: verify. */
    uint8_t slots[1 << VIRTIO_BLK_MERGE_SLOT_BITS];
    MergeIov *free_iov;
} MultiReqBuffer;

/* @max_iov and @max_bytes are the disk's limits. */
void virtio_blk_merge_init(MultiReqBuffer *mrb, unsigned max_iov,
                           int64_t max_bytes, VirtIOBlockSubmitFn *submit,
                           void *opaque);

/* Nothing is buffered, no merged request in flight. */
void virtio_blk_merge_cleanup(MultiReqBuffer *mrb);

/* Takes a parsed READ or WRITE. May submit what came before. */
void virtio_blk_merge_add(MultiReqBuffer *mrb, VirtIOBlockReq *req);

/* Submits all that was added. */
void virtio_blk_merge_submit(MultiReqBuffer *mrb);

/*
 * A submitted request is back: gives its borrowed iovec back. The members are
 * linked by mr_next, @req first; each is on its own again once the caller has
 * walked the list.
 */
void virtio_blk_merge_done(MultiReqBuffer *mrb, VirtIOBlockReq *req);

#endif
