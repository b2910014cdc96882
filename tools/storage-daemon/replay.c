/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See the header. Called by succession.c; does what qmp-*.c did, by the same
 * functions.
 *
 * Why something waits and is not given up: after a crash the kernel holds the
 * image of a killed io_uring user for a moment, with its locks, and a file
 * that is away may come back. Why it does not end the process, as it does
 * when it is on the command line: there somebody looks on, and can mend it;
 * here it would take all other disks down, for one that was there by chance.
 */
#include "replay.h"

#include "activation.h"
#include "export.h"
#include "notify.h"
#include "object.h"
#include "qmp-commands.h"
#include "settings.h"
#include "block/graph.h"
#include "block/log.h"
#include "block/throttle.h"

#define FIRST_DELAY_NS INT64_C(20000000)
#define LAST_DELAY_NS  INT64_C(2000000000)

static struct {
    AioContext *ctx;
    AioTimer timer;
    bool armed;       /* the timer was set up */
    int64_t delay_ns;
} again;

/* Others may have the image by now: then it is theirs until they let go. */
static bool set_active(const Change *change, Options *args, GError **error)
{
    BlockDriverState *bs = bdrv_find_node(change->id);
    bool active = true;

    if (!options_take_bool(args, "active", &active, error)) {
        return false;
    }
    if (!bs && *change->id) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "there is no node '%s'", change->id);
        return false;
    }
    return activation_set(bs, active, error);
}

static bool make(const Change *change, GError **error)
{
    g_autoptr(Options) args = change_args(change);

    switch (change->kind) {
    case CHANGE_NODE:
        return bdrv_open_blockdev(g_steal_pointer(&args), error);
    case CHANGE_OBJECT:
        return object_add(args, error);
    case CHANGE_EXPORT:
        return export_add(g_steal_pointer(&args), again.ctx, error);
    case CHANGE_ACTIVE:
        return set_active(change, args, error);
    default:
        return qmp_set_limits_again(change->id, args, error);
    }
}

/* Of a successor's own command line, which knows better. */
static bool is_there(const Change *change)
{
    switch (change->kind) {
    case CHANGE_NODE:
        return bdrv_find_node(change->id);
    case CHANGE_OBJECT:
        return object_lookup_iothread(change->id) ||
               throttle_group_find(change->id);
    case CHANGE_EXPORT:
        return export_find(change->id);
    default:
        return false;
    }
}

/* Limits of a group, or the state of a node, that a successor's command line
 * has no more. */
static bool is_void(const Changes *changes, const Change *change)
{
    switch (change->kind) {
    case CHANGE_LIMITS:
        return !throttle_group_find(change->id) &&
               !changes_find(changes, CHANGE_OBJECT, change->id);
    case CHANGE_ACTIVE:
        return *change->id && !bdrv_find_node(change->id) &&
               !changes_find(changes, CHANGE_NODE, change->id);
    default:
        return false;
    }
}

/* Nodes are what they were in the process that handed them over. */
static bool is_done(const Change *change, unsigned flags)
{
    return change->kind == CHANGE_ACTIVE && !change->waiting &&
           (flags & REPLAY_ALL);
}

static bool is_disk(const Change *change)
{
    return change->kind == CHANGE_NODE || change->kind == CHANGE_EXPORT;
}

static void wait_for(Change *change, const GError *cause)
{
    if (!change->waiting) {
        log_warn("%s '%s', which a monitor had added, cannot be had now and "
                 "is tried again: %s", change_kind_name(change->kind),
                 change->id, cause->message);
    }
    change->waiting = true;
}

/* --- Later --- */

static void try_all(Changes *changes, bool *left, bool *changed)
{
    for (unsigned i = 0; i < changes->list->len; i++) {
        Change *change = changes->list->pdata[i];
        g_autoptr(GError) cause = NULL;

        if (!change->waiting) {
            continue;
        }
        if (make(change, &cause)) {
            log_info("%s '%s' is there again", change_kind_name(change->kind),
                     change->id);
            change->waiting = false;
            *changed = true;
        } else {
            *left = true;
        }
    }
}

static void arm(void)
{
    aio_timer_arm(&again.timer, aio_clock_ns() + again.delay_ns);
    again.delay_ns = MIN(2 * again.delay_ns, LAST_DELAY_NS);
}

static void try_again(void *opaque)
{
    bool left = false, changed = false;

    try_all(settings_changes(), &left, &changed);
    if (changed) {
        settings_save();
    }
    if (left) {
        arm();
    }
}

static void begin_waiting(void)
{
    if (!again.armed) {
        aio_timer_init(&again.timer, again.ctx, try_again, NULL);
        again.armed = true;
    }
    again.delay_ns = FIRST_DELAY_NS;
    arm();
}

bool replay_waits_for_socket(const char *name)
{
    const Changes *changes = settings_changes();

    for (unsigned i = 0; changes && i < changes->list->len; i++) {
        const Change *change = changes->list->pdata[i];
        g_autofree char *socket = notify_fd_name("listen", change->id);

        if (change->waiting && change->kind == CHANGE_EXPORT &&
            g_str_equal(socket, name)) {
            return true;
        }
    }
    return false;
}

void replay_stop(void)
{
    if (again.armed) {
        aio_timer_disarm(&again.timer);
    }
}

void replay_end(void)
{
    const Changes *changes = settings_changes();

    replay_stop();
    for (unsigned i = 0; changes && i < changes->list->len; i++) {
        const Change *change = changes->list->pdata[i];

        if (change->waiting && change->kind == CHANGE_EXPORT) {
            export_drop_kept_socket(change->id);
        }
    }
}

/* --- Now --- */

static bool replay_one(Changes *changes, Change *change, unsigned flags,
                       GError **error)
{
    g_autoptr(GError) cause = NULL;

    if (is_there(change) || is_void(changes, change)) {
        changes_forget(changes, change);
        return true;
    }
    if (is_done(change, flags) || make(change, &cause)) {
        change->waiting = false;
        return true;
    }
    if ((flags & REPLAY_ALL) && !change->waiting) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    wait_for(change, cause);
    return true;
}

static bool replay_each(Changes *changes, unsigned flags, GError **error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_copy(changes->list, NULL, NULL);

    g_ptr_array_set_free_func(all, NULL);
    for (unsigned i = 0; i < all->len; i++) {
        Change *change = all->pdata[i];

        if (!change->deleted && (is_disk(change) || !(flags & REPLAY_DISKS)) &&
            !replay_one(changes, change, flags, error)) {
            return false;
        }
    }
    return true;
}

static bool anything_waits(const Changes *changes)
{
    for (unsigned i = 0; i < changes->list->len; i++) {
        const Change *change = changes->list->pdata[i];

        if (change->waiting) {
            return true;
        }
    }
    return false;
}

bool replay(AioContext *main_ctx, unsigned flags, GError **error)
{
    Changes *changes = settings_changes();

    again.ctx = main_ctx;
    if (!changes) {
        return true;
    }
    if (!replay_each(changes, flags, error)) {
        return false;
    }
    replay_go_on();
    return true;
}

void replay_go_on(void)
{
    const Changes *changes = settings_changes();

    if (changes && anything_waits(changes)) {
        begin_waiting();
    }
}
