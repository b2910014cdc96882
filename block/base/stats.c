/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Adding up and printing statistics. The counting itself is inline in
 * stats.h; here is what runs when somebody asks.
 */
#include "block/stats.h"

static const char *const op_names[] = {
    [BLOCK_READ] = "read",
    [BLOCK_WRITE] = "write",
    [BLOCK_FLUSH] = "flush",
    [BLOCK_DISCARD] = "discard",
    [BLOCK_WRITE_ZEROES] = "write_zeroes",
};

void block_stats_latency(BlockStats *stats, int64_t ns)
{
    uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
    unsigned bucket = us ? 63 - __builtin_clzll(us) : 0;

    if (bucket >= BLOCK_LATENCY_BUCKETS) {
        bucket = BLOCK_LATENCY_BUCKETS - 1;
    }
    stats_add(&stats->latency[bucket], 1);
    stats_add(&stats->latency_ns, ns > 0 ? ns : 0);
}

static void add_all(uint64_t *sum, const uint64_t *counters, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        stats_add(&sum[i], stats_read(&counters[i]));
    }
}

void block_stats_accumulate(BlockStats *sum, const BlockStats *stats)
{
    EngineStats *engine = &sum->engine;

    add_all(sum->requests, stats->requests, BLOCK_OP__COUNT);
    add_all(sum->bytes, stats->bytes, BLOCK_OP__COUNT);
    add_all(sum->latency, stats->latency, BLOCK_LATENCY_BUCKETS);
    add_all(engine->batch, stats->engine.batch, ENGINE_BATCH_BUCKETS);

    stats_add(&sum->merged, stats_read(&stats->merged));
    stats_add(&sum->errors, stats_read(&stats->errors));
    stats_add(&sum->invalid, stats_read(&stats->invalid));
    stats_add(&sum->latency_ns, stats_read(&stats->latency_ns));
    stats_add(&sum->notifications, stats_read(&stats->notifications));
    stats_add(&sum->kicks, stats_read(&stats->kicks));
    stats_add(&engine->host_requests,
              stats_read(&stats->engine.host_requests));
    stats_add(&engine->submit_calls, stats_read(&stats->engine.submit_calls));
    stats_add(&engine->bursts, stats_read(&stats->engine.bursts));
    stats_add(&engine->would_block, stats_read(&stats->engine.would_block));
    stats_add(&engine->detours, stats_read(&stats->engine.detours));
    stats_add(&engine->inlined, stats_read(&stats->engine.inlined));
    stats_add(&engine->fixed, stats_read(&stats->engine.fixed));
    stats_add(&engine->tried, stats_read(&stats->engine.tried));
    stats_add(&engine->moved, stats_read(&stats->engine.moved));
    add_all(engine->taken, stats->engine.taken, ENGINE__COUNT);
}

static uint64_t sum_of(const uint64_t *counters, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        sum += counters[i];
    }
    return sum;
}

char *block_stats_line(const BlockStats *stats)
{
    GString *line = g_string_new(NULL);
    const char *plural[] = { "reads", "writes", "flushes", "discards",
                             "write_zeroes" };

    g_string_append_printf(line, "requests=%" G_GUINT64_FORMAT,
                           sum_of(stats->requests, BLOCK_OP__COUNT));
    for (unsigned op = 0; op < BLOCK_OP__COUNT; op++) {
        g_string_append_printf(line, " %s=%" G_GUINT64_FORMAT, plural[op],
                               stats->requests[op]);
    }
    for (unsigned op = 0; op < BLOCK_OP__COUNT; op++) {
        if (op != BLOCK_FLUSH) {
            g_string_append_printf(line, " %s_bytes=%" G_GUINT64_FORMAT,
                                   op_names[op], stats->bytes[op]);
        }
    }
    g_string_append_printf(
        line,
        " merged=%" G_GUINT64_FORMAT " host_requests=%" G_GUINT64_FORMAT
        " submit_calls=%" G_GUINT64_FORMAT " bursts=%" G_GUINT64_FORMAT
        " threads=%" G_GUINT64_FORMAT " native=%" G_GUINT64_FORMAT
        " io_uring=%" G_GUINT64_FORMAT " inline=%" G_GUINT64_FORMAT
        " fixed=%" G_GUINT64_FORMAT
        " tried=%" G_GUINT64_FORMAT " moved=%" G_GUINT64_FORMAT
        " would_block=%" G_GUINT64_FORMAT " detours=%" G_GUINT64_FORMAT
        " kicks=%" G_GUINT64_FORMAT " notifications=%" G_GUINT64_FORMAT
        " errors=%" G_GUINT64_FORMAT " invalid=%" G_GUINT64_FORMAT,
        stats->merged, stats->engine.host_requests,
        stats->engine.submit_calls, stats->engine.bursts,
        stats->engine.taken[ENGINE_THREADS],
        stats->engine.taken[ENGINE_NATIVE],
        stats->engine.taken[ENGINE_IO_URING], stats->engine.inlined,
        stats->engine.fixed,
        stats->engine.tried, stats->engine.moved,
        stats->engine.would_block, stats->engine.detours, stats->kicks,
        stats->notifications, stats->errors, stats->invalid);
    return g_string_free(line, FALSE);
}

/* One line of a histogram: label, count, share as a bar. */
static void append_bucket(GString *text, const char *label, uint64_t count,
                          uint64_t total)
{
    unsigned width = total ? (unsigned)(count * 40 / total) : 0;

    g_string_append_printf(text, "  %14s %12" G_GUINT64_FORMAT " %.*s\n",
                           label, count, (int)width,
                           "########################################");
}

static void append_batches(GString *text, const EngineStats *engine)
{
    static const char *const labels[ENGINE_BATCH_BUCKETS] = {
        "1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65+",
    };
    uint64_t total = sum_of(engine->batch, ENGINE_BATCH_BUCKETS);

    g_string_append(text, "  requests per burst:\n");
    for (unsigned i = 0; i < ENGINE_BATCH_BUCKETS; i++) {
        if (engine->batch[i]) {
            append_bucket(text, labels[i], engine->batch[i], total);
        }
    }
}

char *block_stats_histograms(const BlockStats *stats)
{
    GString *text = g_string_new(NULL);
    uint64_t total = sum_of(stats->latency, BLOCK_LATENCY_BUCKETS);

    append_batches(text, &stats->engine);
    g_string_append(text, "  latency, microseconds:\n");
    for (unsigned i = 0; i < BLOCK_LATENCY_BUCKETS; i++) {
        if (stats->latency[i]) {
            g_autofree char *label = g_strdup_printf(
                "%u-%u", i ? 1u << i : 0, (2u << i) - 1);

            append_bucket(text, label, stats->latency[i], total);
        }
    }
    return g_string_free(text, FALSE);
}
