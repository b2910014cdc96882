/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A context, a file and an engine, with requests that remember how they
 * ended: what tests of engines stand on. One at a time per thread. Failures
 * assert.
 */
#ifndef TESTS_LIB_ENGINE_RIG_H
#define TESTS_LIB_ENGINE_RIG_H

#include "block/engine.h"

#define RIG_REQUESTS 128
#define RIG_SLOT     (64 * 1024) /* buffer of each request, page aligned */

typedef struct EngineRig EngineRig;

typedef struct RigRequest {
    EngineRequest req;
    EngineRig *rig;
    uint8_t *buf;           /* RIG_SLOT bytes */
    struct iovec iov[8];
    bool pending;
    int ret;
    unsigned order;         /* of completion, from 1 */
    void (*then)(struct RigRequest *r); /* called last, may submit */
} RigRequest;

struct EngineRig {
    AioContext *ctx;
    Engine *engine;
    AutoFile *auto_file;    /* of ENGINE_AUTO; else NULL */
    int fd;
    char *dir, *path;
    uint8_t *memory;
    EngineStats stats;      /* requests point to it unless told otherwise */
    unsigned pending;
    unsigned completed;
    bool submitting;        /* a callback now would be one inside submit */
    RigRequest requests[RIG_REQUESTS];
};

/*
 * Opens a new file of @bytes (sparse) with O_RDWR | @open_flags, in a new
 * directory below $TMPDIR. NULL after g_test_skip() where the file system has
 * no O_DIRECT, or the kernel no such engine.
 */
EngineRig *eng_new(EngineType type, int64_t bytes, int open_flags);
EngineRig *eng_new_with(const AioParams *params, EngineType type,
                        int64_t bytes, int open_flags);
void eng_free(EngineRig *rig);

/* What ENGINE_AUTO is to take the file for, named by the rig; nothing is under
 * way. For other engines nothing. */
void eng_set_facts(EngineRig *rig, const AutoFacts *facts);

/* The request, ready for @op of @bytes at @offset from or to its buffer. */
RigRequest *eng_prepare(EngineRig *rig, unsigned i, EngineOp op,
                        int64_t offset, size_t bytes);
/* Cuts the buffer into @niov pieces of uneven size, multiples of 512. */
void eng_scatter(RigRequest *r, unsigned niov);
void eng_submit(RigRequest *r);

/* In a plugged section: nothing of it goes early but for a full batch. */
void eng_hold_back(EngineRig *rig);

/* Prepares and submits requests [0, n) in one plugged section: @bytes each,
 * one behind the other from offset 0. */
void eng_burst(EngineRig *rig, unsigned n, EngineOp op, size_t bytes);

/* Runs the loop until nothing is pending. */
void eng_wait(EngineRig *rig);

bool eng_is_threads(const EngineRig *rig);

/* Requests [from, to) ended with @ret; with 0, and the file's pattern. */
void eng_expect(EngineRig *rig, unsigned from, unsigned to, int ret);
void eng_expect_data(EngineRig *rig, unsigned from, unsigned to);

/* Fills the buffer with what belongs at the file's @offset. */
void eng_fill(void *buf, int64_t offset, size_t bytes);
bool eng_is_filled(const void *buf, int64_t offset, size_t bytes);

/* Writes the pattern to the whole file, past the engine. */
void eng_fill_file(EngineRig *rig, int64_t bytes);

typedef struct EngineRigCase {
    const char *name;
    GTestDataFunc fn; /* gets the EngineType */
} EngineRigCase;

/* Adds "/PREFIX/ENGINE/NAME" for each engine and case. */
void eng_add_cases(const char *prefix, const EngineRigCase *cases,
                          unsigned n);

#endif
