/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks: against ourselves, and both ways round against the real
 * qemu-io and qemu-img (skipped where they are not installed).
 */
#include "block/protocol/file-lock.h"
#include "tests/lib/image.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define READER (FILE_PERM_CONSISTENT_READ)
#define WRITER (FILE_PERM_CONSISTENT_READ | FILE_PERM_WRITE)
#define SHARE_READ (FILE_PERM_CONSISTENT_READ | FILE_PERM_WRITE_UNCHANGED)

static int open_locked(const char *path, unsigned held, unsigned shared,
                       GError **error)
{
    FileLockParams params = {
        .locking = FILE_LOCKING_ON,
        .held = held,
        .shared = shared,
    };
    int fd = open(path, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    if (!file_lock_take(fd, path, &params, error)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void test_pairs(void)
{
    static const struct {
        unsigned held1, shared1, held2, shared2;
        const char *refused; /* NULL: both may open */
    } cases[] = {
        { WRITER, SHARE_READ, WRITER, SHARE_READ, "Failed to get \"write\"" },
        { WRITER, FILE_PERM_ALL, WRITER, SHARE_READ,
          "Failed to get shared \"write\"" },
        { WRITER, SHARE_READ, READER, FILE_PERM_ALL, NULL },
        { WRITER, SHARE_READ, READER, SHARE_READ,
          "Failed to get shared \"write\"" },
        { READER, SHARE_READ, READER, SHARE_READ, NULL },
        { READER, SHARE_READ, WRITER, FILE_PERM_ALL,
          "Failed to get \"write\"" },
        { READER | FILE_PERM_RESIZE, FILE_PERM_ALL, READER, SHARE_READ,
          "Failed to get shared \"resize\"" },
        { 0, 0, READER, FILE_PERM_ALL, "Failed to get \"consistent read\"" },
        { WRITER, FILE_PERM_ALL, WRITER, FILE_PERM_ALL, NULL },
    };
    g_autoptr(TestImage) image = test_image_new(4096);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        int first = open_locked(test_image_path(image), cases[i].held1,
                                cases[i].shared1, NULL);
        int second = open_locked(test_image_path(image), cases[i].held2,
                                 cases[i].shared2, &error);

        g_assert_cmpint(first, >=, 0);
        close(first);
        if (cases[i].refused) {
            g_autofree char *text = g_strdup_printf(
                "%s lock\nIs another process using the image [%s]?",
                cases[i].refused, test_image_path(image));

            g_assert_cmpint(second, <, 0);
            g_assert_cmpstr(error->message, ==, text);
        } else {
            g_assert_no_error(error);
            close(second);
        }
    }
}

static void test_off(void)
{
    g_autoptr(TestImage) image = test_image_new(4096);
    FileLockParams params = { .locking = FILE_LOCKING_OFF, .held = WRITER };
    int first = open_locked(test_image_path(image), WRITER, SHARE_READ, NULL);
    int second = open(test_image_path(image), O_RDWR);

    g_assert_true(file_lock_take(second, "x", &params, NULL));
    params.locking = FILE_LOCKING_AUTO;
    g_assert_false(file_lock_take(second, "x", &params, NULL));
    close(first);
    close(second);
}

/* A bad descriptor stands for a kernel or file system that has no locks. */
static void test_no_locks(void)
{
    FileLockParams params = { .locking = FILE_LOCKING_AUTO, .held = WRITER };
    g_autoptr(GError) error = NULL;

    g_assert_true(file_lock_take(-1, "x", &params, NULL));
    params.locking = FILE_LOCKING_ON;
    g_assert_false(file_lock_take(-1, "x", &params, &error));
    g_assert_cmpstr(error->message, ==,
                    "locking=on, but 'x' cannot be locked: "
                    "Bad file descriptor");
}

static void test_qemu_refused(void)
{
    g_autoptr(TestImage) image = test_image_new(1 << 20);
    const char *path = test_image_path(image);
    const char *write[] = { "qemu-io", "-f", "raw", "-c", "write 0 512", path,
                            NULL };
    const char *read[] = { "qemu-io", "-r", "-f", "raw", "-c", "read 0 512",
                           path, NULL };
    g_autofree char *output = NULL;
    int fd;

    if (!test_program_present("qemu-io")) {
        g_test_skip("qemu-io is not installed");
        return;
    }
    fd = open_locked(path, WRITER, SHARE_READ, NULL);
    g_assert_false(test_run(write, &output));
    g_assert_nonnull(strstr(output, "Failed to get \"write\" lock"));
    g_clear_pointer(&output, g_free);
    g_assert_true(test_run(read, &output));
    close(fd);
    g_clear_pointer(&output, g_free);
    g_assert_true(test_run(write, &output));
}

/* A format, unlike raw, does not like others to write. */
static void test_qemu_img_refused(void)
{
    g_autoptr(TestImage) image = test_image_new(1 << 20);
    const char *path = test_image_path(image);
    const char *create[] = { "qemu-img", "create", "-q", "-f", "qcow2", path,
                             "1M", NULL };
    const char *info[] = { "qemu-img", "info", path, NULL };
    const char *info_shared[] = { "qemu-img", "info", "-U", path, NULL };
    g_autofree char *output = NULL;
    int fd;

    if (!test_program_present("qemu-img")) {
        g_test_skip("qemu-img is not installed");
        return;
    }
    g_assert_true(test_run(create, &output));
    fd = open_locked(path, WRITER, SHARE_READ, NULL);
    g_clear_pointer(&output, g_free);
    g_assert_false(test_run(info, &output));
    g_assert_nonnull(strstr(output, "Failed to get shared \"write\" lock"));
    g_clear_pointer(&output, g_free);
    g_assert_true(test_run(info_shared, &output));
    close(fd);
    g_clear_pointer(&output, g_free);
    g_assert_true(test_run(info, &output));
}

static void test_qemu_holds(void)
{
    g_autoptr(TestImage) image = test_image_new(1 << 20);
    const char *path = test_image_path(image);
    const char *argv[] = { "qemu-io", "-f", "raw", path, NULL };
    g_autoptr(GError) error = NULL;
    TestChild *child;
    int fd;

    if (!test_program_present("qemu-io")) {
        g_test_skip("qemu-io is not installed");
        return;
    }
    child = test_child_start(argv);
    test_child_expect(child, "qemu-io> ");
    g_assert_cmpint(open_locked(path, WRITER, SHARE_READ, &error), <, 0);
    g_assert_nonnull(strstr(error->message,
                            "Failed to get shared \"write\" lock"));
    test_child_finish(child, "quit\n");
    fd = open_locked(path, WRITER, SHARE_READ, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/file-lock/pairs", test_pairs);
    g_test_add_func("/file-lock/off", test_off);
    g_test_add_func("/file-lock/no-locks", test_no_locks);
    g_test_add_func("/file-lock/qemu-io-refused", test_qemu_refused);
    g_test_add_func("/file-lock/qemu-img-refused", test_qemu_img_refused);
    g_test_add_func("/file-lock/qemu-io-holds", test_qemu_holds);
    return g_test_run();
}
