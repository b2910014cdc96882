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
#include "supervise.h"
#include "qmp-commands.h"
#include "replay.h"
#include "sandbox.h"
#include "settings.h"
#include "takeover.h"
#include "block/auto.h"
#include "block/control.h"
#include "block/debug.h"
#include "block/engine.h"
#include "block/error.h"
#include "block/graph.h"
#include "block/log.h"
#include "block/throttle.h"
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

typedef struct Daemon {
    AioContext *ctx;
    Cmdline cmdline;
    Sandbox sandbox;
    int signal_fd;
    AioHandler *signal_handler;
    bool supervised;   /* by our own --supervise */
    bool stop_asked;
    bool stopped;
    Handover *handover; /* on its way to another process, or from one */
    bool drained;       /* and all exports are in it */
    bool taking_back;   /* objects are there already */
    bool failed;
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
    if (daemon->handover) {
        return; /* first that, then we shall see */
    }
    notify_stopping();
    monitor_hold();
    replay_stop();
    settings_drop();
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

/* By a monitor, in a process before this one. */
static bool is_deleted(ChangeKind kind, const Options *opts, const char *key)
{
    const char *id = options_peek_str(opts, key);

    return id && settings_is_deleted(kind, id);
}

static bool blockdev_add(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--blockdev", "driver",
                                            error);

    return opts && (is_deleted(CHANGE_NODE, opts, "node-name") ||
                    bdrv_open_blockdev(g_steal_pointer(&opts), error));
}

static bool export_add_text(Daemon *daemon, const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--export", "type", error);

    return opts && (is_deleted(CHANGE_EXPORT, opts, "id") ||
                    export_add(g_steal_pointer(&opts), daemon->ctx, error));
}

static bool object_add_text(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--object", "qom-type",
                                            error);

    return opts && (is_deleted(CHANGE_OBJECT, opts, "id") ||
                    object_add(opts, error));
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
        return object_add_text(item->value, error);
    case OPT_CHARDEV:
        return chardev_add(item->value, daemon->ctx, error);
    case OPT_MONITOR:
        return monitor_add(item->value, error);
    case OPT_SANDBOX:
    case OPT_ALLOW_PATH:
    case OPT_RUN_WITH:
        return true; /* plan_confinement() has had them */
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

static bool plan_confinement_for(Sandbox *sandbox, const CmdlineItem *item,
                                 GError **error)
{
    switch (item->option) {
    case OPT_MONITOR:
        sandbox->has_monitor = true;
        return true;
    case OPT_SANDBOX:
        return sandbox_parse(sandbox, item->value, error);
    case OPT_ALLOW_PATH:
        return sandbox_allow_path(sandbox, item->value, error);
    case OPT_RUN_WITH:
        return sandbox_parse_run_with(sandbox, item->value, error);
    default:
        return true;
    }
}

/* Before anything is opened: it matters to what is. */
static bool plan_confinement(Daemon *daemon, GError **error)
{
    const GArray *items = daemon->cmdline.items;

    for (unsigned i = 0; i < items->len; i++) {
        if (!plan_confinement_for(&daemon->sandbox,
                                  &g_array_index(items, CmdlineItem, i),
                                  error)) {
            return false;
        }
    }
    if (sandbox_is_wanted(&daemon->sandbox)) {
        auto_make_rings_early();
    }
    return true;
}

static bool opens_disks(const CmdlineItem *item)
{
    return item->option == OPT_BLOCKDEV || item->option == OPT_EXPORT ||
           item->option == OPT_DRIVE;
}

static bool act_on_all(Daemon *daemon, GError **error)
{
    const GArray *items = daemon->cmdline.items;

    for (unsigned i = 0; i < items->len; i++) {
        const CmdlineItem *item = &g_array_index(items, CmdlineItem, i);

        if (daemon->taking_back && !opens_disks(item)) {
            continue;
        }
        if (!act(daemon, item, error)) {
            return false;
        }
    }
    return true;
}

#define KEEPS_PIDFILE "pidfile" /* to the process before */

/* A supervised process is not the one that people know by its number. */
static bool inherit_pidfile(Daemon *daemon)
{
    g_autoptr(HandoverRecord) record = NULL;
    int fd = -1;

    if (daemon->handover) {
        record = handover_take(daemon->handover, "pidfile", NULL);
        fd = record ? handover_take_fd(record, "fd") : -1;
    }
    return fd >= 0 && pidfile_inherit(daemon->supervised
                                          ? NULL : daemon->cmdline.pidfile,
                                      fd);
}

