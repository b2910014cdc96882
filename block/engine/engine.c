/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Engines by name and by context. Protocol drivers get theirs here; makers
 * are in linux-aio.c, io-uring.c and threads.c.
 *
 * The one rule: an engine that the kernel refuses is replaced by the threads
 * engine once and for all, in that context's slot, so that there is one
 * warning and every later call gives the same answer.
 */
#include "block/engine.h"

#include <string.h>

#include "block/log.h"
#include "engine-internal.h"

typedef struct EngineKind {
    const char *name;
    AioSlot slot;
    Engine *(*new)(AioContext *ctx, GError **error);
} EngineKind;

static const EngineKind kinds[] = {
    [ENGINE_THREADS] = { "threads", AIO_SLOT_THREADS, threads_engine_new },
    [ENGINE_NATIVE] = { "native", AIO_SLOT_LINUX_AIO, laio_new },
    [ENGINE_IO_URING] = { "io_uring", AIO_SLOT_IO_URING, luring_new },
    [ENGINE_AUTO] = { "auto", AIO_SLOT_AUTO, auto_new },
};
G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == ENGINE__COUNT);

static void engine_free(void *opaque)
{
    Engine *engine = opaque;

    engine->ops->free(engine);
}

/* A slot that borrows the threads engine, which a slot of its own frees. */
static void engine_keep(void *opaque)
{
}

Engine *engine_try(AioContext *ctx, EngineType type, GError **error)
{
    const EngineKind *kind = &kinds[type];
    Engine *engine;

    assert_home(ctx);
    engine = aio_context_slot(ctx, kind->slot);
    if (engine && engine->ops->type != type) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                    "refused before");
        return NULL;
    }
    if (!engine) {
        engine = kind->new(ctx, error);
        if (engine) {
            aio_context_set_slot(ctx, kind->slot, engine, engine_free);
        }
    }
    return engine;
}

Engine *engine_get(AioContext *ctx, EngineType type)
{
    const EngineKind *kind = &kinds[type];
    g_autoptr(GError) error = NULL;
    Engine *engine;

    assert_home(ctx);
    engine = aio_context_slot(ctx, kind->slot);
    if (engine) {
        return engine;
    }
    engine = engine_try(ctx, type, &error);
    if (engine) {
        return engine;
    }
    log_warn("aio=%s: %s; using aio=threads instead", kind->name,
             error->message);
    engine = engine_get(ctx, ENGINE_THREADS);
    aio_context_set_slot(ctx, kind->slot, engine, engine_keep);
    return engine;
}

bool engine_is_permitted(EngineType type, GError **error)
{
    return type != ENGINE_IO_URING || luring_is_permitted(error);
}

EngineType engine_type(const Engine *engine)
{
    return engine->ops->type;
}

const char *engine_type_name(EngineType type)
{
    return kinds[type].name;
}

bool engine_type_parse(const char *name, EngineType *type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (!strcmp(name, kinds[i].name)) {
            *type = i;
            return true;
        }
    }
    return false;
}

void engine_submit(Engine *engine, EngineRequest *req)
{
    assert_home(engine->queue.ctx);
    engine_request_start(req);
    engine_submit_started(engine, req);
}
