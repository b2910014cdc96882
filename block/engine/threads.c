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
 *
 * What lies in memory (ENGINE_IN_MEMORY) is copied by the home thread, too,
 * for all engines: the copy takes a microsecond, and to have it made by a
 * worker, ours or the kernel's, takes several. Memory may be swapped out: a
 * copy that took long counts as a miss.
 */
#include <errno.h>

#include "block/stats.h"
#include "engine-internal.h"
#include "syscalls.h"

/* A larger copy is better done by a worker, beside the home thread. */
#define INLINE_MAX_BYTES (128 * 1024)
#define INLINE_MAX_SKIP  256

/* No copy of so little takes so long. */
#define INLINE_MAX_NS    (200 * 1000)

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
    .engine = ENGINE_THREADS,
};

/* --- What the home thread does itself --- */

static bool inline_is_worth_it(EngineRequest *req)
{
    if (req->bytes > INLINE_MAX_BYTES) {
        return false;
    }
    if (req->stats->inline_skip) {
        req->stats->inline_skip--;
        return false;
    }
    return true;
}

static void inline_note(EngineStats *stats, bool hit)
{
    if (hit) {
        stats->inline_penalty = 0;
    } else {
        stats->inline_penalty = MIN(2 * stats->inline_penalty + 1,
                                    INLINE_MAX_SKIP);
        stats->inline_skip = stats->inline_penalty;
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
    inline_note(req->stats, hit);
    threads_count_calls(req);
    return hit;
}

static bool threads_copy_inline(EngineRequest *req)
{
    int64_t start_ns = engine_syscalls->clock_ns();
    EngineProgress progress;

    do {
        progress = engine_request_advance(req, threads_attempt(req, 0));
    } while (progress == ENGINE_CONTINUE);
    inline_note(req->stats,
                engine_syscalls->clock_ns() - start_ns < INLINE_MAX_NS);
    threads_count_calls(req);
    return progress == ENGINE_DONE;
}

static bool threads_try_inline(Engine *engine, EngineRequest *req)
{
    bool over = false;

    if (req->flags & ENGINE_IN_MEMORY && req->op != ENGINE_FDSYNC) {
        over = inline_is_worth_it(req) && threads_copy_inline(req);
    } else if (req->flags & ENGINE_NOWAIT_READ && req->op == ENGINE_READ) {
        over = inline_is_worth_it(req) && threads_read_inline(req);
    }
    if (over) {
        stats_add(&req->stats->inlined, 1);
        submit_queue_finish_later(&engine->queue, req);
    }
    return over;
}

bool threads_has_finished_inline(AioContext *ctx)
{
    return engine_get(ctx, ENGINE_THREADS)->queue.over;
}

bool threads_try_in_memory(AioContext *ctx, EngineRequest *req)
{
    return (req->flags & ENGINE_IN_MEMORY) &&
           threads_try_inline(engine_get(ctx, ENGINE_THREADS), req);
}

bool threads_try_page_cache(Engine *threads, EngineRequest *req)
{
    if (threads_try_inline(threads, req)) {
        return true;
    }
    req->flags &= ~ENGINE_NOWAIT_READ; /* nobody need try again */
    return false;
}

static void threads_submit(Engine *engine, EngineRequest *req)
{
    if (!threads_try_inline(engine, req)) {
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
