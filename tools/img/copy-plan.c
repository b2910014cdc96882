/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decides piece by piece what a copy has to do: asks the sources where they
 * have data, zeroes, or nothing of their own. Called by copy.c.
 *
 * The answer for a stretch is kept, and handed out in pieces no larger than a
 * buffer. Stretches end where a block or cluster of the source ends if they
 * can, so that no request begins amid one.
 */
#include "copy.h"

#include <errno.h>

/* What one answer may cover: an error is not far from where it is reported,
 * and a request for zeroes does not take forever. */
#define MAX_STRETCH (1 << 30)

CopySource *copy_source_at(const CopyJob *job, int64_t offset)
{
    unsigned i = 0;

    while (i + 1 < job->n_sources && offset >= job->sources[i + 1].start) {
        i++;
    }
    return &job->sources[i];
}

static int64_t round_down(int64_t value, int64_t unit)
{
    return value - value % unit;
}

/*
 * An answer can be had for less where it cannot for all: asks for less and
 * less. A block that nothing is known of is data: reading it may succeed.
 */
static int coroutine_fn ask_for_less(CopyJob *job, const CopySource *source,
                                     int64_t offset, int64_t bytes,
                                     BlockStatus *status)
{
    unsigned depth;
    int ret;

    do {
        ret = bdrv_co_block_status_above(source->disk->bs, source->base,
                                         offset, bytes, status, &depth);
        if (ret == 0 || !job->salvage) {
            return ret;
        }
        if (bytes <= SPARSE_BLOCK) {
            break;
        }
        bytes = (bytes / 4 + SPARSE_BLOCK - 1) & -(int64_t)SPARSE_BLOCK;
    } while (bytes > 0);
    if (job->salvaged) {
        job->salvaged(job->report_opaque, COPY_STATUS, offset, ret);
    }
    *status = (BlockStatus){ .flags = BLOCK_STATUS_DATA, .bytes = bytes };
    return 0;
}

static CopyKind kind_of(const CopyJob *job, const BlockStatus *status,
                        int64_t offset)
{
    bool behind_backing = job->keep_backing && job->backing_bytes >= 0 &&
                          offset >= job->backing_bytes;

    if (status->flags & BLOCK_STATUS_ZERO) {
        return behind_backing ? COPY_NOTHING : COPY_ZERO;
    }
    if (status->flags & BLOCK_STATUS_DATA) {
        return COPY_DATA;
    }
    return job->keep_backing ? COPY_NOTHING : COPY_DATA;
}

/* Within the source, and on one side of the end of the backing file. */
static int64_t longest(const CopyJob *job, const CopySource *source,
                       int64_t offset)
{
    int64_t bytes = MIN(source->start + img_disk_length(source->disk) - offset,
                        MAX_STRETCH);

    if (job->keep_backing && offset < job->backing_bytes) {
        bytes = MIN(bytes, job->backing_bytes - offset);
    }
    return bytes;
}

static int coroutine_fn ask(CopyJob *job, int64_t offset)
{
    const CopySource *source = copy_source_at(job, offset);
    int64_t bytes = longest(job, source, offset), at = offset - source->start;
    BlockStatus status;
    int64_t tail;
    int ret;

    ret = ask_for_less(job, source, at, bytes, &status);
    if (ret < 0) {
        if (job->failed) {
            job->failed(job->report_opaque, COPY_STATUS, at, ret);
        }
        return ret;
    }
    g_assert(status.bytes > 0);
    bytes = MIN((status.bytes + SPARSE_BLOCK - 1) & -(int64_t)SPARSE_BLOCK,
                bytes);
    tail = (at + bytes) % source->alignment;
    if (bytes > tail) {
        bytes -= tail;
    }
    job->plan.kind = kind_of(job, &status, offset);
    job->plan.end = offset + bytes;
    return 0;
}

/* Clusters are compressed whole: one that has data in any part is data. */
static void take_whole_clusters(const CopyJob *job, CopyPiece *piece)
{
    if (piece->bytes < job->compress_bytes) {
        piece->kind = COPY_DATA;
        piece->bytes = MIN(job->compress_bytes, job->bytes - piece->offset);
    } else {
        piece->bytes = round_down(piece->bytes, job->compress_bytes);
    }
}

int coroutine_fn copy_plan_next(CopyJob *job, int64_t offset,
                                CopyPiece *piece)
{
    bool buffered;
    int ret;

    if (job->plan.end <= offset) {
        ret = ask(job, offset);
        if (ret < 0) {
            return ret;
        }
    }
    piece->kind = job->plan.kind;
    piece->offset = offset;
    piece->bytes = job->plan.end - offset;
    buffered = piece->kind == COPY_DATA ||
               (piece->kind == COPY_ZERO && job->zeroes_as_data);
    if (buffered) {
        piece->bytes = MIN(piece->bytes, job->buffer_bytes);
    }
    if (job->compress_bytes) {
        take_whole_clusters(job, piece);
    }
    return 0;
}
