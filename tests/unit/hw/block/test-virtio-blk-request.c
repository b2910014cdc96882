/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parsing chains into requests and finishing them, without a ring: a chain is
 * an element over ordinary memory.
 */
#include "hw/block/virtio-blk-request.h"

#include "block/iov.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define DISK_SECTORS 2048
#define POISON 0xee

typedef struct Chain {
    VirtIOBlockReq *req;
    VirtIOBlockRules rules;
    uint8_t out[4096];   /* what the device reads, piece by piece */
    uint8_t in[8192];    /* what it writes */
} Chain;

static void chain_setup(Chain *chain, gconstpointer data)
{
    chain->req = virtio_blk_request_new(NULL);
    chain->rules = (VirtIOBlockRules) {
        .length = DISK_SECTORS * 512,
        .block_size = 512,
        .writable = true,
        .discard = true,
        .write_zeroes = true,
        .serial = "disk-0001",
    };
    memset(chain->in, POISON, sizeof(chain->in));
}

static void chain_teardown(Chain *chain, gconstpointer data)
{
    virtio_blk_request_free(chain->req);
}

/* @lens ends with -1. Pieces lie in memory with a gap after each, so that
 * reading or writing over an edge is noticed. Returns their number. */
static unsigned lay_out(struct iovec *iov, uint8_t *base, const int *lens)
{
    unsigned n = 0;

    for (; lens[n] >= 0; n++) {
        iov[n] = (struct iovec) { .iov_base = base, .iov_len = lens[n] };
        base += lens[n] + 8;
    }
    return n;
}

#define LENS(...) (const int[]) { __VA_ARGS__, -1 }
#define NONE (const int[]) { -1 }

static void set_layout(Chain *chain, const int *out, const int *in)
{
    VirtQueueElement *elem = &chain->req->elem;

    if (elem->iov_capacity < 64) {
        elem->iov = g_renew(struct iovec, elem->iov, 64);
        elem->iov_capacity = 64;
    }
    elem->out_num = lay_out(elem->iov, chain->out, out);
    elem->in_num = lay_out(elem->iov + elem->out_num, chain->in, in);
}

static void set_header(Chain *chain, uint32_t type, uint64_t sector)
{
    VirtQueueElement *elem = &chain->req->elem;
    struct virtio_blk_outhdr header = {
        .type = htole32(type),
        .sector = htole64(sector),
    };

    iov_from_buf(elem->iov, elem->out_num, 0, &header, sizeof(header));
}

static int parse(Chain *chain)
{
    return virtio_blk_request_parse(chain->req, &chain->rules);
}

/* The last byte of the writable part. */
static uint8_t status_of(const Chain *chain)
{
    const VirtQueueElement *elem = &chain->req->elem;
    const struct iovec *in = elem->iov + elem->out_num;

    for (unsigned i = elem->in_num; i-- > 0;) {
        if (in[i].iov_len > 0) {
            return ((uint8_t *)in[i].iov_base)[in[i].iov_len - 1];
        }
    }
    return 0xff;
}

/* Parses what must be over at once, finishes it, checks status and length. */
static void expect_done(Chain *chain, uint8_t status, uint32_t len)
{
    int ret = parse(chain);

    g_assert_cmpint(ret, <=, 0);
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, ret), ==, len);
    g_assert_cmpuint(status_of(chain), ==, status);
}

static void test_read_standard(Chain *chain, gconstpointer data)
{
    const BlockRequest *block = &chain->req->block;

    set_layout(chain, LENS(16), LENS(512, 1024, 1));
    set_header(chain, VIRTIO_BLK_T_IN, 7);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    g_assert_cmpint(block->op, ==, BLOCK_READ);
    g_assert_cmpint(block->offset, ==, 7 * 512);
    g_assert_cmpint(block->bytes, ==, 1536);
    g_assert_cmpuint(block->niov, ==, 2);
    g_assert_true(block->iov[0].iov_base == chain->in);
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, 0), ==, 1537);
    g_assert_cmpuint(status_of(chain), ==, VIRTIO_BLK_S_OK);
}

