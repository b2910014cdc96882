/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads and writes of real files and loop devices through every engine and
 * cache mode: data, ends of files, no space, no allocation.
 */
#include "tests/lib/block.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "block/image.h"
#include "block/plug.h"
#include "block/protocol/file-posix.h"
#include "tests/lib/count.h"
#include "tests/lib/faults.h"
#include "tests/lib/image.h"

#define SIZE   (4 << 20)
#define DEPTH  32
#define ROUNDS 30

/* What a file is opened with in these tests. */
static const char *const modes[] = {
    "aio=threads",
    "aio=threads,cache.direct=on",
    "aio=native,cache.direct=on",
    "aio=io_uring",
    "aio=io_uring,cache.direct=on",
    "aio=auto",
    "aio=auto,cache.direct=on",
};

static char buf[65536] __attribute__((aligned(4096)));
static char back[65536] __attribute__((aligned(4096)));

static BlockDriverState *open_mode(const TestImage *image, const char *mode)
{
    return test_open_attached("file,filename=%s,discard=unmap,%s",
                              test_image_path(image), mode);
}

/* --- bursts of random requests against a copy in memory --- */

typedef struct Burst {
    BlockDriverState *bs;
    uint8_t *model;
    char *data;   /* DEPTH pieces of 64 KiB */
    TestRequest tests[DEPTH];
    struct iovec iov[DEPTH][2];
} Burst;

/* Each has its own 64 KiB of the file, so that none overlap. */
static void burst_submit(Burst *burst, unsigned i)
{
    TestRequest *test = &burst->tests[i];
    char *data = burst->data + i * 65536;
    int64_t base = g_random_int_range(0, 2) * DEPTH * 65536 + i * 65536;
    unsigned first = g_random_int_range(0, 8), n = g_random_int_range(1, 9);

    test->req.op = g_random_boolean() ? BLOCK_READ : BLOCK_WRITE;
    test->req.offset = base + first * 4096;
    test->req.bytes = n * 4096;
    burst->iov[i][0] = (struct iovec){ data, 512 };
    burst->iov[i][1] = (struct iovec){ data + 512, n * 4096 - 512 };
    test->req.iov = burst->iov[i];
    test->req.niov = 2;
    if (test->req.op == BLOCK_WRITE) {
        test_pattern(data, test->req.bytes, g_random_int());
        memcpy(burst->model + test->req.offset, data, test->req.bytes);
    }
    test_submit(burst->bs, test);
}

static void burst_run(Burst *burst)
{
    blk_io_plug(test_ctx());
    for (unsigned i = 0; i < DEPTH; i++) {
        burst_submit(burst, i);
    }
    blk_io_unplug(test_ctx());
    for (unsigned i = 0; i < DEPTH; i++) {
        BlockRequest *req = &burst->tests[i].req;

        g_assert_cmpint(test_wait(&burst->tests[i]), ==, 0);
        g_assert_cmpmem(burst->model + req->offset, req->bytes,
                        burst->data + i * 65536, req->bytes);
    }
}

static Burst *burst_new(BlockDriverState *bs)
{
    Burst *burst = g_new0(Burst, 1);

    burst->bs = bs;
    burst->model = g_malloc0(SIZE);
    burst->data = g_aligned_alloc0(DEPTH, 65536, 4096);
    return burst;
}

static void burst_free(Burst *burst)
{
    g_free(burst->model);
    g_aligned_free(burst->data);
    g_free(burst);
}

static void test_random(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = open_mode(image, mode);
    Burst *burst = burst_new(bs);
    g_autofree char *whole = g_malloc(SIZE);

    for (unsigned round = 0; round < ROUNDS; round++) {
        burst_run(burst);
    }
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    test_image_read(image, 0, whole, SIZE);
    g_assert_cmpmem(burst->model, SIZE, whole, SIZE);
    burst_free(burst);
    test_detach_unref(bs);
}

