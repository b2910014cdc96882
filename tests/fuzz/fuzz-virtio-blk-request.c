/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chains of any shape and contents before the parser of virtio-blk requests.
 * What it makes of them is compared with what the bytes say when they are laid
 * out flat (virtio 1.2, 5.2.6): the parser knows pieces, the model does not.
 *
 * Input: flags, how many pieces are readable, how many writable, two unused
 * bytes, a length for each piece (16 bit), then the readable bytes.
 */
#include "fuzz.h"

#include "hw/block/virtio-blk-request.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define MAX_PIECES  24
#define HEADER      5
#define DISK_BYTES  (1 << 20)
#define SEGMENT     sizeof(struct virtio_blk_discard_write_zeroes)
#define POISON      0xa5

static const char serial[VIRTIO_BLK_ID_BYTES] = "serial-of-20-bytes!!";

typedef struct Chain {
    VirtIOBlockReq *req;
    VirtIOBlockRules rules;
    struct iovec pieces[2 * MAX_PIECES]; /* as they were, memory owned */
    unsigned n_out, n_in;
    uint8_t *out;                        /* all that can be read, flat */
    size_t out_bytes, in_bytes;
} Chain;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}

/* --- A chain of the input --- */

static size_t piece_length(const uint8_t *data, unsigned i)
{
    return data[HEADER + 2 * i] | (data[HEADER + 2 * i + 1] & 0xf) << 8;
}

/* Each piece is a block of its own, so that ASan sees who leaves it. */
static void make_chain(Chain *chain, const uint8_t *data, size_t bytes)
{
    unsigned n = chain->n_out + chain->n_in;
    size_t at = HEADER + 2 * n;

    for (unsigned i = 0; i < n; i++) {
        size_t len = piece_length(data, i);

        chain->pieces[i] = (struct iovec){ g_malloc(MAX(len, 1)), len };
        if (len == 0) {
            continue;
        }
        memset(chain->pieces[i].iov_base, i < chain->n_out ? 0 : POISON, len);
        if (i >= chain->n_out) {
            chain->in_bytes += len;
            continue;
        }
        chain->out = g_realloc(chain->out, chain->out_bytes + len);
        if (at < bytes) {
            memcpy(chain->pieces[i].iov_base, data + at,
                   MIN(len, bytes - at));
        }
        memcpy(chain->out + chain->out_bytes, chain->pieces[i].iov_base, len);
        chain->out_bytes += len;
        at += len;
    }
}

static void set_element(Chain *chain)
{
    VirtQueueElement *elem = &chain->req->elem;
    unsigned n = chain->n_out + chain->n_in;

    elem->iov = g_memdup2(chain->pieces, MAX(n, 1) * sizeof(struct iovec));
    elem->iov_capacity = MAX(n, 1);
    elem->out_num = chain->n_out;
    elem->in_num = chain->n_in;
}

/* --- The model --- */

static bool is_on_disk(const VirtIOBlockRules *rules, uint64_t sector,
                       uint64_t bytes)
{
    uint64_t sectors = rules->length / 512, per_block = rules->block_size / 512;

    return bytes % rules->block_size == 0 && sector <= sectors &&
           bytes / 512 <= sectors - sector && sector % per_block == 0;
}

/* What the specification has a device do about one segment. */
static int judge_segment(const Chain *chain, uint32_t type, size_t at)
{
    struct virtio_blk_discard_write_zeroes segment;
    uint32_t sectors, flags;

    memcpy(&segment, chain->out + at, SEGMENT);
    sectors = le32toh(segment.num_sectors);
    flags = le32toh(segment.flags);
    if (flags & (type == VIRTIO_BLK_T_DISCARD ? UINT32_MAX : UINT32_MAX - 1)) {
        return -ENOTSUP;
    }
    if (sectors > VIRTIO_BLK_MAX_SEGMENT_SECTORS ||
        !is_on_disk(&chain->rules, le64toh(segment.sector),
                    (uint64_t)sectors * 512)) {
        return -EINVAL;
    }
    return sectors > 0;
}

static int judge_segments(const Chain *chain, uint32_t type)
{
    const VirtIOBlockRules *rules = &chain->rules;
    size_t bytes = chain->out_bytes - 16;
    int ret = 0;

    if (!rules->writable) {
        return -EPERM;
    }
    if (!(type == VIRTIO_BLK_T_DISCARD ? rules->discard
                                       : rules->write_zeroes)) {
        return -ENOTSUP;
    }
    if (bytes == 0 || bytes % SEGMENT ||
        bytes / SEGMENT > VIRTIO_BLK_MAX_SEGMENTS) {
        return -EINVAL;
    }
    for (size_t at = 16; at < chain->out_bytes; at += SEGMENT) {
        int one = judge_segment(chain, type, at);

        if (one < 0) {
            return one;
        }
        ret |= one;
    }
    return ret;
}

static int judge_transfer(const Chain *chain, uint32_t type, uint64_t sector)
{
    uint64_t bytes = type == VIRTIO_BLK_T_IN ? chain->in_bytes - 1
                                             : chain->out_bytes - 16;

    if (type == VIRTIO_BLK_T_OUT && !chain->rules.writable) {
        return -EPERM;
    }
    if (!is_on_disk(&chain->rules, sector, bytes)) {
        return -EINVAL;
    }
    return bytes > 0;
}

static int judge(const Chain *chain)
{
    struct virtio_blk_outhdr header;

    if (chain->in_bytes == 0 || chain->out_bytes < sizeof(header)) {
        return -EINVAL;
    }
    memcpy(&header, chain->out, sizeof(header));
    switch (le32toh(header.type)) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        return judge_transfer(chain, le32toh(header.type),
                              le64toh(header.sector));
    case VIRTIO_BLK_T_FLUSH:
        return VIRTIO_BLK_SUBMIT;
    case VIRTIO_BLK_T_GET_ID:
        return 0;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return judge_segments(chain, le32toh(header.type));
    default:
        return -ENOTSUP;
    }
}