static void test_read_failed(Chain *chain, gconstpointer data)
{
    set_layout(chain, LENS(16), LENS(512, 1));
    set_header(chain, VIRTIO_BLK_T_IN, 0);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, -EIO), ==, 1);
    g_assert_cmpuint(status_of(chain), ==, VIRTIO_BLK_S_IOERR);
}

/* Data and status in one descriptor: the byte is taken for the data's length
 * and given back for whoever looks at the element afterwards. */
static void test_read_joined_status(Chain *chain, gconstpointer data)
{
    set_layout(chain, LENS(16), LENS(512, 513));
    set_header(chain, VIRTIO_BLK_T_IN, 1);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    g_assert_cmpint(chain->req->block.bytes, ==, 1024);
    g_assert_cmpuint(chain->req->block.niov, ==, 2);
    g_assert_cmpuint(chain->req->block.iov[1].iov_len, ==, 512);
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, 0), ==, 1025);
    g_assert_cmpuint(chain->req->elem.iov[2].iov_len, ==, 513);
    g_assert_cmpuint(status_of(chain), ==, VIRTIO_BLK_S_OK);
}

static void test_write_header_split(Chain *chain, gconstpointer data)
{
    const BlockRequest *block = &chain->req->block;

    set_layout(chain, LENS(1, 0, 3, 12 + 512, 512), LENS(1));
    set_header(chain, VIRTIO_BLK_T_OUT, 3);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    g_assert_cmpint(block->op, ==, BLOCK_WRITE);
    g_assert_cmpint(block->offset, ==, 3 * 512);
    g_assert_cmpint(block->bytes, ==, 1024);
    g_assert_cmpuint(block->niov, ==, 2);
    g_assert_true(block->iov[0].iov_base == chain->out + 9 + 8 + 11 + 12);
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, 0), ==, 1);
}

static void test_write_header_and_data_joined(Chain *chain, gconstpointer data)
{
    set_layout(chain, LENS(16 + 512), LENS(1));
    set_header(chain, VIRTIO_BLK_T_OUT, 3);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    g_assert_cmpint(chain->req->block.bytes, ==, 512);
    g_assert_true(chain->req->block.iov[0].iov_base == chain->out + 16);
}

/* Empty descriptors behind the status byte are not it. */
static void test_status_before_empty(Chain *chain, gconstpointer data)
{
    set_layout(chain, LENS(16), LENS(512, 1, 0, 0));
    set_header(chain, VIRTIO_BLK_T_IN, 0);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    g_assert_cmpint(chain->req->block.bytes, ==, 512);
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, 0), ==, 513);
    g_assert_cmpuint(chain->in[512 + 8], ==, VIRTIO_BLK_S_OK);
}

static void test_no_status(Chain *chain, gconstpointer data)
{
    const int *const layouts[] = { NONE, LENS(0), LENS(0, 0) };

    for (unsigned i = 0; i < G_N_ELEMENTS(layouts); i++) {
        set_layout(chain, LENS(16, 512), layouts[i]);
        set_header(chain, VIRTIO_BLK_T_OUT, 0);
        g_assert_cmpint(parse(chain), <, 0);
        g_assert_cmpuint(virtio_blk_request_finish(chain->req, -EINVAL),
                         ==, 0);
    }
    g_assert_cmpuint(chain->in[0], ==, POISON);
}

static void test_short_header(Chain *chain, gconstpointer data)
{
    const int *const layouts[] = { NONE, LENS(15), LENS(8, 0, 7) };

    for (unsigned i = 0; i < G_N_ELEMENTS(layouts); i++) {
        set_layout(chain, layouts[i], LENS(512, 1));
        expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
    }
}