/* One thing in steady state: nothing is allocated and nothing locked. */
static void test_no_allocation(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = open_mode(image, mode);
    Burst *burst = burst_new(bs);
    unsigned allocations, locks;

    if (!count_available()) {
        g_test_skip("this build cannot count");
    } else {
        burst_run(burst);
        burst_run(burst);
        allocations = count_allocations();
        locks = count_mutex_locks();
        burst_run(burst);
        g_assert_cmpuint(count_allocations(), ==, allocations);
        g_assert_cmpuint(count_mutex_locks(), ==, locks);
    }
    burst_free(burst);
    test_detach_unref(bs);
}

/* A sector of a file whose file system wants more, and odd memory. */
static void test_misaligned(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = test_open("file,filename=%s,%s",
                                     test_image_path(image),
                                     (const char *)mode);
    char byte;

    g_assert_true(bdrv_set_block_size(bs, 512, NULL));
    bdrv_attach_context(bs, test_ctx());
    test_pattern(buf, 8192, 1);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf + 1, 1536), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 512, back + 3, 1536), ==, 0);
    g_assert_cmpmem(buf + 1, 1536, back + 3, 1536);
    test_image_read(image, 512, back, 1536);
    g_assert_cmpmem(buf + 1, 1536, back, 1536);
    test_image_read(image, 2048, &byte, 1);
    g_assert_cmpint(byte, ==, 0);
    g_assert_cmpint(test_image_length(image), ==, SIZE);
    test_detach_unref(bs);
}

/* The file got shorter behind our back: what is gone reads as zeroes. */
static void test_end_of_file(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(8192);
    BlockDriverState *bs = open_mode(image, mode);

    test_pattern(buf, 8192, 2);
    test_image_write(image, 0, buf, 8192);
    test_image_truncate(image, 5000);
    memset(back, 0xee, 8192);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, 8192), ==, 0);
    g_assert_cmpmem(buf, 5000, back, 5000);
    for (unsigned i = 5000; i < 8192; i++) {
        g_assert_cmpint(back[i], ==, 0);
    }
    test_detach_unref(bs);
}

static void test_no_space(gconstpointer mode)
{
    struct rlimit old, low = { .rlim_cur = 65536 };
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = open_mode(image, mode);

    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &old), ==, 0);
    low.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &low), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 61440, buf, 4096), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 65536, buf, 4096), <, 0);
    /* partly below the limit: as much as fits, then an error */
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 61440, buf, 8192), <, 0);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &old), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 61440, buf, 8192), ==, 0);
    test_detach_unref(bs);
}

static unsigned dsync_expected(const BlockDriverState *bs, const char *mode)
{
    const FileState *s = bs->opaque;

    if (strstr(mode, "auto")) {
        return s->facts.nowait && !s->facts.in_memory ? 0 : 1;
    }
    return strstr(mode, "io_uring") || strstr(mode, "native") ? 0 : 1;
}

/* Of the engines only threads makes calls that can be seen here; that FUA
 * reaches all of them is shown by its flag. */
static bool saw_fua;

static ssize_t note_fua(const EngineRequest *req, ssize_t res)
{
    __atomic_store_n(&saw_fua, (req->flags & ENGINE_FUA) != 0,
                     __ATOMIC_RELAXED);
    return res;
}

static int write_fua(BlockDriverState *bs)
{
    TestRequest test = {
        .req = { .op = BLOCK_WRITE, .flags = BLOCK_REQ_FUA, .bytes = 4096,
                 .niov = 1 },
        .iov = { buf, 4096 },
    };

    test.req.iov = &test.iov;
    test_submit(bs, &test);
    return test_wait(&test);
}

