/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Merging, with a fake layer below that writes down what it gets.
 */
#include "hw/block/virtio-blk-merge.h"

#define UNIT 4096
#define MAX_REQS 600

typedef struct Sent {
    BlockOp op;
    int64_t start, end;    /* in units */
    unsigned members;
    unsigned niov;
} Sent;

typedef struct Fixture {
    MultiReqBuffer mrb;
    VirtIOBlockReq *reqs[MAX_REQS];
    struct iovec iov[MAX_REQS][2];
    unsigned n_reqs;
    VirtIOBlockReq *sent_reqs[MAX_REQS];
    Sent sent[MAX_REQS];
    unsigned n_sent;
} Fixture;

static void fake_submit(VirtIOBlockReq *req, void *opaque)
{
    Fixture *f = opaque;
    Sent *sent = &f->sent[f->n_sent];
    int64_t end = req->offset;

    sent->op = req->block.op;
    sent->start = req->block.offset / UNIT;
    sent->end = (req->block.offset + req->block.bytes) / UNIT;
    sent->niov = req->block.niov;
    f->sent_reqs[f->n_sent++] = req;
    for (VirtIOBlockReq *m = req; m; m = m->mr_next) {
        g_assert_cmpint(m->offset, ==, end);
        g_assert_cmpint(m->op, ==, req->op);
        end += m->bytes;
        sent->members++;
    }
    g_assert_cmpint(end, ==, req->block.offset + req->block.bytes);
}

static void setup(Fixture *f, gconstpointer data)
{
    virtio_blk_merge_init(&f->mrb, 1024, INT64_MAX, fake_submit, f);
}

static void teardown(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < f->n_sent; i++) {
        virtio_blk_merge_done(&f->mrb, f->sent_reqs[i]);
    }
    virtio_blk_merge_cleanup(&f->mrb);
    for (unsigned i = 0; i < f->n_reqs; i++) {
        virtio_blk_request_free(f->reqs[i]);
    }
}

static char memory[4 * MAX_REQS * UNIT];

/* Every request has a buffer of its own that touches no other. */
static VirtIOBlockReq *add(Fixture *f, BlockOp op, int64_t start,
                           unsigned units)
{
    VirtIOBlockReq *req = virtio_blk_request_new(NULL);
    unsigned i = f->n_reqs++;

    g_assert_cmpuint(i, <, MAX_REQS);
    f->reqs[i] = req;
    f->iov[i][0] = (struct iovec) {
        .iov_base = memory + (size_t)i * 2 * UNIT,
        .iov_len = (size_t)units * UNIT,
    };
    req->op = op;
    req->offset = start * UNIT;
    req->bytes = (int64_t)units * UNIT;
    req->data = f->iov[i];
    req->n_data = 1;
    virtio_blk_request_reload(req);
    virtio_blk_merge_add(&f->mrb, req);
    return req;
}

static void expect(const Fixture *f, unsigned i, BlockOp op, int64_t start,
                   int64_t end)
{
    g_assert_cmpuint(i, <, f->n_sent);
    g_assert_cmpint(f->sent[i].op, ==, op);
    g_assert_cmpint(f->sent[i].start, ==, start);
    g_assert_cmpint(f->sent[i].end, ==, end);
}

static void test_single(Fixture *f, gconstpointer data)
{
    VirtIOBlockReq *req = add(f, BLOCK_READ, 5, 1);

    g_assert_cmpuint(f->n_sent, ==, 0);
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 1);
    expect(f, 0, BLOCK_READ, 5, 6);
    g_assert_true(req->block.iov == req->data); /* nothing was copied */
    g_assert_null(req->mr_iov);
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 1);
}

static void test_sequential(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 32; i++) {
        add(f, BLOCK_WRITE, 100 + i, 1);
    }
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 1);
    expect(f, 0, BLOCK_WRITE, 100, 132);
    g_assert_cmpuint(f->sent[0].members, ==, 32);
    g_assert_cmpuint(f->sent[0].niov, ==, 32);
}

