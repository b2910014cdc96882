/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of block/loop share: the structures behind block/aio.h and
 * the four stages of a round. Nobody outside of this folder includes it,
 * except its unit tests.
 *
 * Unless a field says otherwise it belongs to the home thread.
 */
#ifndef BLOCK_LOOP_AIO_PRIVATE_H
#define BLOCK_LOOP_AIO_PRIVATE_H

#include <sys/epoll.h>

#include "block/aio.h"

#define AIO_NO_DEADLINE    INT64_MAX
#define AIO_POLL_MAX_NS    32768 /* default of AioParams.poll_max_ns */
#define AIO_POLL_START_NS  4096  /* first busy poll after none, at least */
#define AIO_POLL_REAL_NS   1500  /* a shorter wait did not sleep */
#define AIO_POLL_TRIAL     16u   /* waits with polling that are judged */
#define AIO_POLL_HOLD_MIN  16u   /* waits without one after it did not pay */
#define AIO_POLL_HOLD_MAX  4096u
#define AIO_NOT_POLLED     UINT32_MAX
#define AIO_CACHE_LINE     64

/*
 * Rounds that found work by polling may skip looking at the descriptors of
 * handlers that are not polled, but only this many in a row.
 */
#define AIO_MAX_SKIPPED_WAITS 7

/* Stretches of polling without work after which a handler is not polled any
 * more until its descriptor fires, and how often that is looked at. */
#define AIO_POLL_IDLE_STRETCHES 256
#define AIO_POLL_IDLE_CHECK     64

/* See "Waking" in aio-context.c. */
typedef enum AioWakeState {
    AIO_AWAKE,    /* home runs, nobody called aio_notify() since it looked */
    AIO_SLEEPING, /* home waits in the kernel, or is about to */
    AIO_NOTIFIED, /* somebody has: home must not go to sleep */
} AioWakeState;

struct AioHandler {
    AioContext *ctx;
    const AioHandlerOps *ops;
    void *opaque;
    int fd;
    uint32_t poll_index; /* place in AioPolled.handlers, or AIO_NOT_POLLED */
    bool poll_begun;     /* poll_begin() was called, poll_end() not yet */
    uint64_t last_hit;   /* number of the stretch that last found work here */
};

/* Waits differ: what pays for one kind can be wrong for the other. */
typedef enum AioWaitFor {
    AIO_WAIT_FOR_REQUESTS, /* nothing is in flight: a guest has to move */
    AIO_WAIT_FOR_IO,       /* something is: the disk, most likely */
    AIO_WAIT__COUNT
} AioWaitFor;

/* How long to poll in waits of one kind, and what that has brought. */
typedef struct AioPollJudge {
    int64_t budget_ns;    /* how long the next stretch may last; 0: none */
    int64_t plain_ns;     /* average wait without polling; 0: not known */
    int64_t trial_ns;     /* sum of the waits with polling since the last */
    unsigned trial_waits; /* judgement, and their number */
    bool paid;            /* judged better than waits without polling */
    unsigned hold;        /* waits that the budget shall stay 0 for */
    unsigned next_hold;   /* after the next attempt that does not pay */
} AioPollJudge;

/* The handlers that are polled, and for how long. */
typedef struct AioPolled {
    AioHandler **handlers; /* NULL where one was removed during a pass */
    unsigned count;        /* entries in use, NULL ones included */
    unsigned capacity;
    unsigned n_begun;      /* handlers with poll_begun set */
    bool in_pass;          /* handlers[] must not be compacted now */
    bool has_holes;        /* some entries are NULL */
    uint64_t stretch;      /* number of the latest stretch of polling */
    AioPollJudge judges[AIO_WAIT__COUNT];
    AioWaitFor waiting_for; /* of the current or last wait */
} AioPolled;

/* One wait for work, decided stage by stage. */
typedef struct AioWait {
    bool block;          /* nothing to do so far: sleep */
    int64_t start_ns;    /* when the wait began; valid if block was set */
    int64_t now_ns;      /* latest reading of the clock */
    int64_t deadline_ns; /* of the first timer, or AIO_NO_DEADLINE */
} AioWait;

typedef struct AioSlotEntry {
    void *object;
    AioFn *destroy;
} AioSlotEntry;

struct AioContext {
    /* Written by any thread: a cache line of their own. */
    int wake_state __attribute__((aligned(AIO_CACHE_LINE))); /* atomic */
    AioBH *bh_list;    /* atomic: scheduled bottom halves, last one first */
    uint64_t notifies; /* atomic: AioStats.notifies */

    /* Constant once made. */
    AioParams params __attribute__((aligned(AIO_CACHE_LINE)));
    int epoll_fd;
    int notify_fd;

    bool in_round;
    bool now_valid;
    int64_t now_ns;

    AioStats stats; /* written by home with relaxed atomics, read by any */

    struct epoll_event *events; /* found ready in this round */
    int n_events;
    int next_event;             /* first one not dispatched yet */
    unsigned max_events;
    unsigned n_handlers;
    unsigned skipped_waits;     /* in a row */
    bool coarse_timeout;        /* no epoll_pwait2(): milliseconds only */

    AioPolled polled;
    unsigned io_in_flight; /* aio_context_io_begin() without an end */

    AioTimer timers; /* head of a ring, by deadline */
    AioTimer firing; /* head of a ring: due in this round */

    AioSlotEntry slots[AIO_SLOT__COUNT];
};

/* Counters have one writer; other threads may read a torn-free old value. */
static inline void aio_stat_inc(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* Whether aio_notify() was called since the home thread last looked. A hint:
 * the decision to sleep is taken by aio_sleep_announce(). */
static inline bool aio_is_notified(const AioContext *ctx)
{
    return __atomic_load_n(&ctx->wake_state, __ATOMIC_RELAXED) == AIO_NOTIFIED;
}

/* --- aio-context.c --- */

/* Frees a context that has no home, or whose home is done with it. */
void aio_context_discard(AioContext *ctx);

/* --- aio-poll.c --- */

void aio_polled_add(AioHandler *handler);    /* also when already there */
void aio_polled_remove(AioHandler *handler); /* ends its polling */

/*
 * Looks for work in memory, for as long as it pays when @wait blocks. Clears
 * wait->block when there is reason not to sleep. Returns whether work was
 * done.
 */
bool aio_polled_run(AioContext *ctx, AioWait *wait);

/* Learns from a wait of @block_ns that ended in the kernel. */
void aio_polled_adapt(AioContext *ctx, int64_t block_ns);

/* --- fd-epoll.c --- */

bool aio_fds_init(AioContext *ctx, GError **error);
void aio_fds_cleanup(AioContext *ctx);

/* Collects ready descriptors; -1: waits for ever. */
void aio_fds_wait(AioContext *ctx, int64_t timeout_ns);
bool aio_fds_dispatch(AioContext *ctx);

/* --- bottom-half.c --- */

bool aio_bh_dispatch(AioContext *ctx);
bool aio_bh_pending(const AioContext *ctx);

/* Lets go of all bottom halves; a scheduled one is a bug of its owner. */
void aio_bh_cleanup(AioContext *ctx);

/* --- timer.c --- */

void aio_timers_init(AioContext *ctx);
bool aio_timers_empty(const AioContext *ctx);
int64_t aio_timers_deadline(const AioContext *ctx); /* or AIO_NO_DEADLINE */
bool aio_timers_dispatch(AioContext *ctx);

#endif
