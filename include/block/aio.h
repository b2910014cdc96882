/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: one AioContext per thread that does I/O.
 *
 * Everything a disk does in steady state happens in one thread, the home of
 * its AioContext: file descriptors and rings are watched, timers fire and
 * bottom halves run there. Another thread never touches such state; it
 * schedules a bottom half. Functions tagged "Context: home" assert it.
 */
#ifndef BLOCK_AIO_H
#define BLOCK_AIO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct AioContext AioContext;
typedef struct AioHandler AioHandler;
typedef struct AioBH AioBH;

typedef void AioFn(void *opaque);

/* Tuning of one context, set before its thread starts. 0 means the default. */
typedef struct AioParams {
    int64_t poll_max_ns;      /* longest busy poll before sleeping; -1: never */
    int64_t poll_grow;        /* factor a paying poll time grows by; 0: 2 */
    int64_t poll_shrink;      /* divisor a futile one shrinks by; 0: to nothing */
    unsigned aio_max_batch;   /* requests an engine holds before it submits */
    unsigned thread_pool_min; /* workers kept while idle */
    unsigned thread_pool_max; /* workers at most; 0: 64 */
} AioParams;

/* What the loop did, for statistics and for tests that count. */
typedef struct AioStats {
    uint64_t rounds;      /* iterations of aio_poll() */
    uint64_t sleeps;      /* of these, how many waited in the kernel */
    uint64_t poll_rounds; /* times the loop polled memory before sleeping */
    uint64_t poll_hits;   /* of these, how many found work */
    uint64_t notifies;    /* eventfd writes that woke this context */
} AioStats;

/*
 * Returns a context with no home thread yet, or NULL with @error set (out of
 * file descriptors). @params is copied; NULL means all defaults.
 * Context: any
 */
AioContext *aio_context_new(const AioParams *params, GError **error);

/*
 * Destroys the slots' objects, then the context. Nothing may be attached any
 * more: no handler, armed timer or bottom half. The caller must be its home.
 * Context: home
 */
void aio_context_free(AioContext *ctx);

/* Makes the calling thread the home of @ctx. Once per thread and context. */
void aio_context_adopt(AioContext *ctx);

/* The calling thread's context, or NULL. Context: any */
AioContext *aio_context_current(void);

/* Aborts, in release builds too, when the caller is not the home of @ctx. */
void aio_context_assert_home(const AioContext *ctx, const char *function);
#define assert_home(ctx) aio_context_assert_home((ctx), __func__)

const AioParams *aio_context_params(const AioContext *ctx); /* Context: any */

/*
 * A copy of the counters. Each is exact in the home thread and at most one
 * round old elsewhere. Context: any
 */
AioStats aio_context_stats(const AioContext *ctx);

/*
 * Runs one round: waits for work when @may_block, dispatches all that is
 * ready. Returns whether anything was dispatched. Not re-entrant: a callback
 * must not call it. Context: home
 */
bool aio_poll(AioContext *ctx, bool may_block);

/*
 * Makes a sleeping or about to sleep aio_poll() return. What the caller wrote
 * before the call is seen by the home thread in its next round.
 * Context: any, also from a signal handler
 */
void aio_notify(AioContext *ctx);

/*
 * A request goes to a disk / has come back from it. Tells the loop what it
 * waits for, so that it polls for each as long as that pays. Context: home
 */
void aio_context_io_begin(AioContext *ctx);
void aio_context_io_end(AioContext *ctx);

/* CLOCK_MONOTONIC in ns, read now. Context: any */
int64_t aio_clock_ns(void);

/*
 * CLOCK_MONOTONIC in ns as of the start of this round; costs no clock read
 * after the first call in a round. Context: home
 */
int64_t aio_context_now_ns(AioContext *ctx);

/* --- File descriptors and memory that is polled --- */

