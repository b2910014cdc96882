/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What files and devices are found to want. Loop devices with known sizes
 * stand for disks; pread() and statx() are replaced for this program, so that
 * an old kernel and a picky file system can be had.
 */
#include "tests/lib/block.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "block/protocol/file-posix.h"
#include "tests/lib/image.h"

static bool old_kernel;      /* statx() knows nothing of direct I/O */
static unsigned alignment;   /* pread() wants; 0: as it is */
static unsigned preads;

int statx(int fd, const char *path, int flags, unsigned mask,
          struct statx *st)
{
    long ret = syscall(SYS_statx, fd, path, flags, mask, st);

#ifdef STATX_DIOALIGN
    if (old_kernel) {
        st->stx_mask &= ~STATX_DIOALIGN;
    }
#endif
    return ret;
}

ssize_t pread(int fd, void *buf, size_t bytes, off_t offset)
{
    preads++;
    if (alignment > 0 &&
        (((uintptr_t)buf | bytes | offset) & (alignment - 1))) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_pread64, fd, buf, bytes, offset);
}

static void test_buffered(void)
{
    g_autoptr(TestImage) image = test_image_new(10000);
    g_autoptr(BlockDriverState) bs =
        test_open("file,filename=%s", test_image_path(image));

    g_assert_cmpint(bs->total_bytes, ==, 10000);
    g_assert_cmpuint(bs->limits.request_alignment, ==, 1);
    g_assert_cmpuint(bs->limits.memory_alignment, ==, 1);
    g_assert_cmpuint(bs->limits.physical_block_size, ==, 0);
    g_assert_cmpint(bs->limits.max_transfer, ==, ENGINE_MAX_BYTES);
    g_assert_true(bs->limits.can_discard && bs->limits.can_write_zeroes);
}

static void test_statx(void)
{
    g_autoptr(TestImage) image = test_image_new(10240);
    g_autoptr(BlockDriverState) bs = NULL;
#ifdef STATX_DIOALIGN
    struct statx st;

    if (statx(AT_FDCWD, test_image_path(image), 0, STATX_DIOALIGN, &st) < 0 ||
        !(st.stx_mask & STATX_DIOALIGN) || st.stx_dio_offset_align == 0) {
        g_test_skip("this file system says nothing");
        return;
    }
    preads = 0;
    bs = test_open("file,cache.direct=on,filename=%s", test_image_path(image));
    g_assert_cmpuint(preads, ==, 0);
    g_assert_cmpuint(bs->limits.request_alignment, ==,
                     st.stx_dio_offset_align);
    g_assert_cmpuint(bs->limits.memory_alignment, ==, st.stx_dio_mem_align);
    g_assert_cmpuint(bs->limits.physical_block_size, ==,
                     st.stx_dio_offset_align);
#else
    g_test_skip("built without STATX_DIOALIGN");
#endif
}

static void test_reading(void)
{
    static const unsigned alignments[] = { 512, 1024, 2048, 4096 };

    old_kernel = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(alignments); i++) {
        g_autoptr(TestImage) image = test_image_new(10240);
        g_autoptr(BlockDriverState) bs = NULL;

        alignment = alignments[i];
        preads = 0;
        bs = test_open("file,cache.direct=on,filename=%s",
                       test_image_path(image));
        g_assert_cmpuint(bs->limits.request_alignment, ==, alignment);
        g_assert_cmpuint(bs->limits.memory_alignment, ==, alignment);
        g_assert_cmpuint(preads, ==, i + 1);
    }
    alignment = 0;
    old_kernel = false;
}

static void test_nothing_works(void)
{
    g_autoptr(TestImage) image = test_image_new(65536);
    g_autofree char *text = g_strdup_printf(
        "file,node-name=f0,cache.direct=on,filename=%s",
        test_image_path(image));
    g_autofree char *message = g_strdup_printf(
        "blockdev 'f0': cache.direct=on, but direct reads of '%s' fail with "
        "every alignment up to 4096 bytes: use cache.direct=off",
        test_image_path(image));

    old_kernel = true;
    alignment = 8192;
    test_open_fails(text, message);
    alignment = 0;
    old_kernel = false;
}

static void check_device(unsigned block_size, bool old)
{
    g_autoptr(TestImage) image = test_image_new(1 << 20);
    const char *reason;
    char *loop = test_loop_new(image, block_size, &reason);
    BlockDriverState *bs;

    if (!loop) {
        g_test_skip(reason);
        return;
    }
    old_kernel = old;
    preads = 0;
    bs = test_open("host_device,cache.direct=on,filename=%s", loop);
    old_kernel = false;
    g_assert_cmpuint(preads, ==, 0);
    g_assert_cmpint(bs->total_bytes, ==, 1 << 20);
    g_assert_cmpuint(bs->limits.request_alignment, ==, block_size);
    g_assert_cmpuint(bs->limits.memory_alignment, <=, block_size);
    g_assert_cmpuint(bs->limits.physical_block_size, >=, block_size);
    g_assert_cmpuint(bs->limits.min_transfer, >=, block_size);
    g_assert_cmpint(bs->limits.max_transfer, >=, 65536);
    g_assert_true(bs->limits.can_discard);
    g_assert_cmpuint(bs->limits.discard_alignment, >, 0);
    bdrv_unref(bs);
    test_loop_free(loop);
}

static void test_device_512(void)
{
    check_device(512, false);
}

static void test_device_4096(void)
{
    check_device(4096, false);
}

static void test_device_old_kernel(void)
{
    check_device(4096, true);
}

static bool is_in_memory(const char *path)
{
    g_autoptr(BlockDriverState) bs = test_open("file,filename=%s", path);
    const FileState *s = bs->opaque;

    return s->facts.in_memory;
}

/* tmpfs is memory; a disk's file never is. */
static void test_memory(void)
{
    g_autoptr(TestImage) disk = test_image_new(4096);
    g_autofree char *path = NULL;
    struct statfs fs;
    int fd;

    if (statfs("/dev/shm", &fs) < 0 || fs.f_type != TMPFS_MAGIC) {
        g_test_skip("no tmpfs on /dev/shm");
        return;
    }
    path = g_strdup("/dev/shm/vblk-probe-XXXXXX");
    fd = g_mkstemp(path);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
    g_assert_true(is_in_memory(path));
    unlink(path);
    close(fd);
    if (statfs(test_image_path(disk), &fs) == 0 && fs.f_type != TMPFS_MAGIC) {
        g_assert_false(is_in_memory(test_image_path(disk)));
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/file-posix-probe/buffered", test_buffered);
    g_test_add_func("/file-posix-probe/statx", test_statx);
    g_test_add_func("/file-posix-probe/reading", test_reading);
    g_test_add_func("/file-posix-probe/nothing-works", test_nothing_works);
    g_test_add_func("/file-posix-probe/memory", test_memory);
    g_test_add_func("/file-posix-probe/device-512", test_device_512);
    g_test_add_func("/file-posix-probe/device-4096", test_device_4096);
    g_test_add_func("/file-posix-probe/device-old-kernel",
                    test_device_old_kernel);
    ret = g_test_run();
    test_block_end();
    return ret;
}
