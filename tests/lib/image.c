/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images, loop devices and programs for tests. */
#include "tests/lib/image.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

struct TestImage {
    char *dir;
    char *path;
};

struct TestChild {
    GPid pid;
    int in, out;
};

static bool is_memory(const char *folder)
{
    struct statfs fs;

    return statfs(folder, &fs) < 0 || fs.f_type == TMPFS_MAGIC ||
           fs.f_type == RAMFS_MAGIC;
}

/* GLib looks at TMPDIR once, when it is first asked. */
bool test_need_disk(void)
{
    const char *folder = g_getenv("TMPDIR");

    if (!is_memory(folder && *folder ? folder : "/tmp")) {
        return true;
    }
    if (is_memory("/var/tmp") || access("/var/tmp", W_OK) < 0) {
        puts("1..0 # SKIP neither $TMPDIR nor /var/tmp is on a disk");
        return false;
    }
    return g_setenv("TMPDIR", "/var/tmp", TRUE);
}

TestImage *test_image_new(int64_t bytes)
{
    TestImage *image = g_new0(TestImage, 1);
    int fd;

    image->dir = g_dir_make_tmp("vblk-test-XXXXXX", NULL);
    g_assert_nonnull(image->dir);
    image->path = g_build_filename(image->dir, "image", NULL);
    fd = open(image->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, bytes), ==, 0);
    close(fd);
    return image;
}

void test_image_free(TestImage *image)
{
    g_unlink(image->path);
    g_rmdir(image->dir);
    g_free(image->path);
    g_free(image->dir);
    g_free(image);
}

const char *test_image_path(const TestImage *image)
{
    return image->path;
}

const char *test_image_dir(const TestImage *image)
{
    return image->dir;
}

int64_t test_image_length(const TestImage *image)
{
    struct stat st;

    g_assert_cmpint(stat(image->path, &st), ==, 0);
    return st.st_size;
}

int64_t test_image_allocated(const TestImage *image)
{
    struct stat st;

    g_assert_cmpint(stat(image->path, &st), ==, 0);
    return (int64_t)st.st_blocks * 512;
}

void test_image_write(const TestImage *image, int64_t offset, const void *buf,
                      size_t bytes)
{
    int fd = open(image->path, O_WRONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, buf, bytes, offset), ==, bytes);
    close(fd);
}

void test_image_read(const TestImage *image, int64_t offset, void *buf,
                     size_t bytes)
{
    int fd = open(image->path, O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pread(fd, buf, bytes, offset), ==, bytes);
    close(fd);
}

void test_image_settle(const TestImage *image)
{
    int fd = open(image->path, O_WRONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fsync(fd), ==, 0);
    g_assert_cmpint(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), ==, 0);
    close(fd);
}

void test_image_truncate(const TestImage *image, int64_t bytes)
{
    g_assert_cmpint(truncate(image->path, bytes), ==, 0);
}

void test_pattern(void *buf, size_t bytes, uint32_t seed)
{
    uint8_t *p = buf;
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = x >> 24;
    }
}

bool test_program_present(const char *program)
{
    g_autofree char *path = g_find_program_in_path(program);

    return path != NULL;
}

bool test_run(const char *const *argv, char **output)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    g_autoptr(GError) error = NULL;
    int status;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                 &out, &err, &status, &error);
    g_assert_no_error(error);
    *output = g_strconcat(out, err, NULL);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void test_must_run(const char *const *argv)
{
    g_autofree char *output = NULL;

    if (!test_run(argv, &output)) {
        g_error("%s %s: %s", argv[0], argv[1], output);
    }
}

TestChild *test_child_start(const char *const *argv)
{
    TestChild *child = g_new0(TestChild, 1);
    g_autoptr(GError) error = NULL;

    g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                             G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                             NULL, NULL, &child->pid, &child->in, &child->out,
                             NULL, &error);
    g_assert_no_error(error);
    return child;
}

void test_child_expect(TestChild *child, const char *text)
{
    g_autoptr(GString) seen = g_string_new(NULL);
    char c;

    while (!g_str_has_suffix(seen->str, text)) {
        g_assert_cmpint(read(child->out, &c, 1), ==, 1);
        g_string_append_c(seen, c);
    }
}

void test_child_finish(TestChild *child, const char *input)
{
    size_t len = strlen(input);
    int status;

    g_assert_cmpint(write(child->in, input, len), ==, len);
    close(child->in);
    g_assert_cmpint(waitpid(child->pid, &status, 0), ==, child->pid);
    close(child->out);
    g_free(child);
}

char *test_loop_new(const TestImage *image, unsigned block_size,
                    const char **reason)
{
    g_autofree char *size = g_strdup_printf("%u", block_size);
    const char *argv[] = { "losetup", "--find", "--show", "--sector-size",
                           size, image->path, NULL };
    g_autofree char *output = NULL;

    if (!test_program_present("losetup")) {
        *reason = "losetup is not installed";
        return NULL;
    }
    if (!test_run(argv, &output) || !g_str_has_prefix(output, "/dev/")) {
        *reason = "no loop device can be set up here";
        return NULL;
    }
    return g_strdup(g_strstrip(output));
}

void test_loop_free(char *path)
{
    const char *argv[] = { "losetup", "--detach", path, NULL };
    g_autofree char *output = NULL;

    g_assert_true(test_run(argv, &output));
    g_free(path);
}