static void test_range(Chain *chain, gconstpointer data)
{
    static const struct {
        uint64_t sector;
        int bytes;
        bool good;
    } cases[] = {
        { 0, 512, true },
        { DISK_SECTORS - 1, 512, true },
        { DISK_SECTORS - 1, 1024, false },
        { DISK_SECTORS, 512, false },
        { UINT64_MAX, 512, false },
        { UINT64_MAX / 512, 512, false },
        { UINT64_MAX / 512 + 1, 512, false },  /* wraps to 0 in bytes */
        { UINT64_C(1) << 63, 512, false },
        { 0, 511, false },
        { 0, 513, false },
        { 0, 1, false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        set_layout(chain, LENS(16, cases[i].bytes), LENS(1));
        set_header(chain, VIRTIO_BLK_T_OUT, cases[i].sector);
        if (cases[i].good) {
            g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
        } else {
            expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
        }
    }
}

static void test_block_size(Chain *chain, gconstpointer data)
{
    chain->rules.block_size = 4096;
    set_layout(chain, LENS(16), LENS(4096, 1));
    set_header(chain, VIRTIO_BLK_T_IN, 8);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    virtio_blk_request_finish(chain->req, 0);
    set_header(chain, VIRTIO_BLK_T_IN, 7);
    expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
    set_layout(chain, LENS(16), LENS(512, 1));
    set_header(chain, VIRTIO_BLK_T_IN, 8);
    expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
}

/* A disk that ends inside a sector of 512: the rest cannot be reached. */
static void test_ragged_end(Chain *chain, gconstpointer data)
{
    chain->rules.length = 1024 + 100;
    set_layout(chain, LENS(16), LENS(512, 1));
    set_header(chain, VIRTIO_BLK_T_IN, 1);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    virtio_blk_request_finish(chain->req, 0);
    set_header(chain, VIRTIO_BLK_T_IN, 2);
    expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
}

static void test_empty_transfer(Chain *chain, gconstpointer data)
{
    set_layout(chain, LENS(16), LENS(1));
    set_header(chain, VIRTIO_BLK_T_IN, DISK_SECTORS);
    expect_done(chain, VIRTIO_BLK_S_OK, 1);
    set_header(chain, VIRTIO_BLK_T_IN, DISK_SECTORS + 1);
    expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
}

static void test_read_only(Chain *chain, gconstpointer data)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
    };

    chain->rules.writable = false;
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        set_layout(chain, LENS(16, 512), LENS(1));
        set_header(chain, types[i], 0);
        expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
    }
    set_header(chain, VIRTIO_BLK_T_FLUSH, 0);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
}

static void test_unknown_type(Chain *chain, gconstpointer data)
{
    static const uint32_t types[] = {
        2, 3, 5, 9, 10, VIRTIO_BLK_T_SECURE_ERASE, 15, 26, 0x80000000,
        0x80000001, UINT32_MAX,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        set_layout(chain, LENS(16), LENS(64, 1));
        set_header(chain, types[i], 0);
        expect_done(chain, VIRTIO_BLK_S_UNSUPP, 1);
    }
    g_assert_cmpuint(chain->in[0], ==, POISON);
}

static void test_flush(Chain *chain, gconstpointer data)
{
    set_layout(chain, LENS(16), LENS(1));
    set_header(chain, VIRTIO_BLK_T_FLUSH, 99);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    g_assert_cmpint(chain->req->block.op, ==, BLOCK_FLUSH);
    g_assert_cmpint(chain->req->block.bytes, ==, 0);
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, 0), ==, 1);
}

static void test_get_id(Chain *chain, gconstpointer data)
{
    set_layout(chain, LENS(16), LENS(20, 1));
    set_header(chain, VIRTIO_BLK_T_GET_ID, 0);
    expect_done(chain, VIRTIO_BLK_S_OK, 21);
    g_assert_cmpmem(chain->in, 20, "disk-0001\0\0\0\0\0\0\0\0\0\0", 20);

    set_layout(chain, LENS(16), LENS(4, 3, 1));
    expect_done(chain, VIRTIO_BLK_S_OK, 8);
    g_assert_cmpmem(chain->in, 4, "disk", 4);
    g_assert_cmpmem(chain->in + 12, 3, "-00", 3);

    memset(chain->in, POISON, sizeof(chain->in));
    set_layout(chain, LENS(16), LENS(64, 1));
    expect_done(chain, VIRTIO_BLK_S_OK, 21);
    g_assert_cmpuint(chain->in[19], ==, 0);
    g_assert_cmpuint(chain->in[20], ==, POISON);

    memcpy(chain->rules.serial, "01234567890123456789", 20);
    set_layout(chain, LENS(16), LENS(21));
    expect_done(chain, VIRTIO_BLK_S_OK, 21);
    g_assert_cmpmem(chain->in, 20, "01234567890123456789", 20);
}

