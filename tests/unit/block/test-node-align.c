/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that do not fit: bounced, widened, rewritten, split. Random ones
 * are held against a model, from one thread and from two at once.
 */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <errno.h>
#include <string.h>

#include "block/iothread.h"
#include "block/iov.h"
#include "tests/lib/image.h"

static char buf[65536 + 64] __attribute__((aligned(4096)));
static char back[65536 + 64] __attribute__((aligned(4096)));

static BlockDriverState *open_4096(void)
{
    BlockDriverState *bs =
        test_open("test-mem,size=1M,request-alignment=4096,"
                  "memory-alignment=512,discard=unmap");

    g_assert_true(bdrv_set_block_size(bs, 512, NULL));
    bdrv_attach_context(bs, test_ctx());
    return bs;
}

static void test_memory(void)
{
    BlockDriverState *bs =
        test_open_attached("test-mem,request-alignment=512,"
                           "memory-alignment=512");

    test_pattern(buf + 3, 8192, 2);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf + 3, 8192), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 512, back + 5, 8192), ==, 0);
    g_assert_cmpmem(buf + 3, 8192, back + 5, 8192);
    g_assert_cmpmem(buf + 3, 8192, test_mem(bs)->data + 512, 8192);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, 1);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_READ), ==, 1);
    test_detach_unref(bs);
}

/* A list whose sum fits but whose elements do not. */
static void test_elements(void)
{
    BlockDriverState *bs =
        test_open_attached("test-mem,request-alignment=512,"
                           "memory-alignment=4");
    struct iovec iov[3] = {
        { buf, 100 }, { buf + 100, 412 }, { buf + 512, 512 },
    };
    TestRequest test = {
        .req = { .op = BLOCK_WRITE, .bytes = 1024, .iov = iov, .niov = 3 },
    };

    test_pattern(buf, 1024, 3);
    test_submit(bs, &test);
    g_assert_cmpint(test_wait(&test), ==, 0);
    g_assert_cmpmem(buf, 1024, test_mem(bs)->data, 1024);
    test_detach_unref(bs);
}

static void test_widened_read(void)
{
    BlockDriverState *bs = open_4096();

    test_pattern(test_mem(bs)->data, 65536, 4);
    memset(back, 0xee, sizeof(back));
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 4608, back, 9216), ==, 0);
    g_assert_cmpmem(test_mem(bs)->data + 4608, 9216, back, 9216);
    g_assert_cmpint((uint8_t)back[9216], ==, 0xee);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_READ), ==, 1);
    test_detach_unref(bs);
}

/* offset, bytes: how many reads of edges there have to be */
static void test_rewrite_counts(void)
{
    static const struct {
        int64_t offset, bytes;
        unsigned reads;
    } cases[] = {
        { 0, 4096, 0 },    { 512, 512, 1 },    { 0, 512, 1 },
        { 3584, 512, 1 },  { 512, 7168, 2 },   { 512, 7680, 1 },
        { 0, 7680, 1 },    { 3584, 1024, 2 },  { 512, 12288, 2 },
    };
    BlockDriverState *bs = open_4096();
    g_autofree uint8_t *model = g_malloc(65536);

    test_pattern(model, 65536, 5);
    memcpy(test_mem(bs)->data, model, 65536);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        test_mem_reset_counts(bs);
        test_pattern(buf, cases[i].bytes, 100 + i);
        memcpy(model + cases[i].offset, buf, cases[i].bytes);
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, cases[i].offset, buf,
                                cases[i].bytes), ==, 0);
        g_assert_cmpmem(model, 65536, test_mem(bs)->data, 65536);
        g_assert_cmpuint(test_mem_count(bs, BLOCK_READ), ==, cases[i].reads);
        g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, 1);
    }
    test_detach_unref(bs);
}

