/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Results for people and for programs.
 */
#ifndef TOOLS_BENCH_REPORT_H
#define TOOLS_BENCH_REPORT_H

#include "run.h"

#include <json-glib/json-glib.h>
#include <stdio.h>

/* Percentiles that every report has. */
#define BENCH_PERCENTILES 14
extern const double bench_percentiles[BENCH_PERCENTILES];

/* A table. Context: main, all of these. */
void bench_report_print(FILE *out, const BenchJob *job,
                        const BenchResult *result);

/* An object like an element of fio's "jobs", and figures of ours beside. */
void bench_report_json(JsonBuilder *json, const BenchJob *job,
                       const BenchResult *result);

/* The whole document of a run of its own. */
void bench_report_print_json(FILE *out, const BenchJob *job,
                             const BenchResult *result);

/* "56.1k"; "219MiB". Callers free. */
char *bench_human_count(double n);
char *bench_human_bytes(double n);

/* The progress line on stderr; a BenchOptions.progress_cb. */
void bench_progress_show(const BenchProgress *progress, void *opaque);
/* Wipes it. */
void bench_progress_end(void);

#endif
