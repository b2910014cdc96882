/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-bench: puts vhost-user-blk servers under load as a guest would.
 *
 * Runs one job (run.c), or many of a SPEC (compare.c), and reports. The only
 * place that decides to exit.
 */
#include "cmdline.h"
#include "compare.h"
#include "report.h"
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(const GError *error)
{
    bench_progress_end();
    fprintf(stderr, "vblk-bench: error: %s\n", error->message);
    return 1;
}

/* Writes to @path or, when it is NULL, to stdout. */
static bool report(const BenchCmdline *cmdline, const BenchResult *result)
{
    FILE *out = cmdline->output ? fopen(cmdline->output, "we") : stdout;
    bool good;

    if (out && cmdline->json) {
        bench_report_print_json(out, cmdline->job, result);
    } else if (out) {
        bench_report_print(out, cmdline->job, result);
    }
    good = out && fflush(out) == 0;
    if (out && out != stdout) {
        good = fclose(out) == 0 && good;
    }
    if (!good) {
        fprintf(stderr, "vblk-bench: error: %s: %s\n",
                cmdline->output ? cmdline->output : "standard output",
                g_strerror(errno));
    }
    return good;
}

static int run_one(BenchCmdline *cmdline, GError **error)
{
    BenchTarget target = {
        .socket = cmdline->socket,
        .command = cmdline->server,
        .server_cpus = cmdline->server_cpus,
        .filename = cmdline->filename,
        .pid = cmdline->pid,
    };
    g_autoptr(BenchResult) result = NULL;

    if (cmdline->eta == BENCH_ON ||
        (cmdline->eta == BENCH_AUTO && isatty(STDERR_FILENO))) {
        cmdline->options.progress_cb = bench_progress_show;
    }
    result = bench_run(cmdline->job, &target, &cmdline->options, error);
    if (!result) {
        return 1;
    }
    bench_progress_end();
    if (!report(cmdline, result)) {
        return 1;
    }
    if (result->untidy) {
        fprintf(stderr, "vblk-bench: error: %s\n", result->untidy);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    BenchCmdline cmdline = { 0 };
    int status = 0;

    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "compare") == 0) {
        return bench_compare_main(argc - 1, argv + 1);
    }
    if (!bench_cmdline_parse(&cmdline, argc, argv, &error)) {
        status = 1;
    } else if (cmdline.help) {
        fputs(bench_help, stdout);
    } else if (cmdline.version) {
        printf("vblk-bench %s\n", VBLK_VERSION);
    } else {
        status = run_one(&cmdline, &error);
    }
    bench_cmdline_clear(&cmdline);
    return error ? fail(error) : status;
}
