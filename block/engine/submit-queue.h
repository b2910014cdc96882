/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The submit queue: requests an engine has and the kernel has not taken.
 *
 * Every engine has one. It collects a plugged section's requests, hands them
 * over in one go, keeps what was not taken and sees to it that somebody comes
 * back for them. All functions: Context: home.
 */
#ifndef BLOCK_ENGINE_SUBMIT_QUEUE_H
#define BLOCK_ENGINE_SUBMIT_QUEUE_H

#include "block/engine.h"
#include "block/plug.h"

typedef struct SubmitQueue SubmitQueue;

typedef struct SubmitQueueOps {
    /*
     * Hands the first requests of the queue, at most @max, to the kernel and
     * leaves the list alone. Returns how many were taken, in order, or a
     * negative errno: a transient one says that nothing can be taken now, any
     * other is about the first request only.
     */
    int (*hand_over)(SubmitQueue *queue, unsigned max);
    /*
     * The first request was refused for good with @err and is off the queue.
     * Returns whether another way was found for it; else it fails. May be
     * NULL.
     */
    bool (*refused)(SubmitQueue *queue, EngineRequest *req, int err);
    /* hand_over() is one system call, to be counted as such. */
    bool one_call;
    EngineType engine; /* whose queue it is, for statistics */
} SubmitQueueOps;

struct SubmitQueue {
    const SubmitQueueOps *ops;
    AioContext *ctx;
    EngineRequest *head, **tail;
    unsigned queued;
    unsigned in_flight; /* with the kernel, or with workers */
    unsigned capacity;  /* of in_flight */
    unsigned max_batch; /* submit early at this many, or at ... */
    unsigned batch;     /* ... this many, which grows in a plugged section */
    bool running;       /* handing over: do not enter again */
    bool blocked;       /* not now: a completion or the timer unblocks */
    BlkPlugCall flush;
    AioTimer retry;
    EngineRequest *over, **over_tail; /* done, cb still to be called */
    AioBH *over_bh;
    uint64_t serial;    /* ids for EngineStats: high bits tell queues apart */
    uint64_t burst;     /* id of the plugged section */
};

void submit_queue_init(SubmitQueue *queue, AioContext *ctx,
                       const SubmitQueueOps *ops, unsigned capacity);
/* Nothing is queued, in flight or over. */
void submit_queue_destroy(SubmitQueue *queue);

/* Queues; handed over at the end of the section or earlier: the first at once,
 * then in batches that double up to max_batch. */
void submit_queue_add(SubmitQueue *queue, EngineRequest *req);

/* Queues a request that was told to come again (-EAGAIN as its result): it
 * waits for another completion or for the timer. */
void submit_queue_add_later(SubmitQueue *queue, EngineRequest *req);

/* One of the requests taken has come back. Only in a plugged section. */
void submit_queue_completed(SubmitQueue *queue);

/* Calls back with req->ret in the next round of the loop. */
void submit_queue_finish_later(SubmitQueue *queue, EngineRequest *req);

/* Whether somebody comes back for what is queued; see submit-queue.c. */
bool submit_queue_is_attended(const SubmitQueue *queue);

#endif
