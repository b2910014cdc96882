/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes nodes active and inactive under the exports that use them. Called by
 * export.c for exports that allow it, and by QMP; calls the graph.
 *
 * The rule: an export's device is paused while its node is inactive. So no
 * request is in flight when a node changes, and none comes to the node
 * before it is active, whatever the front end does with its rings meanwhile.
 *
 * An automatic export has its node active from the first ring of its guest to
 * the last. Of a live migration that is all there is to do: the source's rings
 * have stopped, and the front end has not been told so yet, when the image is
 * given away; the target's start when the guest is there.
 *
 *     source  ==rings==|flush, unlock|-answer->
 *     target                            guest comes  |lock, read|==rings==
 *
 * An image that somebody else has, or that cannot be read, is asked for again
 * and again: a guest waits for its disk, as it does for one that is slow, and
 * whoever looks after it has the time to put things right.
 */
#include "activation.h"

#include "block/driver.h"
#include "block/log.h"

#define FIRST_DELAY_NS INT64_C(10000000)
#define LAST_DELAY_NS  INT64_C(500000000)

struct Activation {
    ActivationConf conf;
    bool running;    /* the guest has rings */
    bool paused;     /* the device */
    AioTimer retry;
    int64_t delay_ns;
    char *complaint; /* what was logged last and is not over; or NULL */
    Activation *next;
};

static Activation *all;

/* --- the device --- */

static void pause_device(Activation *a)
{
    if (!a->paused) {
        a->paused = true;
        virtio_blk_pause(a->conf.vblk);
    }
}

static void settle_device(Activation *a)
{
    if (a->paused && !bdrv_is_inactive(a->conf.bs)) {
        a->paused = false;
        virtio_blk_unpause(a->conf.vblk);
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
        if (bdrv_is_made_of(bs, a->conf.bs)) {
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

    for (Activation *a = all; a; a = a->next) {
        if (!bs || bdrv_is_made_of(bs, a->conf.bs)) {
            aio_timer_disarm(&a->retry);
        }
    }
    if (bs) {
        return change(bs, active, error);
    }
    bdrv_foreach_node(change_one, &call);
    return call.ok;
}

/* --- what guests want --- */

static bool is_wanted(const BlockDriverState *bs)
{
    bool wanted = false;

    for (Activation *a = all; a; a = a->next) {
        wanted |= a->conf.bs == bs && a->conf.automatic && a->running;
    }
    return wanted;
}

/* All its exports are automatic. */
static bool may_rest(const BlockDriverState *bs)
{
    bool rests = !bs->must_be_active;

    for (Activation *a = all; a; a = a->next) {
        rests &= a->conf.bs != bs || a->conf.automatic;
    }
    return rests;
}

bool activation_is_automatic(const BlockDriverState *bs)
{
    bool automatic = false;

    for (Activation *a = all; a; a = a->next) {
        automatic |= a->conf.bs == bs && a->conf.automatic;
    }
    return automatic;
}

static void succeeded(Activation *a)
{
    aio_timer_disarm(&a->retry);
    a->delay_ns = FIRST_DELAY_NS;
    if (a->complaint) {
        log_info("%s: node '%s' is %s now", a->conf.name,
                 a->conf.bs->node_name,
                 bdrv_is_inactive(a->conf.bs) ? "inactive" : "active");
        g_clear_pointer(&a->complaint, g_free);
    }
}

/* Says so once for each cause. */
static void failed(Activation *a, bool wanted, GError *error)
{
    g_strdelimit(error->message, "\n", ' ');
    if (g_strcmp0(error->message, a->complaint) != 0) {
        log_warn("%s: %s, will try again: %s", a->conf.name,
                 wanted ? "its guest waits for the image"
                        : "cannot give the image away",
                 error->message);
        g_free(a->complaint);
        a->complaint = g_strdup(error->message);
    }
    aio_timer_arm(&a->retry, aio_clock_ns() + a->delay_ns);
    a->delay_ns = MIN(2 * a->delay_ns, LAST_DELAY_NS);
}

void activation_follow(Activation *a)
{
    BlockDriverState *bs = a->conf.bs;
    bool wanted = is_wanted(bs);
    g_autoptr(GError) error = NULL;

    if (!a->conf.automatic || (!wanted && !may_rest(bs)) ||
        change(bs, wanted, &error)) {
        succeeded(a);
    } else {
        failed(a, wanted, error);
    }
}

static void retry_timer(void *opaque)
{
    activation_follow(opaque);
}

void activation_set_running(Activation *a, bool running)
{
    a->running = running;
    activation_follow(a);
}

/* --- exports --- */

Activation *activation_new(const ActivationConf *conf)
{
    Activation *a = g_new0(Activation, 1);

    a->conf = *conf;
    a->delay_ns = FIRST_DELAY_NS;
    aio_timer_init(&a->retry, conf->ctx, retry_timer, a);
    a->next = all;
    all = a;
    if (bdrv_is_inactive(conf->bs)) {
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
    aio_timer_disarm(&activation->retry);
    g_free(activation->complaint);
    g_free(activation);
}