static void test_fua(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs;

    faults_reset();
    faults.result = note_fua;
    bs = open_mode(image, mode);
    /* native leaves the first to a worker, and for that the second */
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 4096), ==, 0);
    }
    g_assert_false(saw_fua);
    g_assert_cmpint(write_fua(bs), ==, 0);
    g_assert_true(saw_fua);
    g_assert_cmpuint(faults_read(&faults.dsync_writes), ==,
                     dsync_expected(bs, mode));
    test_detach_unref(bs);

    bs = test_open_attached("file,filename=%s,cache.no-flush=on,%s",
                            test_image_path(image), (const char *)mode);
    g_assert_cmpint(write_fua(bs), ==, 0);
    g_assert_false(saw_fua);
    test_detach_unref(bs);
    faults_reset();
}

static void loop_io(const char *mode, unsigned block_size)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    const char *reason;
    char *loop = test_loop_new(image, block_size, &reason);
    BlockDriverState *bs;

    if (!loop) {
        g_test_skip(reason);
        return;
    }
    bs = test_open("host_device,filename=%s,discard=unmap,%s", loop, mode);
    g_assert_cmpint(bs->total_bytes, ==, SIZE);
    g_assert_true(bdrv_set_block_size(bs, 512, NULL));
    bdrv_attach_context(bs, test_ctx());
    test_pattern(buf, 16384, block_size);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf, 16384), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 1024, 8192), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, SIZE / 2), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf, 16384), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 512, back, 16384), ==, 0);
    g_assert_cmpmem(buf, 16384, back, 16384);
    test_detach_unref(bs);
    test_loop_free(loop);
}

static void test_loop_512(gconstpointer mode)
{
    loop_io(mode, 512);
}

static void test_loop_4096(gconstpointer mode)
{
    loop_io(mode, 4096);
}

/* --- a format's file, which is as long as what is written to it --- */

static BlockDriverState *open_growing(const TestImage *image,
                                      const char *mode)
{
    BlockDriverState *bs = test_open("file,filename=%s,discard=unmap,%s",
                                     test_image_path(image), mode);

    bs->grows = true;
    g_assert_true(bdrv_set_block_size(bs, 1, NULL));
    bdrv_attach_context(bs, test_ctx());
    return bs;
}

static void expect_byte(const TestImage *image, int64_t offset,
                        int64_t bytes, char byte)
{
    memset(buf, byte, bytes);
    test_image_read(image, offset, back, bytes);
    g_assert_cmpmem(back, bytes, buf, bytes);
}

static void test_grows(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(4096);
    BlockDriverState *bs = open_growing(image, mode);
    int64_t block = bs->limits.request_alignment, length;

    memset(buf, 'a', sizeof(buf));
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 65536, buf, 8192), ==, 0);
    g_assert_cmpint(bs->total_bytes, ==, 65536 + 8192);
    g_assert_cmpint(test_image_length(image), ==, 65536 + 8192);
    expect_byte(image, 4096, 61440, 0);
    expect_byte(image, 65536, 8192, 'a');
    /* bytes, of which a medium with blocks makes whole ones */
    memset(buf, 'b', sizeof(buf));
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 100000, buf, 100), ==, 0);
    length = (100100 + block - 1) / block * block;
    g_assert_cmpint(bs->total_bytes, ==, length);
    g_assert_cmpint(test_image_length(image), ==, length);
    expect_byte(image, 100000, 100, 'b');
    expect_byte(image, 73728, 100000 - 73728, 0);
    /* what is behind the end reads as zeroes and makes nothing longer */
    memset(back, 'x', sizeof(back));
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 131072, back, 4096), ==, 0);
    memset(buf, 0, 4096);
    g_assert_cmpmem(back, 4096, buf, 4096);
    g_assert_cmpint(test_image_length(image), ==, length);
    test_detach_unref(bs);
}

