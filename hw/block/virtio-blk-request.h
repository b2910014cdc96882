/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One virtio-blk request: the guest's chain on one side, a BlockRequest on
 * the other. Private to hw/block.
 */
#ifndef HW_BLOCK_VIRTIO_BLK_REQUEST_H
#define HW_BLOCK_VIRTIO_BLK_REQUEST_H

#include <linux/virtio_blk.h>

#include "block/request.h"
#include "hw/virtio/virtqueue.h"

/* Segments of one DISCARD or WRITE_ZEROES, and the longest of them: what
 * config space says. 1 GiB is long enough to cost nothing per byte and short
 * enough that a guest that waits for one does not look hung. */
#define VIRTIO_BLK_MAX_SEGMENTS        32
#define VIRTIO_BLK_MAX_SEGMENT_SECTORS (1u << 21)

/* virtio_blk_request_parse(): the request is to be submitted. */
#define VIRTIO_BLK_SUBMIT 1

typedef struct VirtIOBlockReq VirtIOBlockReq;

/* What a device checks its guest's requests against; fixed while queues run. */
typedef struct VirtIOBlockRules {
    int64_t length;        /* of the disk, bytes */
    uint32_t block_size;   /* logical; a power of 2, >= 512 */
    bool writable;
    bool discard;          /* offered */
    bool write_zeroes;     /* offered */
    char serial[VIRTIO_BLK_ID_BYTES]; /* padded with NUL */
} VirtIOBlockRules;

/* One range of a DISCARD or WRITE_ZEROES, checked. */
typedef struct VirtIOBlockSegment {
    int64_t offset;
    int64_t bytes;
    unsigned flags;        /* BLOCK_REQ_* */
} VirtIOBlockSegment;

/* Lives in the pool of its queue. */
struct VirtIOBlockReq {
    VirtQueueElement elem; /* owned; iov is trimmed to the data while busy */
    BlockRequest block;
    void *queue;           /* who made the pool; not touched here */
    VirtIOBlockReq *next;  /* in the pool's free list, or among those held */
    uint32_t number;       /* counts chains in the order they were taken */

    /* what the guest asked for, kept because block is the lower layers' */
    BlockOp op;
    int64_t offset;
    int64_t bytes;
    struct iovec *data;    /* points into elem.iov */
    unsigned n_data;

    uint8_t *status;       /* in guest memory; NULL: the chain has no room */
    struct iovec *joined;  /* lost its last byte to status; or NULL */
    uint32_t written;      /* bytes in front of status, should it succeed */

    /* merging: members in order of their offset, this one first */
    VirtIOBlockReq *mr_next;
    void *mr_iov;          /* borrowed from the queue's MultiReqBuffer */

    /* DISCARD, WRITE_ZEROES; made when first needed, kept with the request */
    VirtIOBlockSegment *segments;
    unsigned n_segments;
    unsigned next_segment;
};

/* Context: any */
VirtIOBlockReq *virtio_blk_request_new(void *queue);
void virtio_blk_request_free(VirtIOBlockReq *req);

/* @req goes to a pool, its chain given back: memory that few chains need does
 * not stay with it. Context: home */
void virtio_blk_request_trim(VirtIOBlockReq *req);

/*
 * Reads the chain in req->elem, each guest byte once, and checks it. Returns
 * VIRTIO_BLK_SUBMIT with req->block filled in, or the result of a request
 * that is over: 0 or a negative errno. Either way the request has to be
 * finished later. Context: home
 */
int virtio_blk_request_parse(VirtIOBlockReq *req,
                             const VirtIOBlockRules *rules);

/* Fills req->block anew with what the guest asked for. Context: home */
void virtio_blk_request_reload(VirtIOBlockReq *req);

/* DISCARD and WRITE_ZEROES: fills req->block with the next range. False when
 * there is none left. Context: home */
bool virtio_blk_request_next_segment(VirtIOBlockReq *req);

/*
 * The request, or the range at hand, failed and will be sent again: fills
 * req->block as it was. Returns the bytes of it. Context: home
 */
int64_t virtio_blk_request_rewind(VirtIOBlockReq *req);

/*
 * Writes the status that @ret (0 or a negative errno) means, and makes
 * req->elem whole again. Returns the length for the used ring: 0 when there
 * was no room for a status. Context: home
 */
uint32_t virtio_blk_request_finish(VirtIOBlockReq *req, int ret);

#endif