static void test_zero_counts(void)
{
    static const struct {
        int64_t offset, bytes;
        unsigned zeroes, writes;
    } cases[] = {
        { 4096, 8192, 1, 0 }, { 512, 512, 0, 1 },   { 3584, 1024, 0, 1 },
        { 512, 7680, 1, 1 },  { 4096, 4608, 1, 1 }, { 512, 12288, 1, 2 },
    };
    BlockDriverState *bs = open_4096();
    g_autofree uint8_t *model = g_malloc(65536);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        test_pattern(model, 65536, i);
        memcpy(test_mem(bs)->data, model, 65536);
        memset(model + cases[i].offset, 0, cases[i].bytes);
        test_mem_reset_counts(bs);
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_FUA,
                                cases[i].offset, cases[i].bytes), ==, 0);
        g_assert_cmpmem(model, 65536, test_mem(bs)->data, 65536);
        g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE_ZEROES), ==,
                         cases[i].zeroes);
        g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, cases[i].writes);
        g_assert_cmpuint(test_mem(bs)->last_flags, ==, BLOCK_REQ_FUA);
    }
    test_detach_unref(bs);
}

/*
 * A write of a whole block beside a rewrite of its first sector: the seven
 * that only one of them writes must be its own, whoever came first.
 */
static void test_whole_beside_part(void)
{
    static const BlockOp ops[] = { BLOCK_WRITE, BLOCK_WRITE_ZEROES,
                                   BLOCK_DISCARD };
    BlockDriverState *bs = open_4096();

    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(ops); i++) {
        TestRequest part = { .req = { .op = BLOCK_WRITE, .bytes = 512 } };
        TestRequest whole = { .req = { .op = ops[i / 2], .bytes = 4096 } };

        memset(test_mem(bs)->data, 1, 4096);
        memset(buf, 2, 512);
        memset(back, ops[i / 2] == BLOCK_WRITE ? 3 : 0, 4096);
        part.iov = (struct iovec){ buf, 512 };
        whole.iov = (struct iovec){ back, 4096 };
        part.req.iov = &part.iov;
        whole.req.iov = &whole.iov;
        part.req.niov = whole.req.niov = 1;
        test_submit(bs, i % 2 ? &part : &whole);
        test_submit(bs, i % 2 ? &whole : &part);
        g_assert_cmpint(test_wait(&part), ==, 0);
        g_assert_cmpint(test_wait(&whole), ==, 0);
        g_assert_cmpmem(test_mem(bs)->data + 512, 3584, back + 512, 3584);
    }
    test_detach_unref(bs);
}

/* Whichever step fails, the request does, and nobody waits for ever. */
static void test_errors(void)
{
    BlockDriverState *bs = open_4096();

    for (unsigned step = 1; step <= 3; step++) {
        test_mem(bs)->fail_after = step;
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf, 7168), ==, -EIO);
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf, 7168), ==, 0);
        test_mem(bs)->fail_after = step;
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 512, 12288), ==,
                        -EIO);
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 512, 12288), ==,
                        0);
    }
    test_detach_unref(bs);
}

static void test_no_lock(void)
{
    BlockDriverState *bs =
        test_open_attached("test-mem,request-alignment=4096");

    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf, 512), ==, -EINVAL);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 512, 512), ==, -EINVAL);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 512, buf, 512), ==, 0);
    test_detach_unref(bs);
}

static void test_split_bytes(void)
{
    BlockDriverState *bs =
        test_open_attached("test-mem,request-alignment=512,max-transfer=8192");

    test_pattern(buf, 20480, 6);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 1024, buf, 20480), ==, 0);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, 3);
    g_assert_cmpmem(buf, 20480, test_mem(bs)->data + 1024, 20480);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 1024, back, 20480), ==, 0);
    g_assert_cmpmem(buf, 20480, back, 20480);
    test_mem(bs)->fail_after = 2;
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 1024, back, 20480), ==, -EIO);
    test_detach_unref(bs);
}

static void test_split_elements(void)
{
    BlockDriverState *bs =
        test_open_attached("test-mem,request-alignment=512,max-iov=4");
    struct iovec iov[16];
    TestRequest test = {
        .req = { .op = BLOCK_WRITE, .bytes = 8192, .iov = iov, .niov = 16 },
    };

    test_pattern(buf, 8192, 7);
    for (unsigned i = 0; i < 16; i++) {
        iov[i] = (struct iovec){ buf + i * 512, 512 };
    }
    test_submit(bs, &test);
    g_assert_cmpint(test_wait(&test), ==, 0);
    g_assert_cmpmem(buf, 8192, test_mem(bs)->data, 8192);
    test_detach_unref(bs);
}

