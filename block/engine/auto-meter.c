/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Measures what requests of one class of a file cost by the way they go, and
 * sends them the way that costs least. Called by auto.c for each request, and
 * by engine-request.c when it is over.
 *
 * How it works: the cost of an epoch is the time in which requests of the class
 * were under way, over what was transferred: with one at a time that is their
 * latency, with many it is the inverse of their throughput. What a guest takes
 * to come again counts, up to a point: a way that makes it wait and work by
 * turns is not as good as one in which it works meanwhile. It takes one look at
 * the round's clock, which is read anyway, when the first request comes and
 * when the last one goes. What is still under way when the way changes is let
 * go by first.
 */
#include "auto-file.h"

#include "block/log.h"
#include "block/stats.h"

/* Requests of an epoch: enough for a mean, few enough for a bad way. */
#define EPOCH_SHALLOW 64
#define EPOCH_DEEP    256

/* A guest that takes no longer to come again is waiting for us. */
#define GAP_NS 100000

/* At so many under way the class is deep. */
#define DEEP 4

/* What a request counts for, besides its bytes. */
#define REQUEST_BYTES 8192

static void epoch_begin(AutoMeter *meter)
{
    AutoTrial *trial = &meter->trials[meter->regime];
    AutoWay *way = &meter->ways[auto_trial_way(trial)];

    meter->blur = way == meter->way ? 0 : meter->in_flight;
    meter->way = way;
    meter->trying = trial->trying;
    meter->left = meter->regime & AUTO_DEEP ? EPOCH_DEEP : EPOCH_SHALLOW;
    meter->submitted = meter->deep = meter->sequential = 0;
    meter->busy_ns = 0;
    meter->weight = 0;
    if (meter->in_flight) {
        meter->busy_since_ns = aio_context_now_ns(meter->file->ctx);
    }
}

void auto_meter_init(AutoMeter *meter)
{
    for (unsigned i = 0; i < AUTO_REGIMES; i++) {
        auto_trial_init(&meter->trials[i], meter->n_ways);
    }
    epoch_begin(meter);
}

static void busy_begin(AutoMeter *meter)
{
    int64_t now_ns = aio_context_now_ns(meter->file->ctx);

    meter->busy_ns += MIN(now_ns - meter->idle_since_ns, GAP_NS);
    meter->busy_since_ns = now_ns;
}

Engine *auto_meter_submit(AutoMeter *meter, EngineRequest *req)
{
    if (meter->in_flight++ == 0) {
        busy_begin(meter);
    }
    meter->submitted++;
    meter->deep += meter->in_flight >= DEEP;
    meter->sequential += req->offset == meter->next_offset;
    meter->next_offset = req->offset + (int64_t)req->bytes;
    if (meter->trying) {
        stats_add(&req->stats->tried, 1);
    }
    req->meter = meter;
    return meter->way->engine;
}

/* --- At the end of an epoch --- */

static unsigned regime_of(const AutoMeter *meter)
{
    unsigned most = meter->submitted - meter->submitted / 4;

    return (meter->deep > meter->submitted / 2 ? AUTO_DEEP : 0) |
           (meter->sequential >= most ? AUTO_SEQUENTIAL : 0);
}

/* Makes the engines of the other ways, now that they are wanted. A way whose
 * engine the kernel refuses is none. */
static void open_ways(AutoMeter *meter)
{
    unsigned n = 0;

    for (unsigned i = 0; i < meter->n_ways; i++) {
        AutoWay *way = &meter->ways[i];

        if (!way->engine) {
            way->engine = engine_try(meter->file->ctx, way->type, NULL);
        }
        if (way->engine) {
            meter->ways[n++] = *way;
        }
    }
    meter->n_ways = n;
    for (unsigned i = 0; i < AUTO_REGIMES; i++) {
        auto_trial_init(&meter->trials[i], n);
    }
    meter->open = true;
}

static void report(const AutoMeter *meter, const AutoTrial *trial,
                   const AutoWay *best, const AutoWay *tried)
{
    static const char *const classes[AUTO_CLASS__COUNT] = {
        [AUTO_READ] = "reads", [AUTO_READ_LARGE] = "large reads",
        [AUTO_WRITE] = "writes", [AUTO_WRITE_LARGE] = "large writes",
    };

    log_info("auto: %s: %s, %s, %s: %s costs %d %% %s than %s: %s",
             meter->file->name, classes[meter - meter->file->meters],
             meter->regime & AUTO_DEEP ? "many at a time" : "few at a time",
             meter->regime & AUTO_SEQUENTIAL ? "sequential" : "random",
             engine_type_name(tried->type), ABS(trial->gain),
             trial->gain < 0 ? "more" : "less", engine_type_name(best->type),
             &meter->ways[trial->best] == tried ? "moved there" : "stayed");
}

/* The epoch has a cost: what follows from it? */
static void judge(AutoMeter *meter, EngineStats *stats)
{
    AutoTrial *trial = &meter->trials[meter->regime];
    const AutoWay *best = &meter->ways[trial->best];
    const AutoWay *tried = &meter->ways[auto_trial_way(trial)];
    AutoVerdict verdict = auto_trial_epoch(trial, meter->busy_ns * 1024 /
                                                  MAX(meter->weight, 1));

    if (verdict == AUTO_MOVED) {
        stats_add(&stats->moved, 1);
    }
    if (verdict != AUTO_GOING_ON && auto_is_traced()) {
        report(meter, trial, best, tried);
    }
    if (!meter->open && !trial->wait) {
        open_ways(meter);
    }
}

/* What the epoch was like is what the next one will be like, most likely. */
static void epoch_over(AutoMeter *meter, EngineStats *stats)
{
    unsigned regime = regime_of(meter);

    if (regime == meter->regime) {
        judge(meter, stats);
    } else {
        auto_trial_interrupt(&meter->trials[meter->regime]);
        auto_trial_interrupt(&meter->trials[regime]);
        meter->regime = regime;
    }
    epoch_begin(meter);
}

void auto_meter_finished(EngineRequest *req)
{
    AutoMeter *meter = req->meter;
    AioContext *ctx = meter->file->ctx;
    bool over = false;

    meter->in_flight--;
    if (meter->blur) {
        if (--meter->blur == 0) {
            meter->busy_since_ns = aio_context_now_ns(ctx);
            meter->busy_ns = 0;
        }
    } else {
        meter->weight += REQUEST_BYTES + req->bytes;
        over = --meter->left == 0;
    }
    if (over || !meter->in_flight) {
        meter->idle_since_ns = aio_context_now_ns(ctx);
        meter->busy_ns += meter->idle_since_ns - meter->busy_since_ns;
    }
    if (over) {
        epoch_over(meter, req->stats);
    }
}
