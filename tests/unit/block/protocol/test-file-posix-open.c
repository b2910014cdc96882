/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening files: every way it is refused, access modes, locks. */
#include "tests/lib/block.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/protocol/file-posix.h"
#include "tests/lib/image.h"

static void test_bad_options(void)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        { "", "The 'file' block driver requires a file name" },
        { "filename=x,aio=fast",
          "option 'aio' needs 'threads', 'native', 'io_uring' or 'auto', not "
          "'fast'" },
        { "filename=x,aio=native",
          "aio=native was specified, but it requires cache.direct=on, which "
          "was not specified." },
        { "filename=x,aio-max-batch=1025",
          "option 'aio-max-batch' needs a number from 0 to 1024, not '1025'" },
        { "filename=x,locking=maybe",
          "option 'locking' needs 'off', 'on' or 'auto', not 'maybe'" },
        { "filename=x,drop-cache=2",
          "Parameter 'drop-cache' expects 'on' or 'off'" },
        { "filename=x,pr-manager=pr0",
          "option 'pr-manager': persistent reservations are not supported" },
        { "filename=/nowhere/x",
          "Could not open '/nowhere/x': No such file or directory" },
        { "filename=", "The 'file' block driver requires a file name" },
        { "filename=/", "Could not open '/': Is a directory" },
        { "filename=/,read-only=on",
          "'file' driver requires '/' to be a regular file" },
        { "filename=/dev/null",
          "'file' driver requires '/dev/null' to be a regular file" },
        { "filename=/proc/version,cache.direct=on,read-only=on",
          "Could not open '/proc/version': filesystem does not support "
          "O_DIRECT" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text =
            g_strdup_printf("file,node-name=f0,%s", cases[i].options);
        g_autofree char *message =
            g_strdup_printf("blockdev 'f0': %s", cases[i].message);

        test_open_fails(text, message);
    }
}

static void test_host_device(void)
{
    g_autoptr(TestImage) image = test_image_new(4096);
    g_autofree char *text = g_strdup_printf(
        "host_device,node-name=h0,filename=%s", test_image_path(image));
    g_autofree char *message = g_strdup_printf(
        "blockdev 'h0': 'host_device' driver requires '%s' to be either a "
        "character or block device",
        test_image_path(image));

    test_open_fails(text, message);
}

static void test_block_device_as_file(void)
{
    g_autoptr(TestImage) image = test_image_new(65536);
    const char *reason;
    char *loop = test_loop_new(image, 512, &reason);
    g_autofree char *text = NULL;
    g_autofree char *message = NULL;

    if (!loop) {
        g_test_skip(reason);
        return;
    }
    text = g_strdup_printf("file,node-name=f0,filename=%s", loop);
    message = g_strdup_printf("blockdev 'f0': 'file' driver requires '%s' to "
                              "be a regular file", loop);
    test_open_fails(text, message);
    test_loop_free(loop);
}

/* A pipe must not even be opened: nobody might ever write to it. */
static void test_pipe(void)
{
    g_autoptr(TestImage) image = test_image_new(0);
    g_autofree char *path = g_strdup_printf("%s.pipe", test_image_path(image));
    g_autofree char *text =
        g_strdup_printf("file,node-name=f0,read-only=on,filename=%s", path);
    g_autofree char *message = g_strdup_printf(
        "blockdev 'f0': 'file' driver requires '%s' to be a regular file",
        path);

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    test_open_fails(text, message);
    g_assert_cmpint(unlink(path), ==, 0);
}

static int open_flags(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    g_assert_true(fcntl(s->fd, F_GETFD) & FD_CLOEXEC);
    return fcntl(s->fd, F_GETFL);
}

static void test_modes(void)
{
    static const struct {
        const char *options;
        int access;
        bool direct;
    } cases[] = {
        { "read-only=off", O_RDWR, false },
        { "read-only=on", O_RDONLY, false },
        { "cache.direct=on", O_RDWR, true },
        { "auto-read-only=on", O_RDWR, false },
        { "read-only=on,force-share=on", O_RDONLY, false },
        { "drop-cache=off,aio=io_uring,aio-max-batch=8", O_RDWR, false },
    };
    g_autoptr(TestImage) image = test_image_new(8192);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockDriverState) bs = test_open(
            "file,filename=%s,%s", test_image_path(image), cases[i].options);

        g_assert_cmpint(open_flags(bs) & O_ACCMODE, ==, cases[i].access);
        g_assert_true(!!(open_flags(bs) & O_DIRECT) == cases[i].direct);
        g_assert_true(bs->read_only == (cases[i].access == O_RDONLY));
        g_assert_cmpint(bs->total_bytes, ==, 8192);
    }
}

