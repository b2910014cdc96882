/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns a command line into Options, of which each part of the program takes
 * its own words.
 */
#include "cmdline.h"

#include <gio/gio.h>
#include <string.h>

static const char *const format_names[] = { "normal", "json", NULL };
static const char *const eta_names[] = { "never", "always", "auto", NULL };
static const char *const syscalls_names[] = { "off", "on", "auto", NULL };

static bool is_flag(const char *key)
{
    static const char *const flags[] = {
        "help", "version", "hugepages", "quick", "list", NULL
    };

    return g_strv_contains(flags, key);
}

static bool refuse(GError **error, const char *arg, const char *why)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "option '%s' %s", arg, why);
    return false;
}

/* One "--key[=value]" at argv[*i]; the value may be argv[*i + 1]. */
static bool read_option(Options *opts, int argc, char **argv, int *i,
                        GError **error)
{
    const char *arg = argv[*i];
    const char *equals = strchr(arg, '=');
    g_autofree char *key = equals ? g_strndup(arg + 2, equals - arg - 2)
                                  : g_strdup(arg + 2);

    g_strdelimit(key, "-", '_');
    if (!*key || strchr(key, '.')) {
        return refuse(error, arg, "is not known");
    }
    if (equals) {
        options_set_str(opts, key, equals + 1);
    } else if (is_flag(key)) {
        options_set_str(opts, key, "on");
    } else if (*i + 1 < argc) {
        options_set_str(opts, key, argv[++*i]);
    } else {
        return refuse(error, arg, "needs a value");
    }
    return true;
}

Options *bench_cmdline_read(int argc, char **argv, GPtrArray *positional,
                            GError **error)
{
    g_autoptr(Options) opts = options_parse("", "command line", NULL, error);

    for (int i = 1; opts && i < argc; i++) {
        if (strcmp(argv[i], "-h") == 0) {
            options_set_str(opts, "help", "on");
        } else if (strcmp(argv[i], "-V") == 0) {
            options_set_str(opts, "version", "on");
        } else if (g_str_has_prefix(argv[i], "--")) {
            if (!read_option(opts, argc, argv, &i, error)) {
                return NULL;
            }
        } else if (positional && *argv[i] != '-') {
            g_ptr_array_add(positional, argv[i]);
        } else {
            refuse(error, argv[i], "is not known");
            return NULL;
        }
    }
    return g_steal_pointer(&opts);
}

static bool take_run(BenchCmdline *cmdline, Options *opts, GError **error)
{
    int format = 0;
    bool good;

    good = options_take_str(opts, "socket", &cmdline->socket, error) &&
           options_take_str(opts, "server", &cmdline->server, error) &&
           options_take_str(opts, "server_cpus", &cmdline->server_cpus,
                            error) &&
           options_take_str(opts, "filename", &cmdline->filename, error) &&
           options_take_uint(opts, "pid", G_MAXINT, &cmdline->pid, error) &&
           options_take_str(opts, "name", &cmdline->job->name, error) &&
           options_take_enum(opts, "output_format", format_names, &format,
                             error) &&
           options_take_str(opts, "output", &cmdline->output, error) &&
           options_take_enum(opts, "eta", eta_names, &cmdline->eta, error) &&
           options_take_enum(opts, "syscalls", syscalls_names,
                             &cmdline->options.syscalls, error) &&
           bench_take_duration(opts, "idle_time", &cmdline->options.idle_ns,
                               error);
    cmdline->json = format == 1;
    return good;
}

static bool check_target(const BenchCmdline *cmdline, GError **error)
{
    unsigned n = !!cmdline->socket + !!cmdline->server + !!cmdline->job->bare;

    if (n != 1) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "one of --socket, --server and --bare is needed%s",
                    n ? ", not several" : "");
        return false;
    }
    if (cmdline->job->bare && !cmdline->filename) {
        return refuse(error, "--bare", "needs --filename");
    }
    if (cmdline->server_cpus && !cmdline->server) {
        return refuse(error, "--server-cpus", "needs --server");
    }
    if (cmdline->pid && !cmdline->socket) {
        return refuse(error, "--pid", "needs --socket");
    }
    return true;
}

bool bench_cmdline_parse(BenchCmdline *cmdline, int argc, char **argv,
                         GError **error)
{
    g_autoptr(Options) opts = bench_cmdline_read(argc, argv, NULL, error);

    cmdline->job = bench_job_new();
    cmdline->eta = cmdline->options.syscalls = BENCH_AUTO;
    if (!opts ||
        !options_take_bool(opts, "help", &cmdline->help, error) ||
        !options_take_bool(opts, "version", &cmdline->version, error)) {
        return false;
    }
    if (cmdline->help || cmdline->version) {
        return true;
    }
    return take_run(cmdline, opts, error) &&
           bench_job_take(cmdline->job, opts, error) &&
           options_finish(opts, error) &&
           bench_job_check(cmdline->job, error) &&
           check_target(cmdline, error);
}

void bench_cmdline_clear(BenchCmdline *cmdline)
{
    bench_job_free(cmdline->job);
    g_free(cmdline->socket);
    g_free(cmdline->server);
    g_free(cmdline->server_cpus);
    g_free(cmdline->filename);
    g_free(cmdline->output);
}
