/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose a zram device is: that of a run that lives, of a run that was killed,
 * or of somebody else. On the real device, when nobody uses it.
 */
#include "tools/bench/image.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISKSIZE "/sys/block/zram0/disksize"
#define RESET    "/sys/block/zram0/reset"

static const BenchSpecImage zram = {
    .name = (char *)"zram",
    .kind = BENCH_IMAGE_ZRAM,
    .path = (char *)"/dev/zram0",
    .size = 1 << 20,
};

static bool is_set_up(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(DISKSIZE, &text, NULL, NULL));
    return strcmp(text, "0\n") != 0;
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
    close(fd);
}

/* Skips where there is none to be had. */
static bool may_use_zram(void)
{
    g_autofree char *obstacle = NULL;

    if (access(RESET, W_OK) < 0) {
        g_test_skip("no zram0, or not for us");
        return false;
    }
    obstacle = bench_image_obstacle(&zram);
    if (obstacle) {
        g_test_skip(obstacle);
        return false;
    }
    return true;
}

/* A process that has prepared the device and waits to be killed. */
static pid_t start_run(void)
{
    int ready[2];
    char c;
    pid_t pid;

    g_assert_cmpint(pipe(ready), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        bool good = bench_image_prepare(&zram, NULL);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (write(ready[1], good ? "y" : "n", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    g_assert_cmpint(read(ready[0], &c, 1), ==, 1);
    g_assert_cmpint(c, ==, 'y');
    close(ready[0]);
    close(ready[1]);
    g_assert_true(is_set_up());
    return pid;
}

static void kill_run(pid_t pid)
{
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static void test_released(void)
{
    if (may_use_zram()) {
        g_assert_true(bench_image_prepare(&zram, NULL));
        g_assert_true(bench_image_prepare(&zram, NULL)); /* the next row */
        g_assert_true(is_set_up());
        bench_image_release(&zram);
        g_assert_false(is_set_up());
        bench_image_release(&zram); /* was not ours any more */
    }
}

static void test_killed(void)
{
    g_autofree char *obstacle = NULL;
    pid_t pid;

    if (!may_use_zram()) {
        return;
    }
    pid = start_run();
    obstacle = bench_image_obstacle(&zram);
    g_assert_cmpstr(obstacle, ==, "/dev/zram0 is in use");
    bench_image_abandon(&zram); /* not while it lives */
    g_assert_true(is_set_up());

    kill_run(pid);
    g_assert_null(bench_image_obstacle(&zram)); /* the next run */
    g_assert_false(is_set_up());

    kill_run(start_run());
    bench_image_abandon(&zram); /* who waited for it */
    g_assert_false(is_set_up());
}

static void test_of_somebody_else(void)
{
    g_autofree char *obstacle = NULL;

    if (may_use_zram()) {
        write_text(DISKSIZE, "1048576");
        obstacle = bench_image_obstacle(&zram);
        bench_image_abandon(&zram);
        bench_image_release(&zram);
        g_assert_true(is_set_up());
        write_text(RESET, "1");
        g_assert_cmpstr(obstacle, ==, "/dev/zram0 is in use");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/image/zram-released", test_released);
    g_test_add_func("/image/zram-killed", test_killed);
    g_test_add_func("/image/zram-of-somebody-else", test_of_somebody_else);
    return g_test_run();
}
