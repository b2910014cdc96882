/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Figures of results by name; medians. */
#include "metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool more_is_better;
} metrics[BENCH_METRICS] = {
    [BENCH_IOPS] = { "iops", true },
    [BENCH_MEAN] = { "mean", false },
    [BENCH_P50] = { "p50", false },
    [BENCH_P99] = { "p99", false },
    [BENCH_P999] = { "p99.9", false },
    [BENCH_CPU] = { "cpu", false },
    [BENCH_SYSCALLS] = { "syscalls", false },
    [BENCH_SWITCHES] = { "switches", false },
    [BENCH_HOST_IOS] = { "host_ios", false },
    [BENCH_MEMORY] = { "memory", false },
    [BENCH_PEAK] = { "peak", false },
    [BENCH_IDLE] = { "idle", false },
};

const char *bench_metric_name(BenchMetric metric)
{
    return metrics[metric].name;
}

bool bench_metric_find(const char *name, BenchMetric *metric)
{
    for (unsigned i = 0; i < BENCH_METRICS; i++) {
        if (strcmp(metrics[i].name, name) == 0) {
            *metric = i;
            return true;
        }
    }
    return false;
}

bool bench_metric_more_is_better(BenchMetric metric)
{
    return metrics[metric].more_is_better;
}

static double latency_us(const BenchResult *result, double percent)
{
    g_autofree Histogram *both = g_memdup2(&result->latency[0],
                                           sizeof(*both));

    histogram_merge(both, &result->latency[1]);
    return (percent ? histogram_percentile(both, percent)
                    : histogram_mean(both)) / 1e3;
}

static double host_ios(const BenchResult *result, double requests)
{
    return result->has_disk
               ? (result->disk.reads + result->disk.writes) / requests
               : NAN;
}

double bench_metric_value(BenchMetric metric, const BenchResult *result)
{
    double requests = MAX(bench_result_requests(result), 1);

    switch (metric) {
    case BENCH_IOPS:
        return bench_result_requests(result) / (result->elapsed_ns / 1e9);
    case BENCH_MEAN:
        return latency_us(result, 0);
    case BENCH_P50:
        return latency_us(result, 50);
    case BENCH_P99:
        return latency_us(result, 99);
    case BENCH_P999:
        return latency_us(result, 99.9);
    case BENCH_CPU:
        return result->server.cpu_ns / requests / 1e3;
    case BENCH_SYSCALLS:
        return result->syscalls >= 0 ? result->syscalls : NAN;
    case BENCH_SWITCHES:
        return result->server.switches / requests;
    case BENCH_HOST_IOS:
        return host_ios(result, requests);
    case BENCH_MEMORY:
        return result->server.private_rss;
    case BENCH_PEAK:
        return result->server.peak_rss;
    case BENCH_IDLE:
        return result->idle_cpu >= 0 ? result->idle_cpu : NAN;
    default:
        return NAN;
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static bool is_known(const BenchSeries *series)
{
    for (unsigned i = 0; i < series->n; i++) {
        if (isnan(series->values[i])) {
            return false;
        }
    }
    return series->n > 0;
}

static void sort(BenchSeries *series)
{
    qsort(series->values, series->n, sizeof(double), compare_doubles);
}

double bench_series_median(const BenchSeries *series)
{
    BenchSeries sorted = *series;
    unsigned n = series->n;

    if (!is_known(series)) {
        return NAN;
    }
    sort(&sorted);
    return n % 2 ? sorted.values[n / 2]
                 : (sorted.values[n / 2 - 1] + sorted.values[n / 2]) / 2;
}

double bench_series_min(const BenchSeries *series)
{
    BenchSeries sorted = *series;

    sort(&sorted);
    return is_known(series) ? sorted.values[0] : NAN;
}

double bench_series_max(const BenchSeries *series)
{
    BenchSeries sorted = *series;

    sort(&sorted);
    return is_known(series) ? sorted.values[series->n - 1] : NAN;
}

double bench_series_spread(const BenchSeries *series)
{
    double median = bench_series_median(series);

    return median > 0 ? (bench_series_max(series) - bench_series_min(series)) /
                            2 / median
                      : NAN;
}

double bench_series_ratio(const BenchSeries *a, const BenchSeries *b)
{
    BenchSeries ratios = { .n = MIN(a->n, b->n) };

    for (unsigned i = 0; i < ratios.n; i++) {
        ratios.values[i] = b->values[i] != 0 ? a->values[i] / b->values[i]
                                             : NAN;
    }
    return bench_series_median(&ratios);
}
