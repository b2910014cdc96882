/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Results as JSON. What fio has lies where fio has it (jobs[], read, write,
 * iops, bw_bytes, clat_ns.percentile), so that scripts for fio can read it.
 */
#include "report.h"
#include "config.h"

static void add_double(JsonBuilder *json, const char *name, double value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_double_value(json, value);
}

static void add_int(JsonBuilder *json, const char *name, int64_t value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_int_value(json, value);
}

static void add_string(JsonBuilder *json, const char *name, const char *value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_string_value(json, value);
}

static void begin(JsonBuilder *json, const char *name)
{
    json_builder_set_member_name(json, name);
    json_builder_begin_object(json);
}

static void add_latency(JsonBuilder *json, const Histogram *h)
{
    begin(json, "clat_ns");
    add_int(json, "min", h->count ? h->min : 0);
    add_int(json, "max", h->max);
    add_double(json, "mean", histogram_mean(h));
    add_double(json, "stddev", histogram_stddev(h));
    add_int(json, "N", h->count);
    begin(json, "percentile");
    for (unsigned i = 0; i < BENCH_PERCENTILES; i++) {
        g_autofree char *name = g_strdup_printf("%.6f", bench_percentiles[i]);

        add_int(json, name, histogram_percentile(h, bench_percentiles[i]));
    }
    json_builder_end_object(json);
    json_builder_end_object(json);
}

static void add_direction(JsonBuilder *json, const char *name,
                          const Histogram *h, const BenchResult *result)
{
    double seconds = result->elapsed_ns / 1e9;

    begin(json, name);
    add_int(json, "io_bytes", h->count * result->bytes);
    add_int(json, "total_ios", h->count);
    add_int(json, "runtime", result->elapsed_ns / 1000000);
    add_double(json, "iops", h->count / seconds);
    add_double(json, "bw_bytes", h->count * result->bytes / seconds);
    add_latency(json, h);
    json_builder_end_object(json);
}

static void add_options(JsonBuilder *json, const BenchJob *job)
{
    static const char *const features[] = { "off", "on", "auto" };

    begin(json, "job options");
    add_string(json, "rw", bench_job_rw_name(job));
    add_int(json, "bs", job->bs);
    add_int(json, "iodepth", job->iodepth);
    add_int(json, "numjobs", job->numjobs);
    add_int(json, "rwmixread", job->rwmixread);
    add_int(json, "iodepth_batch", job->iodepth_batch);
    add_int(json, "iodepth_batch_complete_min", job->complete_min);
    add_int(json, "rate_iops", job->rate_iops);
    add_int(json, "offset", job->offset);
    add_int(json, "size", job->size);
    add_string(json, "bare", bench_job_bare_name(job));
    add_string(json, "packed", features[job->packed]);
    add_string(json, "event_idx", features[job->event_idx]);
    add_string(json, "inflight", features[job->inflight]);
    add_int(json, "poll", job->poll);
    json_builder_end_object(json);
}

static void add_server(JsonBuilder *json, const BenchResult *result)
{
    const ProcessFigures *f = &result->server;
    double n = MAX(bench_result_requests(result), 1);

    begin(json, "server");
    add_int(json, "pid", result->server_pid);
    add_double(json, "cpu_us_per_request", f->cpu_ns / 1e3 / n);
    add_double(json, "cpus", (double)f->cpu_ns / result->elapsed_ns);
    add_int(json, "user_ticks", f->user_ticks);
    add_int(json, "system_ticks", f->system_ticks);
    if (result->syscalls >= 0) {
        add_double(json, "syscalls_per_request", result->syscalls);
    }
    add_double(json, "switches_per_request", f->switches / n);
    add_int(json, "peak_rss_bytes", f->peak_rss);
    add_int(json, "private_rss_bytes", f->private_rss);
    add_int(json, "threads", f->threads);
    if (result->idle_cpu >= 0) {
        add_double(json, "idle_cpus", result->idle_cpu);
    }
    json_builder_end_object(json);
}

static void add_disk(JsonBuilder *json, const DiskFigures *d)
{
    begin(json, "disk");
    add_string(json, "name", d->name);
    add_int(json, "read_ios", d->reads);
    add_int(json, "read_merges", d->reads_merged);
    add_int(json, "read_sectors", d->read_sectors);
    add_int(json, "write_ios", d->writes);
    add_int(json, "write_merges", d->writes_merged);
    add_int(json, "write_sectors", d->write_sectors);
    add_int(json, "busy_ms", d->busy_ms);
    json_builder_end_object(json);
}

void bench_report_json(JsonBuilder *json, const BenchJob *job,
                       const BenchResult *result)
{
    json_builder_begin_object(json);
    add_string(json, "jobname", job->name ? job->name : "");
    add_int(json, "error", 0);
    add_options(json, job);
    add_string(json, "about", result->about);
    add_direction(json, "read", &result->latency[0], result);
    add_direction(json, "write", &result->latency[1], result);
    add_int(json, "verified_ios", result->verified);
    begin(json, "guest");
    add_double(json, "submits_per_request", result->submits);
    add_double(json, "kicks_per_request", result->kicks);
    add_double(json, "interrupts_per_request", result->interrupts);
    add_double(json, "cpu_us_per_request", result->client_cpu_ns / 1e3 /
               MAX(bench_result_requests(result), 1));
    json_builder_end_object(json);
    if (result->has_server) {
        add_server(json, result);
    }
    if (result->has_disk) {
        add_disk(json, &result->disk);
    }
    json_builder_end_object(json);
}

void bench_report_print_json(FILE *out, const BenchJob *job,
                             const BenchResult *result)
{
    g_autoptr(JsonBuilder) json = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;

    json_builder_begin_object(json);
    add_string(json, "vblk-bench version", VBLK_VERSION);
    json_builder_set_member_name(json, "jobs");
    json_builder_begin_array(json);
    bench_report_json(json, job, result);
    json_builder_end_array(json);
    json_builder_end_object(json);
    root = json_builder_get_root(json);
    text = json_to_string(root, TRUE);
    fprintf(out, "%s\n", text);
}
