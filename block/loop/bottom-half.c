/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bottom halves: functions that any thread asks a home thread to call.
 *
 * Scheduling pushes onto a lock-free stack and notifies the context; the home
 * thread takes the whole stack once per round and turns it round, so that
 * they run in the order in which they were scheduled, and what is scheduled
 * by one of them waits for the next round.
 *
 * The rule to know: a bottom half is on at most one list at a time, and LINKED
 * says that it is. Who sets LINKED pushes; only the home thread clears it,
 * after it has read next.
 */
#include "aio-private.h"

#include <pthread.h>

enum {
    BH_LINKED = 1,    /* on ctx->bh_list or in the list being run */
    BH_SCHEDULED = 2, /* to be called when its turn comes */
    BH_ONCE = 4,      /* freed before it is called */
    BH_DELETED = 8,   /* freed when it leaves the list */
};

struct AioBH {
    AioContext *ctx;
    AioFn *fn;
    void *opaque;
    unsigned flags; /* atomic */
    AioBH *next;    /* who set LINKED; from the push on, the home thread */
};

static AioBH *bh_alloc(AioContext *ctx, AioFn *fn, void *opaque,
                       unsigned flags)
{
    AioBH *bh = g_new(AioBH, 1);

    *bh = (AioBH){ .ctx = ctx, .fn = fn, .opaque = opaque, .flags = flags };
    return bh;
}

AioBH *aio_bh_new(AioContext *ctx, AioFn *fn, void *opaque)
{
    return bh_alloc(ctx, fn, opaque, 0);
}

/* Pairs with the exchange in take_list(). From then on bh may be gone. */
static void push(AioContext *ctx, AioBH *bh)
{
    AioBH *head = __atomic_load_n(&ctx->bh_list, __ATOMIC_RELAXED);

    do {
        bh->next = head;
    } while (!__atomic_compare_exchange_n(&ctx->bh_list, &head, bh, true,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

void aio_bh_schedule(AioBH *bh)
{
    AioContext *ctx = bh->ctx;
    /*
     * Pairs with the fetch_and in run_one(): the call that clears SCHEDULED
     * sees what we wrote before, also when another thread has pushed bh, or
     * is just about to, and will notify.
     */
    unsigned old = __atomic_fetch_or(&bh->flags, BH_LINKED | BH_SCHEDULED,
                                     __ATOMIC_SEQ_CST);

    g_assert(!(old & BH_DELETED));
    if (old & BH_LINKED) {
        return;
    }
    push(ctx, bh);
    aio_notify(ctx);
}

void aio_bh_once(AioContext *ctx, AioFn *fn, void *opaque)
{
    aio_bh_schedule(bh_alloc(ctx, fn, opaque, BH_ONCE));
}

void aio_bh_cancel(AioBH *bh)
{
    assert_home(bh->ctx);
    __atomic_fetch_and(&bh->flags, ~BH_SCHEDULED, __ATOMIC_SEQ_CST);
}

void aio_bh_free(AioBH *bh)
{
    unsigned flags;

    if (!bh) {
        return;
    }
    flags = __atomic_load_n(&bh->flags, __ATOMIC_SEQ_CST);
    if (!(flags & BH_LINKED)) {
        g_free(bh); /* perhaps long after its context */
        return;
    }
    assert_home(bh->ctx);
    __atomic_store_n(&bh->flags, BH_LINKED | BH_DELETED, __ATOMIC_SEQ_CST);
}

bool aio_bh_pending(const AioContext *ctx)
{
    return __atomic_load_n(&ctx->bh_list, __ATOMIC_SEQ_CST) != NULL;
}

/* All that is scheduled, first one first. */
static AioBH *take_list(AioContext *ctx)
{
    AioBH *bh, *next, *list = NULL;

    if (!aio_bh_pending(ctx)) {
        return NULL;
    }
    bh = __atomic_exchange_n(&ctx->bh_list, NULL, __ATOMIC_SEQ_CST);
    for (; bh; bh = next) {
        next = bh->next;
        bh->next = list;
        list = bh;
    }
    return list;
}

/* Takes bh off its list; it may be scheduled anew from here on. */
static unsigned unlink_bh(AioBH *bh)
{
    return __atomic_fetch_and(&bh->flags, ~(BH_LINKED | BH_SCHEDULED),
                              __ATOMIC_SEQ_CST);
}

static bool run_one(AioBH *bh)
{
    AioFn *fn = bh->fn;
    void *opaque = bh->opaque;
    unsigned flags = unlink_bh(bh);

    if (flags & (BH_ONCE | BH_DELETED)) {
        g_free(bh);
    }
    if (!(flags & BH_SCHEDULED)) {
        return false;
    }
    fn(opaque); /* may free bh */
    return true;
}

bool aio_bh_dispatch(AioContext *ctx)
{
    AioBH *bh, *next;
    bool progress = false;

    for (bh = take_list(ctx); bh; bh = next) {
        next = bh->next;
        progress |= run_one(bh);
    }
    return progress;
}

void aio_bh_cleanup(AioContext *ctx)
{
    AioBH *bh, *next;

    for (bh = take_list(ctx); bh; bh = next) {
        unsigned flags;

        next = bh->next;
        flags = unlink_bh(bh);
        g_assert(!(flags & BH_SCHEDULED));
        if (flags & BH_DELETED) {
            g_free(bh);
        }
    }
}

typedef struct SyncCall {
    AioFn *fn;
    void *opaque;
    pthread_mutex_t lock; /* not GMutex: ThreadSanitizer knows this one */
    pthread_cond_t cond;
    bool done;            /* under lock */
} SyncCall;

static void sync_call_bh(void *opaque)
{
    SyncCall *call = opaque;

    call->fn(call->opaque);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->cond); /* under lock: call lives on a stack */
    pthread_mutex_unlock(&call->lock);
}

void aio_bh_run_sync(AioContext *ctx, AioFn *fn, void *opaque)
{
    SyncCall call = {
        .fn = fn,
        .opaque = opaque,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .cond = PTHREAD_COND_INITIALIZER,
    };

    if (aio_context_current() == ctx) {
        fn(opaque);
        return;
    }
    aio_bh_once(ctx, sync_call_bh, &call);
    pthread_mutex_lock(&call.lock);
    while (!call.done) {
        pthread_cond_wait(&call.cond, &call.lock);
    }
    pthread_mutex_unlock(&call.lock);
    pthread_mutex_destroy(&call.lock);
    pthread_cond_destroy(&call.cond);
}
