/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The AioContext and its round: wait, bottom halves, descriptors, timers.
 *
 * Called by whoever owns the thread (iothread.c, a program's main loop);
 * calls the stages in aio-poll.c, fd-epoll.c, bottom-half.c and timer.c. The
 * rule to know: everything here belongs to the home thread, except for
 * wake_state, which the section "Waking" explains.
 *
 * Waking
 * ------
 * Nothing that another thread handed over may be forgotten while the home
 * thread sleeps, and while it does not sleep nobody shall pay for a system
 * call. One word, ctx->wake_state, settles both:
 *
 *     any thread                        home thread
 *     ----------                        -----------
 *     publish work                      R: AWAKE -> SLEEPING, only from AWAKE
 *     N: old = exchange(NOTIFIED)       wait in the kernel, or just look there
 *     old == SLEEPING: write eventfd    A: exchange(AWAKE)
 *                                       look for work, then go on at R
 *
 * N, R and A are read-modify-write operations on one location, so they happen
 * in one order that all threads agree on, and each sees the one before:
 *
 * - N before A: A reads what N wrote (or a later N, which read it), so the
 *   work is visible to the look that follows A.
 * - N between A and R: R finds NOTIFIED and fails; the thread does not sleep,
 *   and the A of the next round comes before its look.
 * - N after R: N finds SLEEPING and writes the eventfd, which ends this sleep
 *   or, when something else has already ended it, some later one: a wake-up
 *   too many is harmless.
 *
 * There is no fourth place. All three are seq_cst; acquire and release would
 * do, because a single location is involved and no store has to be ordered
 * before a load of another one.
 */
#include "aio-private.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

static __thread AioContext *current_context;

static void set_defaults(AioParams *params)
{
    if (params->poll_max_ns == 0) {
        params->poll_max_ns = AIO_POLL_MAX_NS;
    }
    if (params->poll_grow == 0) {
        params->poll_grow = 2;
    }
    if (params->thread_pool_max == 0) {
        params->thread_pool_max = 64;
    }
}

AioContext *aio_context_new(const AioParams *params, GError **error)
{
    AioContext *ctx;

    ctx = g_aligned_alloc0(1, sizeof(*ctx), AIO_CACHE_LINE);
    if (params) {
        ctx->params = *params;
    }
    set_defaults(&ctx->params);
    aio_timers_init(ctx);
    if (!aio_fds_init(ctx, error)) {
        g_aligned_free(ctx);
        return NULL;
    }
    return ctx;
}

static void destroy_slots(AioContext *ctx)
{
    for (int slot = AIO_SLOT__COUNT - 1; slot >= 0; slot--) {
        AioSlotEntry entry = ctx->slots[slot];

        /* destroy() may still look up the slots below its own. */
        if (entry.object) {
            entry.destroy(entry.object);
            ctx->slots[slot].object = NULL;
        }
    }
}

void aio_context_discard(AioContext *ctx)
{
    aio_bh_cleanup(ctx);
    g_assert(ctx->n_handlers == 0);
    g_assert(aio_timers_empty(ctx));

    aio_fds_cleanup(ctx);
    g_free(ctx->polled.handlers);
    g_aligned_free(ctx);
}

void aio_context_free(AioContext *ctx)
{
    if (!ctx) {
        return;
    }
    assert_home(ctx);
    g_assert(!ctx->in_round);
    destroy_slots(ctx);
    current_context = NULL;
    aio_context_discard(ctx);
}

void aio_context_adopt(AioContext *ctx)
{
    g_assert(!current_context);
    current_context = ctx;
}

AioContext *aio_context_current(void)
{
    return current_context;
}

void aio_context_assert_home(const AioContext *ctx, const char *function)
{
    if (G_UNLIKELY(current_context != ctx)) {
        g_error("%s() called outside of the home thread of its AioContext",
                function);
    }
}

const AioParams *aio_context_params(const AioContext *ctx)
{
    return &ctx->params;
}

AioStats aio_context_stats(const AioContext *ctx)
{
    const AioStats *stats = &ctx->stats;

    return (AioStats){
        .rounds = __atomic_load_n(&stats->rounds, __ATOMIC_RELAXED),
        .sleeps = __atomic_load_n(&stats->sleeps, __ATOMIC_RELAXED),
        .poll_rounds = __atomic_load_n(&stats->poll_rounds, __ATOMIC_RELAXED),
        .poll_hits = __atomic_load_n(&stats->poll_hits, __ATOMIC_RELAXED),
        .notifies = __atomic_load_n(&ctx->notifies, __ATOMIC_RELAXED),
    };
}

void aio_notify(AioContext *ctx)
{
    /* N. Pairs with R in announce_sleep() and with A in stay_awake(). */
    int old = __atomic_exchange_n(&ctx->wake_state, AIO_NOTIFIED,
                                  __ATOMIC_SEQ_CST);
    uint64_t one = 1;
    int saved_errno;

    if (old != AIO_SLEEPING) {
        return;
    }

    /* Signal handlers come here, too. EAGAIN needs 2^64 writes before. */
    saved_errno = errno;
    __atomic_fetch_add(&ctx->notifies, 1, __ATOMIC_RELAXED);
    if (write(ctx->notify_fd, &one, sizeof(one)) < 0) {
        g_assert(errno == EAGAIN);
    }
    errno = saved_errno;
}

/* R. Returns false when the home thread must not sleep. */
static bool announce_sleep(AioContext *ctx)
{
    int awake = AIO_AWAKE;

    return __atomic_compare_exchange_n(&ctx->wake_state, &awake, AIO_SLEEPING,
                                       false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* A. What is looked at from here on includes what was notified before. */
static void stay_awake(AioContext *ctx)
{
    /* Only this thread leaves AWAKE for SLEEPING: AWAKE needs no exchange. */
    if (__atomic_load_n(&ctx->wake_state, __ATOMIC_SEQ_CST) != AIO_AWAKE) {
        __atomic_exchange_n(&ctx->wake_state, AIO_AWAKE, __ATOMIC_SEQ_CST);
    }
}

void aio_context_io_begin(AioContext *ctx)
{
    ctx->io_in_flight++;
}

void aio_context_io_end(AioContext *ctx)
{
    g_assert(ctx->io_in_flight > 0);
    ctx->io_in_flight--;
}

int64_t aio_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int64_t aio_context_now_ns(AioContext *ctx)
{
    assert_home(ctx);
    if (!ctx->now_valid) {
        ctx->now_ns = aio_clock_ns();
        ctx->now_valid = true;
    }
    return ctx->now_ns;
}

static void set_now(AioContext *ctx, int64_t now_ns)
{
    ctx->now_ns = now_ns;
    ctx->now_valid = true;
}

/* Reads the clock only when a timer or polling has use for it. */
static void wait_init(AioContext *ctx, AioWait *wait, bool may_block)
{
    *wait = (AioWait){
        .block = may_block && !aio_is_notified(ctx),
        .deadline_ns = aio_timers_deadline(ctx),
    };
    if (!wait->block) {
        return;
    }
    if (wait->deadline_ns != AIO_NO_DEADLINE || ctx->polled.count > 0) {
        wait->start_ns = wait->now_ns = aio_clock_ns();
    }
    if (wait->deadline_ns <= wait->now_ns) {
        wait->block = false;
    }
}

/* Asks the timers anew: callbacks of polling may have armed one. */
static int64_t sleep_timeout_ns(AioContext *ctx, const AioWait *wait)
{
    int64_t deadline_ns = aio_timers_deadline(ctx);

    if (deadline_ns == AIO_NO_DEADLINE) {
        return -1;
    }
    return MAX(deadline_ns - wait->now_ns, 0);
}

static void sleep_in_kernel(AioContext *ctx, AioWait *wait)
{
    if (!announce_sleep(ctx)) {
        aio_fds_wait(ctx, 0);
        return;
    }
    ctx->now_valid = false;
    aio_stat_inc(&ctx->stats.sleeps);
    aio_fds_wait(ctx, sleep_timeout_ns(ctx, wait));
    if (ctx->polled.count > 0) {
        wait->now_ns = aio_clock_ns();
        aio_polled_adapt(ctx, wait->now_ns - wait->start_ns);
        set_now(ctx, wait->now_ns);
    }
}

/*
 * While polling goes on, a round that has work need not ask the kernel: not
 * at all when every handler is polled, only now and then when some are not.
 */
static bool may_skip_kernel(AioContext *ctx)
{
    if (ctx->polled.n_begun == 0) {
        return false;
    }
    if (ctx->polled.n_begun == ctx->n_handlers) {
        return true;
    }
    return ctx->skipped_waits++ < AIO_MAX_SKIPPED_WAITS;
}

static bool wait_for_work(AioContext *ctx, bool may_block)
{
    AioWait wait;
    bool progress;

    ctx->n_events = ctx->next_event = 0;
    wait_init(ctx, &wait, may_block);
    progress = aio_polled_run(ctx, &wait);
    if (may_block && (progress || aio_is_notified(ctx)) &&
        may_skip_kernel(ctx)) {
        return progress;
    }
    ctx->skipped_waits = 0;
    if (wait.block) {
        sleep_in_kernel(ctx, &wait);
    } else {
        aio_fds_wait(ctx, 0);
    }
    return progress;
}

bool aio_poll(AioContext *ctx, bool may_block)
{
    bool progress;

    assert_home(ctx);
    g_assert(!ctx->in_round);
    ctx->in_round = true;
    ctx->now_valid = false;
    aio_stat_inc(&ctx->stats.rounds);

    progress = wait_for_work(ctx, may_block);
    stay_awake(ctx);
    progress |= aio_bh_dispatch(ctx);
    progress |= aio_fds_dispatch(ctx);
    progress |= aio_timers_dispatch(ctx);

    ctx->in_round = false;
    return progress;
}

void *aio_context_slot(AioContext *ctx, AioSlot slot)
{
    assert_home(ctx);
    return ctx->slots[slot].object;
}

void aio_context_set_slot(AioContext *ctx, AioSlot slot, void *object,
                          AioFn *destroy)
{
    assert_home(ctx);
    g_assert(object && destroy && !ctx->slots[slot].object);
    ctx->slots[slot] = (AioSlotEntry){ object, destroy };
}