static void test_directions(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 8; i++) {
        add(f, BLOCK_WRITE, 100 + i, 1);
        add(f, BLOCK_READ, 200 + i, 1);
    }
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 2);
    expect(f, 0, BLOCK_WRITE, 100, 108);
    expect(f, 1, BLOCK_READ, 200, 208);
}

/* A read that begins where a write ends is no neighbour of it. */
static void test_direction_change(Fixture *f, gconstpointer data)
{
    add(f, BLOCK_WRITE, 10, 1);
    add(f, BLOCK_READ, 11, 1);
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 2);
}

static void test_streams(Fixture *f, gconstpointer data)
{
    unsigned streams = GPOINTER_TO_UINT(data);
    unsigned members = 0;

    for (unsigned i = 0; i < 8; i++) {
        for (unsigned s = 0; s < streams; s++) {
            add(f, BLOCK_READ, 1000 * s + i, 1);
        }
    }
    virtio_blk_merge_submit(&f->mrb);
    for (unsigned i = 0; i < f->n_sent; i++) {
        members += f->sent[i].members;
    }
    g_assert_cmpuint(members, ==, 8 * streams);
    /* Colliding slots may cost some, not most. */
    g_assert_cmpuint(f->n_sent, <=, streams * 3);
}

static void test_random(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 256; i++) {
        add(f, i % 2 ? BLOCK_READ : BLOCK_WRITE, 3 * ((i * 97) % 257), 1);
    }
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 256);
    for (unsigned i = 0; i < 256; i++) {
        expect(f, i, i % 2 ? BLOCK_READ : BLOCK_WRITE, 3 * ((i * 97) % 257),
               3 * ((i * 97) % 257) + 1);
    }
}

/* Two writes of the same blocks, and what follows them, stay in order. */
static void test_same_write_twice(Fixture *f, gconstpointer data)
{
    add(f, BLOCK_WRITE, 10, 1);
    add(f, BLOCK_WRITE, 10, 1);
    add(f, BLOCK_WRITE, 11, 1);
    virtio_blk_merge_submit(&f->mrb);
    g_assert_true(f->sent_reqs[0] == f->reqs[0]);
    g_assert_true(f->sent_reqs[1] == f->reqs[1]);
    expect(f, 0, BLOCK_WRITE, 10, 11);
    expect(f, 1, BLOCK_WRITE, 10, 12);
}

/* The third fits behind the first, but may not pass the second. */
static void test_overlap_blocks_join(Fixture *f, gconstpointer data)
{
    BlockOp first = GPOINTER_TO_UINT(data) & 1 ? BLOCK_WRITE : BLOCK_READ;
    BlockOp second = GPOINTER_TO_UINT(data) & 2 ? BLOCK_WRITE : BLOCK_READ;
    bool may_pass = first == BLOCK_READ && second == BLOCK_READ;

    add(f, first, 10, 2);
    add(f, second, 13, 5);
    add(f, first, 12, 2);
    virtio_blk_merge_submit(&f->mrb);
    if (may_pass) {
        g_assert_cmpuint(f->n_sent, ==, 2);
        expect(f, 0, first, 10, 14);
        return;
    }
    g_assert_cmpuint(f->n_sent, ==, 3);
    expect(f, 0, first, 10, 12);
    expect(f, 1, second, 13, 18);
    expect(f, 2, first, 12, 14);
}

/* Random overlapping writes: replaying what was submitted must leave the same
 * disk as replaying what came in. */
static void test_replay(Fixture *f, gconstpointer data)
{
    unsigned came_in[64] = { 0 }, sent[64] = { 0 };

    for (unsigned i = 0; i < 500; i++) {
        int64_t start = g_test_rand_int_range(0, 56);
        unsigned units = g_test_rand_int_range(1, 5);

        add(f, BLOCK_WRITE, start, units);
        for (unsigned u = 0; u < units; u++) {
            came_in[start + u] = i;
        }
        if (g_test_rand_int_range(0, 20) == 0) {
            virtio_blk_merge_submit(&f->mrb);
        }
    }
    virtio_blk_merge_submit(&f->mrb);
    for (unsigned i = 0; i < f->n_sent; i++) {
        for (VirtIOBlockReq *m = f->sent_reqs[i]; m; m = m->mr_next) {
            unsigned number = 0;

            while (f->reqs[number] != m) {
                number++;
            }
            for (unsigned u = 0; u < m->bytes / UNIT; u++) {
                sent[m->offset / UNIT + u] = number;
            }
        }
    }
    g_assert_cmpmem(came_in, sizeof(came_in), sent, sizeof(sent));
    g_assert_cmpuint(f->n_sent, <, 500); /* something did merge */
}

