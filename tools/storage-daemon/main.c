/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-storage-daemon: serves disk images over vhost-user-blk.
 *
 * Acts on the command line in the order given, runs the main loop, and on
 * SIGTERM or SIGINT takes everything down again: exports, nodes, threads.
 * The only place that decides to exit.
 */
#include "background.h"
#include "cmdline.h"
#include "drive.h"
#include "export.h"
#include "notify.h"
#include "object.h"
#include "block/auto.h"
#include "supervise.h"
#include "qmp-commands.h"
#include "sandbox.h"
#include "block/control.h"
#include "block/debug.h"
#include "block/graph.h"
#include "block/log.h"
#include "monitor/monitor.h"
#include "config.h"

#include <gio/gio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

typedef struct Daemon {
    AioContext *ctx;
    Cmdline cmdline;
    Sandbox sandbox;
    int signal_fd;
    AioHandler *signal_handler;
    bool supervised;   /* by our own --supervise */
    bool stop_asked;
    bool stopped;
} Daemon;

static void all_exports_stopped(void *opaque)
{
    Daemon *daemon = opaque;

    daemon->stopped = true;
}

static void stop(Daemon *daemon)
{
    if (daemon->stop_asked) {
        log_info("still waiting for requests in flight; SIGKILL would abandon "
                 "them");
        return;
    }
    daemon->stop_asked = true;
    notify_stopping();
    monitor_stop_reading();
    export_stop_all(daemon->cmdline.stats ? EXPORT_STOP_STATS : 0,
                    all_exports_stopped, daemon);
}

static void qmp_quit(void *opaque)
{
    stop(opaque);
}

static void signal_ready(void *opaque)
{
    Daemon *daemon = opaque;
    struct signalfd_siginfo info;

    while (read(daemon->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGUSR1) {
            export_print_stats();
        } else {
            stop(daemon);
        }
    }
}

/*
 * A front end or reader of stderr that goes away, and a file that may not
 * grow, are errors of one call and no reason to die.
 */
static void ignore_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

static const AioHandlerOps signal_ops = { .ready = signal_ready };

/* Before any thread is made, so that all of them inherit the mask. */
static bool watch_signals(Daemon *daemon, GError **error)
{
    sigset_t set;

    ignore_signals();
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    daemon->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (daemon->signal_fd < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "cannot watch for signals: %s", g_strerror(errno));
        return false;
    }
    daemon->signal_handler = aio_handler_add(daemon->ctx, daemon->signal_fd,
                                             &signal_ops, daemon);
    if (!daemon->signal_handler) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "cannot watch for signals: %s", g_strerror(errno));
    }
    return daemon->signal_handler;
}

static bool blockdev_add(const char *text, GError **error)
{
    Options *opts = options_parse(text, "--blockdev", "driver", error);

    return opts && bdrv_open_blockdev(opts, error);
}

static bool export_add_text(Daemon *daemon, const char *text, GError **error)
{
    Options *opts = options_parse(text, "--export", "type", error);

    return opts && export_add(opts, daemon->ctx, error);
}

static bool act(Daemon *daemon, const CmdlineItem *item, GError **error)
{
    switch (item->option) {
    case OPT_BLOCKDEV:
        return blockdev_add(item->value, error);
    case OPT_EXPORT:
        return export_add_text(daemon, item->value, error);
    case OPT_DRIVE:
        return drive_add(item->value, daemon->ctx, error);
    case OPT_OBJECT:
        return object_add(item->value, error);
    case OPT_CHARDEV:
        return chardev_add(item->value, daemon->ctx, error);
    case OPT_MONITOR:
        daemon->sandbox.has_monitor = true;
        return monitor_add(item->value, error);
    case OPT_SANDBOX:
        return sandbox_parse(&daemon->sandbox, item->value, error);
    case OPT_ALLOW_PATH:
        return sandbox_allow_path(&daemon->sandbox, item->value, error);
    case OPT_RUN_WITH:
        return sandbox_parse_run_with(&daemon->sandbox, item->value, error);
    case OPT_NBD_SERVER:
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "--nbd-server: vblk serves vhost-user-blk only; "
                    "qemu-storage-daemon serves NBD");
        return false;
    default:
        if (auto_trace_enable(item->value)) {
            return true;
        }
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "--trace: '%s' does not exist: the one trace event is "
                    "'auto', what aio=auto decides; --stats and SIGUSR1 show "
                    "what an export does", item->value);
        return false;
    }
}

static bool act_on_all(Daemon *daemon, GError **error)
{
    const GArray *items = daemon->cmdline.items;

    for (unsigned i = 0; i < items->len; i++) {
        if (!act(daemon, &g_array_index(items, CmdlineItem, i), error)) {
            return false;
        }
    }
    return true;
}