/* Longer than the bounce buffer, and misaligned in every way. */
static void test_long_bounce(void)
{
    int64_t bytes = 3 * 1024 * 1024 + 512;
    BlockDriverState *bs =
        test_open("test-mem,size=8M,request-alignment=4096,"
                  "memory-alignment=512");
    g_autofree char *data = g_malloc(bytes + 1);
    g_autofree char *copy = g_malloc0(bytes + 1);

    g_assert_true(bdrv_set_block_size(bs, 512, NULL));
    bdrv_attach_context(bs, test_ctx());
    test_pattern(data, bytes + 1, 8);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 1536, data + 1, bytes), ==, 0);
    g_assert_cmpmem(data + 1, bytes, test_mem(bs)->data + 1536, bytes);
    g_assert_cmpint(test_mem(bs)->data[1535], ==, 0);
    g_assert_cmpint(test_mem(bs)->data[1536 + bytes], ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 1536, copy + 1, bytes), ==, 0);
    g_assert_cmpmem(data + 1, bytes, copy + 1, bytes);
    g_assert_cmpuint(test_mem_count(bs, BLOCK_WRITE), ==, 4);
    test_detach_unref(bs);
}

/* --- random requests, many at once, against a model --- */

#define SECTOR  512
#define SECTORS 256 /* 32 blocks: they collide all the time */
#define DEPTH   8
#define ROUNDS  4000

typedef struct Fuzzer Fuzzer;

typedef struct FuzzRequest {
    Fuzzer *fuzzer;
    BlockRequest req;
    struct iovec iov;
    unsigned first, n; /* sectors, all of this fuzzer's, none in flight */
    char data[8 * SECTOR + 1];
} FuzzRequest;

/* Owns the sectors whose number modulo @owners is @index. */
struct Fuzzer {
    BlockDriverState *bs;
    AioContext *ctx, *main_ctx;
    unsigned index, owners;
    GRand *rand;
    unsigned started, finished;
    bool busy[SECTORS];
    uint8_t model[SECTORS * SECTOR];
    FuzzRequest requests[DEPTH];
    EngineStats stats;
    unsigned *running; /* atomic */
};

static void fuzz_start(FuzzRequest *fr);

static void fuzz_cb(BlockRequest *req, void *opaque, int ret)
{
    FuzzRequest *fr = opaque;
    Fuzzer *fuzzer = fr->fuzzer;
    uint8_t *model = fuzzer->model + fr->first * SECTOR;

    g_assert_cmpint(ret, ==, 0);
    if (req->op == BLOCK_READ) {
        g_assert_cmpmem(model, fr->n * SECTOR, fr->iov.iov_base,
                        fr->n * SECTOR);
    }
    for (unsigned i = 0; i < fr->n; i++) {
        fuzzer->busy[fr->first + i] = false;
    }
    fuzzer->finished++;
    if (fuzzer->started < ROUNDS) {
        fuzz_start(fr);
    } else if (fuzzer->finished == ROUNDS) {
        __atomic_sub_fetch(fuzzer->running, 1, __ATOMIC_SEQ_CST);
        aio_notify(fuzzer->main_ctx);
    }
}

/* A free range. With several owners it is one sector long. */
static void fuzz_pick(FuzzRequest *fr)
{
    Fuzzer *fuzzer = fr->fuzzer;
    unsigned i;

    do {
        fr->n = fuzzer->owners > 1 ? 1 : g_rand_int_range(fuzzer->rand, 1, 9);
        fr->first = g_rand_int_range(fuzzer->rand, 0, SECTORS - fr->n + 1);
        for (i = 0; i < fr->n && !fuzzer->busy[fr->first + i]; i++) {
        }
    } while (i < fr->n || fr->first % fuzzer->owners != fuzzer->index);
    for (i = 0; i < fr->n; i++) {
        fuzzer->busy[fr->first + i] = true;
    }
}