static bool write_pidfile(const Daemon *daemon, GError **error)
{
    const char *path = daemon->cmdline.pidfile;

    return !path || (daemon->handover ? pidfile_replace(path, error)
                                      : pidfile_write(path, error));
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
    if (cmdline->takeover) {
        sandbox_may_remove(&daemon->sandbox, cmdline->takeover);
    }
    /* what the host says counts for files of later, not what we then forbid */
    engine_is_permitted(ENGINE_IO_URING, NULL);
    return sandbox_enter(&daemon->sandbox, error);
}

static bool settle(Daemon *daemon, GError **error)
{
    const Cmdline *cmdline = &daemon->cmdline;
    bool inherited = inherit_pidfile(daemon);

    if (daemon->supervised) {
        return (!cmdline->daemonize || background_detach(error)) &&
               confine(daemon, error);
    }
    return (inherited || write_pidfile(daemon, error)) &&
           background_leave(error) && confine(daemon, error);
}

static void tell_ready(const Daemon *daemon, bool taken_over)
{
    if (!daemon->supervised) {
        background_ready();
    }
    notify_ready(taken_over);
}

/* --- From process to process --- */

/* Opens what is in daemon->handover; it stands still. First what the command
 * line says. */
static bool open_handed_over(Daemon *daemon, GError **error)
{
    bdrv_take_over(daemon->handover,
                   daemon->taking_back ? BDRV_TAKE_BACK : 0);
    export_take_over(daemon->handover, daemon->taking_back);
    return act_on_all(daemon, error);
}

static bool check_nothing_left(Handover *handover, GError **error)
{
    g_autoptr(HandoverRecord) record = NULL;

    if (!handover_left(handover)) {
        return true;
    }
    record = handover_take(handover, "server", NULL);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                "--takeover: the running process has an export '%s', and this "
                "one has not", record ? handover_record_id(record) : "?");
    return false;
}

/* Then what monitors had added. */
static bool open_added(Daemon *daemon, GError **error)
{
    unsigned flags = daemon->handover ? REPLAY_ALL : 0;

    if (daemon->taking_back) {
        flags |= REPLAY_DISKS;
    }
    return replay(daemon->ctx, flags, error) &&
           (!daemon->handover ||
            (throttle_take_over(daemon->handover, error) &&
             check_nothing_left(daemon->handover, error)));
}

/* Returns how many requests are submitted again. */
static unsigned go_on(Daemon *daemon)
{
    unsigned requests;

    bdrv_take_over_end();
    requests = export_resume_all();
    g_clear_pointer(&daemon->handover, handover_free);
    return requests;
}

/* The successor failed: what it was to have, we open again ourselves. */
static void take_back(Daemon *daemon)
{
    GError *error = NULL;

    drive_reset();
    daemon->taking_back = true;
    if (!open_handed_over(daemon, &error) || !open_added(daemon, &error)) {
        log_error("cannot go on: %s", error->message);
        g_clear_error(&error);
        daemon->failed = true;
        daemon->stop_asked = true;
    }
    daemon->taking_back = false;
    go_on(daemon);
    monitor_go_on();
}

/* A successor that is confined when it fails could not give us back what it
 * had replaced. */
static bool hand_over_pidfile(Handover *handover, GError **error)
{
    int fd = pidfile_fd_to_give();

    return fd < 0 || handover_put_fd(handover_add(handover, "pidfile", ""),
                                     "fd", fd, error);
}

/* All that is not a disk. Versions that know throttle groups only have no
 * business with a process that has monitors. */
static bool hand_over_rest(Handover *handover, GError **error)
{
    throttle_hand_over(handover);
    return !settings_changes() ||
           (settings_hand_over(handover, error) &&
            monitor_hand_over(handover, error) &&
            hand_over_pidfile(handover, error));
}

/* What take_back() does not look for: it is here still. */
static void drop_rest(Handover *handover)
{
    static const char *const kinds[] = { "config", "monitor", "pidfile" };

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        HandoverRecord *record;

        while ((record = handover_take(handover, kinds[i], NULL))) {
            handover_record_free(record);
        }
    }
}