/* --- What came of it --- */

static bool is_transfer(const BlockRequest *block)
{
    return block->op == BLOCK_READ || block->op == BLOCK_WRITE;
}

static void expect_request(const Chain *chain)
{
    const BlockRequest *block = &chain->req->block;
    uint64_t total = 0;

    if (block->op == BLOCK_FLUSH) {
        return;
    }
    g_assert(block->offset >= 0 && block->bytes > 0);
    g_assert(block->offset + block->bytes <= chain->rules.length);
    g_assert((block->offset | block->bytes) % chain->rules.block_size == 0);
    for (unsigned i = 0; i < block->niov; i++) {
        total += block->iov[i].iov_len;
    }
    g_assert(total == (is_transfer(block) ? (uint64_t)block->bytes : 0));
}

/* All data there is to write, where it says; all there is to read. */
static void expect_data(const Chain *chain)
{
    const BlockRequest *block = &chain->req->block;
    size_t at = 16;

    if (block->op == BLOCK_READ) {
        for (unsigned i = 0; i < block->niov; i++) {
            memset(block->iov[i].iov_base, 'r', block->iov[i].iov_len);
        }
    } else if (block->op == BLOCK_WRITE) {
        for (unsigned i = 0; i < block->niov; i++) {
            g_assert(memcmp(block->iov[i].iov_base, chain->out + at,
                            block->iov[i].iov_len) == 0);
            at += block->iov[i].iov_len;
        }
    }
}

static uint8_t status_of(int ret)
{
    return ret >= 0 ? VIRTIO_BLK_S_OK
                    : ret == -ENOTSUP ? VIRTIO_BLK_S_UNSUPP
                                      : VIRTIO_BLK_S_IOERR;
}

/* What can be written, flat. */
static uint8_t *join_in(const Chain *chain)
{
    uint8_t *in = g_malloc(chain->in_bytes);
    size_t at = 0;

    for (unsigned i = chain->n_out; i < chain->n_out + chain->n_in; i++) {
        if (chain->pieces[i].iov_len) {
            memcpy(in + at, chain->pieces[i].iov_base,
                   chain->pieces[i].iov_len);
        }
        at += chain->pieces[i].iov_len;
    }
    return in;
}

/* Status last; in front of it what was read, or the name, or nothing. */
static void expect_answer(const Chain *chain, uint32_t used, int ret)
{
    const BlockRequest *block = &chain->req->block;
    bool read = ret == VIRTIO_BLK_SUBMIT && block->op == BLOCK_READ;
    bool named = ret == 0 && le32toh(*(uint32_t *)chain->out) ==
                             VIRTIO_BLK_T_GET_ID;
    size_t name = MIN(chain->in_bytes - 1, sizeof(serial));
    g_autofree uint8_t *in = join_in(chain);

    g_assert(used == 1 + (read ? (size_t)block->bytes : named ? name : 0));
    g_assert(in[chain->in_bytes - 1] == status_of(ret));
    for (size_t i = 0; i < chain->in_bytes - 1; i++) {
        uint8_t expected = read ? 'r' : named && i < name ? serial[i]
                                                          : POISON;

        g_assert(in[i] == expected);
    }
}

static void run(Chain *chain)
{
    VirtQueueElement *elem = &chain->req->elem;
    unsigned n_in_use = chain->n_out + chain->n_in;
    int expected = judge(chain);
    int ret = virtio_blk_request_parse(chain->req, &chain->rules);
    uint32_t used;

    g_assert_cmpint(ret, ==, expected);
    if (ret == VIRTIO_BLK_SUBMIT) {
        expect_request(chain);
        expect_data(chain);
        while (!is_transfer(&chain->req->block) &&
               chain->req->block.op != BLOCK_FLUSH &&
               virtio_blk_request_next_segment(chain->req)) {
            expect_request(chain);
        }
    }
    used = virtio_blk_request_finish(chain->req, MIN(ret, 0));
    if (chain->in_bytes == 0) {
        g_assert_cmpuint(used, ==, 0);
    } else if (chain->out_bytes >= 16) {
        expect_answer(chain, used, ret);
    } else {
        g_assert_cmpuint(used, ==, 1);
    }
    /* the writable part is whole again, for the dirty log */
    for (unsigned i = chain->n_out; i < n_in_use; i++) {
        g_assert(elem->iov[i].iov_base == chain->pieces[i].iov_base);
        g_assert(elem->iov[i].iov_len == chain->pieces[i].iov_len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    Chain chain = { 0 };

    if (bytes < HEADER) {
        return 0;
    }
    chain.n_out = data[1] % (MAX_PIECES + 1);
    chain.n_in = data[2] % (MAX_PIECES + 1);
    if (bytes < HEADER + 2 * (chain.n_out + chain.n_in)) {
        return 0;
    }
    chain.rules = (VirtIOBlockRules){
        .length = DISK_BYTES, .block_size = data[0] & 8 ? 4096 : 512,
        .writable = !(data[0] & 1), .discard = !(data[0] & 2),
        .write_zeroes = !(data[0] & 4),
    };
    memcpy(chain.rules.serial, serial, sizeof(serial));
    make_chain(&chain, data, bytes);
    chain.req = virtio_blk_request_new(NULL);
    set_element(&chain);
    run(&chain);
    virtio_blk_request_free(chain.req);
    for (unsigned i = 0; i < chain.n_out + chain.n_in; i++) {
        g_free(chain.pieces[i].iov_base);
    }
    g_free(chain.out);
    return 0;
}
