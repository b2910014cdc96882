/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-storage-daemon: serves disk images over vhost-user-blk.
 *
 * Starts the parts in daemon.h one after the other, runs the main loop, and on
 * SIGTERM or SIGINT takes everything down again: exports, nodes, threads.
 * The only place that decides to exit.
 */
#include "daemon.h"

#include "background.h"
#include "export.h"
#include "notify.h"
#include "object.h"
#include "supervise.h"
#include "qmp-commands.h"
#include "replay.h"
#include "settings.h"
#include "takeover.h"
#include "block/control.h"
#include "block/debug.h"
#include "block/graph.h"
#include "block/log.h"
#include "monitor/monitor.h"
#include "config.h"

#include <errno.h>
#include <gio/gio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void all_exports_stopped(void *opaque)
{
    Daemon *daemon = opaque;

    daemon->stopped = true;
}

void daemon_stop(void *opaque)
{
    Daemon *daemon = opaque;

    if (daemon->stop_asked) {
        log_info("still waiting for requests in flight; SIGKILL would abandon "
                 "them");
        return;
    }
    daemon->stop_asked = true;
    if (daemon->handover) {
        return; /* first that, then we shall see */
    }
    notify_stopping();
    monitor_hold();
    replay_end();
    settings_drop();
    export_stop_all(daemon->cmdline.stats ? EXPORT_STOP_STATS : 0,
                    all_exports_stopped, daemon);
}

static void signal_ready(void *opaque)
{
    Daemon *daemon = opaque;
    struct signalfd_siginfo info;

    while (read(daemon->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGUSR1) {
            export_print_stats();
        } else {
            daemon_stop(daemon);
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

static bool start(Daemon *daemon, GError **error)
{
    bool taken_over = false;

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
    qmp_commands_init(daemon->ctx, daemon_stop, daemon);
    if (!watch_signals(daemon, error) || !setup_confinement(daemon, error)) {
        return false;
    }
    succession_prepare(daemon);
    if (!succession_open(daemon, &taken_over, error) ||
        !settle(daemon, error) || !succession_open_added(daemon, error) ||
        (taken_over && !succession_take_over(daemon, error))) {
        return false;
    }
    succession_admit_monitors();
    settle_ready(daemon, taken_over);
    return true;
}

static void run(Daemon *daemon)
{
    while (!daemon->stopped) {
        aio_poll(daemon->ctx, true);
        succession_step(daemon);
    }
}

/* Also after a start that failed half-way. */
static void take_down(Daemon *daemon)
{
    monitor_hold();
    replay_stop();
    if (daemon->handover) {
        monitor_given(); /* or never ours */
    }
    if (daemon->ctx && !daemon->stopped) {
        export_stop_all(0, all_exports_stopped, daemon);
        run(daemon);
    }
    monitor_close_all();
    monitor_take_over_end();
    bdrv_close_all();
    bdrv_take_over_end();
    g_clear_pointer(&daemon->handover, handover_free);
    control_stop();
    object_free_all();
    takeover_stop(); /* after the images were closed */
    settings_stop();
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
        takeover_give_up(error->message);
        status = complain(error);
    }
    take_down(daemon);
    return daemon->failed ? EXIT_FAILURE : status;
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
