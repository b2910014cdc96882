/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=threads: preadv2() and pwritev2() on the context's thread pool. Also
 * where the other engines send what their kernel interface cannot do, and
 * what every engine falls back to.
 *
 * How it works: a plugged section's requests are collected and given to the
 * pool at its end. A worker carries a request through all its attempts. A
 * read that is marked ENGINE_NOWAIT_READ is first tried in the home thread
 * with RWF_NOWAIT, which copies what is in the page cache and never waits for
 * a disk; a miss costs a system call, so misses make the next reads of the
 * same user go to a worker untried, the more of them the more often it missed.
 */
#include <errno.h>

#include "block/stats.h"
#include "engine-internal.h"
#include "syscalls.h"

/* A larger copy is better done by a worker, beside the home thread. */
#define NOWAIT_MAX_BYTES (128 * 1024)
#define NOWAIT_MAX_SKIP  256

typedef struct ThreadsEngine {
    Engine engine;
    ThreadPool *pool;
} ThreadsEngine;

/* One system call. Returns bytes or negative errno. */
static ssize_t threads_attempt(EngineRequest *req, int rw_flags)
{
    unsigned niov;
    const struct iovec *iov = engine_request_iov(req, &niov);
    int64_t offset = engine_request_offset(req);
    ssize_t res = 0;

    req->calls++;
    switch (engine_request_step(req)) {
    case ENGINE_STEP_READ:
        res = engine_syscalls->preadv2(req->fd, iov, niov, offset, rw_flags);
        break;
    case ENGINE_STEP_WRITE:
        rw_flags |= engine_request_dsync(req) ? RWF_DSYNC : 0;
        res = engine_syscalls->pwritev2(req->fd, iov, niov, offset, rw_flags);
        break;
    case ENGINE_STEP_SYNC:
        res = engine_syscalls->fdatasync(req->fd);
        break;
    }
    return res < 0 ? -errno : res;
}

/* Context: worker */
static int threads_work_fn(ThreadPoolWork *work)
{
    EngineRequest *req = container_of(work, EngineRequest, work);
    EngineProgress progress;

    do {
        progress = engine_request_advance(req, threads_attempt(req, 0));
    } while (progress == ENGINE_CONTINUE);
    return progress;
}

/* Each of a worker's calls handed the kernel one request. */
static void threads_count_calls(EngineRequest *req)
{
    stats_add(&req->stats->host_requests, req->calls);
    stats_add(&req->stats->submit_calls, req->calls);
    req->calls = 0;
}

static void threads_work_cb(ThreadPoolWork *work, int ret)
{
    EngineRequest *req = container_of(work, EngineRequest, work);
    SubmitQueue *queue = &req->engine->queue;

    threads_count_calls(req);
    submit_queue_completed(queue);
    if (ret == ENGINE_DONE) {
        engine_request_finish(req);
    } else {
        submit_queue_add_later(queue, req);
    }
}

/* One wake-up for all, also when no section is open. */
static int threads_hand_over(SubmitQueue *queue, unsigned max)
{
    ThreadsEngine *threads = container_of(queue, ThreadsEngine, engine.queue);
    EngineRequest *req = queue->head;

    blk_io_plug(queue->ctx);
    for (unsigned i = 0; i < max; i++, req = req->next) {
        req->work.fn = threads_work_fn;
        req->work.cb = threads_work_cb;
        req->engine = &threads->engine;
        thread_pool_submit(threads->pool, &req->work);
    }
    blk_io_unplug(queue->ctx);
    return max;
}

static const SubmitQueueOps threads_queue_ops = {
    .hand_over = threads_hand_over,
};

/* --- Reads from the page cache --- */

static bool nowait_is_worth_it(EngineRequest *req)
{
    if (!(req->flags & ENGINE_NOWAIT_READ) || req->op != ENGINE_READ ||
        req->bytes > NOWAIT_MAX_BYTES) {
        return false;
    }
    if (req->stats->nowait_skip) {
        req->stats->nowait_skip--;
        return false;
    }
    return true;
}

static void nowait_note(EngineStats *stats, bool hit)
{
    if (hit) {
        stats->nowait_penalty = 0;
    } else {
        stats->nowait_penalty = MIN(2 * stats->nowait_penalty + 1,
                                    NOWAIT_MAX_SKIP);
        stats->nowait_skip = stats->nowait_penalty;
    }
}

/* Returns whether the read is over. What was there of a partly cached read
 * stays read; the rest is for a worker. */
static bool threads_read_inline(EngineRequest *req)
{
    ssize_t res = threads_attempt(req, RWF_NOWAIT);
    bool hit = false;

    /* 0 can be the end of the file, which a worker tells for sure; an error
     * can be the flag's, which a worker does without. */
    if (res > 0) {
        hit = engine_request_advance(req, res) == ENGINE_DONE;
    }
    nowait_note(req->stats, hit);
    threads_count_calls(req);
    return hit;
}

static void threads_submit(Engine *engine, EngineRequest *req)
{
    if (nowait_is_worth_it(req) && threads_read_inline(req)) {
        submit_queue_finish_later(&engine->queue, req);
    } else {
        submit_queue_add(&engine->queue, req);
    }
}

/* --- Set-up --- */

static void threads_free(Engine *engine)
{
    submit_queue_destroy(&engine->queue);
    g_free(container_of(engine, ThreadsEngine, engine));
}

static const EngineOps threads_ops = {
    .type = ENGINE_THREADS,
    .submit = threads_submit,
    .free = threads_free,
};

Engine *threads_engine_new(AioContext *ctx, GError **error)
{
    ThreadsEngine *threads = g_new0(ThreadsEngine, 1);

    threads->engine.ops = &threads_ops;
    threads->pool = thread_pool_get(ctx);
    submit_queue_init(&threads->engine.queue, ctx, &threads_queue_ops,
                      UINT_MAX);
    return &threads->engine;
}
