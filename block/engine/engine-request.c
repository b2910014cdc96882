/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One request's progress from submit to callback, the same on every engine:
 * short transfers go on where they stopped, the end of a file reads as zeroes,
 * a write without progress is out of space, a FUA write whose RWF_DSYNC is
 * refused ends with an fdatasync.
 *
 * Called by home threads and by workers, by one of them at a time. The one
 * rule: nothing is allocated until a transfer was short.
 */
#include "engine-internal.h"

#include <errno.h>

#include "block/iov.h"
#include "block/stats.h"
#include "syscalls.h"

/* Direct I/O moves whole sectors, and none is smaller. */
#define MIN_SECTOR 512

void engine_request_start(EngineRequest *req)
{
    req->next = NULL;
    req->done = 0;
    req->rest = NULL;
    req->rest_niov = 0;
    req->meter = NULL;
    req->calls = 0;
    req->ret = 0;
    req->sync_after = false;
    req->retried = false;
}

static EngineProgress request_over(EngineRequest *req, int ret)
{
    req->ret = ret;
    return ENGINE_DONE;
}

/* The file ends here: what lies behind reads as zeroes. */
static EngineProgress request_eof(EngineRequest *req)
{
    iov_memset(req->iov, req->niov, req->done, 0, req->bytes - req->done);
    return request_over(req, 0);
}

static EngineProgress request_failed(EngineRequest *req, int err)
{
    if (engine_request_dsync(req) && err == -EOPNOTSUPP) {
        req->sync_after = true;
        return ENGINE_CONTINUE;
    }
    /*
     * A direct read that ended inside a sector ended at the end of the file,
     * and going on from there is misaligned: some file systems say so before
     * they see that nothing is left.
     */
    if (req->op == ENGINE_READ && err == -EINVAL && req->done % MIN_SECTOR) {
        return request_eof(req);
    }
    return request_over(req, err);
}

static EngineProgress request_moved(EngineRequest *req, size_t bytes)
{
    req->done += bytes;
    if (req->done == req->bytes) {
        return req->sync_after ? ENGINE_CONTINUE : request_over(req, 0);
    }
    if (!req->rest) {
        req->rest = g_new(struct iovec, req->niov);
    }
    req->rest_niov = iov_slice(req->rest, req->iov, req->niov, req->done,
                               req->bytes - req->done);
    return ENGINE_CONTINUE;
}

EngineProgress engine_request_advance(EngineRequest *req, ssize_t res)
{
    if (G_UNLIKELY(engine_syscalls->result)) {
        res = engine_syscalls->result(req, res);
    }
    if (res == -EINTR) {
        return ENGINE_CONTINUE;
    }
    if (res == -EAGAIN) {
        return ENGINE_WAIT;
    }
    if (engine_request_step(req) == ENGINE_STEP_SYNC) {
        return request_over(req, MIN(res, 0));
    }
    if (res < 0) {
        return request_failed(req, res);
    }
    if ((size_t)res > req->bytes - req->done) {
        return request_over(req, -EIO); /* more than was asked for */
    }
    if (res == 0 && req->done < req->bytes) {
        return req->op == ENGINE_READ ? request_eof(req)
                                      : request_over(req, -ENOSPC);
    }
    return request_moved(req, res);
}

void engine_request_finish(EngineRequest *req)
{
    g_free(req->rest);
    req->rest = NULL;
    if (req->meter) {
        auto_meter_finished(req);
    }
    req->cb(req, req->ret);
}

void engine_request_forward(Engine *engine, EngineRequest *req)
{
    submit_queue_add(&engine->queue, req);
}

void engine_request_came_back(SubmitQueue *queue, EngineRequest *req,
                              ssize_t res)
{
    submit_queue_completed(queue);
    switch (engine_request_advance(req, res)) {
    case ENGINE_DONE:
        engine_request_finish(req);
        break;
    case ENGINE_CONTINUE:
        submit_queue_add(queue, req);
        break;
    case ENGINE_WAIT:
        submit_queue_add_later(queue, req);
        break;
    }
}

/* 1, 2, 3-4, 5-8, ... */
static unsigned batch_bucket(unsigned n)
{
    unsigned bucket = n > 1 ? g_bit_storage(n - 1) : 0;

    return MIN(bucket, ENGINE_BATCH_BUCKETS - 1);
}

/*
 * A burst's size is known when it is over, and nobody tells us when that is
 * for one user of it: the burst moves up through the buckets as it grows.
 */
void engine_stats_burst(EngineStats *stats, uint64_t burst_id, unsigned n)
{
    if (stats->burst_id != burst_id) {
        stats->burst_id = burst_id;
        stats->burst_requests = 0;
        stats_add(&stats->bursts, 1);
    } else {
        stats_add(&stats->batch[batch_bucket(stats->burst_requests)], -1);
    }
    stats->burst_requests += n;
    stats_add(&stats->batch[batch_bucket(stats->burst_requests)], 1);
}

void engine_stats_call(EngineStats *stats, uint64_t call_id, unsigned n)
{
    if (stats->call_id != call_id) {
        stats->call_id = call_id;
        stats_add(&stats->submit_calls, 1);
    }
    stats_add(&stats->host_requests, n);
}