static void set_segments(Chain *chain, uint32_t type,
                         const struct virtio_blk_discard_write_zeroes *segs,
                         unsigned n)
{
    VirtQueueElement *elem = &chain->req->elem;
    int split = MIN(n * 16, 10);

    /* a segment across two descriptors, if there is one */
    set_layout(chain, LENS(16, split, (int)n * 16 - split), LENS(1));
    set_header(chain, type, 0);
    iov_from_buf(elem->iov, elem->out_num, 16, segs, n * sizeof(*segs));
}

static void test_discard_segments(Chain *chain, gconstpointer data)
{
    struct virtio_blk_discard_write_zeroes segs[] = {
        { .sector = htole64(8), .num_sectors = htole32(4) },
        { .sector = htole64(100), .num_sectors = 0 },
        { .sector = htole64(0), .num_sectors = htole32(DISK_SECTORS) },
    };
    BlockRequest *block = &chain->req->block;

    set_segments(chain, VIRTIO_BLK_T_DISCARD, segs, 3);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    /* the guest changes its mind: too late */
    memset(chain->out, 0xff, sizeof(chain->out));
    g_assert_cmpint(block->op, ==, BLOCK_DISCARD);
    g_assert_cmpint(block->offset, ==, 8 * 512);
    g_assert_cmpint(block->bytes, ==, 4 * 512);
    block->offset = block->bytes = block->op = 0; /* layers below may */
    g_assert_true(virtio_blk_request_next_segment(chain->req));
    g_assert_cmpint(block->op, ==, BLOCK_DISCARD);
    g_assert_cmpint(block->offset, ==, 0);
    g_assert_cmpint(block->bytes, ==, DISK_SECTORS * 512);
    g_assert_cmpuint(block->flags, ==, 0);
    g_assert_false(virtio_blk_request_next_segment(chain->req));
    g_assert_cmpuint(virtio_blk_request_finish(chain->req, 0), ==, 1);
}

static void test_segment_checks(Chain *chain, gconstpointer data)
{
    static const struct {
        uint32_t type;
        uint64_t sector;
        uint32_t sectors, flags;
        int status; /* -1: goes through */
    } cases[] = {
        { VIRTIO_BLK_T_DISCARD, 0, 8, 0, -1 },
        { VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0, -1 },
        { VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 1, -1 },
        { VIRTIO_BLK_T_DISCARD, 0, 8, 1, VIRTIO_BLK_S_UNSUPP },
        { VIRTIO_BLK_T_DISCARD, 0, 8, 2, VIRTIO_BLK_S_UNSUPP },
        { VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2, VIRTIO_BLK_S_UNSUPP },
        { VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 3, VIRTIO_BLK_S_UNSUPP },
        { VIRTIO_BLK_T_DISCARD, DISK_SECTORS - 4, 8, 0, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, UINT64_MAX - 3, 8, 0, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_WRITE_ZEROES, DISK_SECTORS, 1, 0, VIRTIO_BLK_S_IOERR },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        /* a good one in front must not be done when the second is bad */
        struct virtio_blk_discard_write_zeroes segs[2] = {
            { .sector = 0, .num_sectors = htole32(1) },
            {
                .sector = htole64(cases[i].sector),
                .num_sectors = htole32(cases[i].sectors),
                .flags = htole32(cases[i].flags),
            },
        };

        set_segments(chain, cases[i].type, segs, 2);
        if (cases[i].status >= 0) {
            expect_done(chain, cases[i].status, 1);
            continue;
        }
        g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
        g_assert_true(virtio_blk_request_next_segment(chain->req));
        g_assert_cmpuint(chain->req->block.flags, ==,
                         cases[i].flags ? BLOCK_REQ_MAY_UNMAP : 0);
    }
}

