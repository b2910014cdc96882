/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Busy polling: looking for work in memory before sleeping in the kernel.
 *
 * Called by aio-context.c once per round. The rule to know: a stretch of
 * polling begins with poll_begin() and goes on over as many rounds as find
 * work; it ends with poll_end() and one more look, always before the thread
 * sleeps. In between, descriptors may be silent, so that each round must poll.
 *
 * How it works
 * ------------
 * A wait of the loop starts with polling for at most budget_ns, then sleeps.
 * The budget follows what waits turn out to be: it begins at twice the average
 * wait without polling, because a budget that is shorter than the wait makes
 * it longer and finds nothing. With poll-max-ns 32 us, for a device that
 * answers after 10 us:
 *
 *     wait   budget   found       budget afterwards
 *     10 us   0       sleeping   20 us   work came soon: polling would pay
 *     10 us  20 us    polling    20 us   right as it is
 *     30 us  20 us    sleeping   32 us   grows, up to poll-max-ns
 *      1 s   32 us    sleeping    0      nothing comes soon: stop wasting CPU
 *
 * Whether polling pays is measured, not assumed: where a worker or the kernel's
 * worker needs this very processor, work comes because the thread sleeps, and
 * polling delays it. Waits with polling are judged against the average of waits
 * without, every AIO_POLL_TRIAL waits and at the end of an attempt (from budget
 * 0 up and back to 0). An attempt that made waits longer is not repeated for a
 * number of waits, which doubles each time and starts over when polling pays.
 *
 * Waits for guests and waits for disks have budgets of their own: a guest that
 * is quick to send its next request says nothing about the disk below.
 *
 * A handler that found nothing for AIO_POLL_IDLE_STRETCHES stretches drops out
 * and comes back when its descriptor fires: with one busy export among many
 * the cost of a pass depends on the busy one only.
 */
#include "aio-private.h"

static void handler_begin(AioPolled *polled, AioHandler *handler)
{
    if (handler->poll_begun) {
        return;
    }
    handler->poll_begun = true;
    polled->n_begun++;
    if (handler->ops->poll_begin) {
        handler->ops->poll_begin(handler->opaque);
    }
}

static void handler_end(AioPolled *polled, AioHandler *handler)
{
    if (!handler->poll_begun) {
        return;
    }
    handler->poll_begun = false;
    polled->n_begun--;
    if (handler->ops->poll_end) {
        handler->ops->poll_end(handler->opaque);
    }
}

void aio_polled_add(AioHandler *handler)
{
    AioPolled *polled = &handler->ctx->polled;

    if (handler->ctx->params.poll_max_ns < 0) {
        return;
    }
    handler->last_hit = polled->stretch;
    if (handler->poll_index != AIO_NOT_POLLED) {
        return;
    }
    if (polled->count == polled->capacity) {
        polled->capacity = MAX(8, polled->capacity * 2);
        polled->handlers = g_renew(AioHandler *, polled->handlers,
                                   polled->capacity);
    }
    handler->poll_index = polled->count;
    polled->handlers[polled->count++] = handler;
}

static void close_holes(AioPolled *polled)
{
    unsigned count = 0;

    for (unsigned i = 0; i < polled->count; i++) {
        AioHandler *handler = polled->handlers[i];

        if (handler) {
            handler->poll_index = count;
            polled->handlers[count++] = handler;
        }
    }
    polled->count = count;
    polled->has_holes = false;
}

static void pass_begin(AioPolled *polled)
{
    g_assert(!polled->in_pass);
    polled->in_pass = true;
}

static void pass_end(AioPolled *polled)
{
    polled->in_pass = false;
    if (polled->has_holes) {
        close_holes(polled);
    }
}

void aio_polled_remove(AioHandler *handler)
{
    AioPolled *polled = &handler->ctx->polled;

    if (handler->poll_index == AIO_NOT_POLLED) {
        return;
    }
    polled->handlers[handler->poll_index] = NULL;
    handler->poll_index = AIO_NOT_POLLED;
    polled->has_holes = true;
    handler_end(polled, handler);
    if (!polled->in_pass) {
        close_holes(polled);
    }
}

