/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discards and zeroes on real files: what is read after, what is allocated
 * after, and what happens where the file system cannot.
 *
 * fallocate() is replaced for this program, so that it can refuse.
 */
#include "tests/lib/block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/faults.h"
#include "tests/lib/image.h"

#define SIZE (1 << 20)

static char data[SIZE] __attribute__((aligned(4096)));
static char back[SIZE] __attribute__((aligned(4096)));

static int refused_modes, refusal;
static unsigned fallocates;

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    __atomic_add_fetch(&fallocates, 1, __ATOMIC_RELAXED);
    if (mode & __atomic_load_n(&refused_modes, __ATOMIC_RELAXED)) {
        errno = refusal;
        return -1;
    }
    return syscall(SYS_fallocate, fd, mode, offset, len);
}

static void refuse(int modes, int err)
{
    __atomic_store_n(&refused_modes, modes, __ATOMIC_RELAXED);
    refusal = err;
    fallocates = 0;
}

static const char *const caches[] = { "off", "on" };

static BlockDriverState *open_full(TestImage *image, const char *direct)
{
    test_pattern(data, SIZE, 1);
    test_image_write(image, 0, data, SIZE);
    return test_open_attached("file,filename=%s,discard=unmap,"
                              "cache.direct=%s", test_image_path(image),
                              direct);
}

/* @zeroes: whether that range has to read as zeroes now. All else is as it
 * was. */
static void check(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    memset(data + offset, 0, bytes);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, SIZE), ==, 0);
    g_assert_cmpmem(data, SIZE, back, SIZE);
}

static void test_discard(gconstpointer direct)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = open_full(image, direct);

    refuse(0, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 65536, SIZE / 2), ==, 0);
    check(bs, 65536, SIZE / 2);
    g_assert_cmpuint(fallocates, ==, 1);
    g_assert_cmpint(test_image_allocated(image), <=, SIZE / 2 + 65536);
    g_assert_cmpint(test_image_length(image), ==, SIZE);
    test_detach_unref(bs);
}

/* Advisory: it succeeds, and is not tried again. */
static void test_discard_unsupported(gconstpointer direct)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = open_full(image, direct);

    refuse(FALLOC_FL_PUNCH_HOLE, EOPNOTSUPP);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 65536), ==, 0);
        g_assert_cmpuint(fallocates, ==, 1);
    }
    check(bs, 0, 0);
    test_detach_unref(bs);
}

static void test_discard_fails(gconstpointer direct)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = open_full(image, direct);

    refuse(FALLOC_FL_PUNCH_HOLE, EIO);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 65536), ==, -EIO);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 65536), ==, -EIO);
    g_assert_cmpuint(fallocates, ==, 2);
    test_detach_unref(bs);
}

static void test_write_zeroes(gconstpointer direct)
{
    static const struct {
        int refused;
        unsigned flags;
        bool frees;
        unsigned first, later; /* calls of fallocate(): first time, later */
    } cases[] = {
        { 0, 0, false, 1, 1 },
        { 0, BLOCK_REQ_MAY_UNMAP, true, 1, 1 },
        { FALLOC_FL_PUNCH_HOLE, BLOCK_REQ_MAY_UNMAP, false, 2, 1 },
        { FALLOC_FL_ZERO_RANGE, 0, false, 1, 0 },
        { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE, BLOCK_REQ_MAY_UNMAP,
          false, 2, 0 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TestImage) image = test_image_new(SIZE);
        BlockDriverState *bs = open_full(image, direct);

        refuse(cases[i].refused, EOPNOTSUPP);
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, cases[i].flags, 4096,
                                SIZE / 2), ==, 0);
        g_assert_cmpuint(fallocates, ==, cases[i].first);
        check(bs, 4096, SIZE / 2);
        g_assert_true((test_image_allocated(image) < SIZE) == cases[i].frees);
        fallocates = 0;
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, cases[i].flags,
                                SIZE - 8192, 8192), ==, 0);
        g_assert_cmpuint(fallocates, ==, cases[i].later);
        check(bs, SIZE - 8192, 8192);
        g_assert_cmpint(test_image_length(image), ==, SIZE);
        test_detach_unref(bs);
    }
}

static void test_write_zeroes_fails(gconstpointer direct)
{
    g_autoptr(TestImage) image = test_image_new(SIZE);
    BlockDriverState *bs = open_full(image, direct);

    refuse(FALLOC_FL_ZERO_RANGE, ENOSPC);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 0, 65536), ==, -ENOSPC);
    check(bs, 0, 0);
    test_detach_unref(bs);
}

/* A file that ends inside a block keeps its length when that is rewritten. */
static void test_cut_tail(void)
{
    g_autoptr(TestImage) image = test_image_new(10240);
    BlockDriverState *bs;

    refuse(0, 0);
    test_pattern(data, 10240, 3);
    test_image_write(image, 0, data, 10240);
    bs = test_open("file,filename=%s,cache.direct=on", test_image_path(image));
    bs->limits.request_alignment = 4096; /* as on a disk with 4 KiB sectors */
    g_assert_true(bdrv_set_block_size(bs, 512, NULL));
    bdrv_attach_context(bs, test_ctx());
    memset(data + 9728, 5, 512);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 9728, data + 9728, 512), ==, 0);
    g_assert_cmpint(test_image_length(image), ==, 10240);
    test_image_read(image, 0, back, 10240);
    g_assert_cmpmem(data, 10240, back, 10240);
    memset(data + 8192, 0, 2048);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 8192, 2048), ==, 0);
    g_assert_cmpint(test_image_length(image), ==, 10240);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, 10240), ==, 0);
    g_assert_cmpmem(data, 10240, back, 10240);
    test_detach_unref(bs);
}

static void add(const char *name, GTestDataFunc fn)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(caches); i++) {
        g_autofree char *path = g_strdup_printf(
            "/file-posix-worker/%s/direct-%s", name, caches[i]);

        g_test_add_data_func(path, caches[i], fn);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    add("discard", test_discard);
    add("discard-unsupported", test_discard_unsupported);
    add("discard-fails", test_discard_fails);
    add("write-zeroes", test_write_zeroes);
    add("write-zeroes-fails", test_write_zeroes_fails);
    g_test_add_func("/file-posix-worker/cut-tail", test_cut_tail);
    ret = g_test_run();
    test_block_end();
    return ret;
}
