/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of qemu-storage-daemon that are taken and do nothing. Whoever uses
 * one is told so, once per option: silence would look like a QMP server that
 * does not answer.
 */
#include "compat.h"

#include "block/log.h"
#include "block/options.h"

#include <gio/gio.h>

static GHashTable *chardevs; /* set of ids */

bool compat_chardev(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--chardev", "backend",
                                            error);
    g_autofree char *backend = NULL, *id = NULL;

    if (!opts || !options_need_str(opts, "backend", &backend, error) ||
        !options_need_str(opts, "id", &id, error)) {
        return false;
    }
    if (!chardevs) {
        chardevs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                         NULL);
    }
    if (!g_hash_table_add(chardevs, g_strdup(id))) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "--chardev: there is already a chardev '%s'", id);
        return false;
    }
    log_warn("--chardev '%s' is accepted and not opened: this version has no "
             "QMP server", id);
    return true;
}

bool compat_monitor(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--monitor", "chardev",
                                            error);
    g_autofree char *chardev = NULL, *mode = NULL, *id = NULL;
    bool pretty = false;

    if (!opts || !options_need_str(opts, "chardev", &chardev, error) ||
        !options_take_str(opts, "mode", &mode, error) ||
        !options_take_str(opts, "id", &id, error) ||
        !options_take_bool(opts, "pretty", &pretty, error) ||
        !options_finish(opts, error)) {
        return false;
    }
    if (mode && !g_str_equal(mode, "control")) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "--monitor: mode '%s' must be 'control'", mode);
        return false;
    }
    if (!chardevs || !g_hash_table_contains(chardevs, chardev)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "--monitor: there is no chardev '%s': give '--chardev "
                    "...,id=%s' before it", chardev, chardev);
        return false;
    }
    log_warn("--monitor on chardev '%s' is accepted and does nothing: this "
             "version has no QMP server", chardev);
    return true;
}
