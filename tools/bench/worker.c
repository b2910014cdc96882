/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works: a step submits what may be submitted, in batches if the job
 * has them, then takes what is complete. The clock is read twice a step, not
 * once a request: a batch starts when it is submitted, and a request ends
 * when its completion is seen.
 */
#include "crew.h"
#include "block/stats.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <time.h>

#define VAIN_LOOKS 1024 /* between looks at the clock */
#define PACE_US    50   /* between looks whether a request is due */

int64_t bench_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * BENCH_NS + ts.tv_nsec;
}

char *bench_io_describe(unsigned queue, const BenchIo *io)
{
    return g_strdup_printf("queue %u: %s of %u bytes at offset %"
                           G_GUINT64_FORMAT, queue,
                           io->write ? "write" : "read", io->bytes,
                           io->offset);
}

static void fail_io(BenchWorker *w, const BenchIo *io, const char *why)
{
    g_autofree char *what = bench_io_describe(w->index, io);

    bench_crew_fail(w->crew, g_error_new(G_IO_ERROR, G_IO_ERROR_FAILED,
                                         "%s: %s", what, why));
}

static const char *error_text(int error)
{
    switch (error) {
    case BENCH_ERROR_NO_STATUS:
        return "completed without a status";
    case BENCH_ERROR_USED_LEN:
        return "the server says it wrote more than there was room for";
    case BENCH_ERROR_SHORT:
        return "came back short";
    case -EOPNOTSUPP:
        return "the request is not supported";
    case -EIO:
        return "I/O error";
    default:
        return g_strerror(-error);
    }
}

static bool has_failed(const BenchWorker *w)
{
    return __atomic_load_n(&w->crew->failed, __ATOMIC_ACQUIRE);
}

static BenchPhase phase(const BenchWorker *w)
{
    return __atomic_load_n(&w->crew->phase, __ATOMIC_RELAXED);
}

/* How many requests this worker issues in all. */
static uint64_t issue_limit(const BenchWorker *w)
{
    const BenchJob *job = w->crew->job;

    if (job->number_ios) {
        return job->number_ios;
    }
    return job->runtime_ns ? UINT64_MAX : w->pattern.n_blocks;
}

/* What may be issued now by rate and limit; *finished: and never more. */
static uint64_t allowance(BenchWorker *w, int64_t now, bool *finished)
{
    const BenchJob *job = w->crew->job;
    uint64_t left = issue_limit(w) - w->issued;
    double due;

    *finished = phase(w) == BENCH_PHASE_STOP || left == 0;
    if (*finished || !job->rate_iops) {
        return *finished ? 0 : left;
    }
    due = (double)(now - w->first_ns) * job->rate_iops / BENCH_NS + 1;
    return due > w->issued ? MIN(left, (uint64_t)due - w->issued) : 0;
}

/* Chooses the next request; false: nothing more to check. */
static bool next_io(BenchWorker *w, BenchIo *io)
{
    if (w->checking) {
        return bench_verifier_next_written(w->verifier, &w->check_block, io);
    }
    do {
        bench_pattern_next(&w->pattern, io);
    } while (w->verifier && bench_verifier_is_busy(w->verifier, io));
    return true;
}

/* Up to @n requests as one submission. Returns how many. */
static unsigned submit_batch(BenchWorker *w, unsigned n)
{
    GError *error = NULL;
    int64_t now;
    unsigned i;

    for (i = 0; i < n; i++) {
        BenchIo *io = w->idle[w->n_idle - 1 - i];

        if (!next_io(w, io)) {
            break;
        }
        if (w->verifier) {
            bench_verifier_begin(w->verifier, io);
        }
        io->busy = true;
        w->queue->ops->add(w->queue, io);
    }
    now = bench_now_ns();
    for (unsigned k = 0; k < i; k++) {
        w->idle[--w->n_idle]->start_ns = now;
    }
    w->issued += i;
    if (i > 0 && !w->queue->ops->submit(w->queue, &error)) {
        bench_crew_fail(w->crew, error);
    }
    return i;
}

/* Returns whether this was the last round to submit anything. */
static bool submit_round(BenchWorker *w, int64_t now)
{
    unsigned batch = w->crew->job->iodepth_batch;
    bool finished = false;
    uint64_t may = w->checking ? UINT64_MAX : allowance(w, now, &finished);
    unsigned n = MIN(w->n_idle, may);

    while (n > 0 && !has_failed(w)) {
        unsigned want = batch && !w->checking ? batch : n;
        unsigned got;

        if (want > n && may > n) {
            break; /* the rest of the batch has to come back first */
        }
        got = submit_batch(w, MIN(want, n));
        if (got < MIN(want, n)) {
            return true;
        }
        n -= got;
        may -= got;
    }
    return finished;
}

