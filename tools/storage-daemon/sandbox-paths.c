/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Landlock: which paths may be opened, and from which folders files may be
 * removed. It stands behind the filter of system calls, which cannot see what
 * a path is, and holds where that filter is not asked.
 *
 * The kernel says which version it has; later rights are left out where it
 * does not know them. Numbers are the kernel's (linux/landlock.h), because
 * Debian 12's headers end before them.
 */
#include "sandbox-private.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ACCESS_FS_TRUNCATE  (UINT64_C(1) << 14) /* version 3 */
#define ACCESS_FS_IOCTL_DEV (UINT64_C(1) << 15) /* version 5 */
#define ACCESS_NET_BIND_TCP    (UINT64_C(1) << 0) /* version 4 */
#define ACCESS_NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT_UNIX (UINT64_C(1) << 0)  /* version 6 */

/* All rights of version 1: bits 0 to 12. */
#define ACCESS_FS_V1 ((UINT64_C(1) << 13) - 1)

/* What an image that is opened by name may need, on a file or a folder. */
#define FILE_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | \
                     LANDLOCK_ACCESS_FS_WRITE_FILE | \
                     ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV)
#define TREE_RIGHTS (FILE_RIGHTS | LANDLOCK_ACCESS_FS_READ_DIR | \
                     LANDLOCK_ACCESS_FS_REMOVE_FILE | \
                     LANDLOCK_ACCESS_FS_MAKE_REG | \
                     LANDLOCK_ACCESS_FS_MAKE_SOCK)

/* struct landlock_ruleset_attr of version 6 */
typedef struct RulesetAttr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
} RulesetAttr;

typedef struct Ruleset {
    int fd;
    uint64_t handled; /* rights the kernel knows */
} Ruleset;

static bool fail(GError **error, const char *what)
{
    int err = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "--sandbox: Landlock: %s: %s", what, g_strerror(err));
    return false;
}

static RulesetAttr attr_of_version(long version)
{
    RulesetAttr attr = { .handled_access_fs = ACCESS_FS_V1 };

    if (version >= 2) {
        attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
    }
    if (version >= 3) {
        attr.handled_access_fs |= ACCESS_FS_TRUNCATE;
    }
    if (version >= 4) {
        attr.handled_access_net = ACCESS_NET_BIND_TCP |
                                  ACCESS_NET_CONNECT_TCP;
    }
    if (version >= 5) {
        attr.handled_access_fs |= ACCESS_FS_IOCTL_DEV;
    }
    if (version >= 6) {
        attr.scoped = SCOPE_ABSTRACT_UNIX;
    }
    return attr;
}

static bool make_ruleset(Ruleset *ruleset, GError **error)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
                           LANDLOCK_CREATE_RULESET_VERSION);
    RulesetAttr attr;

    if (version < 1) {
        return fail(error, "this kernel does not offer it");
    }
    attr = attr_of_version(version);
    ruleset->handled = attr.handled_access_fs;
    ruleset->fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    return ruleset->fd >= 0 || fail(error, "cannot make a ruleset");
}

static bool add_rule(const Ruleset *ruleset, const char *path,
                     uint64_t rights, GError **error)
{
    struct landlock_path_beneath_attr rule = {
        .parent_fd = open(path, O_PATH | O_CLOEXEC),
    };
    struct stat st;
    bool ok;

    if (rule.parent_fd < 0) {
        return fail(error, path);
    }
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode)) {
        rights &= FILE_RIGHTS;
    }
    rule.allowed_access = rights & ruleset->handled;
    ok = syscall(SYS_landlock_add_rule, ruleset->fd,
                 LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0 ||
         fail(error, path);
    close(rule.parent_fd);
    return ok;
}

/* A device that is opened is asked what it is like. */
static bool add_sysfs(const Ruleset *ruleset, GError **error)
{
    static const char *const trees[] = { "/sys/dev/block", "/sys/devices" };

    for (unsigned i = 0; i < G_N_ELEMENTS(trees); i++) {
        if (g_file_test(trees[i], G_FILE_TEST_IS_DIR) &&
            !add_rule(ruleset, trees[i],
                      LANDLOCK_ACCESS_FS_READ_FILE |
                          LANDLOCK_ACCESS_FS_READ_DIR, error)) {
            return false;
        }
    }
    return true;
}

static bool add_rules(const Ruleset *ruleset, const GPtrArray *allowed,
                      const GPtrArray *removable, GError **error)
{
    if (allowed->len > 0 && !add_sysfs(ruleset, error)) {
        return false;
    }
    for (unsigned i = 0; i < allowed->len; i++) {
        if (!add_rule(ruleset, allowed->pdata[i], TREE_RIGHTS, error)) {
            return false;
        }
    }
    for (unsigned i = 0; i < removable->len; i++) {
        g_autofree char *folder = g_path_get_dirname(removable->pdata[i]);

        if (!add_rule(ruleset, folder, LANDLOCK_ACCESS_FS_REMOVE_FILE,
                      error)) {
            return false;
        }
    }
    return true;
}

int sandbox_paths_new(const GPtrArray *allowed, const GPtrArray *removable,
                      GError **error)
{
    Ruleset ruleset;

    if (!make_ruleset(&ruleset, error)) {
        return -1;
    }
    if (!add_rules(&ruleset, allowed, removable, error)) {
        close(ruleset.fd);
        return -1;
    }
    return ruleset.fd;
}

int sandbox_paths_apply(int ruleset)
{
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? errno : 0;
}