/* Root may write to anything, so this is done as nobody. */
static void test_no_permission(void)
{
    g_autoptr(TestImage) image = test_image_new(8192);
    g_autofree char *text = g_strdup_printf("file,node-name=f0,filename=%s",
                                            test_image_path(image));
    g_autofree char *message = g_strdup_printf(
        "blockdev 'f0': Could not open '%s': Permission denied",
        test_image_path(image));
    bool root = geteuid() == 0;
    BlockDriverState *bs;

    g_assert_cmpint(chmod(test_image_dir(image), 0755), ==, 0);
    g_assert_cmpint(chmod(test_image_path(image), 0444), ==, 0);
    g_assert_true(!root || seteuid(65534) == 0);
    test_open_fails(text, message);
    bs = test_open("file,auto-read-only=on,filename=%s",
                   test_image_path(image));
    g_assert_true(bs->read_only);
    g_assert_cmpint(open_flags(bs) & O_ACCMODE, ==, O_RDONLY);
    bdrv_unref(bs);
    bs = test_open("raw,auto-read-only=on,file.driver=file,file.filename=%s",
                   test_image_path(image));
    g_assert_true(bs->read_only && bs->file->read_only);
    bdrv_unref(bs);
    g_assert_true(!root || seteuid(0) == 0);
}

static void test_locking(void)
{
    static const struct {
        const char *first, *second;
        const char *lock; /* that is missing; NULL: both may open */
    } cases[] = {
        { "read-only=off", "read-only=off", "\"write\"" },
        { "read-only=off", "read-only=on", "shared \"write\"" },
        { "read-only=on", "read-only=off", "\"write\"" },
        { "read-only=on", "read-only=on", NULL },
        { "read-only=off", "read-only=on,force-share=on", NULL },
        { "read-only=off,locking=off", "read-only=off", NULL },
        { "read-only=off,locking=on", "read-only=off,locking=off", NULL },
        { "read-only=off,locking=on", "read-only=off,locking=auto",
          "\"write\"" },
    };
    g_autoptr(TestImage) image = test_image_new(8192);
    const char *path = test_image_path(image);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockDriverState) first =
            test_open("file,filename=%s,%s", path, cases[i].first);
        g_autofree char *text =
            g_strdup_printf("file,node-name=f1,filename=%s,%s", path,
                            cases[i].second);
        g_autofree char *message = g_strdup_printf(
            "blockdev 'f1': Failed to get %s lock\nIs another process using "
            "the image [%s]?", cases[i].lock, path);

        g_assert_cmpint(first->total_bytes, ==, 8192);
        if (cases[i].lock) {
            test_open_fails(text, message);
        } else {
            bdrv_unref(test_open("%s", text));
        }
    }
}

/* Failing to open leaves no descriptor and no lock behind. */
static void test_no_leak(void)
{
    g_autoptr(TestImage) image = test_image_new(8192);
    g_autofree char *text = g_strdup_printf(
        "file,node-name=f0,filename=%s,bogus=1", test_image_path(image));
    int before = dup(0), after;

    for (int i = 0; i < 3; i++) {
        test_open_fails(text, "blockdev 'f0': Block protocol 'file' doesn't "
                              "support the option 'bogus'");
    }
    after = dup(0);
    g_assert_cmpint(after, ==, before + 1);
    close(before);
    close(after);
    bdrv_unref(test_open("file,filename=%s", test_image_path(image)));
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/file-posix-open/bad-options", test_bad_options);
    g_test_add_func("/file-posix-open/host-device", test_host_device);
    g_test_add_func("/file-posix-open/block-device-as-file",
                    test_block_device_as_file);
    g_test_add_func("/file-posix-open/pipe", test_pipe);
    g_test_add_func("/file-posix-open/modes", test_modes);
    g_test_add_func("/file-posix-open/no-permission", test_no_permission);
    g_test_add_func("/file-posix-open/locking", test_locking);
    g_test_add_func("/file-posix-open/no-leak", test_no_leak);
    ret = g_test_run();
    test_block_end();
    return ret;
}
