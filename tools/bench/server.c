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

#define STOP_MS  3000
#define CLOSE_US 20000

struct BenchServer {
    char *folder, *log;
    char **sockets;
    char *name;
    pid_t pid;             /* 0: not running */
    cpu_set_t cpus;
    bool pinned;
};

/* Puts @words into @word. */
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

/* Appends the words of @text for export @n to @argv. */
static bool add_words(const BenchServer *server,
                      const BenchServerConfig *config, const char *text,
                      unsigned n, GPtrArray *argv, GError **error)
{
    g_autoptr(GHashTable) words =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    const char *image = config->images ? config->images[n] : NULL;
    g_autofree char **expanded = NULL;

    g_hash_table_insert(words, g_strdup("socket"),
                        g_strdup(server->sockets[n]));
    g_hash_table_insert(words, g_strdup("n"), g_strdup_printf("%u", n));
    if (image) {
        g_hash_table_insert(words, g_strdup("image"), g_strdup(image));
    }
    expanded = bench_command_expand(text, words, error);
    for (unsigned i = 0; expanded && expanded[i]; i++) {
        g_ptr_array_add(argv, expanded[i]);
    }
    return expanded != NULL;
}

/* Caller frees. */
static char **make_argv(const BenchServer *server,
                        const BenchServerConfig *config, GError **error)
{
    GPtrArray *argv = g_ptr_array_new();
    bool good = add_words(server, config, config->command, 0, argv, error);

    for (unsigned i = 0; good && config->export &&
                         i < MAX(config->n_exports, 1); i++) {
        good = add_words(server, config, config->export, i, argv, error);
    }
    g_ptr_array_add(argv, NULL);
    if (!good) {
        g_ptr_array_set_free_func(argv, g_free);
        g_ptr_array_free(argv, TRUE);
        return NULL;
    }
    return (char **)g_ptr_array_free(argv, FALSE);
}

BenchServer *bench_server_start(const BenchServerConfig *config,
                                GError **error)
{
    g_autoptr(BenchServer) server = g_new0(BenchServer, 1);
    unsigned n_exports = MAX(config->n_exports, 1);
    g_auto(GStrv) argv = NULL;

    if (config->cpus &&
        !bench_cpus_parse(config->cpus, &server->cpus, error)) {
        return NULL;
    }
    server->pinned = config->cpus != NULL;
    server->folder = g_dir_make_tmp("vblk-bench-XXXXXX", error);
    if (!server->folder) {
        return NULL;
    }
    server->log = g_build_filename(server->folder, "log", NULL);
    server->sockets = g_new0(char *, n_exports + 1);
    for (unsigned i = 0; i < n_exports; i++) {
        server->sockets[i] = g_strdup_printf("%s/%u", server->folder, i);
    }
    argv = make_argv(server, config, error);
    if (!argv || !spawn(server, argv, error)) {
        return NULL;
    }
    server->name = g_path_get_basename(argv[0]);
    return g_steal_pointer(&server);
}

const char *bench_server_socket(const BenchServer *server, unsigned index)
{
    return server->sockets[index];
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

/* "server NAME ended with status N: LAST WORDS". Caller frees. */
static char *describe_end(BenchServer *server, int status)
{
    g_autofree char *words = last_words(server);
    g_autofree char *how =
        WIFSIGNALED(status)
            ? g_strdup_printf("was killed by signal %d", WTERMSIG(status))
            : g_strdup_printf("ended with status %d", WEXITSTATUS(status));

    server->pid = 0;
    return g_strdup_printf("server %s %s%s%s", server->name, how,
                           *words ? ": " : "", words);
}

bool bench_server_is_dead(BenchServer *server, GError **error)
{
    g_autofree char *how = NULL;
    int status;

    if (server->pid) {
        if (waitpid(server->pid, &status, WNOHANG) != server->pid) {
            return false;
        }
        how = describe_end(server, status);
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s",
                how ? how : "the server has ended");
    return true;
}

static bool has_sockets(const BenchServer *server)
{
    for (unsigned i = 0; server->sockets[i]; i++) {
        if (!g_file_test(server->sockets[i], G_FILE_TEST_EXISTS)) {
            return false;
        }
    }
    return true;
}

bool bench_server_wait(BenchServer *server, int64_t timeout_ms,
                       GError **error)
{
    for (int64_t i = 0; !has_sockets(server); i++) {
        if (bench_server_is_dead(server, error)) {
            return false;
        }
        if (i >= timeout_ms) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                        "server %s makes no socket", server->name);
            return false;
        }
        g_usleep(1000); /* a program that starts up has no other sign */
    }
    return true;
}

char *bench_server_stop(BenchServer *server)
{
    int status;

    if (!server->pid) {
        return NULL;
    }
    /* qemu-storage-daemon 7.2 may wait for ever for a connection that is
     * being closed while it is told to end. */
    g_usleep(CLOSE_US);
    kill(server->pid, SIGTERM);
    for (unsigned i = 0; i < STOP_MS; i++) {
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                server->pid = 0;
                return NULL;
            }
            return describe_end(server, status);
        }
        g_usleep(1000);
    }
    return g_strdup_printf("server %s does not end on SIGTERM", server->name);
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
        for (unsigned i = 0; server->sockets && server->sockets[i]; i++) {
            g_unlink(server->sockets[i]);
        }
        if (server->log) {
            g_unlink(server->log);
        }
        g_rmdir(server->folder);
    }
    g_free(server->folder);
    g_strfreev(server->sockets);
    g_free(server->log);
    g_free(server->name);
    g_free(server);
}
