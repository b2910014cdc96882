/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From process to process: what this one takes over from another, or finds that
 * a crashed one has left, and what it hands over to the next. Called by main.c;
 * takeover.h is the conversation, settings.h what monitors have configured.
 */
#include "daemon.h"

#include "background.h"
#include "drive.h"
#include "export.h"
#include "notify.h"
#include "replay.h"
#include "settings.h"
#include "takeover.h"
#include "block/graph.h"
#include "block/log.h"
#include "block/throttle.h"
#include "monitor/monitor.h"

#include <gio/gio.h>

#define KEEPS_PIDFILE "pidfile" /* to the process before */

/* Opens what is in daemon->handover; it stands still. First what the command
 * line says. */
static bool open_handed_over(Daemon *daemon, GError **error)
{
    bdrv_take_over(daemon->handover,
                   daemon->taking_back ? BDRV_TAKE_BACK : 0);
    export_take_over(daemon->handover, daemon->taking_back);
    return setup_items(daemon, error);
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

bool succession_open_added(Daemon *daemon, GError **error)
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
    if (!open_handed_over(daemon, &error) || !succession_open_added(daemon, &error)) {
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

/* A signal that came meanwhile. */
static void obey_stop(Daemon *daemon)
{
    if (daemon->stop_asked) {
        daemon->stop_asked = false;
        daemon_stop(daemon);
    }
}

static void give(Daemon *daemon)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *word = NULL;

    daemon->drained = false;
    bdrv_close_all();
    if (!hand_over_rest(daemon->handover, &error)) {
        takeover_refuse(error->message);
    } else if (takeover_give(daemon->handover, &word)) {
        given(word);
        daemon->stop_asked = daemon->stopped = true;
        daemon->failed = notify_is_open() && !daemon->supervised &&
                         !takeover_is_known();
        return;
    }
    drop_rest(daemon->handover);
    take_back(daemon);
    obey_stop(daemon);
}

static void drained(void *opaque)
{
    Daemon *daemon = opaque;

    daemon->drained = true;
}

/* While exports drain nothing was given away yet: who stands still goes on at
 * once, others when they have drained. */
static void call_off(Daemon *daemon)
{
    daemon->draining = false;
    g_clear_pointer(&daemon->handover, handover_free);
    export_resume_all();
    replay_go_on();
    monitor_go_on();
    obey_stop(daemon);
}

static void successor_is_gone(void *opaque)
{
    call_off(opaque);
}

/* Guests of other exports wait for this one. */
static void drain_is_late(void *opaque)
{
    Daemon *daemon = opaque;
    const Export *export = export_first_moving();
    g_autofree char *reason = NULL;

    if (!export) {
        return; /* in this very round it came to a stand */
    }
    reason = g_strdup_printf("export '%s' has not come to a stand in time: %u "
                             "requests in flight; see drain-timeout",
                             export_id(export),
                             virtio_blk_in_flight(export_device(export)));
    takeover_refuse(reason);
    call_off(daemon);
}

/* All stand still. What there is to say of nodes is said while they are still
 * there: without it, they could not be closed. */
static void take_apart(Daemon *daemon)
{
    g_autoptr(GError) error = NULL;

    if (!bdrv_hand_over_all(daemon->handover, &error)) {
        takeover_refuse(error->message);
        call_off(daemon);
        return;
    }
    daemon->draining = false;
    takeover_drained();
    export_hand_over_all(daemon->cmdline.stats ? EXPORT_STOP_STATS : 0,
                         daemon->handover, drained, daemon);
}

void succession_step(Daemon *daemon)
{
    if (daemon->draining && !export_first_moving()) {
        take_apart(daemon);
    }
    if (daemon->drained) {
        give(daemon);
    }
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
    daemon->draining = true;
    export_pause_all();
}

/* What another process says of itself, before anything is opened. */
static bool inherit(Daemon *daemon, GError **error)
{
    return !daemon->handover ||
           (settings_take_over(daemon->handover, error) &&
            monitor_take_over(daemon->handover, error));
}

bool succession_open(Daemon *daemon, bool *taken_over, GError **error)
{
    static const TakeoverEvents events = {
        .asked = successor_asks,
        .gone = successor_is_gone,
        .late = drain_is_late,
    };

    if (!daemon->cmdline.takeover) {
        return setup_items(daemon, error);
    }
    if (!takeover_configure(daemon->cmdline.takeover, error) ||
        !takeover_begin(&daemon->handover, error) ||
        !inherit(daemon, error)) {
        return false;
    }
    *taken_over = daemon->handover != NULL;
    return (*taken_over ? open_handed_over(daemon, error)
                        : setup_items(daemon, error)) &&
           takeover_listen(daemon->ctx, &events, daemon, error);
}

bool succession_take_over(Daemon *daemon, GError **error)
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

/* --- Monitors --- */

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

static void forget_listener(const char *id)
{
    g_autofree char *name = notify_fd_name("monitor", id);

    notify_forget_fd(name);
}

void succession_prepare(Daemon *daemon)
{
    static const MonitorKeeper keeper = {
        take_listener, keep_listener, forget_listener,
    };

    monitor_hold();
    monitor_set_keeper(&keeper);
    settings_start(daemon->sandbox.has_monitor &&
                   (daemon->cmdline.takeover || notify_is_open()));
}

/* A process that was killed before it had noted down a new export leaves its
 * socket: who connects there would wait for nobody. */
void succession_admit_monitors(void)
{
    notify_forget_rest(replay_waits_for_socket);
    settings_keep();
    monitor_go_on();
    monitor_take_over_end();
}
