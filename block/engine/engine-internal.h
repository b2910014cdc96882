/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the engines share among themselves: the object's head, and how one
 * request makes progress whichever engine it is on.
 */
#ifndef BLOCK_ENGINE_INTERNAL_H
#define BLOCK_ENGINE_INTERNAL_H

#include "block/engine.h"
#include "submit-queue.h"

#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))

typedef struct EngineOps {
    EngineType type;
    /* NULL when there is nothing to do but queue. */
    void (*submit)(Engine *engine, EngineRequest *req);
    void (*free)(Engine *engine);
} EngineOps;

/* Head of each engine's own struct. */
struct Engine {
    const EngineOps *ops;
    SubmitQueue queue;
};

/* Makers, one per type; NULL with @error when the kernel refuses. The message
 * says what would help. Context: home */
Engine *threads_engine_new(AioContext *ctx, GError **error);
Engine *laio_new(AioContext *ctx, GError **error);
Engine *luring_new(AioContext *ctx, GError **error);
Engine *auto_new(AioContext *ctx, GError **error);

/* Tries what a ring needs, once. False with @error when that is forbidden.
 * Context: main */
bool luring_is_permitted(GError **error);

/*
 * engine_get(), but NULL with @error when the kernel refuses: nothing is
 * logged or remembered. Context: home
 */
Engine *engine_try(AioContext *ctx, EngineType type, GError **error);

/* engine_submit() for a request that is started. Context: home */
static inline void engine_submit_started(Engine *engine, EngineRequest *req)
{
    if (engine->ops->submit) {
        engine->ops->submit(engine, req);
    } else {
        submit_queue_add(&engine->queue, req);
    }
}

/* --- threads.c: what the home thread does itself --- */

/* What is at hand already. Context: home */
bool threads_has_finished_inline(AioContext *ctx);

/*
 * Tries a started request that is marked ENGINE_IN_MEMORY in the home thread.
 * Returns whether it is over, and completes from the loop; else it goes on
 * with what remains of it on the caller's engine. Context: home
 */
bool threads_try_in_memory(AioContext *ctx, EngineRequest *req);

/*
 * Tries a started request in the home thread if it is a read that is marked
 * ENGINE_NOWAIT_READ, as the threads engine does. Returns whether it is over,
 * and completes from the loop; else what remains of it may go to any engine.
 * Context: home
 */
bool threads_try_page_cache(Engine *threads, EngineRequest *req);

/* --- engine-request.c: one request's way --- */

/* What the next attempt at a request has to do. */
typedef enum EngineStep {
    ENGINE_STEP_READ,
    ENGINE_STEP_WRITE,
    ENGINE_STEP_SYNC, /* a flush, or the end of a FUA write */
} EngineStep;

typedef enum EngineProgress {
    ENGINE_DONE,     /* req->ret is set: finish it */
    ENGINE_CONTINUE, /* attempt the next step */
    ENGINE_WAIT,     /* the same, but not at once */
} EngineProgress;

void engine_request_start(EngineRequest *req);

static inline EngineStep engine_request_step(const EngineRequest *req)
{
    if (req->op == ENGINE_FDSYNC ||
        (req->sync_after && req->done == req->bytes)) {
        return ENGINE_STEP_SYNC;
    }
    return req->op == ENGINE_READ ? ENGINE_STEP_READ : ENGINE_STEP_WRITE;
}

/* What is left to transfer, and where. */
static inline const struct iovec *
engine_request_iov(const EngineRequest *req, unsigned *niov)
{
    *niov = req->rest ? req->rest_niov : req->niov;
    return req->rest ? req->rest : req->iov;
}

static inline int64_t engine_request_offset(const EngineRequest *req)
{
    return req->offset + (int64_t)req->done;
}

/* The write has to carry RWF_DSYNC. */
static inline bool engine_request_dsync(const EngineRequest *req)
{
    return (req->flags & ENGINE_FUA) && !req->sync_after &&
           req->op == ENGINE_WRITE;
}

/* Takes in what an attempt came to: bytes, or negative errno. Context: home,
 * or the worker that made the attempt */
EngineProgress engine_request_advance(EngineRequest *req, ssize_t res);

/* A request with a meter is over. Context: home */
void auto_meter_finished(EngineRequest *req);

/* Calls back with req->ret; the request is its owner's again. Context: home */
void engine_request_finish(EngineRequest *req);

/* Hands a started request to another engine: what is done stays done.
 * Context: home */
void engine_request_forward(Engine *engine, EngineRequest *req);

/* advance, and what follows from it, for a request that came back from
 * @queue's kernel side. In a plugged section. Context: home */
void engine_request_came_back(SubmitQueue *queue, EngineRequest *req,
                              ssize_t res);

/* @n requests of @stats went out in the flush / the system call named by the
 * id, which no other flush or call bears. Context: home */
void engine_stats_burst(EngineStats *stats, uint64_t burst_id, unsigned n);
void engine_stats_call(EngineStats *stats, uint64_t call_id, unsigned n);

#endif
