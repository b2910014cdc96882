/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the options ask for, and the order in which the process gives things
 * up: each step needs what the next one takes away. Called by settle.c; the
 * steps are in the files beside this one.
 */
#include "sandbox.h"

#include "block/log.h"
#include "block/options.h"
#include "sandbox-private.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef CONFIG_VALGRIND_H
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER true
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER false
#endif

void sandbox_init(Sandbox *sandbox)
{
    *sandbox = (Sandbox){
        .mode = SANDBOX_AUTO,
        .allowed = g_ptr_array_new_with_free_func(g_free),
        .removable = g_ptr_array_new_with_free_func(g_free),
    };
}

void sandbox_clear(Sandbox *sandbox)
{
    g_clear_pointer(&sandbox->allowed, g_ptr_array_unref);
    g_clear_pointer(&sandbox->removable, g_ptr_array_unref);
    g_clear_pointer(&sandbox->user, g_free);
}

/* --- Options --- */

/* QEMU's -sandbox can also be told what to leave open; this one cannot. */
static bool take_denials(Options *opts, GError **error)
{
    static const char *const keys[] = {
        "obsolete", "elevateprivileges", "spawn", "resourcecontrol",
    };
    static const char *const words[] = { "deny", "allow", NULL };

    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        int word = 0;

        if (!options_take_enum(opts, keys[i], words, &word, error)) {
            return false;
        }
        if (word != 0) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                        "--sandbox: %s=allow: this is always denied; the "
                        "daemon has no use for it", keys[i]);
            return false;
        }
    }
    return true;
}

bool sandbox_parse(Sandbox *sandbox, const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--sandbox", "enable",
                                            error);
    bool enable = true;

    if (!opts || !options_take_bool(opts, "enable", &enable, error) ||
        !take_denials(opts, error) || !options_finish(opts, error)) {
        return false;
    }
    sandbox->mode = enable ? SANDBOX_ON : SANDBOX_OFF;
    return true;
}

bool sandbox_parse_run_with(Sandbox *sandbox, const char *text,
                            GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--run-with", NULL, error);

    if (!opts) {
        return false;
    }
    if (options_has(opts, "chroot")) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "--run-with: chroot: --sandbox on leaves no path to "
                    "open; see --allow-path");
        return false;
    }
    g_clear_pointer(&sandbox->user, g_free);
    return options_need_str(opts, "user", &sandbox->user, error) &&
           options_finish(opts, error);
}

bool sandbox_allow_path(Sandbox *sandbox, const char *path, GError **error)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        int err = errno;

        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                    "--allow-path: '%s': %s", path, g_strerror(err));
        return false;
    }
    g_ptr_array_add(sandbox->allowed, g_canonicalize_filename(path, NULL));
    return true;
}

void sandbox_may_remove(Sandbox *sandbox, const char *path)
{
    g_ptr_array_add(sandbox->removable, g_canonicalize_filename(path, NULL));
}

/* --- Entering --- */

bool sandbox_is_wanted(const Sandbox *sandbox)
{
    switch (sandbox->mode) {
    case SANDBOX_ON:
        return true;
    case SANDBOX_OFF:
        return false;
    default:
        /* these look into the process in ways that it has to allow */
        if (UNDER_SANITIZER || RUNNING_ON_VALGRIND) {
            return false;
        }
        /* who opens images by QMP has to say where they may lie */
        return !sandbox->has_monitor || sandbox->allowed->len > 0;
    }
}

typedef struct Restriction {
    int ruleset; /* -1: none */
} Restriction;

static int restrict_thread(void *opaque)
{
    const Restriction *restriction = opaque;
    int err;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return errno;
    }
    err = sandbox_drop_capabilities();
    if (!err && restriction->ruleset >= 0) {
        err = sandbox_paths_apply(restriction->ruleset);
    }
    return err;
}

/* Whether to go on without what failed: a warning in place of the error. */
static bool tolerate(const Sandbox *sandbox, GError **cause, GError **error)
{
    if (sandbox->mode == SANDBOX_ON || sandbox->allowed->len > 0) {
        g_propagate_error(error, g_steal_pointer(cause));
        return false;
    }
    log_warn("%s; going on without", (*cause)->message);
    g_clear_error(cause);
    return true;
}

static bool restrict_paths(const Sandbox *sandbox, GError **error)
{
    Restriction restriction = { .ruleset = -1 };
    GError *cause = NULL;
    bool ok;

    restriction.ruleset = sandbox_paths_new(sandbox->allowed,
                                            sandbox->removable, &cause);
    if (restriction.ruleset < 0 && !tolerate(sandbox, &cause, error)) {
        return false;
    }
    ok = sandbox_in_all_threads(restrict_thread, &restriction, error);
    if (restriction.ruleset >= 0) {
        close(restriction.ruleset);
    }
    return ok;
}

static bool restrict_calls(const Sandbox *sandbox, GError **error)
{
    unsigned flags = (sandbox->allowed->len ? SANDBOX_FILTER_PATHS : 0) |
                     (sandbox->removable->len ? SANDBOX_FILTER_REMOVE : 0) |
                     (UNDER_SANITIZER ? SANDBOX_FILTER_DEBUG : 0);
    GError *cause = NULL;

    return sandbox_filter_install(flags, &cause) ||
           tolerate(sandbox, &cause, error);
}

bool sandbox_enter(const Sandbox *sandbox, GError **error)
{
    if (sandbox->user && !sandbox_user_become(sandbox->user, error)) {
        return false;
    }
    if (!sandbox_is_wanted(sandbox)) {
        return true;
    }
    umask(077);
    sandbox_close_inherited();
    sandbox_trap_install();
    return restrict_paths(sandbox, error) && restrict_calls(sandbox, error);
}
