/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Submit queue: FIFO between an engine's callers and the kernel.
 *
 * How it works: a request is appended and the flush is asked for at the end
 * of the plugged section. A section's first request is handed over at once,
 * then the next two together, four, eight and so on up to max_batch: the
 * device has work from the first moment, and n requests cost log(n) calls.
 * (Neighbours were merged before they came here.) A flush hands
 * over until the queue is empty or the kernel says "not now". Example: 32
 * requests, the kernel takes 20, refuses the 21st with -EINVAL, takes 5 and
 * then says -EAGAIN: 25 are in flight, one fails from the loop, 6 stay.
 *
 * The invariant: whoever leaves a request queued names who will come back.
 *   - the flush is queued in the plugged section, which is about to end; or
 *   - hand_over is on the stack and looks again before it returns; or
 *   - the queue is blocked because it is full, and a completion calls
 *     submit_queue_completed(), which unblocks and flushes; or
 *   - the queue is blocked, and the timer is armed. With something in flight a
 *     completion will mostly come before that. But what is in flight may be
 *     another file's, whose disk does not answer any more.
 * submit_queue_is_attended() says so, and is asserted where a queue is left.
 */
#include "submit-queue.h"

#include "block/stats.h"
#include "engine-internal.h"

#define DEFAULT_MAX_BATCH 32

/* When the kernel takes nothing and nothing is in flight, memory or slots are
 * held by others: nobody will tell us when that changes. */
#define RETRY_NS (1000 * 1000)

/* With something in flight: longer than a disk that works takes to tell us. */
#define RETRY_BUSY_NS (10 * 1000 * 1000)

static void queue_flush(void *opaque);
static void queue_end_section(void *opaque);
static void queue_retry(void *opaque);
static void queue_call_back(void *opaque);

void submit_queue_init(SubmitQueue *queue, AioContext *ctx,
                       const SubmitQueueOps *ops, unsigned capacity)
{
    static unsigned next_id; /* tells apart the queues that share a stats */
    unsigned max_batch = aio_context_params(ctx)->aio_max_batch;

    *queue = (SubmitQueue) {
        .ops = ops,
        .ctx = ctx,
        .capacity = capacity,
        .max_batch = max_batch ? max_batch : DEFAULT_MAX_BATCH,
        .batch = 1,
        .flush = { .fn = queue_end_section, .opaque = queue },
        .over_bh = aio_bh_new(ctx, queue_call_back, queue),
    };
    queue->serial =
        (uint64_t)__atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED) << 48;
    queue->burst = ++queue->serial;
    queue->tail = &queue->head;
    queue->over_tail = &queue->over;
    aio_timer_init(&queue->retry, ctx, queue_retry, queue);
}

void submit_queue_destroy(SubmitQueue *queue)
{
    g_assert(!queue->queued && !queue->in_flight && !queue->over);
    blk_io_plug_cancel(queue->ctx, &queue->flush);
    aio_timer_disarm(&queue->retry);
    aio_bh_free(queue->over_bh);
}

static bool is_full(const SubmitQueue *queue)
{
    return queue->in_flight >= queue->capacity;
}

bool submit_queue_is_attended(const SubmitQueue *queue)
{
    if (!queue->queued || queue->flush.queued || queue->running) {
        return true;
    }
    return queue->blocked && (is_full(queue) || queue->retry.armed);
}

static bool is_transient(int err)
{
    return err == -EAGAIN || err == -EBUSY || err == -EINTR || err == -ENOMEM;
}

static void queue_append(SubmitQueue *queue, EngineRequest *req)
{
    req->next = NULL;
    *queue->tail = req;
    queue->tail = &req->next;
    queue->queued++;
}

static EngineRequest *queue_pop(SubmitQueue *queue)
{
    EngineRequest *req = queue->head;

    queue->head = req->next;
    if (!queue->head) {
        queue->tail = &queue->head;
    }
    queue->queued--;
    return req;
}

/* The first @n are the kernel's now. Neighbours mostly share their stats, so
 * that counting costs one update per call and not one per request. */