/* Asks each handler once. Callbacks may add and remove any handler. */
static bool poll_once(AioPolled *polled)
{
    bool hit = false;

    pass_begin(polled);
    for (unsigned i = 0; i < polled->count; i++) {
        AioHandler *handler = polled->handlers[i];

        if (handler && handler->ops->poll(handler->opaque)) {
            hit = true;
            if (polled->handlers[i] == handler) { /* else removed by itself */
                handler->last_hit = polled->stretch;
            }
        }
    }
    pass_end(polled);
    return hit;
}

/* Calls @change for each polled handler; it may run callbacks. */
static void for_each(AioPolled *polled,
                     void (*change)(AioPolled *, AioHandler *))
{
    pass_begin(polled);
    for (unsigned i = 0; i < polled->count; i++) {
        if (polled->handlers[i]) {
            change(polled, polled->handlers[i]);
        }
    }
    pass_end(polled);
}

/* Returns whether the one look after poll_end() found work, so that it stays
 * for now. */
static bool drop_one(AioPolled *polled, unsigned i)
{
    AioHandler *handler = polled->handlers[i];
    bool hit;

    handler_end(polled, handler);
    hit = handler->ops->poll(handler->opaque);
    if (polled->handlers[i] != handler) {
        return hit; /* removed by its own callback */
    }
    if (hit) {
        handler->last_hit = polled->stretch;
    } else {
        aio_polled_remove(handler);
    }
    return hit;
}

/* Stops polling handlers that have long had nothing. */
static bool drop_idle(AioPolled *polled)
{
    bool hit = false;

    pass_begin(polled);
    for (unsigned i = 0; i < polled->count; i++) {
        AioHandler *handler = polled->handlers[i];

        if (handler && polled->stretch - handler->last_hit >=
                           AIO_POLL_IDLE_STRETCHES) {
            hit |= drop_one(polled, i);
        }
    }
    pass_end(polled);
    return hit;
}

/* --- How long to poll, and whether at all --- */

static AioPollJudge *current_judge(AioPolled *polled)
{
    return &polled->judges[polled->waiting_for];
}

/* An attempt is over. */
static void back_off(AioPollJudge *judge)
{
    if (judge->paid) {
        judge->next_hold = 0;
    } else {
        judge->next_hold = CLAMP(judge->next_hold * 2, AIO_POLL_HOLD_MIN,
                                 AIO_POLL_HOLD_MAX);
    }
    judge->hold = judge->next_hold;
    judge->paid = false;
}

/*
 * Waits with polling must not be much longer than those without. Half is for
 * noise: where polling is in the way, waits double at least. With nothing to
 * compare with, polling is given the benefit.
 */
static void judge_trial(AioPollJudge *judge)
{
    if (judge->trial_waits > 0) {
        int64_t average_ns = judge->trial_ns / judge->trial_waits;

        judge->paid = judge->plain_ns == 0 ||
                      average_ns <= judge->plain_ns + judge->plain_ns / 2;
    }
    judge->trial_ns = 0;
    judge->trial_waits = 0;
}

/* A wait with polling is over, one way or another. */
static void note_polled(AioPollJudge *judge, int64_t wait_ns)
{
    judge->trial_ns += wait_ns;
    if (++judge->trial_waits < AIO_POLL_TRIAL) {
        return;
    }
    judge_trial(judge);
    if (judge->paid) {
        judge->next_hold = 0;
    } else {
        judge->budget_ns = 0;
        back_off(judge);
    }
}

/*
 * Moves a sixteenth of the way to each new value. A wait that found a wake-up
 * which polling had left behind, and no work, is no measure.
 */
