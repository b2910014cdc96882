/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The words of a job. Called by cmdline.c and spec.c, which differ in where
 * the words come from; job.h has their meaning.
 */
#include "job.h"

#include <string.h>

static const char *const rw_names[] = {
    "read", "write", "randread", "randwrite", "rw", "randrw", NULL
};
static const char *const verify_names[] = { "none", "meta", "pattern", NULL };
static const char *const bare_names[] = { "no", "libaio", "io_uring", NULL };
static const char *const feature_names[] = { "off", "on", "auto", NULL };

BenchJob *bench_job_new(void)
{
    BenchJob *job = g_new0(BenchJob, 1);

    job->rw = BENCH_READ;
    job->bs = 4096;
    job->iodepth = 1;
    job->numjobs = 1;
    job->rwmixread = 50;
    job->complete_min = 1;
    job->randseed = 1;
    job->do_verify = true;
    job->timeout_ns = 10 * BENCH_NS;
    job->queue_size = 0;
    job->packed = BENCH_OFF;
    job->event_idx = job->indirect = job->inflight = BENCH_AUTO;
    job->poll = true;
    job->direct = true;
    return job;
}

BenchJob *bench_job_copy(const BenchJob *job)
{
    BenchJob *copy = g_memdup2(job, sizeof(*job));

    copy->name = g_strdup(job->name);
    copy->cpus_allowed = g_strdup(job->cpus_allowed);
    return copy;
}

void bench_job_free(BenchJob *job)
{
    if (job) {
        g_free(job->name);
        g_free(job->cpus_allowed);
        g_free(job);
    }
}

static bool parse_duration(const char *text, int64_t *ns)
{
    static const struct {
        const char *suffix;
        double scale;
    } units[] = { { "", 1e9 }, { "s", 1e9 }, { "ms", 1e6 }, { "us", 1e3 },
                  { "m", 60e9 } };
    char *end;
    double number = g_ascii_strtod(text, &end);

    if (!g_ascii_isdigit(*text) || !(number >= 0 && number < 1e6)) {
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
        if (strcmp(end, units[i].suffix) == 0) {
            *ns = number * units[i].scale;
            return true;
        }
    }
    return false;
}

bool bench_take_duration(Options *opts, const char *key, int64_t *ns,
                         GError **error)
{
    g_autofree char *text = NULL;

    if (!options_take_str(opts, key, &text, error)) {
        return false;
    }
    if (!text || parse_duration(text, ns)) {
        return true;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: option '%s' needs a time (a number, and us, ms, s or m "
                "for its unit), not '%s'", options_what(opts), key, text);
    return false;
}

static bool take_pattern(BenchJob *job, Options *opts, GError **error)
{
    return options_take_enum(opts, "rw", rw_names, &job->rw, error) &&
           options_take_size(opts, "bs", &job->bs, error) &&
           options_take_uint(opts, "rwmixread", 100, &job->rwmixread,
                             error) &&
           options_take_size(opts, "offset", &job->offset, error) &&
           options_take_size(opts, "size", &job->size, error) &&
           options_take_uint(opts, "randseed", UINT64_MAX, &job->randseed,
                             error) &&
           options_take_enum(opts, "verify", verify_names, &job->verify,
                             error) &&
           options_take_bool(opts, "do_verify", &job->do_verify, error);
}

static bool take_pace(BenchJob *job, Options *opts, GError **error)
{
    return options_take_uint(opts, "iodepth", BENCH_MAX_DEPTH, &job->iodepth,
                             error) &&
           options_take_uint(opts, "numjobs", BENCH_MAX_JOBS, &job->numjobs,
                             error) &&
           options_take_uint(opts, "iodepth_batch", BENCH_MAX_DEPTH,
                             &job->iodepth_batch, error) &&
           options_take_uint(opts, "iodepth_batch_complete_min",
                             BENCH_MAX_DEPTH, &job->complete_min, error) &&
           options_take_uint(opts, "rate_iops", UINT32_MAX, &job->rate_iops,
                             error) &&
           options_take_uint(opts, "number_ios", INT64_MAX, &job->number_ios,
                             error) &&
           bench_take_duration(opts, "runtime", &job->runtime_ns, error) &&
           bench_take_duration(opts, "ramp_time", &job->ramp_ns, error) &&
           bench_take_duration(opts, "timeout", &job->timeout_ns, error) &&
           options_take_str(opts, "cpus_allowed", &job->cpus_allowed, error);
}

static bool take_guest(BenchJob *job, Options *opts, GError **error)
{
    return options_take_uint(opts, "queue_size", 32768, &job->queue_size,
                             error) &&
           options_take_enum(opts, "packed", feature_names, &job->packed,
                             error) &&
           options_take_enum(opts, "event_idx", feature_names,
                             &job->event_idx, error) &&
           options_take_enum(opts, "indirect", feature_names, &job->indirect,
                             error) &&
           options_take_enum(opts, "inflight", feature_names, &job->inflight,
                             error) &&
           options_take_bool(opts, "hugepages", &job->hugepages, error) &&
           options_take_bool(opts, "poll", &job->poll, error) &&
           options_take_size(opts, "segment", &job->segment, error);
}

static bool take_bare(BenchJob *job, Options *opts, GError **error)
{
    return options_take_enum(opts, "bare", bare_names, &job->bare, error) &&
           options_take_bool(opts, "direct", &job->direct, error) &&
           options_take_bool(opts, "fixedbufs", &job->fixedbufs, error);
}

bool bench_job_take(BenchJob *job, Options *opts, GError **error)
{
    return take_pattern(job, opts, error) && take_pace(job, opts, error) &&
           take_guest(job, opts, error) && take_bare(job, opts, error);
}

static bool refuse(GError **error, const char *why)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s", why);
    return false;
}

