/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers of a context: a ring sorted by deadline, few entries, no allocation.
 *
 * aio-context.c asks for the first deadline before it sleeps and dispatches
 * what is due afterwards. The rule to know: the due ones are first moved to a
 * second ring, so that a callback can arm and disarm any timer, itself and
 * the other due ones included, and one that arms itself for now fires in the
 * next round and not for ever in this one.
 */
#include "aio-private.h"

static void ring_init(AioTimer *head)
{
    head->prev = head->next = head;
}

static void ring_remove(AioTimer *timer)
{
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
}

static void ring_insert_after(AioTimer *place, AioTimer *timer)
{
    timer->prev = place;
    timer->next = place->next;
    place->next->prev = timer;
    place->next = timer;
}

void aio_timers_init(AioContext *ctx)
{
    ring_init(&ctx->timers);
    ring_init(&ctx->firing);
}

bool aio_timers_empty(const AioContext *ctx)
{
    return ctx->timers.next == &ctx->timers;
}

int64_t aio_timers_deadline(const AioContext *ctx)
{
    if (aio_timers_empty(ctx)) {
        return AIO_NO_DEADLINE;
    }
    return ctx->timers.next->deadline_ns;
}

void aio_timer_init(AioTimer *timer, AioContext *ctx, AioFn *fn, void *opaque)
{
    *timer = (AioTimer){ .ctx = ctx, .fn = fn, .opaque = opaque };
}

void aio_timer_arm(AioTimer *timer, int64_t deadline_ns)
{
    AioContext *ctx = timer->ctx;
    AioTimer *place;

    aio_timer_disarm(timer);
    timer->deadline_ns = deadline_ns;
    timer->armed = true;

    /* From the back: after those of the same deadline. */
    place = ctx->timers.prev;
    while (place != &ctx->timers && place->deadline_ns > deadline_ns) {
        place = place->prev;
    }
    ring_insert_after(place, timer);
}

void aio_timer_disarm(AioTimer *timer)
{
    assert_home(timer->ctx);
    if (timer->armed) {
        ring_remove(timer);
        timer->armed = false;
    }
}

static void move_due(AioContext *ctx, int64_t now_ns)
{
    while (aio_timers_deadline(ctx) <= now_ns) {
        AioTimer *timer = ctx->timers.next;

        ring_remove(timer);
        ring_insert_after(ctx->firing.prev, timer);
    }
}

bool aio_timers_dispatch(AioContext *ctx)
{
    bool progress = false;

    if (aio_timers_empty(ctx)) {
        return false;
    }
    move_due(ctx, aio_context_now_ns(ctx));
    while (ctx->firing.next != &ctx->firing) {
        AioTimer *timer = ctx->firing.next;

        aio_timer_disarm(timer);
        timer->fn(timer->opaque); /* timer may be gone */
        progress = true;
    }
    return progress;
}
