/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What aio=auto knows of one file in one context. Private to block/engine.
 * All functions: Context: home.
 *
 * auto-file.c says which ways a class of requests could go, auto-meter.c
 * measures what they cost, auto-trial.c judges.
 */
#ifndef BLOCK_ENGINE_AUTO_FILE_H
#define BLOCK_ENGINE_AUTO_FILE_H

#include "auto-trial.h"
#include "engine-internal.h"

#define AUTO_MAX_WAYS 3

/* Requests of more are another class than those of less. */
#define AUTO_LARGE_BYTES (32 * 1024)

typedef enum AutoClass {
    AUTO_READ,
    AUTO_READ_LARGE,
    AUTO_WRITE,
    AUTO_WRITE_LARGE,
    AUTO_CLASS__COUNT
} AutoClass;

/* What a class of requests is like for the moment: bits. What is best for one
 * is not for another, so each has a trial of its own. */
#define AUTO_DEEP       0x1 /* many are under way at a time */
#define AUTO_SEQUENTIAL 0x2 /* most begin where the one before ended */
#define AUTO_REGIMES    4

/* One way to make a request. */
typedef struct AutoWay {
    EngineType type;
    Engine *engine; /* borrowed; NULL until it is wanted */
} AutoWay;

/* What requests of one class cost. */
struct AutoMeter {
    AutoFile *file;
    unsigned n_ways;
    AutoWay ways[AUTO_MAX_WAYS];
    AutoTrial trials[AUTO_REGIMES];
    unsigned regime;    /* whose trial is going on */
    const AutoWay *way; /* of this epoch */
    bool trying;        /* which is not the best known */
    bool open;          /* all ways have their engines */

    unsigned in_flight;
    int64_t busy_since_ns; /* while in_flight */
    int64_t idle_since_ns; /* else */
    /* of this epoch: */
    unsigned blur;      /* to complete before it counts: the last one's */
    unsigned left;      /* to complete until it is over */
    unsigned submitted, deep, sequential;
    uint64_t busy_ns;   /* with something in flight */
    uint64_t weight;    /* what was transferred */
    int64_t next_offset;
};

struct AutoFile {
    AioContext *ctx;
    const char *name;   /* borrowed */
    bool page_cache;    /* reads are looked for there first */
    AutoMeter meters[AUTO_CLASS__COUNT];
};

static inline AutoMeter *auto_file_meter(AutoFile *file,
                                         const EngineRequest *req)
{
    unsigned class = req->op == ENGINE_READ ? AUTO_READ : AUTO_WRITE;

    return &file->meters[class + (req->bytes > AUTO_LARGE_BYTES)];
}

/* --- auto.c --- */

/* What the context has of engines that submit and go on; its thread pool if it
 * has none. */
Engine *auto_asynchronous(AioContext *ctx);

/* --- auto-meter.c --- */

/* The ways are filled in, the first with its engine. */
void auto_meter_init(AutoMeter *meter);

/* Chooses a way for the request and counts it in; auto_meter_finished() in
 * engine-internal.h counts it out. */
Engine *auto_meter_submit(AutoMeter *meter, EngineRequest *req);

/* --- auto-file.c --- */

/* Whether anybody wants to hear: spares the work of wording it. */
bool auto_is_traced(void);


#endif
