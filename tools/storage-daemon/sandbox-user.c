/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the process is: another user, and without capabilities.
 */
#include "sandbox-private.h"

#include <errno.h>
#include <gio/gio.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct Identity {
    uid_t uid;
    gid_t gid;
    const char *name; /* for the groups it is in; NULL: in none */
} Identity;

static bool fail(GError **error, const char *user, const char *what)
{
    int err = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "--run-with: user '%s': %s: %s", user, what, g_strerror(err));
    return false;
}

static bool parse_number(const char *text, guint64 *number)
{
    /* the greatest stands for "leave it as it is" in setresuid(2) */
    return g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32 - 1, number,
                                      NULL);
}

static bool parse_ids(const char *user, Identity *identity)
{
    g_auto(GStrv) parts = g_strsplit(user, ":", -1);
    guint64 uid, gid;

    if (g_strv_length(parts) != 2 || !parse_number(parts[0], &uid) ||
        !parse_number(parts[1], &gid)) {
        return false;
    }
    *identity = (Identity){ .uid = uid, .gid = gid };
    return true;
}

static bool find_user(const char *user, Identity *identity, GError **error)
{
    const struct passwd *entry = getpwnam(user);

    if (entry) {
        *identity = (Identity){ .uid = entry->pw_uid, .gid = entry->pw_gid,
                                .name = user };
        return true;
    }
    if (parse_ids(user, identity)) {
        return true;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                "--run-with: User '%s' doesn't exist (and is not <uid>:<gid>)",
                user);
    return false;
}

/* The C library changes all threads. Groups first: the last step is the one
 * that takes away the right to do the others. */
bool sandbox_user_become(const char *user, GError **error)
{
    Identity identity;
    int groups;

    if (!find_user(user, &identity, error)) {
        return false;
    }
    groups = identity.name ? initgroups(identity.name, identity.gid)
                           : setgroups(1, &identity.gid);
    if (groups < 0) {
        return fail(error, user, "cannot set its groups");
    }
    if (setresgid(identity.gid, identity.gid, identity.gid) < 0) {
        return fail(error, user, "cannot become its group");
    }
    if (setresuid(identity.uid, identity.uid, identity.uid) < 0) {
        return fail(error, user, "cannot become it");
    }
    if (identity.uid != 0 && setuid(0) == 0) {
        errno = EINVAL;
        return fail(error, user, "could become root again");
    }
    return true;
}

int sandbox_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &header, none) < 0 ? errno : 0;
}
