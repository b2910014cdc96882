/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=auto: the ways that requests of a file can go, by what the file is.
 * Called by protocol drivers through block/auto.h.
 *
 * The one rule: no way may wait in the home thread for anything but memory.
 * io_submit() for a file that does not know RWF_NOWAIT could.
 */
#include "auto-file.h"

#include <string.h>

#include "block/log.h"

/* --- What is said about it --- */

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

bool auto_is_traced(void)
{
    return __atomic_load_n(&tracing, __ATOMIC_RELAXED);
}

static void trace_file(const AutoFile *file, const char *why)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const AutoMeter *meter = &file->meters[0];

    for (unsigned i = 0; i < meter->n_ways; i++) {
        g_string_append_printf(text, "%s%s", i == 0   ? ""
                                             : i == 1 ? ", or perhaps "
                                                      : ", ",
                               engine_type_name(meter->ways[i].type));
    }
    log_info("auto: %s: %s: %s", file->name, why, text->str);
}

/* --- Ways --- */

static bool early; /* rings are; relaxed atomic */

void auto_make_rings_early(void)
{
    __atomic_store_n(&early, true, __ATOMIC_RELAXED);
}

typedef struct Ways {
    unsigned n;
    AutoWay way[AUTO_MAX_WAYS];
} Ways;

static void add(Ways *ways, Engine *engine)
{
    ways->way[ways->n++] = (AutoWay){ engine->ops->type, engine };
}

/* Its engine is made when it is to be tried. */
static void add_later(Ways *ways, AioContext *ctx, EngineType type)
{
    if (type == ENGINE_IO_URING && __atomic_load_n(&early, __ATOMIC_RELAXED)) {
        engine_try(ctx, type, NULL); /* if refused, then it will be so later */
    }
    ways->way[ways->n++] = (AutoWay){ type, NULL };
}

/*
 * The threads engine copies in the home thread what is small and fast; native
 * does so with what comes alone, and has a burst copied by one io_submit(),
 * which pays with devices: they see a burst as one. Not io_uring, whose kernel
 * threads would make each copy.
 */
static void add_for_memory(Ways *ways, AioContext *ctx,
                           const AutoFacts *facts)
{
    Engine *native = facts->is_device ? engine_try(ctx, ENGINE_NATIVE, NULL)
                                      : NULL;

    if (native) {
        add(ways, native);
    }
    add(ways, engine_get(ctx, ENGINE_THREADS));
    if (!facts->is_device) {
        add_later(ways, ctx, ENGINE_NATIVE);
    }
}

/*
 * Not the thread pool, unless there is nothing else: native has workers do what
 * would wait, and only that. In no row of docs/study the pool alone was better.
 */
static void add_for_disk(Ways *ways, AioContext *ctx)
{
    Engine *engine = auto_asynchronous(ctx);

    add(ways, engine);
    if (engine->ops->type == ENGINE_NATIVE) {
        add_later(ways, ctx, ENGINE_IO_URING);
    }
}

/* Returns why they are what they are. */
static const char *add_ways(Ways *ways, AioContext *ctx,
                            const AutoFacts *facts)
{
    if (facts->in_memory) {
        add_for_memory(ways, ctx, facts);
        return "it is in memory";
    }
    if (facts->nowait) {
        add_for_disk(ways, ctx);
        return "direct I/O that can say it would wait";
    }
    add(ways, engine_get(ctx, ENGINE_THREADS));
    if (facts->direct) {
        return "direct I/O that may wait anywhere";
    }
    add_later(ways, ctx, ENGINE_IO_URING);
    return "it has a page cache";
}

AutoFile *auto_file_new(AioContext *ctx, const AutoFacts *facts)
{
    AutoFile *file = g_new0(AutoFile, 1);
    Ways ways = { 0 };
    const char *why = add_ways(&ways, ctx, facts);

    file->ctx = ctx;
    file->name = facts->name;
    file->page_cache = !facts->direct && !facts->in_memory;
    for (unsigned i = 0; i < AUTO_CLASS__COUNT; i++) {
        AutoMeter *meter = &file->meters[i];

        meter->file = file;
        meter->n_ways = ways.n;
        memcpy(meter->ways, ways.way, sizeof(ways.way));
        auto_meter_init(meter);
    }
    if (auto_is_traced()) {
        trace_file(file, why);
    }
    return file;
}

void auto_file_free(AutoFile *file)
{
    g_free(file);
}
