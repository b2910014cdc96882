/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Engines: how a read, write or flush of a file reaches the host's kernel.
 *
 * There is at most one engine of each type per AioContext, made on first use
 * and shared by all files of that context, so that one submit call serves
 * them all. An engine knows file descriptors and requests, nothing above.
 */
#ifndef BLOCK_ENGINE_H
#define BLOCK_ENGINE_H

#include <libaio.h>
#include <sys/uio.h>

#include "block/aio.h"
#include "block/auto.h"
#include "block/nowait.h"
#include "block/thread-pool.h"

typedef struct Engine Engine;
typedef struct EngineRequest EngineRequest;
typedef struct AutoMeter AutoMeter;

typedef enum EngineType {
    ENGINE_THREADS,  /* preadv/pwritev in the thread pool */
    ENGINE_NATIVE,   /* Linux AIO: io_submit */
    ENGINE_IO_URING,
    ENGINE_AUTO,     /* one of these for each request: block/auto.h */
    ENGINE__COUNT
} EngineType;

typedef enum EngineOp {
    ENGINE_READ,
    ENGINE_WRITE,
    ENGINE_FDSYNC, /* fdatasync; iov, offset and bytes are ignored */
} EngineOp;

/* The write is on stable storage when it completes (RWF_DSYNC). */
#define ENGINE_FUA         0x1
/* Buffered file: the threads engine tries the page cache inline first. */
#define ENGINE_NOWAIT_READ 0x2
/* The medium is memory: short transfers are done by the home thread itself,
 * whatever the engine, for as long as none of them takes long. */
#define ENGINE_IN_MEMORY   0x4

#define ENGINE_BATCH_BUCKETS 8 /* 1, 2, 3-4, 5-8, ... 65+ requests */

/*
 * What engines did for one user of them. Written by the home thread of the
 * requests that point to it.
 */
typedef struct EngineStats {
    uint64_t host_requests; /* I/O requests handed to the kernel */
    uint64_t submit_calls;  /* system calls that handed them over */
    uint64_t bursts;        /* plugged sections that had our requests */
    uint64_t would_block;   /* native: came back, as they would have waited */
    uint64_t detours;       /* native: to a worker, tried or not */
    uint64_t inlined;       /* transfers that the home thread made itself */
    uint64_t fixed;         /* io_uring: attempts with registered memory */
    uint64_t taken[ENGINE__COUNT]; /* handed over, by engine */
    uint64_t tried; /* auto: sent another way to see what that costs */
    uint64_t moved; /* auto: times when another way became the usual one */
    uint64_t batch[ENGINE_BATCH_BUCKETS]; /* of bursts, by requests of ours */
    /* private to block/engine: the burst and the call being counted */
    uint64_t burst_id;
    uint64_t call_id;
    unsigned burst_requests;
    /* private to block/engine: how inline transfers went lately */
    unsigned inline_skip;    /* requests that go to the engine untried */
    unsigned inline_penalty; /* what the next miss makes of that */
} EngineStats;

/*
 * One transfer. The caller owns it and keeps it, @iov and the buffers alive
 * until cb. cb gets 0 when all @bytes were transferred, else a negative errno.
 *
 * Short transfers are continued by the engine. A read that meets the end of
 * the file gets zeroes for the rest; a write that makes no progress fails
 * with -ENOSPC.
 */
struct EngineRequest {
    /* set by the caller */
    int fd;
    EngineOp op;
    unsigned flags;          /* ENGINE_FUA, ENGINE_NOWAIT_READ, ... */
    unsigned niov;
    const struct iovec *iov; /* at most IOV_MAX elements, adding up to bytes */
    int64_t offset;          /* in the file */
    size_t bytes;            /* at most ENGINE_MAX_BYTES */
    unsigned max_batch;      /* submit early at this many; 0: the context's */
    NowaitMap *nowait;       /* the file knows RWF_NOWAIT: native never waits
                                in io_submit(). NULL: it may */
    AutoFile *auto_file;     /* for the auto engine, which else knows nothing
                                and takes the threads engine */
    void (*cb)(EngineRequest *req, int ret); /* Context: home, from the loop */
    EngineStats *stats;      /* never NULL */
    /* private to block/engine */
    EngineRequest *next;
    size_t done;             /* bytes transferred so far */
    struct iovec *rest;      /* owned copy of what remains, or NULL */
    unsigned rest_niov;
    AutoMeter *meter;        /* auto: counts it until it is over, or NULL */
    unsigned calls;          /* system calls that workers made for it */
    int ret;                 /* its result, while cb is still to be called */
    bool sync_after;         /* FUA without RWF_DSYNC: fdatasync at the end */
    bool retried;            /* native: was told once to come again */
    union {
        struct iocb iocb;    /* linux-aio */
        struct {             /* threads */
            ThreadPoolWork work;
            Engine *engine;
        };
    };
};

/* MAX_RW_COUNT of the kernel with 4 KiB pages: more is never transferred. */
#define ENGINE_MAX_BYTES ((size_t)0x7ffff000)

/*
 * The engine of @type for @ctx, made when needed. When the kernel refuses it
 * (aio-max-nr exhausted, io_uring forbidden), logs one warning that says why
 * and what would help, and returns the thread pool's; so does every later
 * call for that type and context. Never fails. Context: home
 */
Engine *engine_get(AioContext *ctx, EngineType type);

/*
 * Whether this process may have engines of @type at all: the kernel has it,
 * and neither seccomp nor a sysctl forbids it. That memory or descriptors are
 * short just now is no reason. Asked once, and remembered. False with @error.
 * Context: main
 */
bool engine_is_permitted(EngineType type, GError **error);

EngineType engine_type(const Engine *engine);
const char *engine_type_name(EngineType type); /* "threads", "native", ... */
bool engine_type_parse(const char *name, EngineType *type);

/*
 * Memory that buffers of requests will lie in. Engines may hold its pages from
 * the first request to when it is removed: it stays mapped, and no page is
 * taken out of it to be made anew. Adding the same twice is counted; other
 * memory does not overlap. To be removed when no request uses it.
 * Context: home
 */
void engine_memory_add(AioContext *ctx, void *base, size_t bytes);
void engine_memory_remove(AioContext *ctx, void *base, size_t bytes);

/* Queues the request and submits it, at the end of the plugged section if
 * one is open. Completes from the loop, never from inside. Context: home */
void engine_submit(Engine *engine, EngineRequest *req);

#endif
