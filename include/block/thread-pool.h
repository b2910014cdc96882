/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of worker threads per AioContext for calls that may block.
 *
 * Work handed over in a plugged section is queued with one lock and one
 * wake-up; results come back to the home thread as a list.
 */
#ifndef BLOCK_THREAD_POOL_H
#define BLOCK_THREAD_POOL_H

#include "block/aio.h"

typedef struct ThreadPool ThreadPool;
typedef struct ThreadPoolWork ThreadPoolWork;

/* Embedded in its owner, who keeps it alive until cb has been called. */
struct ThreadPoolWork {
    int (*fn)(ThreadPoolWork *work);            /* Context: worker */
    void (*cb)(ThreadPoolWork *work, int ret);  /* Context: home, from the loop */
    /* private to the pool */
    ThreadPoolWork *next;
    int ret;
};

/* The context's pool, made on first use; cannot fail: workers start later,
 * and work waits for the ones there are. Context: home */
ThreadPool *thread_pool_get(AioContext *ctx);

/* Queues; completes from the loop, never from inside. Context: home */
void thread_pool_submit(ThreadPool *pool, ThreadPoolWork *work);

/* Workers alive now and the most there ever were, for statistics. */
unsigned thread_pool_workers(const ThreadPool *pool);
unsigned thread_pool_workers_peak(const ThreadPool *pool);

#endif
