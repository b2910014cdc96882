/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests of one pass, joined where one begins at another's end.
 *
 * Called by virtio-blk-queue.c, calls back to submit. The one rule: requests
 * that overlap, one of them a write, go down in the order they came in.
 *
 * How it works. Each request either extends a group that ends where it begins
 * or opens a new group; groups are submitted in the order they were opened.
 * Six 4 KiB reads of two streams, and a write (units of 4 KiB):
 *
 *     comes in   R10  R50  R11  W12  R51  R12
 *     groups     0: R10 R11      1: R50 R51      2: W12      3: R12
 *     submitted  R10+11 (8 KiB), R50+51 (8 KiB), W12, R12
 *
 * R12 would fit behind R11, but joining group 0 would carry it past W12,
 * which overlaps it. So it opens a group, and reads what the guest, if it
 * expects an order at all, expects.
 *
 * Cost. A group is found by a hash of its end, so that a random request pays
 * for one look-up and one store, whatever the number of groups. A slot is
 * overwritten on collision and never cleared: what it points to is verified.
 * A wrong slot loses an opportunity, never correctness. Only a request that
 * does join compares itself with the groups behind, none for a single stream.
 * There is no sorting: a guest's block layer sends its streams in order.
 */
#include "virtio-blk-merge.h"

void virtio_blk_merge_init(MultiReqBuffer *mrb, unsigned max_iov,
                           int64_t max_bytes, VirtIOBlockSubmitFn *submit,
                           void *opaque)
{
    *mrb = (MultiReqBuffer) {
        .submit = submit,
        .opaque = opaque,
        .max_iov = MIN(max_iov, VIRTIO_BLK_MERGE_MAX_IOV),
        .max_bytes = MIN(max_bytes, VIRTIO_BLK_MERGE_MAX_BYTES),
    };
}

void virtio_blk_merge_cleanup(MultiReqBuffer *mrb)
{
    g_assert(mrb->n_groups == 0);
    while (mrb->free_iov) {
        MergeIov *buf = mrb->free_iov;

        mrb->free_iov = buf->next;
        g_free(buf);
    }
}

static uint8_t *slot_of(MultiReqBuffer *mrb, BlockOp op, int64_t offset)
{
    uint64_t key = (uint64_t)offset >> 9 ^ (uint64_t)op << 56;

    /* Fibonacci hashing: the top bits of the product are the mixed ones. */
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return &mrb->slots[key >> (64 - VIRTIO_BLK_MERGE_SLOT_BITS)];
}

/* Whether @req may not be carried in front of what is in @group. */
static bool conflicts(const MergeGroup *group, const VirtIOBlockReq *req)
{
    return (group->op == BLOCK_WRITE || req->op == BLOCK_WRITE) &&
           req->offset < group->end &&
           req->offset + req->bytes > group->start;
}

/* The group that @req extends, or NULL. */
static MergeGroup *find_group(MultiReqBuffer *mrb, const VirtIOBlockReq *req)
{
    unsigned index = *slot_of(mrb, req->op, req->offset);
    MergeGroup *group = &mrb->groups[index];

    if (index >= mrb->n_groups || group->end != req->offset ||
        group->op != req->op) {
        return NULL;
    }
    if (group->n_iov + req->n_data > mrb->max_iov ||
        group->end - group->start + req->bytes > mrb->max_bytes) {
        return NULL;
    }
    for (unsigned i = index + 1; i < mrb->n_groups; i++) {
        if (conflicts(&mrb->groups[i], req)) {
            return NULL;
        }
    }
    return group;
}

static MergeGroup *open_group(MultiReqBuffer *mrb, VirtIOBlockReq *req)
{
    MergeGroup *group;

    if (mrb->n_groups == VIRTIO_BLK_MERGE_GROUPS) {
        virtio_blk_merge_submit(mrb);
    }
    group = &mrb->groups[mrb->n_groups++];
    *group = (MergeGroup) {
        .first = req, .last = req,
        .start = req->offset, .end = req->offset,
        .op = req->op,
    };
    return group;
}

void virtio_blk_merge_add(MultiReqBuffer *mrb, VirtIOBlockReq *req)
{
    MergeGroup *group = find_group(mrb, req);

    if (group) {
        group->last->mr_next = req;
        group->last = req;
    } else {
        group = open_group(mrb, req);
    }
    req->mr_next = NULL;
    group->n_reqs++;
    group->n_iov += req->n_data;
    group->end += req->bytes;
    *slot_of(mrb, req->op, group->end) = group - mrb->groups;
}

/* NULL: there is no memory. */
static MergeIov *take_iov(MultiReqBuffer *mrb)
{
    MergeIov *buf = mrb->free_iov;

    if (!buf) {
        return g_try_new(MergeIov, 1);
    }
    mrb->free_iov = buf->next;
    return buf;
}

/* One list of the members' buffers. Buffers that meet in memory, as those of
 * a sequential stream through the guest's page cache do, become one. */
static unsigned join_iov(struct iovec *dst, const MergeGroup *group)
{
    unsigned n = 0;

    for (VirtIOBlockReq *req = group->first; req; req = req->mr_next) {
        for (unsigned i = 0; i < req->n_data; i++) {
            struct iovec *last = n > 0 ? &dst[n - 1] : NULL;

            if (last && (char *)last->iov_base + last->iov_len ==
                        req->data[i].iov_base) {
                last->iov_len += req->data[i].iov_len;
            } else {
                dst[n++] = req->data[i];
            }
        }
    }
    return n;
}

static void submit_merged(MultiReqBuffer *mrb, const MergeGroup *group,
                          MergeIov *buf)
{
    VirtIOBlockReq *req = group->first;

    req->mr_iov = buf;
    req->block.iov = buf->iov;
    req->block.niov = join_iov(buf->iov, group);
    req->block.bytes = group->end - group->start;
    mrb->submit(req, mrb->opaque);
}

static void submit_each(MultiReqBuffer *mrb, const MergeGroup *group)
{
    VirtIOBlockReq *req = group->first;

    while (req) {
        VirtIOBlockReq *next = req->mr_next;

        req->mr_next = NULL;
        mrb->submit(req, mrb->opaque);
        req = next;
    }
}

static void submit_group(MultiReqBuffer *mrb, const MergeGroup *group)
{
    MergeIov *buf = group->n_reqs > 1 ? take_iov(mrb) : NULL;

    if (buf) {
        submit_merged(mrb, group, buf);
    } else {
        submit_each(mrb, group);
    }
}

void virtio_blk_merge_submit(MultiReqBuffer *mrb)
{
    unsigned n = mrb->n_groups;

    mrb->n_groups = 0;
    for (unsigned i = 0; i < n; i++) {
        submit_group(mrb, &mrb->groups[i]);
    }
}

void virtio_blk_merge_done(MultiReqBuffer *mrb, VirtIOBlockReq *req)
{
    MergeIov *buf = req->mr_iov;

    if (buf) {
        req->mr_iov = NULL;
        buf->next = mrb->free_iov;
        mrb->free_iov = buf;
    }
}
