/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of one run, in the order and words of fio's.
 */
#include "report.h"

const double bench_percentiles[BENCH_PERCENTILES] = {
    1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.95, 99.99
};

char *bench_human_count(double n)
{
    return n < 9999.5 ? g_strdup_printf("%.0f", n)
         : n < 9999500 ? g_strdup_printf("%.1fk", n / 1000)
                       : g_strdup_printf("%.1fM", n / 1e6);
}

char *bench_human_bytes(double n)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    unsigned i = 0;

    while (n >= 9999.5 && i + 1 < G_N_ELEMENTS(units)) {
        n /= 1024;
        i++;
    }
    return g_strdup_printf("%.*f%s", n < 100 && i > 0, n, units[i]);
}

static void print_job(FILE *out, const BenchJob *job,
                      const BenchResult *result)
{
    fprintf(out, "%s%srw=%s bs=%" G_GINT64_FORMAT " iodepth=%"
            G_GUINT64_FORMAT, job->name ? job->name : "",
            job->name ? ": " : "", bench_job_rw_name(job), job->bs,
            job->iodepth);
    if (job->iodepth_batch) {
        fprintf(out, " iodepth_batch=%" G_GUINT64_FORMAT, job->iodepth_batch);
    }
    if (job->complete_min > 1) {
        fprintf(out, " iodepth_batch_complete_min=%" G_GUINT64_FORMAT,
                job->complete_min);
    }
    fprintf(out, " numjobs=%" G_GUINT64_FORMAT ": %s\n", job->numjobs,
            result->about);
}

static void print_latency(FILE *out, const Histogram *h)
{
    fprintf(out, "    latency (us): min=%.1f, mean=%.1f, stdev=%.1f, "
            "max=%.1f\n     ", h->min / 1e3, histogram_mean(h) / 1e3,
            histogram_stddev(h) / 1e3, h->max / 1e3);
    for (unsigned i = 0; i < BENCH_PERCENTILES; i++) {
        if (i == BENCH_PERCENTILES / 2) {
            fprintf(out, "\n     ");
        }
        fprintf(out, " p%g=%.1f", bench_percentiles[i],
                histogram_percentile(h, bench_percentiles[i]) / 1e3);
    }
    fprintf(out, "\n");
}

static void print_direction(FILE *out, const char *name, const Histogram *h,
                            const BenchResult *result)
{
    double seconds = result->elapsed_ns / 1e9;
    g_autofree char *iops = bench_human_count(h->count / seconds);
    g_autofree char *bw = bench_human_bytes(h->count * result->bytes /
                                            seconds);

    if (h->count) {
        fprintf(out, "  %s: IOPS=%s, BW=%s/s, %" G_GUINT64_FORMAT
                " requests in %.2f s\n", name, iops, bw, h->count, seconds);
        print_latency(out, h);
    }
}

static void print_server(FILE *out, const BenchJob *job,
                         const BenchResult *result)
{
    const ProcessFigures *f = &result->server;
    double n = MAX(bench_result_requests(result), 1);
    double ticks = MAX(f->user_ticks + f->system_ticks, 1);
    g_autofree char *peak = bench_human_bytes(f->peak_rss);
    g_autofree char *private = bench_human_bytes(f->private_rss);

    if (job->bare) {
        fprintf(out, "  this process: ");
    } else {
        fprintf(out, "  server %d: ", result->server_pid);
    }
    fprintf(out, "CPU %.3f us/request (%.0f%% user), %.2f CPUs; ",
            f->cpu_ns / n / 1e3, 100 * f->user_ticks / ticks,
            (double)f->cpu_ns / result->elapsed_ns);
    if (result->syscalls >= 0) {
        fprintf(out, "%.3f system calls/request; ", result->syscalls);
    }
    fprintf(out, "%.3f context switches/request\n"
            "    memory: peak %s, private %s; %u threads\n",
            f->switches / n, peak, private, f->threads);
    if (result->idle_cpu >= 0) {
        fprintf(out, "    idle: %.2f%% of a CPU\n", 100 * result->idle_cpu);
    }
}

static void print_disk(FILE *out, const BenchResult *result)
{
    const DiskFigures *d = &result->disk;
    uint64_t requests = d->reads + d->writes;
    double sectors = d->read_sectors + d->write_sectors;

    fprintf(out, "  disk %s: %" G_GUINT64_FORMAT " reads, %" G_GUINT64_FORMAT
            " writes (%.3f for each of the guest's), %.1f sectors each, "
            "busy %.0f%%\n", d->name, d->reads, d->writes,
            requests / (double)MAX(bench_result_requests(result), 1),
            requests ? sectors / requests : 0,
            d->busy_ms * 1e8 / result->elapsed_ns);
}

void bench_report_print(FILE *out, const BenchJob *job,
                        const BenchResult *result)
{
    print_job(out, job, result);
    print_direction(out, "read", &result->latency[0], result);
    print_direction(out, "write", &result->latency[1], result);
    if (job->verify != BENCH_VERIFY_NONE) {
        fprintf(out, "  verify: %" G_GUINT64_FORMAT " requests read back as "
                "they were written\n", result->verified);
    }
    fprintf(out, "  %s: %.3f submissions/request, %.3f %s/request, "
            "%.3f interrupts/request, CPU %.2f us/request\n",
            job->bare ? "submission" : "guest", result->submits,
            result->kicks, job->bare ? "submit calls" : "kicks",
            result->interrupts,
            result->client_cpu_ns / 1e3 /
                MAX(bench_result_requests(result), 1));
    if (result->has_server) {
        print_server(out, job, result);
    }
    if (result->has_disk) {
        print_disk(out, result);
    }
}
