/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies images, one behind the other, into one target: what convert and
 * commit do.
 */
#ifndef TOOLS_IMG_COPY_H
#define TOOLS_IMG_COPY_H

#include "disk.h"
#include "rate.h"
#include "sparse.h"

#define COPY_MAX_WORKERS 16
#define COPY_BUFFER_BYTES (2 << 20)
#define COPY_MAX_BUFFER_BYTES (16 << 20)

typedef struct CopySource {
    ImgDisk *disk;
    BlockDriverState *base; /* what only it has counts as nobody's, see
                               keep_backing; NULL: the chain as a whole */
    int64_t start;          /* where it begins in the target; copy_run() */
    int64_t alignment;      /* of its clusters or blocks; copy_run() */
} CopySource;

/* What is done with a part of the target. */
typedef enum CopyKind {
    COPY_DATA,
    COPY_ZERO,
    COPY_NOTHING, /* its backing file shows the same */
} CopyKind;

typedef struct CopyPiece {
    CopyKind kind;
    int64_t offset, bytes; /* in the target */
} CopyPiece;

typedef enum CopyStep { COPY_STATUS, COPY_READ, COPY_WRITE } CopyStep;

/* Something could not be done at @offset of the target, or for COPY_STATUS of
 * @source. Context: the control thread */
typedef void CopyReportFn(void *opaque, CopyStep step, int64_t offset,
                          int ret);

typedef struct CopyJob {
    /* what to copy; borrowed */
    CopySource *sources;
    unsigned n_sources;
    ImgDisk *target;

    /* how */
    unsigned workers;      /* coroutines, at most COPY_MAX_WORKERS */
    int64_t buffer_bytes;  /* of each of them; what one request copies */
    bool in_order;         /* writes come one by one from first to last */
    bool keep_backing;     /* what no source has is not written */
    int64_t backing_bytes; /* with that: the target's backing file, behind
                              whose end are zeroes; -1: unknown */
    bool target_is_zero;   /* zeroes need not be written */
    bool zeroes_as_data;   /* what is zero is written all the same */
    SparseRule sparse;     /* what of data is zero; min_bytes 0: nothing */
    int64_t compress_bytes; /* cluster size of a compressed target, or 0 */
    bool salvage;          /* what cannot be read is zero */
    RateLimit rate;
    CopyReportFn *failed;  /* why the job ended; may be NULL */
    CopyReportFn *salvaged; /* what is being passed over; may be NULL */
    void *report_opaque;

    /* private to copy.c and copy-plan.c */
    int64_t bytes;         /* of all sources */
    int64_t offset;        /* up to which pieces were handed out */
    struct {
        CopyKind kind;
        int64_t end;       /* up to where that was found out */
    } plan;
    CoMutex plan_lock;
    int64_t to_write, written;
    struct CopyWorker *worker;
    unsigned running;
    int64_t turn;          /* offset of the piece that is to be written now */
    Coroutine *waiting;    /* for all workers */
    int ret;               /* of the first step that failed */
} CopyJob;

/* Returns 0, or what the first step that failed returned, which has been
 * reported. Sets the progress on the way. Context: main */
int copy_run(CopyJob *job);

/*
 * What is to be done at @offset and, at most, job->bytes - @offset bytes
 * from there. Offsets come in order, from 0 on. Reports errors.
 */
int coroutine_fn copy_plan_next(CopyJob *job, int64_t offset,
                                CopyPiece *piece);

/* The source at @offset of the target. */
CopySource *copy_source_at(const CopyJob *job, int64_t offset);

#endif
