/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes nodes active and inactive under the exports that use them. Called by
 * export.c for exports that allow it, and by QMP; calls the graph.
 *
 * The rule: an export's device is paused while its node is inactive. So no
 * request is in flight when a node changes, and none comes to the node
 * before it is active, whatever the front end does with its rings meanwhile.
 */
#include "activation.h"

struct Activation {
    BlockDriverState *bs;
    VirtIOBlock *vblk;
    bool paused;
    Activation *next;
};

static Activation *all;

/* --- the device --- */

static void pause_device(Activation *a)
{
    if (!a->paused) {
        a->paused = true;
        virtio_blk_pause(a->vblk);
    }
}

static void settle_device(Activation *a)
{
    if (a->paused && !bdrv_is_inactive(a->bs)) {
        a->paused = false;
        virtio_blk_unpause(a->vblk);
    }
}

/* --- nodes --- */

static bool change(BlockDriverState *bs, bool active, GError **error)
{
    bool ok;

    if (bdrv_is_inactive(bs) == !active) {
        return true;
    }
    for (Activation *a = all; a; a = a->next) {
        if (bdrv_is_made_of(bs, a->bs)) {
            pause_device(a);
        }
    }
    ok = active ? bdrv_activate(bs, error) : bdrv_inactivate(bs, error);
    for (Activation *a = all; a; a = a->next) {
        settle_device(a);
    }
    return ok;
}

typedef struct ChangeAll {
    bool active;
    const BlockDriverState *child; /* is it anybody's? */
    bool is_child;
    bool ok;
    GError **error;
} ChangeAll;

static void look_for_parent(BlockDriverState *bs, void *opaque)
{
    ChangeAll *call = opaque;

    call->is_child |= bs != call->child && bdrv_is_made_of(bs, call->child);
}

static void change_one(BlockDriverState *bs, void *opaque)
{
    ChangeAll *call = opaque;

    call->child = bs;
    call->is_child = false;
    if (!call->active) {
        bdrv_foreach_node(look_for_parent, call);
    }
    if (call->ok && !call->is_child) {
        call->ok = change(bs, call->active, call->error);
    }
}

bool activation_set(BlockDriverState *bs, bool active, GError **error)
{
    ChangeAll call = { .active = active, .ok = true, .error = error };

    if (bs) {
        return change(bs, active, error);
    }
    bdrv_foreach_node(change_one, &call);
    return call.ok;
}

/* --- exports --- */

Activation *activation_new(BlockDriverState *bs, VirtIOBlock *vblk)
{
    Activation *a = g_new0(Activation, 1);

    a->bs = bs;
    a->vblk = vblk;
    a->next = all;
    all = a;
    if (bdrv_is_inactive(bs)) {
        pause_device(a);
    }
    return a;
}

void activation_free(Activation *activation)
{
    Activation **at = &all;

    if (!activation) {
        return;
    }
    while (*at != activation) {
        at = &(*at)->next;
    }
    *at = activation->next;
    g_free(activation);
}