static void fuzz_start(FuzzRequest *fr)
{
    static const BlockOp ops[] = { BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE,
                                   BLOCK_WRITE_ZEROES };
    Fuzzer *fuzzer = fr->fuzzer;
    unsigned misalign = g_rand_int_range(fuzzer->rand, 0, 2);
    BlockRequest *req = &fr->req;
    uint8_t *model;

    fuzz_pick(fr);
    model = fuzzer->model + fr->first * SECTOR;
    req->op = ops[g_rand_int_range(fuzzer->rand, 0, G_N_ELEMENTS(ops))];
    req->flags = 0;
    req->offset = fr->first * SECTOR;
    req->bytes = fr->n * SECTOR;
    fr->iov.iov_base = fr->data + misalign;
    fr->iov.iov_len = req->bytes;
    req->iov = &fr->iov;
    req->niov = 1;
    req->ctx = fuzzer->ctx;
    req->engine.stats = &fuzzer->stats;
    if (req->op == BLOCK_WRITE) {
        test_pattern(fr->iov.iov_base, req->bytes,
                     g_rand_int(fuzzer->rand));
        memcpy(model, fr->iov.iov_base, req->bytes);
    } else if (req->op == BLOCK_WRITE_ZEROES) {
        memset(model, 0, req->bytes);
    }
    fuzzer->started++;
    block_request_push(req, fuzz_cb, fr);
    bdrv_submit(fuzzer->bs, req);
}

static void fuzz_begin(void *opaque)
{
    Fuzzer *fuzzer = opaque;

    bdrv_attach_context(fuzzer->bs, fuzzer->ctx);
    for (unsigned i = 0; i < DEPTH; i++) {
        fuzzer->requests[i].fuzzer = fuzzer;
        block_request_init(&fuzzer->requests[i].req);
        fuzz_start(&fuzzer->requests[i]);
    }
}

static void fuzz_end(void *opaque)
{
    Fuzzer *fuzzer = opaque;

    bdrv_detach_context(fuzzer->bs, fuzzer->ctx);
}

static void run_fuzzers(unsigned n, AioContext **contexts)
{
    BlockDriverState *bs = test_open("test-mem,size=%d,"
                                     "request-alignment=4096,"
                                     "memory-alignment=512",
                                     SECTORS * SECTOR);
    g_autofree Fuzzer *fuzzers = g_new0(Fuzzer, n);
    unsigned running = n;

    g_assert_true(bdrv_set_block_size(bs, SECTOR, NULL));
    for (unsigned i = 0; i < n; i++) {
        fuzzers[i].bs = bs;
        fuzzers[i].ctx = contexts[i];
        fuzzers[i].main_ctx = test_ctx();
        fuzzers[i].index = i;
        fuzzers[i].owners = n;
        fuzzers[i].rand = g_rand_new_with_seed(g_test_rand_int());
        fuzzers[i].running = &running;
        aio_bh_run_sync(contexts[i], fuzz_begin, &fuzzers[i]);
    }
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) > 0) {
        aio_poll(test_ctx(), true);
    }
    for (unsigned s = 0; s < SECTORS; s++) {
        g_assert_cmpmem(test_mem(bs)->data + s * SECTOR, SECTOR,
                        fuzzers[s % n].model + s * SECTOR, SECTOR);
    }
    for (unsigned i = 0; i < n; i++) {
        aio_bh_run_sync(contexts[i], fuzz_end, &fuzzers[i]);
        g_rand_free(fuzzers[i].rand);
    }
    bdrv_unref(bs);
}

static void test_random(void)
{
    AioContext *ctx = test_ctx();

    run_fuzzers(1, &ctx);
}

/* Two threads write different sectors of the same blocks. */
static void test_random_threads(void)
{
    IOThread *a = iothread_new("a", NULL, NULL);
    IOThread *b = iothread_new("b", NULL, NULL);
    AioContext *contexts[] = { iothread_context(a), iothread_context(b) };

    test_ctx();
    run_fuzzers(2, contexts);
    iothread_free(a);
    iothread_free(b);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/node-align/memory", test_memory);
    g_test_add_func("/node-align/elements", test_elements);
    g_test_add_func("/node-align/widened-read", test_widened_read);
    g_test_add_func("/node-align/rewrite-counts", test_rewrite_counts);
    g_test_add_func("/node-align/zero-counts", test_zero_counts);
    g_test_add_func("/node-align/whole-beside-part", test_whole_beside_part);
    g_test_add_func("/node-align/errors", test_errors);
    g_test_add_func("/node-align/no-lock", test_no_lock);
    g_test_add_func("/node-align/split-bytes", test_split_bytes);
    g_test_add_func("/node-align/split-elements", test_split_elements);
    g_test_add_func("/node-align/long-bounce", test_long_bounce);
    g_test_add_func("/node-align/random", test_random);
    g_test_add_func("/node-align/random-threads", test_random_threads);
    ret = g_test_run();
    test_block_end();
    return ret;
}