static void test_segment_count(Chain *chain, gconstpointer data)
{
    struct virtio_blk_discard_write_zeroes segs[VIRTIO_BLK_MAX_SEGMENTS + 1] =
        { { .num_sectors = 0 } };

    segs[VIRTIO_BLK_MAX_SEGMENTS - 1].num_sectors = htole32(1);
    set_segments(chain, VIRTIO_BLK_T_DISCARD, segs, VIRTIO_BLK_MAX_SEGMENTS);
    g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
    set_segments(chain, VIRTIO_BLK_T_DISCARD, segs,
                 VIRTIO_BLK_MAX_SEGMENTS + 1);
    expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
    set_segments(chain, VIRTIO_BLK_T_DISCARD, segs, 0);
    expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
    set_segments(chain, VIRTIO_BLK_T_DISCARD, segs, 1); /* of 0 sectors */
    expect_done(chain, VIRTIO_BLK_S_OK, 1);
    set_layout(chain, LENS(16, 17), LENS(1));
    set_header(chain, VIRTIO_BLK_T_DISCARD, 0);
    expect_done(chain, VIRTIO_BLK_S_IOERR, 1);
}

static void test_segments_not_offered(Chain *chain, gconstpointer data)
{
    struct virtio_blk_discard_write_zeroes seg = {
        .num_sectors = htole32(1),
    };

    chain->rules.discard = false;
    set_segments(chain, VIRTIO_BLK_T_DISCARD, &seg, 1);
    expect_done(chain, VIRTIO_BLK_S_UNSUPP, 1);
    chain->rules.write_zeroes = false;
    set_segments(chain, VIRTIO_BLK_T_WRITE_ZEROES, &seg, 1);
    expect_done(chain, VIRTIO_BLK_S_UNSUPP, 1);
}

static void test_errno_to_status(Chain *chain, gconstpointer data)
{
    static const struct {
        int ret;
        uint8_t status;
    } cases[] = {
        { 0, VIRTIO_BLK_S_OK }, { -EIO, VIRTIO_BLK_S_IOERR },
        { -ENOSPC, VIRTIO_BLK_S_IOERR }, { -EPERM, VIRTIO_BLK_S_IOERR },
        { -EINVAL, VIRTIO_BLK_S_IOERR }, { -ENOTSUP, VIRTIO_BLK_S_UNSUPP },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        set_layout(chain, LENS(16), LENS(1));
        set_header(chain, VIRTIO_BLK_T_FLUSH, 0);
        g_assert_cmpint(parse(chain), ==, VIRTIO_BLK_SUBMIT);
        virtio_blk_request_finish(chain->req, cases[i].ret);
        g_assert_cmpuint(status_of(chain), ==, cases[i].status);
    }
}

/* What ordinary chains need stays with a pooled request, more does not. */
static void test_trim(Chain *chain, gconstpointer data)
{
    VirtQueueElement *elem = &chain->req->elem;

    for (unsigned n = 16; n <= VIRTQUEUE_MAX_IOV; n *= 2) {
        elem->iov = g_renew(struct iovec, elem->iov, n);
        elem->iov_capacity = n;
        virtio_blk_request_trim(chain->req);
        g_assert_cmpuint(elem->iov_capacity, ==, n <= 256 ? n : 0);
        g_assert_true(!elem->iov == (n > 256));
    }
}

#define ADD(name) \
    g_test_add("/virtio-blk/request/" #name, Chain, NULL, chain_setup, \
               test_##name, chain_teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(read_standard);
    ADD(read_failed);
    ADD(read_joined_status);
    ADD(write_header_split);
    ADD(write_header_and_data_joined);
    ADD(status_before_empty);
    ADD(no_status);
    ADD(short_header);
    ADD(range);
    ADD(block_size);
    ADD(ragged_end);
    ADD(empty_transfer);
    ADD(read_only);
    ADD(unknown_type);
    ADD(flush);
    ADD(get_id);
    ADD(discard_segments);
    ADD(segment_checks);
    ADD(segment_count);
    ADD(segments_not_offered);
    ADD(errno_to_status);
    ADD(trim);
    return g_test_run();
}
