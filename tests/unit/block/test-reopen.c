/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening: access and caching of a tree, what happens to locks, and that
 * everything is as it was when a node refuses.
 */
#include "tests/lib/block.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <string.h>
#include <unistd.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/image.h"
#include "block/protocol/file-posix.h"
#include "tests/lib/image.h"

#define RO BDRV_OPEN_READ_ONLY

static TestImage *image_here(int64_t bytes)
{
    TestImage *image = test_image_new(bytes);

    g_assert_cmpint(chdir(test_image_dir(image)), ==, 0);
    return image;
}

static BlockDriverState *open_image(const char *format, unsigned flags)
{
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs = bdrv_open_image("image", format, NULL, flags,
                                           &error);

    g_assert_no_error(error);
    return bs;
}

static int fd_flags(BlockDriverState *file)
{
    FileState *s = file->opaque;

    g_assert_true(fcntl(s->fd, F_GETFD) & FD_CLOEXEC);
    return fcntl(s->fd, F_GETFL) & (O_ACCMODE | O_DIRECT);
}

/* --- a format that looks at what it is told --- */

typedef struct Told {
    unsigned flags, calls;
    bool file_was_writable;
    bool refuse;
} Told;

static bool told_open(BlockDriverState *bs, Options *opts, GError **error)
{
    bs->total_bytes = bs->file->total_bytes;
    return bdrv_open_child(bs, opts, "backing",
                           BDRV_CHILD_BACKING | BDRV_CHILD_OPTIONAL,
                           &bs->backing, error);
}

static bool told_reopen(BlockDriverState *bs, unsigned flags, GError **error)
{
    Told *told = bs->opaque;

    told->flags = flags;
    told->calls++;
    told->file_was_writable = !bs->file->read_only;
    if (told->refuse) {
        g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "no");
    }
    return !told->refuse;
}

static void told_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit(bs->file, req);
}

static const BlockDriver told_driver = {
    .name = "test-told",
    .instance_size = sizeof(Told),
    .grows_file = true,
    .open = told_open,
    .reopen = told_reopen,
    .submit = told_submit,
};

/* --- the tests --- */

static void test_access(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_image("raw", RO);

    g_assert_cmpint(fd_flags(bs->file), ==, O_RDONLY);
    g_assert_true(bdrv_reopen(bs, RO, NULL));
    g_assert_true(bdrv_reopen(bs, 0, NULL));
    g_assert_false(bs->read_only || bs->file->read_only);
    g_assert_cmpint(fd_flags(bs->file), ==, O_RDWR);
    g_assert_true(bdrv_reopen(bs, RO | BDRV_OPEN_NO_FLUSH, NULL));
    g_assert_true(bs->file->read_only && bs->file->cache_no_flush);
    g_assert_cmpint(fd_flags(bs->file), ==, O_RDONLY);
    g_assert_cmpint(bs->total_bytes, ==, 8192);
}

/* A backing file that is going to be written to wants them; whoever says
 * nothing of them changes nothing. */
static void test_discards(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_image("raw", RO);

    g_assert_false(bs->discard_unmap);
    g_assert_true(bdrv_reopen(bs, BDRV_OPEN_DISCARD, NULL));
    g_assert_true(bs->discard_unmap && !bs->read_only);
    g_assert_true(bdrv_reopen(bs, RO, NULL));
    g_assert_true(bs->discard_unmap && bs->read_only);
}

typedef struct Write {
    BlockDriverState *bs;
    int ret;
} Write;

static void coroutine_fn write_entry(void *opaque)
{
    Write *write = opaque;

    write->ret = bdrv_co_pwrite(write->bs, 100, 3, "abc", 0);
}

/* Writes of bytes go on working when the file wants blocks. */
static void test_direct(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_image("raw", 0);
    Write write = { .bs = bs };
    char got[3];

    g_assert_true(bdrv_reopen(bs, BDRV_OPEN_DIRECT, NULL));
    g_assert_cmpint(fd_flags(bs->file), ==, O_RDWR | O_DIRECT);
    g_assert_cmpuint(bs->file->limits.request_alignment, >, 1);
    bdrv_run_co(bs, write_entry, &write);
    g_assert_cmpint(write.ret, ==, 0);
    test_image_read(image, 100, got, 3);
    g_assert_cmpmem(got, 3, "abc", 3);
    g_assert_true(bdrv_reopen(bs, 0, NULL));
    g_assert_cmpuint(bs->file->limits.request_alignment, ==, 1);
}

