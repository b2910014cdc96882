/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * throttle: passes requests on as fast as its group allows. When is for
 * block/throttle-group.c to say.
 */
#include "block/throttle.h"

#include "filter.h"

typedef struct ThrottleNode {
    ThrottleGroup *group;   /* a reference */
    ThrottleMember *member; /* while a context is attached */
} ThrottleNode;

static bool throttle_open(BlockDriverState *bs, Options *opts, GError **error)
{
    ThrottleNode *node = bs->opaque;
    g_autofree char *id = NULL;
    ThrottleGroup *group;

    if (!options_take_str(opts, "throttle-group", &id, error) ||
        !filter_open(bs, opts, error)) {
        return false;
    }
    if (!id) {
        return options_fail(opts, error, "Please specify a throttle group");
    }
    group = throttle_group_find(id);
    if (!group) {
        return options_fail(opts, error,
                            "Throttle group '%.64s' does not exist", id);
    }
    node->group = throttle_group_ref(group);
    return true;
}

static void throttle_close(BlockDriverState *bs)
{
    ThrottleNode *node = bs->opaque;

    throttle_group_unref(node->group);
}

static void throttle_pass(void *opaque, BlockRequest *req)
{
    filter_pass(opaque, req);
}

static void throttle_attach_context(BlockDriverState *bs, AioContext *ctx)
{
    ThrottleNode *node = bs->opaque;

    node->member = throttle_member_new(node->group, ctx, throttle_pass, bs);
}

static void throttle_detach_context(BlockDriverState *bs, AioContext *ctx)
{
    ThrottleNode *node = bs->opaque;

    g_clear_pointer(&node->member, throttle_member_free);
}

static void throttle_submit(BlockDriverState *bs, BlockRequest *req)
{
    ThrottleNode *node = bs->opaque;

    throttle_member_submit(node->member, req);
}

static void throttle_cancel_waiting(BlockDriverState *bs)
{
    ThrottleNode *node = bs->opaque;

    throttle_member_cancel(node->member);
}

static const char *const throttle_strong_options[] = {
    "throttle-group", NULL,
};

const BlockDriver bdrv_throttle = {
    .name = "throttle",
    .is_filter = true,
    .one_home = true,
    .instance_size = sizeof(ThrottleNode),
    .strong_options = throttle_strong_options,
    .open = throttle_open,
    .close = throttle_close,
    .attach_context = throttle_attach_context,
    .detach_context = throttle_detach_context,
    .cancel_waiting = throttle_cancel_waiting,
    .submit = throttle_submit,
};
