/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts a program without a shell; its socket and what it prints lie in a
 * directory of its own.
 */
#include "server.h"
#include "cpus.h"

#include <errno.h>
#include <gio/gio.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define STOP_MS 10000

struct BenchServer {
    char *folder, *socket, *log;
    char *name;
    pid_t pid;             /* 0: not running */
    cpu_set_t cpus;
    bool pinned;
};

static bool expand_word(const char *word, GHashTable *words, GString *out,
                        GError **error)
{
    const char *open, *end;

    for (; (open = strchr(word, '{')) && (end = strchr(open, '}'));
         word = end + 1) {
        g_autofree char *name = g_strndup(open + 1, end - open - 1);
        const char *value = g_hash_table_lookup(words, name);

        /* Braces around anything but a name are the command's own: JSON. */
        if (!value && strspn(name, "abcdefghijklmnopqrstuvwxyz_-") ==
                          strlen(name)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                        "no value for {%s} in the command", name);
            return false;
        }
        g_string_append_len(out, word, open - word);
        if (value) {
            g_string_append(out, value);
        } else {
            g_string_append_c(out, '{');
            end = open;
        }
    }
    g_string_append(out, word);
    return true;
}

char **bench_command_expand(const char *command, GHashTable *words,
                            GError **error)
{
    g_auto(GStrv) argv = NULL;

    if (!g_shell_parse_argv(command, NULL, &argv, error)) {
        g_prefix_error(error, "command '%s': ", command);
        return NULL;
    }
    for (unsigned i = 0; argv[i]; i++) {
        GString *out = g_string_new(NULL);

        if (!expand_word(argv[i], words, out, error)) {
            g_string_free(out, TRUE);
            return NULL;
        }
        g_free(argv[i]);
        argv[i] = g_string_free(out, FALSE);
    }
    return g_steal_pointer(&argv);
}

/* In the child, between fork and exec. */
static void prepare_child(gpointer opaque)
{
    BenchServer *server = opaque;

    if (server->pinned) {
        sched_setaffinity(0, sizeof(server->cpus), &server->cpus);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives us */
}

static bool spawn(BenchServer *server, char **argv, GError **error)
{
    int log = g_open(server->log, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC,
                     0600);
    bool good;

    if (log < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s",
                    server->log, g_strerror(errno));
        return false;
    }
    good = g_spawn_async_with_fds(NULL, argv, NULL,
                                  G_SPAWN_SEARCH_PATH |
                                      G_SPAWN_DO_NOT_REAP_CHILD,
                                  prepare_child, server, &server->pid, -1,
                                  log, log, error);
    g_close(log, NULL);
    return good;
}

BenchServer *bench_server_start(const char *command, GHashTable *words,
                                const char *cpus, GError **error)
{
    g_autoptr(BenchServer) server = g_new0(BenchServer, 1);
    g_auto(GStrv) argv = NULL;

    if (cpus && !bench_cpus_parse(cpus, &server->cpus, error)) {
        return NULL;
    }
    server->pinned = cpus != NULL;
    server->folder = g_dir_make_tmp("vblk-bench-XXXXXX", error);
    if (!server->folder) {
        return NULL;
    }
    server->socket = g_build_filename(server->folder, "socket", NULL);
    server->log = g_build_filename(server->folder, "log", NULL);
    g_hash_table_replace(words, g_strdup("socket"),
                         g_strdup(server->socket));
    argv = bench_command_expand(command, words, error);
    if (!argv || !spawn(server, argv, error)) {
        return NULL;
    }
    server->name = g_path_get_basename(argv[0]);
    return g_steal_pointer(&server);
}

const char *bench_server_socket(const BenchServer *server)
{
    return server->socket;
}

pid_t bench_server_pid(const BenchServer *server)
{
    return server->pid;
}

/* The last line it printed. Caller frees. */
static char *last_words(const BenchServer *server)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents(server->log, &text, NULL, NULL)) {
        return g_strdup("");
    }
    g_strchomp(text);
    line = strrchr(text, '\n');
    return g_strdup(line ? line + 1 : text);
}

static void report_end(BenchServer *server, int status, GError **error)
{
    g_autofree char *words = last_words(server);
    g_autofree char *how =
        WIFSIGNALED(status)
            ? g_strdup_printf("was killed by signal %d", WTERMSIG(status))
            : g_strdup_printf("ended with status %d", WEXITSTATUS(status));

    server->pid = 0;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "server %s %s%s%s",
                server->name, how, *words ? ": " : "", words);
}

bool bench_server_is_dead(BenchServer *server, GError **error)
{
    int status;

    if (!server->pid) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "server %s has ended", server->name);
        return true;
    }
    if (waitpid(server->pid, &status, WNOHANG) != server->pid) {
        return false;
    }
    report_end(server, status, error);
    return true;
}

bool bench_server_stop(BenchServer *server, GError **error)
{
    int status;

    if (!server->pid) {
        return true;
    }
    kill(server->pid, SIGTERM);
    for (unsigned i = 0; i < STOP_MS; i++) {
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                server->pid = 0;
                return true;
            }
            report_end(server, status, error);
            return false;
        }
        g_usleep(1000);
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                "server %s does not end on SIGTERM", server->name);
    return false;
}

void bench_server_free(BenchServer *server)
{
    if (!server) {
        return;
    }
    if (server->pid) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    if (server->folder) {
        if (server->socket) {
            g_unlink(server->socket);
        }
        if (server->log) {
            g_unlink(server->log);
        }
        g_rmdir(server->folder);
    }
    g_free(server->folder);
    g_free(server->socket);
    g_free(server->log);
    g_free(server->name);
    g_free(server);
}
