/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a guest's chain to a request, and from a result to a status byte.
 *
 * Called by virtio-blk-queue.c for every chain; calls nobody but the iovec
 * helpers. The one rule: what the guest can change under our hands is copied
 * before it is looked at, and a chain is never dropped. Each one that was
 * popped gets an answer, be it the shortest.
 */
#include "virtio-blk-request.h"

#include "block/iov.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define SECTOR_SIZE 512

/* What chains without indirect tables have in rings of the usual size: 4 KiB.
 * The largest take eight times that. */
#define KEEP_IOV 256

VirtIOBlockReq *virtio_blk_request_new(void *queue)
{
    VirtIOBlockReq *req = g_new0(VirtIOBlockReq, 1);

    virtqueue_element_init(&req->elem);
    block_request_init(&req->block);
    req->queue = queue;
    return req;
}

void virtio_blk_request_free(VirtIOBlockReq *req)
{
    virtqueue_element_clear(&req->elem);
    g_free(req->segments);
    g_free(req);
}

void virtio_blk_request_trim(VirtIOBlockReq *req)
{
    if (G_UNLIKELY(req->elem.iov_capacity > KEEP_IOV)) {
        virtqueue_element_clear(&req->elem);
    }
}

/*
 * Takes the status byte off the end of the writable part. Returns how many
 * elements of it hold data.
 */
static unsigned take_status(VirtIOBlockReq *req)
{
    unsigned n = req->elem.in_num;
    struct iovec *in;

    req->joined = NULL;
    req->status = NULL;
    if (n == 0) {
        return 0; /* perhaps there is no iov either */
    }
    in = req->elem.iov + req->elem.out_num;
    while (n > 0 && in[n - 1].iov_len == 0) {
        n--;
    }
    if (n == 0) {
        return 0;
    }
    req->status = (uint8_t *)in[n - 1].iov_base + in[n - 1].iov_len - 1;
    if (in[n - 1].iov_len == 1) {
        return n - 1;
    }
    in[n - 1].iov_len--;
    req->joined = &in[n - 1];
    return n;
}

/*
 * Copies the header, which may lie in any number of descriptors, and points
 * *@data behind it. Returns the number of elements there, or -1 when the
 * chain is too short.
 */
static int take_header(VirtIOBlockReq *req, struct virtio_blk_outhdr *header,
                       struct iovec **data)
{
    struct iovec *iov = req->elem.iov;
    unsigned n = req->elem.out_num;
    size_t left = sizeof(*header);

    if (n > 0 && iov->iov_len == sizeof(*header)) {
        memcpy(header, iov->iov_base, sizeof(*header));
        *data = iov + 1;
        return n - 1;
    }
    if (iov_to_buf(iov, n, 0, header, sizeof(*header)) < sizeof(*header)) {
        return -1;
    }
    while (left > 0 && iov->iov_len <= left) {
        left -= iov->iov_len;
        iov++;
        n--;
    }
    if (left > 0) {
        iov->iov_base = (char *)iov->iov_base + left;
        iov->iov_len -= left;
    }
    *data = iov;
    return n;
}

/* Neither the shift nor the sum can overflow: @sector is compared first. */
static bool range_is_valid(const VirtIOBlockRules *rules, uint64_t sector,
                           uint64_t bytes)
{
    uint64_t offset;

    if (sector > (uint64_t)rules->length / SECTOR_SIZE) {
        return false;
    }
    offset = sector * SECTOR_SIZE;
    return bytes <= (uint64_t)rules->length - offset &&
           ((offset | bytes) & (rules->block_size - 1)) == 0;
}

static int parse_transfer(VirtIOBlockReq *req, const VirtIOBlockRules *rules,
                          uint64_t sector)
{
    size_t bytes = iov_size(req->data, req->n_data);

    if (req->op == BLOCK_WRITE && !rules->writable) {
        return -EPERM;
    }
    if (bytes > ENGINE_MAX_BYTES || !range_is_valid(rules, sector, bytes)) {
        return -EINVAL;
    }
    if (bytes == 0) {
        return 0;
    }
    req->offset = sector * SECTOR_SIZE;
    req->bytes = bytes;
    req->written = req->op == BLOCK_READ ? bytes : 0;
    virtio_blk_request_reload(req);
    return VIRTIO_BLK_SUBMIT;
}

/* Returns 0 with @segment filled in, or a negative errno. */
static int parse_segment(BlockOp op, const VirtIOBlockRules *rules,
                         const struct virtio_blk_discard_write_zeroes *raw,
                         VirtIOBlockSegment *segment)
{
    uint32_t flags = le32toh(raw->flags);
    uint32_t known = 0;
    uint64_t sector = le64toh(raw->sector);
    uint32_t sectors = le32toh(raw->num_sectors);

    if (op == BLOCK_WRITE_ZEROES) {
        known = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    }
    if (flags & ~known) {
        return -ENOTSUP;
    }
    if (sectors > VIRTIO_BLK_MAX_SEGMENT_SECTORS ||
        !range_is_valid(rules, sector, (uint64_t)sectors * SECTOR_SIZE)) {
        return -EINVAL;
    }
    segment->offset = sector * SECTOR_SIZE;
    segment->bytes = (int64_t)sectors * SECTOR_SIZE;
    segment->flags = flags ? BLOCK_REQ_MAY_UNMAP : 0;
    return 0;
}