typedef struct AioHandlerOps {
    /* The descriptor is readable. It has to be read here, unless @edge.
     * Mandatory. */
    AioFn *ready;
    /*
     * For an eventfd that only ever counts up: ready() runs once for what was
     * written since the last time and need not read it, which saves a system
     * call a wake-up. It must look at all there is, or see to it that it runs
     * again.
     */
    bool edge;
    /*
     * Looks for work in memory, without a system call, and does it. Returns
     * whether there was any. NULL: this handler can only be waited for.
     */
    bool (*poll)(void *opaque);
    /*
     * Around a stretch of polling: the source may stop and must resume
     * signalling the descriptor. The loop calls poll() once more after
     * poll_end() and before it sleeps, so that what arrived in between is
     * seen. Both NULL, or both set.
     */
    AioFn *poll_begin;
    AioFn *poll_end;
} AioHandlerOps;

/*
 * Watches @fd, which the caller keeps open until it has removed the handler.
 * @ops is borrowed for the handler's life. Returns NULL with errno set when
 * the kernel cannot watch it, such as a regular file (EPERM): descriptors
 * come from front ends, too. Context: home
 */
AioHandler *aio_handler_add(AioContext *ctx, int fd, const AioHandlerOps *ops,
                            void *opaque);

/* No callback of @handler runs after the return, this round included, except
 * poll_end() if polling had begun, which runs inside. NULL: does nothing.
 * Context: home */
void aio_handler_remove(AioHandler *handler);

/* --- Bottom halves: call me soon, in the home thread --- */

/* Context: any */
AioBH *aio_bh_new(AioContext *ctx, AioFn *fn, void *opaque);

/* Runs the function once in the next round, however often called before.
 * Takes no lock and allocates nothing. Context: any */
void aio_bh_schedule(AioBH *bh);

/* A scheduled run is forgotten. Context: home */
void aio_bh_cancel(AioBH *bh);

/* Cancels; the memory goes when no thread can still be scheduling it, which
 * the caller guarantees. Context: home, or any once the home is gone */
void aio_bh_free(AioBH *bh);

/* Runs @fn once in the home thread. Allocates. Context: any */
void aio_bh_once(AioContext *ctx, AioFn *fn, void *opaque);

/*
 * Runs @fn in the home thread and waits until it has returned; directly when
 * the caller is the home. A home thread must not call this for a context
 * whose thread may do the same to it. Context: main, or home
 */
void aio_bh_run_sync(AioContext *ctx, AioFn *fn, void *opaque);

/* --- Timers --- */

/* Embedded in its owner; fields are private to the loop. */
typedef struct AioTimer {
    AioContext *ctx;
    AioFn *fn;
    void *opaque;
    int64_t deadline_ns; /* CLOCK_MONOTONIC; meaningful while armed */
    struct AioTimer *prev, *next;
    bool armed;
} AioTimer;

/* Context: any, before first use */
void aio_timer_init(AioTimer *timer, AioContext *ctx, AioFn *fn, void *opaque);

/* Arms or re-arms; fires once, not before @deadline_ns. Context: home */
void aio_timer_arm(AioTimer *timer, int64_t deadline_ns);

/* Disarms; does nothing to a timer that is not armed. Context: home */
void aio_timer_disarm(AioTimer *timer);

/* --- One object of each kind per context: engines, the plug --- */

typedef enum AioSlot {
    AIO_SLOT_PLUG,
    AIO_SLOT_THREAD_POOL,
    AIO_SLOT_THREADS,
    AIO_SLOT_LINUX_AIO,
    AIO_SLOT_MEMORY, /* that io_uring may register */
    AIO_SLOT_IO_URING,
    AIO_SLOT_AUTO,
    AIO_SLOT_COMPLETIONS, /* block_request_complete_later() */
    AIO_SLOT__COUNT
} AioSlot;

/* Borrowed pointer, or NULL when nothing was put there. Context: home */
void *aio_context_slot(AioContext *ctx, AioSlot slot);

/*
 * Gives @object to the context. @destroy runs in the home thread when the
 * context is freed, highest slot first. Context: home
 */
void aio_context_set_slot(AioContext *ctx, AioSlot slot, void *object,
                          AioFn *destroy);

#endif
