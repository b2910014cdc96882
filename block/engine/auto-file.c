/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=auto decides: by what a file is. Called by protocol drivers through
 * block/auto.h; asked for each request by auto.c.
 *
 * The one rule: no way that is chosen may wait in the home thread for anything
 * but memory. io_submit() for a file that does not know RWF_NOWAIT could.
 */
#include "auto-file.h"

#include <string.h>

#include "block/log.h"

static bool tracing; /* relaxed atomic */

bool auto_trace_enable(const char *event)
{
    if (g_str_has_prefix(event, "enable=")) {
        event += strlen("enable=");
    }
    if (strcmp(event, "auto") != 0) {
        return false;
    }
    __atomic_store_n(&tracing, true, __ATOMIC_RELAXED);
    return true;
}

/* A burst is copied by one io_submit(). Not by io_uring, whose kernel threads
 * would make each copy. */
static Engine *for_memory(AioContext *ctx)
{
    Engine *engine = engine_try(ctx, ENGINE_NATIVE, NULL);

    return engine ? engine : engine_get(ctx, ENGINE_THREADS);
}

static Engine *first_choice(AioContext *ctx, const AutoFacts *facts,
                            const char **why)
{
    if (facts->in_memory) {
        *why = "it is in memory";
        return for_memory(ctx);
    }
    if (facts->nowait) {
        *why = "direct I/O that can say it would wait";
        return auto_asynchronous(ctx);
    }
    *why = facts->direct ? "direct I/O that may wait anywhere"
                         : "what is in the page cache is read at once";
    return engine_get(ctx, ENGINE_THREADS);
}

AutoFile *auto_file_new(AioContext *ctx, const AutoFacts *facts)
{
    AutoFile *file = g_new0(AutoFile, 1);
    const char *why;
    Engine *engine = first_choice(ctx, facts, &why);

    for (unsigned i = 0; i < AUTO_CLASS__COUNT; i++) {
        file->way[i] = engine;
    }
    if (__atomic_load_n(&tracing, __ATOMIC_RELAXED)) {
        log_info("auto: %s: %s, as %s", facts->name,
                 engine_type_name(engine->ops->type), why);
    }
    return file;
}

void auto_file_free(AutoFile *file)
{
    g_free(file);
}