static void queue_taken(SubmitQueue *queue, unsigned n)
{
    uint64_t call = ++queue->serial;

    queue->in_flight += n;
    while (n) {
        EngineStats *stats = queue->head->stats;
        unsigned run = 0;

        do {
            queue_pop(queue);
        } while (++run < n && queue->head->stats == stats);
        engine_stats_burst(stats, queue->burst, run);
        stats_add(&stats->taken[queue->ops->engine], run);
        if (queue->ops->one_call) {
            engine_stats_call(stats, call, run);
        }
        n -= run;
    }
}

static void queue_refuse_first(SubmitQueue *queue, int err)
{
    EngineRequest *req = queue_pop(queue);

    if (queue->ops->refused && queue->ops->refused(queue, req, err)) {
        return;
    }
    req->ret = err;
    submit_queue_finish_later(queue, req);
}

/* Hands over until nothing is left or nothing more is taken. */
static void queue_run(SubmitQueue *queue)
{
    queue->running = true;
    queue->blocked = false;
    while (queue->queued && !queue->blocked) {
        unsigned room = queue->capacity - queue->in_flight;
        unsigned max = MIN(room, queue->queued);
        int n = max ? queue->ops->hand_over(queue, max) : -EAGAIN;

        g_assert(n <= (int)max);
        if (n > 0) {
            queue_taken(queue, n);
        } else if (n == 0 || is_transient(n)) {
            queue->blocked = true;
        } else {
            queue_refuse_first(queue, n);
        }
    }
    queue->running = false;
}

/* Before a blocked queue is left: names who will come back. */
static void queue_attend(SubmitQueue *queue)
{
    if (!queue->blocked || is_full(queue)) {
        aio_timer_disarm(&queue->retry);
    } else if (!queue->retry.armed) {
        aio_timer_arm(&queue->retry, aio_clock_ns() + (queue->in_flight
                                                           ? RETRY_BUSY_NS
                                                           : RETRY_NS));
    }
    g_assert(submit_queue_is_attended(queue));
}

static void queue_flush(void *opaque)
{
    SubmitQueue *queue = opaque;

    if (!queue->running && !queue->blocked && queue->queued) {
        queue_run(queue);
        queue_attend(queue);
    }
}

static void queue_end_section(void *opaque)
{
    SubmitQueue *queue = opaque;

    queue_flush(queue);
    queue->batch = 1;
    queue->burst = ++queue->serial;
}

static void queue_retry(void *opaque)
{
    SubmitQueue *queue = opaque;

    queue->blocked = false;
    queue_flush(queue);
}

/* How many may collect before they go, section or not. */
static unsigned early_at(const SubmitQueue *queue, const EngineRequest *req)
{
    unsigned max_batch = queue->max_batch;

    if (req->max_batch && req->max_batch < max_batch) {
        max_batch = req->max_batch;
    }
    /* Memory does not wait for work, and workers start one by one. */
    if (!queue->ops->one_call || req->flags & ENGINE_IN_MEMORY) {
        return max_batch;
    }
    return MIN(max_batch, queue->batch);
}

void submit_queue_add(SubmitQueue *queue, EngineRequest *req)
{
    queue_append(queue, req);
    /* Also for one that goes at once: the end of the section resets batch. */
    blk_io_plug_call(queue->ctx, &queue->flush);
    if (queue->queued >= early_at(queue, req)) {
        queue->batch = MIN(2 * queue->batch, queue->max_batch);
        queue_flush(queue);
    }
}

void submit_queue_add_later(SubmitQueue *queue, EngineRequest *req)
{
    queue_append(queue, req);
    queue->blocked = true;
    queue_attend(queue);
}

void submit_queue_completed(SubmitQueue *queue)
{
    g_assert(queue->in_flight > 0);
    queue->in_flight--;
    if (queue->blocked) {
        queue->blocked = false;
        blk_io_plug_call(queue->ctx, &queue->flush);
    }
}

void submit_queue_finish_later(SubmitQueue *queue, EngineRequest *req)
{
    req->next = NULL;
    *queue->over_tail = req;
    queue->over_tail = &req->next;
    aio_bh_schedule(queue->over_bh);
}

static void queue_call_back(void *opaque)
{
    SubmitQueue *queue = opaque;
    EngineRequest *req = queue->over, *next;

    queue->over = NULL;
    queue->over_tail = &queue->over;
    blk_io_plug(queue->ctx);
    for (; req; req = next) {
        next = req->next;
        engine_request_finish(req);
    }
    blk_io_unplug(queue->ctx);
}
