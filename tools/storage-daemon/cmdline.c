/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Splits the command line. The words are those of qemu-storage-daemon, so
 * that its users only swap the program's name.
 */
#include "cmdline.h"

#include <getopt.h>
#include <gio/gio.h>

static const struct option long_options[] = {
    { "allow-path", required_argument, NULL, OPT_ALLOW_PATH },
    { "blockdev", required_argument, NULL, OPT_BLOCKDEV },
    { "chardev", required_argument, NULL, OPT_CHARDEV },
    { "daemonize", no_argument, NULL, OPT_DAEMONIZE },
    { "drive", required_argument, NULL, OPT_DRIVE },
    { "export", required_argument, NULL, OPT_EXPORT },
    { "help", no_argument, NULL, OPT_HELP },
    { "monitor", required_argument, NULL, OPT_MONITOR },
    { "nbd-server", required_argument, NULL, OPT_NBD_SERVER },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "pidfile", required_argument, NULL, OPT_PIDFILE },
    { "run-with", required_argument, NULL, OPT_RUN_WITH },
    { "sandbox", required_argument, NULL, OPT_SANDBOX },
    { "stats", no_argument, NULL, OPT_STATS },
    { "supervise", optional_argument, NULL, OPT_SUPERVISE },
    { "takeover", required_argument, NULL, OPT_TAKEOVER },
    { "trace", required_argument, NULL, OPT_TRACE },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 },
};

static bool take(Cmdline *cmdline, int c, const char *value)
{
    CmdlineItem item = { .option = c, .value = value };

    switch (c) {
    case OPT_HELP:
        cmdline->help = true;
        return true;
    case OPT_VERSION:
        cmdline->version = true;
        return true;
    case OPT_DAEMONIZE:
        cmdline->daemonize = true;
        return true;
    case OPT_STATS:
        cmdline->stats = true;
        return true;
    case OPT_PIDFILE:
        cmdline->pidfile = value;
        return true;
    case OPT_SUPERVISE:
        cmdline->supervise = value ? value : "";
        return true;
    case OPT_TAKEOVER:
        cmdline->takeover = value;
        return true;
    case '?':
    case ':':
        return false;
    default:
        g_array_append_val(cmdline->items, item);
        return true;
    }
}

static void refuse(int c, char **argv, GError **error)
{
    const char *word = argv[optind - 1];

    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                c == ':' ? "option '%s' needs a value; see --help"
                         : "unknown option '%s'; see --help", word);
}

bool cmdline_parse(int argc, char **argv, Cmdline *cmdline, GError **error)
{
    int c;

    *cmdline = (Cmdline){
        .items = g_array_new(FALSE, FALSE, sizeof(CmdlineItem)),
    };
    opterr = 0;
    while ((c = getopt_long(argc, argv, "+:hVT:", long_options, NULL)) != -1) {
        if (!take(cmdline, c, optarg)) {
            refuse(c, argv, error);
            return false;
        }
    }
    if (optind < argc) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "unexpected argument '%s': everything is given with "
                    "options; see --help", argv[optind]);
        return false;
    }
    return true;
}

void cmdline_clear(Cmdline *cmdline)
{
    g_clear_pointer(&cmdline->items, g_array_unref);
}