static void may_remove(const char *path, void *opaque)
{
    sandbox_may_remove(opaque, path);
}

/* Everything is open: from here on the process needs no more than it has. */
static bool confine(Daemon *daemon, GError **error)
{
    const Cmdline *cmdline = &daemon->cmdline;

    export_each_socket(may_remove, &daemon->sandbox);
    chardev_each_socket(may_remove, &daemon->sandbox);
    if (cmdline->pidfile && !daemon->supervised) {
        sandbox_may_remove(&daemon->sandbox, cmdline->pidfile);
    }
    return sandbox_enter(&daemon->sandbox, error);
}

/* A supervised process is not the one that people know by its number. */
static bool settle(Daemon *daemon, GError **error)
{
    const Cmdline *cmdline = &daemon->cmdline;

    if (daemon->supervised) {
        return (!cmdline->daemonize || background_detach(error)) &&
               confine(daemon, error);
    }
    return (!cmdline->pidfile || pidfile_write(cmdline->pidfile, error)) &&
           background_leave(error) && confine(daemon, error);
}

static void tell_ready(const Daemon *daemon)
{
    if (!daemon->supervised) {
        background_ready();
    }
    notify_ready();
}

static bool start(Daemon *daemon, GError **error)
{
    sandbox_raise_limits();
    if (daemon->cmdline.daemonize && !daemon->supervised &&
        !background_start(error)) {
        return false;
    }
    notify_open();
    daemon->ctx = aio_context_new(NULL, error);
    if (!daemon->ctx) {
        return false;
    }
    aio_context_adopt(daemon->ctx);
    qmp_commands_init(daemon->ctx, qmp_quit, daemon);
    if (!watch_signals(daemon, error) || !act_on_all(daemon, error) ||
        !settle(daemon, error)) {
        return false;
    }
    tell_ready(daemon);
    return true;
}

static void run(Daemon *daemon)
{
    while (!daemon->stopped) {
        aio_poll(daemon->ctx, true);
    }
}

/* Also after a start that failed half-way. */
static void take_down(Daemon *daemon)
{
    if (daemon->ctx && !daemon->stopped) {
        export_stop_all(0, all_exports_stopped, daemon);
        run(daemon);
    }
    monitor_close_all();
    bdrv_close_all();
    control_stop();
    object_free_all();
    if (daemon->signal_handler) {
        aio_handler_remove(daemon->signal_handler);
        close(daemon->signal_fd);
    }
    g_clear_pointer(&daemon->ctx, aio_context_free);
    pidfile_remove();
    notify_close();
    sandbox_clear(&daemon->sandbox);
}

/* --help, --version and --object help: true when that was all. */
static bool only_informs(const Cmdline *cmdline)
{
    if (cmdline->help) {
        help_print();
        return true;
    }
    if (cmdline->version) {
        printf("vblk-storage-daemon version %s\n", VBLK_VERSION);
        return true;
    }
    for (unsigned i = 0; i < cmdline->items->len; i++) {
        CmdlineItem *item = &g_array_index(cmdline->items, CmdlineItem, i);

        if (item->option == OPT_OBJECT && object_help(item->value)) {
            return true;
        }
    }
    return false;
}

static int complain(GError *error)
{
    log_error("%s", error->message);
    g_error_free(error);
    return EXIT_FAILURE;
}

/* In whichever thread found it; its line is out. As in QEMU, the state at
 * this moment is what somebody wants to look at. */
static void images_differ(void)
{
    pidfile_remove();
    _exit(EXIT_FAILURE);
}

static int serve(Daemon *daemon)
{
    GError *error = NULL;
    int status = EXIT_SUCCESS;

    sandbox_init(&daemon->sandbox);
    daemon->supervised = notify_is_supervised();
    if (daemon->supervised) {
        prctl(PR_SET_NAME, g_get_prgname()); /* executed as /proc/self/exe */
    }
    bdrv_debug_set_mismatch(images_differ);
    if (start(daemon, &error)) {
        run(daemon);
    } else {
        status = complain(error);
    }
    take_down(daemon);
    return status;
}

int main(int argc, char **argv)
{
    Daemon daemon = { .signal_fd = -1 };
    GError *error = NULL;
    int status = EXIT_SUCCESS;

    g_set_prgname("vblk-storage-daemon");
    if (!cmdline_parse(argc, argv, &daemon.cmdline, &error)) {
        status = complain(error);
    } else if (only_informs(&daemon.cmdline)) {
        status = EXIT_SUCCESS;
    } else if (daemon.cmdline.supervise && !notify_is_supervised()) {
        status = supervise(&daemon.cmdline, argv);
    } else {
        status = serve(&daemon);
    }
    cmdline_clear(&daemon.cmdline);
    return status;
}