static void note_plain(AioPollJudge *judge, int64_t wait_ns)
{
    if (wait_ns < AIO_POLL_REAL_NS) {
        return;
    }
    if (judge->plain_ns == 0) {
        judge->plain_ns = wait_ns;
    } else {
        judge->plain_ns += (wait_ns - judge->plain_ns) / 16;
    }
}

/*
 * Polls until there is work, of whatever kind, or the budget is used up, or a
 * timer is due. One reading of the clock per pass over the handlers. The wait
 * was over when the pass began that found work: what the pass took is work.
 */
static bool poll_busily(AioContext *ctx, AioWait *wait)
{
    AioPolled *polled = &ctx->polled;
    AioPollJudge *judge = current_judge(polled);
    int64_t end_ns = MIN(wait->start_ns + judge->budget_ns,
                         wait->deadline_ns);
    int64_t looked_ns;
    bool hit = false, notified;

    polled->stretch++;
    aio_stat_inc(&ctx->stats.poll_rounds);
    if (polled->stretch % AIO_POLL_IDLE_CHECK == 0) {
        hit = drop_idle(polled);
    }
    for_each(polled, handler_begin);
    do {
        looked_ns = wait->now_ns;
        hit |= poll_once(polled);
        notified = aio_is_notified(ctx); /* bottom halves, too, notify */
        wait->now_ns = aio_clock_ns();
    } while (!hit && !notified && wait->now_ns < end_ns);

    if (hit || notified) {
        aio_stat_inc(&ctx->stats.poll_hits);
        note_polled(judge, looked_ns - wait->start_ns);
    }
    if (hit || notified || wait->now_ns >= wait->deadline_ns) {
        wait->block = false;
    }
    return hit;
}

/* The last stage before sleep: sources signal again, then one more look. */
static bool stop_polling(AioContext *ctx)
{
    AioPolled *polled = &ctx->polled;

    for_each(polled, handler_end);
    return poll_once(polled);
}

bool aio_polled_run(AioContext *ctx, AioWait *wait)
{
    AioPolled *polled = &ctx->polled;
    bool progress = false;

    polled->waiting_for = ctx->io_in_flight > 0 ? AIO_WAIT_FOR_IO
                                                : AIO_WAIT_FOR_REQUESTS;
    if (!wait->block) {
        return polled->n_begun > 0 && poll_once(polled);
    }
    if (current_judge(polled)->budget_ns > 0 && polled->count > 0) {
        progress = poll_busily(ctx, wait);
    } else if (polled->n_begun > 0) {
        /* A wait of the other kind began to poll. What is there already need
         * not end that. */
        progress = poll_once(polled);
        wait->block = !progress;
    }
    if (wait->block && polled->n_begun > 0) {
        progress = stop_polling(ctx);
        wait->block = !progress;
    }
    return progress;
}

static void shrink(AioPollJudge *judge, const AioParams *params)
{
    if (judge->budget_ns == 0) {
        return;
    }
    judge->budget_ns = params->poll_shrink > 0
                            ? judge->budget_ns / params->poll_shrink
                            : 0;
    if (judge->budget_ns == 0) {
        judge_trial(judge);
        back_off(judge);
    }
}

static void grow(AioPollJudge *judge, const AioParams *params)
{
    if (judge->hold > 0) {
        judge->hold--;
        return;
    }
    if (judge->budget_ns == 0) {
        judge->budget_ns = MAX(2 * judge->plain_ns, AIO_POLL_START_NS);
    } else {
        judge->budget_ns *= params->poll_grow;
    }
    judge->budget_ns = MIN(judge->budget_ns, params->poll_max_ns);
}

void aio_polled_adapt(AioContext *ctx, int64_t block_ns)
{
    AioPollJudge *judge = current_judge(&ctx->polled);

    if (block_ns > ctx->params.poll_max_ns) {
        shrink(judge, &ctx->params);
        return;
    }
    if (judge->budget_ns == 0) {
        note_plain(judge, block_ns);
    } else {
        note_polled(judge, block_ns);
    }
    if (block_ns > judge->budget_ns) {
        grow(judge, &ctx->params);
    }
}