/* To a process with that word. */
static void given(const char *word)
{
    monitor_given();
    if (g_str_equal(word, KEEPS_PIDFILE)) {
        pidfile_given();
    }
}

/* Not within a callback of the loop: it waits for the other process. */
static void give(Daemon *daemon)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *word = NULL;
    bool complete = bdrv_hand_over_all(daemon->handover, &error);

    daemon->drained = false;
    bdrv_close_all();
    if (!complete || !hand_over_rest(daemon->handover, &error)) {
        takeover_refuse(error->message);
    } else if (takeover_give(daemon->handover, &word)) {
        given(word);
        daemon->stop_asked = daemon->stopped = true;
        return;
    }
    drop_rest(daemon->handover);
    take_back(daemon);
    if (daemon->stop_asked) {
        daemon->stop_asked = false;
        stop(daemon);
    }
}

static void drained(void *opaque)
{
    Daemon *daemon = opaque;

    daemon->drained = true;
}

static void successor_asks(void *opaque)
{
    Daemon *daemon = opaque;

    if (daemon->stop_asked) {
        takeover_refuse("the running process is about to end");
        return;
    }
    monitor_hold();
    replay_stop();
    daemon->handover = handover_new();
    export_hand_over_all(daemon->cmdline.stats ? EXPORT_STOP_STATS : 0,
                         daemon->handover, drained, daemon);
}

/* What another process says of itself, before anything is opened. */
static bool inherit(Daemon *daemon, GError **error)
{
    return !daemon->handover ||
           (settings_take_over(daemon->handover, error) &&
            monitor_take_over(daemon->handover, error));
}

/* With --takeover: opens what there is to take over, or all anew. */
static bool open_all(Daemon *daemon, bool *taken_over, GError **error)
{
    const char *path = daemon->cmdline.takeover;

    if (!path) {
        return act_on_all(daemon, error);
    }
    if (!takeover_begin(path, &daemon->handover, error) ||
        !inherit(daemon, error)) {
        return false;
    }
    *taken_over = daemon->handover != NULL;
    return (*taken_over ? open_handed_over(daemon, error)
                        : act_on_all(daemon, error)) &&
           takeover_listen(path, daemon->ctx, successor_asks, daemon, error);
}

/* Nothing can fail any more: what stands still, goes on here. */
static bool take_over(Daemon *daemon, GError **error)
{
    GError *err = NULL;

    if (!takeover_commit(pidfile_is_inherited() ? KEEPS_PIDFILE : "",
                         error)) {
        return false;
    }
    if (!pidfile_take(&err)) { /* too late to fail */
        log_warn("%s", err->message);
        g_error_free(err);
    }
    takeover_done(go_on(daemon));
    return true;
}

static int take_listener(const char *id)
{
    g_autofree char *name = notify_fd_name("monitor", id);

    return notify_take_fd(name);
}

static void keep_listener(const char *id, int fd)
{
    g_autofree char *name = notify_fd_name("monitor", id);

    notify_store_fd(name, fd);
}

/* Nobody configures anything before all of it is there. */
static void prepare_monitors(Daemon *daemon)
{
    static const MonitorKeeper keeper = { take_listener, keep_listener };

    monitor_hold();
    monitor_set_keeper(&keeper);
    settings_start(daemon->sandbox.has_monitor &&
                   (daemon->cmdline.takeover || notify_is_open()));
}

/* A process that was killed before it had noted down a new export leaves its
 * socket: who connects there would wait for nobody. */
static void admit_monitors(void)
{
    notify_forget_rest("listen-", replay_waits_for_socket);
    settings_keep();
    monitor_go_on();
    monitor_take_over_end();
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
    qmp_commands_init(daemon->ctx, qmp_quit, daemon);
    if (!watch_signals(daemon, error) || !plan_confinement(daemon, error)) {
        return false;
    }
    prepare_monitors(daemon);
    if (!open_all(daemon, &taken_over, error) ||
        !settle(daemon, error) || !open_added(daemon, error) ||
        (taken_over && !take_over(daemon, error))) {
        return false;
    }
    admit_monitors();
    tell_ready(daemon, taken_over);
    return true;
}

static void run(Daemon *daemon)
{
    while (!daemon->stopped) {
        aio_poll(daemon->ctx, true);
        if (daemon->drained) {
            give(daemon);
        }
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