static bool check_sizes(const BenchJob *job, GError **error)
{
    if (job->bs < 512 || job->bs % 512 || job->bs > BENCH_MAX_BS) {
        return refuse(error, "option 'bs' needs a multiple of 512, up to 16M");
    }
    if (job->offset % 512) {
        return refuse(error, "option 'offset' needs a multiple of 512");
    }
    if (job->size && job->size < job->bs) {
        return refuse(error, "option 'size' is smaller than one request");
    }
    if (job->segment % 512 ||
        (job->segment && job->bs > 256 * job->segment)) {
        return refuse(error, "option 'segment' needs a multiple of 512 that "
                             "cuts a request into at most 256 pieces");
    }
    return true;
}

static bool check_depth(const BenchJob *job, GError **error)
{
    if (job->iodepth < 1 || job->numjobs < 1) {
        return refuse(error, "options 'iodepth' and 'numjobs' start at 1");
    }
    if (job->iodepth_batch > job->iodepth) {
        return refuse(error, "option 'iodepth_batch' is more than 'iodepth'");
    }
    if (job->complete_min < 1 || job->complete_min > job->iodepth) {
        return refuse(error, "option 'iodepth_batch_complete_min' needs a "
                             "number from 1 to 'iodepth'");
    }
    if (job->queue_size &&
        (job->queue_size < 4 || (job->queue_size & (job->queue_size - 1)))) {
        return refuse(error, "option 'queue_size' needs a power of two from "
                             "4 to 32768");
    }
    return true;
}

bool bench_job_check(BenchJob *job, GError **error)
{
    if (!check_sizes(job, error) || !check_depth(job, error)) {
        return false;
    }
    if (job->timeout_ns < BENCH_NS / 100) {
        return refuse(error, "option 'timeout' needs at least 10 ms");
    }
    if (job->fixedbufs && job->bare != BENCH_BARE_IO_URING) {
        return refuse(error, "option 'fixedbufs' is for bare=io_uring");
    }
    if (!job->runtime_ns && !job->number_ios && !job->size) {
        job->runtime_ns = 10 * BENCH_NS;
    }
    return true;
}

bool bench_job_reads(const BenchJob *job)
{
    return job->rw != BENCH_WRITE && job->rw != BENCH_RANDWRITE;
}

bool bench_job_writes(const BenchJob *job)
{
    return job->rw != BENCH_READ && job->rw != BENCH_RANDREAD;
}

bool bench_job_is_random(const BenchJob *job)
{
    return job->rw == BENCH_RANDREAD || job->rw == BENCH_RANDWRITE ||
           job->rw == BENCH_RANDRW;
}

const char *bench_job_rw_name(const BenchJob *job)
{
    return rw_names[job->rw];
}

const char *bench_job_bare_name(const BenchJob *job)
{
    return bare_names[job->bare];
}
