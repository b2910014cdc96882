/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The storage daemon as a program. */
#include "test-daemon.h"

#include "guest/vhost-user-client.h"
#include "qemu.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct TestDaemon {
    GPtrArray *words;    /* owned */
    GPtrArray *sockets;  /* owned */
    char **env;
    char *dir;
    GPid pid;
};

TestDaemon *test_daemon_new(void)
{
    TestDaemon *daemon = g_new0(TestDaemon, 1);

    daemon->words = g_ptr_array_new_with_free_func(g_free);
    daemon->sockets = g_ptr_array_new_with_free_func(g_free);
    daemon->env = g_get_environ();
    daemon->dir = g_dir_make_tmp("vblk-daemon-XXXXXX", NULL);
    g_assert_nonnull(daemon->dir);
    test_daemon_add(daemon, "%s", g_getenv("VBLK_STORAGE_DAEMON"));
    return daemon;
}

void test_daemon_add(TestDaemon *daemon, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(daemon->words, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

void test_daemon_set_env(TestDaemon *daemon, const char *name,
                         const char *value)
{
    daemon->env = g_environ_setenv(daemon->env, name, value, true);
}

const char *test_daemon_socket(TestDaemon *daemon, unsigned i)
{
    while (daemon->sockets->len <= i) {
        g_ptr_array_add(daemon->sockets,
                        g_strdup_printf("%s/%u", daemon->dir,
                                        daemon->sockets->len));
    }
    return daemon->sockets->pdata[i];
}

void test_daemon_start(TestDaemon *daemon, unsigned n_sockets)
{
    g_autoptr(GError) error = NULL;
    int sock;

    g_ptr_array_add(daemon->words, NULL);
    g_spawn_async(NULL, (char **)daemon->words->pdata, daemon->env,
                  G_SPAWN_DO_NOT_REAP_CHILD, qemu_child_setup, NULL,
                  &daemon->pid, &error);
    g_assert_no_error(error);
    sock = vu_connect(test_daemon_socket(daemon, n_sockets - 1));
    vu_get_u64(sock, VU_GET_FEATURES);
    close(sock);
}

void test_daemon_free(TestDaemon *daemon)
{
    int status = 0;

    kill(daemon->pid, SIGTERM);
    g_assert_cmpint(waitpid(daemon->pid, &status, 0), ==, daemon->pid);
    g_assert_cmpint(status, ==, 0);
    g_assert_cmpint(rmdir(daemon->dir), ==, 0);
    g_ptr_array_unref(daemon->words);
    g_ptr_array_unref(daemon->sockets);
    g_strfreev(daemon->env);
    g_free(daemon->dir);
    g_free(daemon);
}

void test_daemon_limit_fds(const TestDaemon *daemon, unsigned n)
{
    struct rlimit limit = { n, RLIM_INFINITY }, old;

    g_assert_cmpint(prlimit(daemon->pid, RLIMIT_NOFILE, NULL, &old), ==, 0);
    limit.rlim_max = old.rlim_max;
    g_assert_cmpint(prlimit(daemon->pid, RLIMIT_NOFILE, &limit, NULL), ==, 0);
}

unsigned test_daemon_fds(const TestDaemon *daemon)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", daemon->pid);
    GDir *dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

unsigned test_daemon_kib(const TestDaemon *daemon)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", daemon->pid);
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "RssAnon:");
    g_assert_nonnull(line);
    return strtoul(line + strlen("RssAnon:"), NULL, 10);
}
