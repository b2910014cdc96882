/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that io_submit() would wait for, in a hole or for a lock: see
 * linux-aio-detour.h.
 *
 * How it works: a worker calls io_submit() for a batch of them, without
 * RWF_NOWAIT. It waits for what the file system does first, allocating blocks;
 * the transfer is asynchronous and completes in the context's ring as all
 * others. One worker at a time: first writes take the file's lock one after the
 * other, and workers that queue for it, each with a write of its own that waits
 * for the disk besides, cost several times what the writes do. Meanwhile
 * requests collect for the next batch.
 *
 * Who comes back for what waits: the section's end when no worker is busy, else
 * the worker's result.
 */
#include "linux-aio-detour.h"

#include <errno.h>

#include "block/stats.h"
#include "syscalls.h"

#define BATCH 16

struct LaioDetour {
    SubmitQueue *queue;  /* the engine's: counts what is in flight */
    io_context_t id;
    EngineRequest *head, **tail; /* for the next batches */
    BlkPlugCall flush;
    bool busy;           /* a worker has the batch; then its own are: */
    ThreadPoolWork work;
    struct iocb *batch[BATCH];
    unsigned n;
    unsigned submitted;  /* written by the worker */
    EngineRequest *last; /* of the batch */
    bool last_is_back;
    ssize_t last_res;
};

static void detour_flush(void *opaque);

LaioDetour *laio_detour_new(SubmitQueue *queue, io_context_t id)
{
    LaioDetour *detour = g_new0(LaioDetour, 1);

    detour->queue = queue;
    detour->id = id;
    detour->tail = &detour->head;
    detour->flush = (BlkPlugCall){ .fn = detour_flush, .opaque = detour };
    return detour;
}

void laio_detour_free(LaioDetour *detour)
{
    if (detour) {
        g_assert(!detour->busy && !detour->head);
        blk_io_plug_cancel(detour->queue->ctx, &detour->flush);
        g_free(detour);
    }
}

/* Context: worker */
static int detour_fn(ThreadPoolWork *work)
{
    LaioDetour *detour = container_of(work, LaioDetour, work);
    unsigned done = 0;
    int ret;

    do {
        ret = engine_syscalls->io_submit(detour->id, detour->n - done,
                                         detour->batch + done);
        done += MAX(ret, 0);
    } while (ret > 0 && done < detour->n);
    detour->submitted = done;
    return 0;
}

/* Not in flight after all. A worker that makes the whole transfer is told
 * what is wrong with it, or finds that nothing is. */
static void detour_give_up(LaioDetour *detour, EngineRequest *req)
{
    AioContext *ctx = detour->queue->ctx;

    submit_queue_completed(detour->queue);
    engine_request_forward(engine_get(ctx, ENGINE_THREADS), req);
}

static void detour_cb(ThreadPoolWork *work, int ret)
{
    LaioDetour *detour = container_of(work, LaioDetour, work);
    SubmitQueue *queue = detour->queue;
    EngineRequest *last = detour->last;

    detour->busy = false;
    for (unsigned i = detour->submitted; i < detour->n; i++) {
        detour_give_up(detour, container_of(detour->batch[i], EngineRequest,
                                            iocb));
    }
    blk_io_plug_call(queue->ctx, &detour->flush);
    if (detour->last_is_back) {
        /* may be the end of the file, and of the detour */
        engine_request_came_back(queue, last, detour->last_res);
    }
}

/* Takes the next batch; as far as the engine has room for events. */
static void detour_fill(LaioDetour *detour)
{
    SubmitQueue *queue = detour->queue;
    EngineRequest *req;

    detour->n = 0;
    while ((req = detour->head) && detour->n < BATCH) {
        detour->head = req->next;
        queue->in_flight++;
        if (queue->in_flight > queue->capacity) {
            detour_give_up(detour, req);
            continue;
        }
        stats_add(&req->stats->host_requests, 1);
        stats_add(&req->stats->taken[ENGINE_NATIVE], 1);
        detour->batch[detour->n++] = &req->iocb;
        detour->last = req;
    }
    if (!detour->head) {
        detour->tail = &detour->head;
    }
}

static void detour_flush(void *opaque)
{
    LaioDetour *detour = opaque;
    AioContext *ctx = detour->queue->ctx;

    if (detour->busy) {
        return;
    }
    detour_fill(detour);
    if (!detour->n) {
        return;
    }
    stats_add(&detour->last->stats->submit_calls, 1);
    detour->busy = true;
    detour->last_is_back = false;
    detour->work.fn = detour_fn;
    detour->work.cb = detour_cb;
    thread_pool_submit(thread_pool_get(ctx), &detour->work);
}

void laio_detour_submit(LaioDetour *detour, EngineRequest *req)
{
    req->next = NULL;
    *detour->tail = req;
    detour->tail = &req->next;
    blk_io_plug_call(detour->queue->ctx, &detour->flush);
}

bool laio_detour_holds(LaioDetour *detour, const EngineRequest *req,
                       ssize_t res)
{
    if (!detour || !detour->busy || detour->last != req) {
        return false;
    }
    detour->last_is_back = true;
    detour->last_res = res;
    return true;
}