/* It is the file that counts, not its name. */
static void test_renamed(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_image("raw", RO);
    Write write = { .bs = bs };
    char got[3];

    g_assert_cmpint(rename("image", "other"), ==, 0);
    g_assert_true(bdrv_reopen(bs, 0, NULL));
    bdrv_run_co(bs, write_entry, &write);
    g_assert_cmpint(write.ret, ==, 0);
    g_assert_cmpint(rename("other", "image"), ==, 0);
    test_image_read(image, 100, got, 3);
    g_assert_cmpmem(got, 3, "abc", 3);
}

static bool can_open(unsigned flags)
{
    g_autoptr(BlockDriverState) bs =
        bdrv_open_image("image", "test-told", NULL, flags, NULL);

    return bs != NULL;
}

static void test_locks(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_image("test-told", RO);
    g_autoptr(BlockDriverState) other = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(can_open(RO));
    g_assert_false(can_open(0));
    g_assert_true(bdrv_reopen(bs, 0, NULL));
    g_assert_false(can_open(RO));
    g_assert_true(bdrv_reopen(bs, RO, NULL));
    other = open_image("test-told", RO);
    g_assert_false(bdrv_reopen(bs, BDRV_OPEN_DIRECT, &error));
    g_assert_cmpuint(bs->file->limits.request_alignment, ==, 1);
    g_assert_cmpstr(error->message, ==, "Failed to get \"write\" lock\nIs "
                    "another process using the image [image]?");
    g_assert_true(bs->read_only && bs->file->read_only);
    g_assert_cmpint(fd_flags(bs->file), ==, O_RDONLY);
    /* nothing of the attempt is left */
    g_assert_true(can_open(RO));
    g_clear_pointer(&other, bdrv_unref);
    g_assert_true(bdrv_reopen(bs, 0, NULL));
}

static void test_order(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_image("test-told", RO);
    Told *told = bs->opaque;

    g_assert_true(bdrv_reopen(bs, 0, NULL));
    g_assert_true(told->file_was_writable);
    g_assert_cmphex(told->flags, ==, 0);
    g_assert_true(bdrv_reopen(bs, RO, NULL));
    g_assert_true(told->file_was_writable);
    g_assert_cmphex(told->flags, ==, RO);
    g_assert_cmpuint(told->calls, ==, 2);
}

static void test_refused(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_image("test-told", RO);
    g_autoptr(GError) error = NULL;
    Told *told = bs->opaque;

    told->refuse = true;
    g_assert_false(bdrv_reopen(bs, BDRV_OPEN_DIRECT, &error));
    g_assert_cmpstr(error->message, ==, "no");
    g_assert_true(bs->read_only && bs->file->read_only);
    g_assert_cmpint(fd_flags(bs->file), ==, O_RDONLY);
    g_assert_cmpuint(bs->file->limits.request_alignment, ==, 1);
}

/* As a commit does it: the backing file alone, and nobody else's. */
static void test_backing(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = test_open(
        "test-told,read-only=on,file.driver=null-co,"
        "backing.driver=test-told,backing.file.driver=file,"
        "backing.file.filename=image");

    g_assert_true(bdrv_reopen(bs, 0, NULL));
    g_assert_true(bs->backing->read_only);
    g_assert_true(bdrv_reopen(bs->backing, 0, NULL));
    g_assert_false(bs->backing->read_only);
    g_assert_cmpint(fd_flags(bs->backing->file), ==, O_RDWR);
    g_assert_true(bdrv_reopen(bs->backing, RO, NULL));
    g_assert_false(bs->read_only);
}

/* Root may write to anything, so this is done as nobody. */
static void test_no_permission(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = NULL;
    g_autoptr(GError) error = NULL;
    bool root = geteuid() == 0;

    g_assert_cmpint(chmod(test_image_dir(image), 0755), ==, 0);
    g_assert_cmpint(chmod("image", 0444), ==, 0);
    g_assert_true(!root || seteuid(65534) == 0);
    bs = open_image("raw", RO);
    g_assert_false(bdrv_reopen(bs, 0, &error));
    g_assert_cmpstr(error->message, ==,
                    "Could not reopen file: Permission denied");
    g_assert_true(bs->file->read_only);
    g_assert_true(!root || seteuid(0) == 0);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    bdrv_register(&told_driver);
    g_test_add_func("/reopen/access", test_access);
    g_test_add_func("/reopen/discards", test_discards);
    g_test_add_func("/reopen/direct", test_direct);
    g_test_add_func("/reopen/renamed", test_renamed);
    g_test_add_func("/reopen/locks", test_locks);
    g_test_add_func("/reopen/order", test_order);
    g_test_add_func("/reopen/refused", test_refused);
    g_test_add_func("/reopen/backing", test_backing);
    g_test_add_func("/reopen/no-permission", test_no_permission);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