static void test_limit_bytes(Fixture *f, gconstpointer data)
{
    f->mrb.max_bytes = 4 * UNIT;
    for (unsigned i = 0; i < 10; i++) {
        add(f, BLOCK_READ, i, 1);
    }
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 3);
    expect(f, 0, BLOCK_READ, 0, 4);
    expect(f, 1, BLOCK_READ, 4, 8);
    expect(f, 2, BLOCK_READ, 8, 10);
}

static void test_limit_iov(Fixture *f, gconstpointer data)
{
    f->mrb.max_iov = 3;
    for (unsigned i = 0; i < 6; i++) {
        add(f, BLOCK_READ, i, 1);
    }
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 2);
    expect(f, 0, BLOCK_READ, 0, 3);
}

static void test_default_limits(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 300; i++) {
        add(f, BLOCK_READ, i, 1);
    }
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 2);
    expect(f, 0, BLOCK_READ, 0, VIRTIO_BLK_MERGE_MAX_IOV);
}

/* Buffers that meet in memory become one, others do not. */
static void test_join_buffers(Fixture *f, gconstpointer data)
{
    VirtIOBlockReq *req = add(f, BLOCK_READ, 0, 2);

    g_assert_cmpuint(req->n_data, ==, 1);
    add(f, BLOCK_READ, 2, 2);   /* begins 2 units behind, where req ends */
    add(f, BLOCK_READ, 4, 1);
    add(f, BLOCK_READ, 5, 1);   /* begins 2 units behind, a gap of 1 */
    virtio_blk_merge_submit(&f->mrb);
    g_assert_cmpuint(f->n_sent, ==, 1);
    g_assert_cmpuint(f->sent[0].niov, ==, 2);
    g_assert_cmpuint(f->sent_reqs[0]->block.iov[0].iov_len, ==, 5 * UNIT);
}

/* The list of buffers is borrowed and comes back: no second allocation. */
static void test_iov_reused(Fixture *f, gconstpointer data)
{
    void *first;

    add(f, BLOCK_READ, 0, 1);
    add(f, BLOCK_READ, 1, 1);
    virtio_blk_merge_submit(&f->mrb);
    first = f->sent_reqs[0]->mr_iov;
    g_assert_nonnull(first);
    virtio_blk_merge_done(&f->mrb, f->sent_reqs[0]);
    g_assert_null(f->sent_reqs[0]->mr_iov);
    add(f, BLOCK_READ, 10, 1);
    add(f, BLOCK_READ, 11, 1);
    virtio_blk_merge_submit(&f->mrb);
    g_assert_true(f->sent_reqs[1]->mr_iov == first);
}

#define ADD_DATA(path, name, data) \
    g_test_add("/virtio-blk/merge/" path, Fixture, GUINT_TO_POINTER(data), \
               setup, test_##name, teardown)
#define ADD(name) ADD_DATA(#name, name, 0)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(single);
    ADD(sequential);
    ADD(directions);
    ADD(direction_change);
    ADD_DATA("streams/2", streams, 2);
    ADD_DATA("streams/16", streams, 16);
    ADD_DATA("streams/32", streams, 32);
    ADD(random);
    ADD(same_write_twice);
    ADD_DATA("overlap/rr", overlap_blocks_join, 0);
    ADD_DATA("overlap/wr", overlap_blocks_join, 1);
    ADD_DATA("overlap/rw", overlap_blocks_join, 2);
    ADD_DATA("overlap/ww", overlap_blocks_join, 3);
    ADD(replay);
    ADD(limit_bytes);
    ADD(limit_iov);
    ADD(default_limits);
    ADD(join_buffers);
    ADD(iov_reused);
    return g_test_run();
}
