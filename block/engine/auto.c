/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=auto: hands each request to the engine that is right for it. Made by
 * engine.c, one for each context; auto-file.c and auto-meter.c decide.
 *
 * How it works: an AutoFile has a way for each class of requests, which changes
 * from time to time, never for a single request. From there on it is that
 * engine's request as if the user had named it: bursts of a section are
 * collected by the engines' own queues, and a file whose requests go two ways
 * makes two bursts. Nothing is ordered between engines, as nothing is within
 * one: a flush covers writes that have completed, on whatever engine, because
 * fdatasync() does.
 */
#include "auto-file.h"
#include "block/log.h"

typedef struct Auto {
    Engine engine; /* its queue stays empty */
    Engine *threads;
    Engine *asynchronous; /* NULL: nobody has asked */
} Auto;

static int auto_hand_over(SubmitQueue *queue, unsigned max)
{
    g_assert_not_reached();
}

static const SubmitQueueOps auto_queue_ops = {
    .hand_over = auto_hand_over,
    .engine = ENGINE_AUTO,
};

/* Linux AIO first: as fast as io_uring with direct I/O, and what has to wait
 * goes to our workers, and we are told, not to one kernel thread after the
 * other. */
static Engine *find_asynchronous(AioContext *ctx)
{
    g_autoptr(GError) no_native = NULL;
    g_autoptr(GError) no_uring = NULL;
    Engine *engine = engine_try(ctx, ENGINE_NATIVE, &no_native);

    if (!engine) {
        engine = engine_try(ctx, ENGINE_IO_URING, &no_uring);
    }
    if (!engine) {
        log_warn("aio=auto: %s; %s; left with aio=threads",
                 no_native->message, no_uring->message);
        engine = engine_get(ctx, ENGINE_THREADS);
    }
    return engine;
}

Engine *auto_asynchronous(AioContext *ctx)
{
    Auto *a = container_of(engine_get(ctx, ENGINE_AUTO), Auto, engine);

    if (!a->asynchronous) {
        a->asynchronous = find_asynchronous(ctx);
    }
    return a->asynchronous;
}

static Engine *choose(Auto *a, EngineRequest *req)
{
    AutoFile *file = req->auto_file;
    AutoMeter *meter;

    if (!file) {
        return a->threads;
    }
    meter = auto_file_meter(file, req);
    return meter->n_ways == 1 || req->op == ENGINE_FDSYNC
               ? meter->ways[0].engine : auto_meter_submit(meter, req);
}

static void auto_submit(Engine *engine, EngineRequest *req)
{
    Auto *a = container_of(engine, Auto, engine);

    if (req->auto_file && req->auto_file->page_cache &&
        threads_try_page_cache(a->threads, req)) {
        return;
    }
    engine_submit_started(choose(a, req), req);
}

static void auto_free(Engine *engine)
{
    submit_queue_destroy(&engine->queue);
    g_free(container_of(engine, Auto, engine));
}

static const EngineOps auto_ops = {
    .type = ENGINE_AUTO,
    .submit = auto_submit,
    .free = auto_free,
};

Engine *auto_new(AioContext *ctx, GError **error)
{
    Auto *a = g_new0(Auto, 1);

    a->engine.ops = &auto_ops;
    a->threads = engine_get(ctx, ENGINE_THREADS);
    submit_queue_init(&a->engine.queue, ctx, &auto_queue_ops, 1);
    return &a->engine;
}
