/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Holds coroutines that copy back to the rate that -r asks for, with the
 * arithmetic of throttle groups. Called by copy.c.
 */
#include "rate.h"

typedef struct Sleep {
    AioTimer timer;
    Coroutine *co;
} Sleep;

static void wake(void *opaque)
{
    Sleep *sleep = opaque;

    coroutine_enter(sleep->co);
}

static void coroutine_fn co_sleep(int64_t ns)
{
    Sleep sleep = { .co = coroutine_self() };

    aio_timer_init(&sleep.timer, aio_context_current(), wake, &sleep);
    aio_timer_arm(&sleep.timer, aio_clock_ns() + ns);
    coroutine_yield();
}

void rate_limit_init(RateLimit *rate, int64_t bytes)
{
    ThrottleRate *limit = &rate->config.rates[THROTTLE_BPS_WRITE];

    *rate = (RateLimit){ 0 };
    throttle_config_init(&rate->config);
    limit->avg = MIN(bytes, THROTTLE_VALUE_MAX);
    co_mutex_init(&rate->turn);
}

void coroutine_fn rate_limit_co_wait(RateLimit *rate, int64_t bytes)
{
    int64_t ns;

    if (!rate->config.rates[THROTTLE_BPS_WRITE].avg) {
        return;
    }
    co_mutex_lock(&rate->turn);
    do {
        ns = throttle_wait_ns(&rate->config, &rate->state, THROTTLE_WRITE,
                              aio_clock_ns());
        if (ns > 0) {
            co_sleep(ns);
        }
    } while (ns > 0);
    throttle_account(&rate->config, &rate->state, THROTTLE_WRITE, bytes);
    co_mutex_unlock(&rate->turn);
}