static void finish_io(BenchWorker *w, BenchIo *io, int64_t now)
{
    g_autofree char *wrong = NULL;

    io->busy = false;
    w->idle[w->n_idle++] = io;
    if (io->error) {
        fail_io(w, io, error_text(io->error));
        return;
    }
    if (w->verifier) {
        wrong = bench_verifier_end(w->verifier, io);
        if (wrong) {
            g_autofree char *why = g_strconcat("wrong data: ", wrong, NULL);

            fail_io(w, io, why);
        }
        stats_add(&w->verified,
                  !io->write && !wrong &&
                  (io->generation || !bench_job_writes(w->crew->job)));
    }
    if (w->checking) {
        return;
    }
    stats_add(&w->completed[io->write], 1);
    if (phase(w) == BENCH_PHASE_MEASURE) {
        histogram_add(&w->histograms[io->write], now - io->start_ns);
    }
}

static unsigned in_flight(const BenchWorker *w)
{
    return w->queue->depth - w->n_idle;
}

static void check_progress(BenchWorker *w, int64_t now)
{
    const BenchIo *oldest;
    g_autofree char *why = NULL;

    if (now - w->progress_ns < w->crew->job->timeout_ns) {
        return;
    }
    oldest = bench_worker_oldest(w);
    why = g_strdup_printf("no answer for %.1f s, with %u requests in flight",
                          (double)(now - oldest->start_ns) / BENCH_NS,
                          in_flight(w));
    fail_io(w, oldest, why);
}

static void reap(BenchWorker *w, int64_t timeout_ns)
{
    GError *error = NULL;
    int n = w->queue->ops->reap(w->queue, w->need, w->done, w->queue->depth,
                                timeout_ns, &error);
    int64_t now;

    /* Looking in vain is to be cheap: the clock can wait. */
    if (n == 0 && timeout_ns == 0 && ++w->n_vain % VAIN_LOOKS) {
        return;
    }
    now = bench_now_ns();
    if (n < 0) {
        bench_crew_fail(w->crew, error);
        return;
    }
    for (int i = 0; i < n; i++) {
        finish_io(w, w->done[i], now);
    }
    if (n > 0) {
        w->progress_ns = now;
    } else {
        check_progress(w, now);
    }
    w->need -= MIN(w->need, (unsigned)n);
}

void bench_worker_begin(BenchWorker *w)
{
    GError *error = NULL;

    if (!w->queue->ops->attach(w->queue, &error)) {
        bench_crew_fail(w->crew, error);
    }
    w->first_ns = w->progress_ns = bench_now_ns();
}

/* What comes next when all is done: reading it back, or the end. */
static bool next_task(BenchWorker *w)
{
    const BenchJob *job = w->crew->job;

    if (!w->checking) {
        bench_crew_count_down(w->crew, &w->crew->n_running);
        if (w->verifier && bench_job_writes(job) && job->do_verify &&
            !has_failed(w)) {
            w->checking = true;
            w->last = false;
            return true;
        }
    }
    bench_crew_count_down(w->crew, &w->crew->n_alive);
    return false;
}

bool bench_worker_step(BenchWorker *w, int64_t timeout_ns)
{
    const BenchJob *job = w->crew->job;

    if (has_failed(w)) {
        return next_task(w);
    }
    if (w->need == 0 && !w->last) {
        w->last = submit_round(w, bench_now_ns());
    }
    if (in_flight(w) > 0) {
        if (w->need == 0) {
            w->need = w->checking ? 1 : MIN(job->complete_min, in_flight(w));
        }
        reap(w, timeout_ns);
        return true;
    }
    if (w->last) {
        return next_task(w);
    }
    /* nothing is due yet: rate_iops */
    w->progress_ns = bench_now_ns();
    if (!job->poll && timeout_ns) {
        g_usleep(PACE_US);
    }
    return true;
}

bool bench_worker_init(BenchWorker *w, BenchCrew *crew, unsigned index,
                       BenchDisk *disk, unsigned queue, GError **error)
{
    const BenchJob *job = crew->job;

    memset(w, 0, sizeof(*w));
    w->crew = crew;
    w->queue = disk->queues[queue];
    w->index = index;
    w->n_idle = w->queue->depth;
    w->idle = g_memdup2(w->queue->ios, sizeof(*w->idle) * w->n_idle);
    w->done = g_new(BenchIo *, w->n_idle);
    histogram_reset(&w->histograms[0]);
    histogram_reset(&w->histograms[1]);
    if (!bench_pattern_init(&w->pattern, job, queue, disk->capacity, error)) {
        return false;
    }
    if (job->verify != BENCH_VERIFY_NONE) {
        w->verifier = bench_verifier_new(job, &w->pattern, error);
    }
    return job->verify == BENCH_VERIFY_NONE || w->verifier;
}

void bench_worker_fini(BenchWorker *w)
{
    bench_verifier_free(w->verifier);
    g_free(w->idle);
    g_free(w->done);
}

const BenchIo *bench_worker_oldest(const BenchWorker *w)
{
    const BenchIo *oldest = NULL;

    for (unsigned i = 0; i < w->queue->depth; i++) {
        const BenchIo *io = w->queue->ios[i];

        if (io->busy && (!oldest || io->start_ns < oldest->start_ns)) {
            oldest = io;
        }
    }
    return oldest;
}
