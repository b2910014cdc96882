/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -r: how many bytes a second are written at most. */
#ifndef TOOLS_IMG_RATE_H
#define TOOLS_IMG_RATE_H

#include "block/coroutine.h"
#include "block/throttle.h"

typedef struct RateLimit {
    ThrottleConfig config;
    ThrottleState state;
    CoMutex turn; /* who waits first goes first */
} RateLimit;

/* @bytes a second; 0: no limit. Context: any */
void rate_limit_init(RateLimit *rate, int64_t bytes);

/* Returns when @bytes may be written. Context: home */
void coroutine_fn rate_limit_co_wait(RateLimit *rate, int64_t bytes);

#endif
