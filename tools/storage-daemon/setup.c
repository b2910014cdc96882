/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does what the command line says, item by item in the order given. Called by
 * main.c and succession.c.
 */
#include "daemon.h"

#include "drive.h"
#include "export.h"
#include "object.h"
#include "settings.h"
#include "block/auto.h"
#include "block/graph.h"
#include "monitor/monitor.h"

#include <gio/gio.h>

/* By a monitor, in a process before this one. */
static bool is_deleted(ChangeKind kind, const Options *opts, const char *key)
{
    const char *id = options_peek_str(opts, key);

    return id && settings_is_deleted(kind, id);
}

bool setup_node(Options *opts, GError **error)
{
    g_autoptr(Options) own = opts;

    return is_deleted(CHANGE_NODE, own, "node-name") ||
           bdrv_open_blockdev(g_steal_pointer(&own), error);
}

bool setup_export(Options *opts, AioContext *main_ctx, GError **error)
{
    g_autoptr(Options) own = opts;

    return is_deleted(CHANGE_EXPORT, own, "id") ||
           export_add(g_steal_pointer(&own), main_ctx, error);
}

static bool blockdev_add(const char *text, GError **error)
{
    Options *opts = options_parse(text, "--blockdev", "driver", error);

    return opts && setup_node(opts, error);
}

static bool export_add_text(Daemon *daemon, const char *text, GError **error)
{
    Options *opts = options_parse(text, "--export", "type", error);

    return opts && setup_export(opts, daemon->ctx, error);
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
        return true; /* setup_confinement() has had them */
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

bool setup_confinement(Daemon *daemon, GError **error)
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

bool setup_items(Daemon *daemon, GError **error)
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
