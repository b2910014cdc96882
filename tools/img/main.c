/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img: makes, inspects, checks and converts disk images.
 *
 * Finds the subcommand and calls it; everything else is in the subcommand's
 * file. The words and what is printed are qemu-img's, so that scripts run
 * with only the program's name changed.
 */
#include "args.h"
#include "img.h"
#include "block/auto.h"
#include "block/control.h"
#include "block/graph.h"
#include "config.h"
#include "tools/common/message.h"
#include "tools/common/objects.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "amend", img_amend },
    { "bench", img_bench },
    { "bitmap", img_bitmap },
    { "check", img_check },
    { "commit", img_commit },
    { "compare", img_compare },
    { "convert", img_convert },
    { "create", img_create },
    { "dd", img_dd },
    { "info", img_info },
    { "map", img_map },
    { "measure", img_measure },
    { "rebase", img_rebase },
    { "snapshot", img_snapshot },
    { "resize", img_resize },
};

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "trace", required_argument, NULL, 'T' },
    { NULL, 0, NULL, 0 },
};

static int refuse_trace(const char *text)
{
    error_report("-T: '%s' does not exist: the one trace event is 'auto', what "
                 "aio=auto decides", text);
    return EXIT_FAILURE;
}

/* Returns -1 when a subcommand is to run, its words from optind on. */
static int take_options(int argc, char **argv)
{
    int c;

    while ((c = getopt_long(argc, argv, "+:hVT:", long_options, NULL)) != -1) {
        switch (c) {
        case ':':
            return img_bad_usage("missing argument for option '%s'",
                                 argv[optind - 1]);
        case 'h':
            img_help();
            return EXIT_SUCCESS;
        case 'V':
            printf("%s version " VBLK_VERSION "\n", g_get_prgname());
            return EXIT_SUCCESS;
        case 'T':
            if (!auto_trace_enable(optarg)) {
                return refuse_trace(optarg);
            }
            break;
        default:
            return img_bad_usage("unrecognized option '%s'", argv[optind - 1]);
        }
    }
    return -1;
}

static int run_command(int argc, char **argv)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[0], commands[i].name) == 0) {
            optind = 0; /* getopt starts anew */
            return commands[i].run(argc, argv);
        }
    }
    return img_bad_usage("Command not found: %s", argv[0]);
}

/* A reader of our output that has gone is an error, and no reason to leave
 * an image half-written. */
static int finish_output(int status)
{
    if (fflush(stdout) != 0 && status == EXIT_SUCCESS) {
        return EXIT_FAILURE;
    }
    return status;
}

int main(int argc, char **argv)
{
    int status;

    message_init(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        return img_bad_usage("Not enough arguments");
    }
    status = take_options(argc, argv);
    if (status < 0 && optind == argc) {
        status = img_bad_usage("Not enough arguments");
    } else if (status < 0) {
        status = run_command(argc - optind, argv + optind);
    }
    bdrv_close_all();
    control_stop();
    object_free_all();
    return finish_output(status);
}
