/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may connect to an export's socket. Called by export.c.
 */
#include "socket-access.h"

#include <errno.h>
#include <gio/gio.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool bad(Options *opts, const char *key, const char *value,
                const char *what, GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "%s: option '%s': '%s' %s", options_what(opts), key, value,
                what);
    return false;
}

static bool take_mode(SocketAccess *access, Options *opts, GError **error)
{
    g_autofree char *text = NULL;
    guint64 mode;

    if (!options_take_text(opts, "socket-mode", &text, error) || !text) {
        return !text;
    }
    if (!g_ascii_string_to_unsigned(text, 8, 0, 0777, &mode, NULL)) {
        return bad(opts, "socket-mode", text, "is not an octal number from 0 "
                   "to 0777", error);
    }
    access->set_mode = true;
    access->mode = mode;
    return true;
}

/* A name, or the number of one that has none. */
static bool find_id(const char *text, bool is_group, guint64 *id)
{
    if (is_group) {
        const struct group *group = getgrnam(text);

        *id = group ? group->gr_gid : 0;
        if (group) {
            return true;
        }
    } else {
        const struct passwd *user = getpwnam(text);

        *id = user ? user->pw_uid : 0;
        if (user) {
            return true;
        }
    }
    return g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32 - 1, id, NULL);
}

static bool take_owner(SocketAccess *access, Options *opts, GError **error)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) parts = NULL;
    guint64 uid, gid = 0;

    if (!options_take_text(opts, "socket-owner", &text, error) || !text) {
        return !text;
    }
    parts = g_strsplit(text, ":", 2);
    if (!parts[0] || !find_id(parts[0], false, &uid)) {
        return bad(opts, "socket-owner", text, "names no user", error);
    }
    if (parts[1] && !find_id(parts[1], true, &gid)) {
        return bad(opts, "socket-owner", text, "names no group", error);
    }
    access->set_owner = true;
    access->uid = uid;
    access->gid = parts[1] ? (gid_t)gid : (gid_t)-1;
    return true;
}

bool socket_access_take(SocketAccess *access, Options *opts, GError **error)
{
    *access = (SocketAccess){ .gid = -1 };
    return take_mode(access, opts, error) && take_owner(access, opts, error);
}

static bool fail(GError **error, const char *path, const char *what)
{
    int err = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "socket '%s': cannot change its %s: %s", path, what,
                g_strerror(err));
    return false;
}

bool socket_access_apply(const SocketAccess *access, const char *path,
                         GError **error)
{
    if (access->set_owner && lchown(path, access->uid, access->gid) < 0) {
        return fail(error, path, "owner");
    }
    if (access->set_mode && chmod(path, access->mode) < 0) {
        return fail(error, path, "mode");
    }
    return true;
}