/* Checks all segments before the first is done, so that a request that the
 * guest got wrong changes nothing. */
static int parse_segments(VirtIOBlockReq *req, const VirtIOBlockRules *rules)
{
    struct virtio_blk_discard_write_zeroes raw[VIRTIO_BLK_MAX_SEGMENTS];
    size_t bytes = iov_size(req->data, req->n_data);
    unsigned n = bytes / sizeof(raw[0]);

    if (!rules->writable) {
        return -EPERM;
    }
    if (!(req->op == BLOCK_DISCARD ? rules->discard : rules->write_zeroes)) {
        return -ENOTSUP;
    }
    if (bytes == 0 || bytes > sizeof(raw) || bytes % sizeof(raw[0])) {
        return -EINVAL;
    }
    iov_to_buf(req->data, req->n_data, 0, raw, bytes);
    if (!req->segments) {
        req->segments = g_new(VirtIOBlockSegment, VIRTIO_BLK_MAX_SEGMENTS);
    }
    for (unsigned i = 0; i < n; i++) {
        int ret = parse_segment(req->op, rules, &raw[i], &req->segments[i]);
        if (ret < 0) {
            return ret;
        }
    }
    req->n_segments = n;
    req->next_segment = 0;
    return virtio_blk_request_next_segment(req) ? VIRTIO_BLK_SUBMIT : 0;
}

/* A buffer of another size than the specification's 20 bytes gets what fits. */
static int parse_get_id(VirtIOBlockReq *req, const VirtIOBlockRules *rules)
{
    req->written = iov_from_buf(req->data, req->n_data, 0, rules->serial,
                                sizeof(rules->serial));
    return 0;
}

static int parse_flush(VirtIOBlockReq *req)
{
    req->op = BLOCK_FLUSH;
    req->offset = 0;
    req->bytes = 0;
    req->n_data = 0;
    virtio_blk_request_reload(req);
    return VIRTIO_BLK_SUBMIT;
}

int virtio_blk_request_parse(VirtIOBlockReq *req,
                             const VirtIOBlockRules *rules)
{
    struct virtio_blk_outhdr header;
    struct iovec *out;
    unsigned n_in;
    int n_out;

    req->mr_next = NULL;
    req->mr_iov = NULL;
    req->written = 0;
    n_in = take_status(req);
    n_out = take_header(req, &header, &out);
    if (!req->status || n_out < 0) {
        return -EINVAL;
    }
    req->data = out;
    req->n_data = n_out;

    switch (le32toh(header.type)) {
    case VIRTIO_BLK_T_IN:
        req->op = BLOCK_READ;
        req->data = req->elem.iov + req->elem.out_num;
        req->n_data = n_in;
        return parse_transfer(req, rules, le64toh(header.sector));
    case VIRTIO_BLK_T_OUT:
        req->op = BLOCK_WRITE;
        return parse_transfer(req, rules, le64toh(header.sector));
    case VIRTIO_BLK_T_FLUSH:
        return parse_flush(req);
    case VIRTIO_BLK_T_GET_ID:
        req->data = req->elem.iov + req->elem.out_num;
        req->n_data = n_in;
        return parse_get_id(req, rules);
    case VIRTIO_BLK_T_DISCARD:
        req->op = BLOCK_DISCARD;
        return parse_segments(req, rules);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        req->op = BLOCK_WRITE_ZEROES;
        return parse_segments(req, rules);
    default:
        return -ENOTSUP;
    }
}

void virtio_blk_request_reload(VirtIOBlockReq *req)
{
    req->block.op = req->op;
    req->block.flags = 0;
    req->block.offset = req->offset;
    req->block.bytes = req->bytes;
    req->block.iov = req->data;
    req->block.niov = req->n_data;
}

bool virtio_blk_request_next_segment(VirtIOBlockReq *req)
{
    while (req->next_segment < req->n_segments) {
        const VirtIOBlockSegment *segment =
            &req->segments[req->next_segment++];

        if (segment->bytes == 0) {
            continue;
        }
        req->block.op = req->op;
        req->block.flags = segment->flags;
        req->block.offset = segment->offset;
        req->block.bytes = segment->bytes;
        req->block.iov = NULL;
        req->block.niov = 0;
        return true;
    }
    return false;
}

int64_t virtio_blk_request_rewind(VirtIOBlockReq *req)
{
    if (req->op == BLOCK_DISCARD || req->op == BLOCK_WRITE_ZEROES) {
        g_assert(req->next_segment > 0);
        req->next_segment--; /* not one that was passed over: it failed */
        virtio_blk_request_next_segment(req);
    } else {
        virtio_blk_request_reload(req);
    }
    req->mr_next = NULL;
    return req->block.bytes;
}

/* The one place where an errno becomes a virtio status. */
static uint8_t status_from_errno(int ret)
{
    switch (ret) {
    case 0:
        return VIRTIO_BLK_S_OK;
    case -ENOTSUP:
        return VIRTIO_BLK_S_UNSUPP;
    default:
        return VIRTIO_BLK_S_IOERR;
    }
}

uint32_t virtio_blk_request_finish(VirtIOBlockReq *req, int ret)
{
    if (req->joined) {
        req->joined->iov_len++;
        req->joined = NULL;
    }
    if (!req->status) {
        return 0;
    }
    *req->status = status_from_errno(ret);
    return 1 + (ret == 0 ? req->written : 0);
}
