/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes a service of a process that has opened its disks: pid file, background,
 * confinement, word to whoever waits. Called by main.c.
 */
#include "daemon.h"

#include "background.h"
#include "export.h"
#include "notify.h"
#include "takeover.h"
#include "block/engine.h"
#include "monitor/monitor.h"

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
    if (takeover_path()) {
        sandbox_may_remove(&daemon->sandbox, takeover_path());
    }
    /* what the host says counts for files of later, not what we then forbid */
    engine_is_permitted(ENGINE_IO_URING, NULL);
    return sandbox_enter(&daemon->sandbox, error);
}

bool settle(Daemon *daemon, GError **error)
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

/* In this order: systemd has to know of us when a command that it waits for has
 * ended, or the process before us. */
void settle_ready(const Daemon *daemon, bool taken_over)
{
    notify_ready(taken_over);
    takeover_settled();
    if (!daemon->supervised) {
        background_ready();
    }
}