static void test_grows_by_zeroes(gconstpointer mode)
{
    static const unsigned flags[] = { 0, BLOCK_REQ_MAY_UNMAP,
                                      BLOCK_REQ_FUA };
    g_autoptr(TestImage) image = test_image_new(4096);
    BlockDriverState *bs = open_growing(image, mode);

    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
        int64_t end = 8192 + i * 65536;

        memset(buf, 'a', sizeof(buf));
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, end - 8192, buf, 4096), ==,
                        0);
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, flags[i],
                                end - 6144, 6144), ==, 0);
        g_assert_cmpint(bs->total_bytes, ==, end);
        g_assert_cmpint(test_image_length(image), ==, end);
        expect_byte(image, end - 8192, 2048, 'a');
        expect_byte(image, end - 6144, 6144, 0);
        /* zeroes within change no length */
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, flags[i], 0, 4096),
                        ==, 0);
        g_assert_cmpint(test_image_length(image), ==, end);
    }
    test_detach_unref(bs);
}

/* In any order, also beside zeroes: the longest counts, and all is there. */
static void test_grows_in_bursts(gconstpointer mode)
{
    g_autoptr(TestImage) image = test_image_new(0);
    BlockDriverState *bs = open_growing(image, mode);
    TestRequest tests[DEPTH] = { 0 };

    memset(buf, 'a', sizeof(buf));
    for (unsigned i = 0; i < DEPTH; i++) {
        TestRequest *test = &tests[(i * 13) % DEPTH];

        test->req.op = i % 4 == 3 ? BLOCK_WRITE_ZEROES : BLOCK_WRITE;
        test->req.offset = (i * 13) % DEPTH * 65536;
        test->req.bytes = 65536;
        test->iov = (struct iovec){ buf, 65536 };
        test->req.iov = &test->iov;
        test->req.niov = 1;
        test_submit(bs, test);
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, 0);
    }
    g_assert_cmpint(bs->total_bytes, ==, DEPTH * 65536);
    g_assert_cmpint(test_image_length(image), ==, DEPTH * 65536);
    for (unsigned i = 0; i < DEPTH; i++) {
        expect_byte(image, i * 65536, 65536,
                    tests[i].req.op == BLOCK_WRITE ? 'a' : 0);
    }
    test_detach_unref(bs);
}

static void add(const char *name, GTestDataFunc fn)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *path = g_strdup_printf("/file-posix/%s/%s", name,
                                                modes[i]);

        g_test_add_data_func(path, modes[i], fn);
    }
}

/* aio=auto goes by what the file is now. */
static void test_reopened(void)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs;
    FileState *s;
    unsigned native;
    bool is_native;

    faults_reset();
    bs = test_open_attached("file,node-name=f0,filename=%s",
                            test_image_path(image));
    s = bs->opaque;
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 4096), ==, 0);
    g_assert_cmpuint(faults.submit_calls, ==, 0);
    if (file_reopen(bs, BDRV_OPEN_DIRECT, NULL)) {
        is_native = s->facts.nowait && !s->facts.in_memory;
        g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, 0);
        native = faults_read(&faults.submit_calls);
        g_assert_cmpuint(native > 0, ==, is_native);
        g_assert_true(file_reopen(bs, 0, NULL));
        g_assert_false(s->facts.nowait);
        g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 4096), ==, 0);
        g_assert_cmpuint(faults_read(&faults.submit_calls), ==, native);
    } else {
        g_test_skip("the file system of $TMPDIR has no O_DIRECT");
    }
    test_detach_unref(bs);
}

int main(int argc, char **argv)
{
    int ret;

    if (!test_need_disk()) {
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    add("random", test_random);
    add("no-allocation", test_no_allocation);
    add("misaligned", test_misaligned);
    add("end-of-file", test_end_of_file);
    add("no-space", test_no_space);
    add("fua", test_fua);
    add("grows", test_grows);
    add("grows-by-zeroes", test_grows_by_zeroes);
    add("grows-in-bursts", test_grows_in_bursts);
    add("loop-512", test_loop_512);
    add("loop-4096", test_loop_4096);
    g_test_add_func("/file-posix/reopened", test_reopened);
    ret = g_test_run();
    test_block_end();
    return ret;
}
