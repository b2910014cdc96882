/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A comparison as tables: medians over the rounds, how far they lay apart,
 * and quotients with the server's reference and with the best bare engine.
 */
#include "compare.h"
#include "report.h"

#include <math.h>
#include <string.h>
#include <sys/utsname.h>

/* "-" for what is not known. */
static void print_number(FILE *out, int width, int digits, double value)
{
    if (isnan(value)) {
        fprintf(out, " %*s", width, "-");
    } else {
        fprintf(out, " %*.*f", width, digits, value);
    }
}

/* Few digits for large numbers, more for small ones. */
static void print_figure(FILE *out, int width, double value)
{
    print_number(out, width, value < 10 ? 3 : value < 100 ? 2 : 1, value);
}

static void print_text(FILE *out, int width, char *text)
{
    fprintf(out, " %*s", width, text);
    g_free(text);
}

static double median(const BenchPeer *peer, BenchMetric metric)
{
    return bench_series_median(&peer->series[metric]);
}

static double ratio(const BenchPeer *peer, const BenchPeer *other,
                    BenchMetric metric)
{
    return other ? bench_series_ratio(&peer->series[metric],
                                      &other->series[metric])
                 : NAN;
}

void bench_compare_print_head(FILE *out, const BenchSpec *spec,
                              const BenchCompare *compare)
{
    struct utsname name;

    if (uname(&name) == 0) {
        fprintf(out, "%s: %" G_GUINT64_FORMAT " interleaved rounds, Linux "
                "%s, %u CPUs\n", spec->title ? spec->title
                                             : compare->spec_path,
                spec->rounds, name.release, g_get_num_processors());
    }
    fprintf(out, "Medians; +- is half of the range. The ratios are those of "
            "each round to the server\nnamed beside them and to the best "
            "bare engine.\n");
}

static void print_job(FILE *out, const BenchRowResult *result)
{
    const BenchJob *job = result->job;

    fprintf(out, "\n%s: rw=%s bs=%" G_GINT64_FORMAT " iodepth=%"
            G_GUINT64_FORMAT, result->row->name, bench_job_rw_name(job),
            job->bs, job->iodepth);
    if (job->iodepth_batch) {
        fprintf(out, " iodepth_batch=%" G_GUINT64_FORMAT, job->iodepth_batch);
    }
    if (job->numjobs > 1) {
        fprintf(out, " numjobs=%" G_GUINT64_FORMAT, job->numjobs);
    }
    if (result->row->exports > 1) {
        fprintf(out, " on %" G_GUINT64_FORMAT " exports",
                result->row->exports);
    }
    fprintf(out, ", image %s\n", result->row->image->name);
}

static int name_width(const BenchRowResult *result)
{
    int width = 6;

    for (unsigned i = 0; i < result->n_peers; i++) {
        width = MAX(width, (int)strlen(result->peers[i].name));
    }
    return width;
}

static void print_peer(FILE *out, const BenchRowResult *result, unsigned i,
                       int width)
{
    const BenchPeer *peer = &result->peers[i];
    const BenchPeer *reference = bench_compare_reference(result, i);
    const BenchPeer *bare = bench_compare_bare(result);

    fprintf(out, "  %-*s", width, peer->name);
    print_text(out, 9, bench_human_count(median(peer, BENCH_IOPS)));
    fprintf(out, " %4.1f%%",
            100 * bench_series_spread(&peer->series[BENCH_IOPS]));
    print_figure(out, 8, median(peer, BENCH_P50));
    print_figure(out, 8, median(peer, BENCH_P99));
    print_figure(out, 8, median(peer, BENCH_CPU));
    print_figure(out, 7, median(peer, BENCH_SYSCALLS));
    print_figure(out, 7, median(peer, BENCH_HOST_IOS));
    print_text(out, 8, bench_human_bytes(median(peer, BENCH_MEMORY)));
    print_number(out, 6, 2, bare == peer ? NAN
                                         : ratio(peer, bare, BENCH_IOPS));
    print_number(out, 6, 2, ratio(peer, reference, BENCH_IOPS));
    print_number(out, 6, 2, ratio(peer, reference, BENCH_CPU));
    fprintf(out, "  %s\n", reference ? reference->name : "");
}

static void print_peers(FILE *out, const BenchRowResult *result)
{
    int width = name_width(result);

    fprintf(out, "  %-*s %9s %5s %8s %8s %8s %7s %7s %8s %6s %6s %6s\n",
            width, "server", "IOPS", "+-", "p50 us", "p99 us", "CPU us",
            "calls", "host", "memory", "/bare", "IOPS/", "CPU/");
    for (unsigned i = 0; i < result->n_peers; i++) {
        if (result->peers[i].series[BENCH_IOPS].n) {
            print_peer(out, result, i, width);
        }
        if (result->failures[i]) {
            fprintf(out, "  %-*s FAILED: %s\n", width, result->peers[i].name,
                    result->failures[i]);
        }
    }
}

static void print_goals(FILE *out, const BenchSpec *spec,
                            const BenchRowResult *result)
{
    g_auto(GStrv) goals = bench_compare_goals(spec, result->row);
    static const char *const words[] = {
        [BENCH_REACHED] = "reached", [BENCH_MISSED] = "MISSED",
        [BENCH_NOT_JUDGED] = "not judged",
    };

    for (unsigned i = 0; goals[i]; i++) {
        BenchGoal goal = { 0 };
        BenchVerdict verdict;
        double value;

        if (!bench_goal_parse(goals[i], &goal, NULL)) {
            continue; /* cannot be: they were checked */
        }
        verdict = bench_goal_judge(&goal, result->peers, result->n_peers,
                                   &value);
        fprintf(out, "  goal %s: %s", goals[i], words[verdict]);
        if (!isnan(value)) {
            fprintf(out, ", %.3g", value);
        }
        fprintf(out, "\n");
        bench_goal_clear(&goal);
    }
}

void bench_compare_print_row(FILE *out, const BenchSpec *spec,
                             const BenchRowResult *result)
{
    print_job(out, result);
    if (result->skipped) {
        fprintf(out, "  skipped: %s\n", result->skipped);
        return;
    }
    print_peers(out, result);
    return print_goals(out, spec, result);
}
