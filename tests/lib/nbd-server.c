/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A child process and the directory of its socket. */
#include "tests/lib/nbd-server.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/wait.h>

struct NbdServer {
    char *dir, *socket;
    GSubprocess *process;
};

NbdServer *nbd_server_start(const char *command, ...)
{
    NbdServer *server = g_new0(NbdServer, 1);
    g_autoptr(GError) error = NULL;
    g_autofree char *line = NULL;
    g_auto(GStrv) words = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    va_list args;

    va_start(args, command);
    line = g_strdup_vprintf(command, args);
    va_end(args);
    server->dir = g_dir_make_tmp("vblk-nbd-XXXXXX", &error);
    g_assert_no_error(error);
    server->socket = g_build_filename(server->dir, "s", NULL);
    words = g_strsplit(line, " ", -1);
    for (unsigned i = 0; words[i]; i++) {
        if (*words[i]) {
            g_ptr_array_add(argv, g_str_equal(words[i], "@") ? server->socket
                                                             : words[i]);
        }
    }
    g_ptr_array_add(argv, NULL);
    server->process = g_subprocess_newv((const char *const *)argv->pdata,
                                        G_SUBPROCESS_FLAGS_STDERR_SILENCE,
                                        &error);
    g_assert_no_error(error);
    return server;
}

const char *nbd_server_socket(const NbdServer *server)
{
    return server->socket;
}

void nbd_server_hold(NbdServer *server)
{
    const char *pid = g_subprocess_get_identifier(server->process);
    siginfo_t info;

    g_subprocess_send_signal(server->process, SIGSTOP);
    g_assert_cmpint(waitid(P_PID, g_ascii_strtoll(pid, NULL, 10), &info,
                           WSTOPPED | WNOWAIT), ==, 0);
}

void nbd_server_go_on(NbdServer *server)
{
    g_subprocess_send_signal(server->process, SIGCONT);
}

void nbd_server_kill(NbdServer *server)
{
    g_subprocess_force_exit(server->process);
    g_subprocess_wait(server->process, NULL, NULL);
}

void nbd_server_free(NbdServer *server)
{
    nbd_server_kill(server);
    g_object_unref(server->process);
    g_unlink(server->socket);
    g_rmdir(server->dir);
    g_free(server->socket);
    g_free(server->dir);
    g_free(server);
}
