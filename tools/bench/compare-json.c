/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A comparison as JSON, for scripts/bench: every round's figures, and for
 * each server the whole report of its last run.
 */
#include "compare.h"
#include "report.h"

#include <math.h>

static void add_string(JsonBuilder *json, const char *name, const char *value)
{
    json_builder_set_member_name(json, name);
    json_builder_add_string_value(json, value);
}

/* JSON has no NAN: null. */
static void add_value(JsonBuilder *json, double value)
{
    if (isfinite(value)) {
        json_builder_add_double_value(json, value);
    } else {
        json_builder_add_null_value(json);
    }
}

static void add_number(JsonBuilder *json, const char *name, double value)
{
    json_builder_set_member_name(json, name);
    add_value(json, value);
}

static void add_series(JsonBuilder *json, const char *name,
                       const BenchSeries *series)
{
    json_builder_set_member_name(json, name);
    json_builder_begin_object(json);
    add_number(json, "median", bench_series_median(series));
    add_number(json, "min", bench_series_min(series));
    add_number(json, "max", bench_series_max(series));
    json_builder_set_member_name(json, "rounds");
    json_builder_begin_array(json);
    for (unsigned i = 0; i < series->n; i++) {
        add_value(json, series->values[i]);
    }
    json_builder_end_array(json);
    json_builder_end_object(json);
}

static void add_ratios(JsonBuilder *json, const char *name,
                       const BenchPeer *peer, const BenchPeer *other)
{
    if (!other || other == peer) {
        return;
    }
    json_builder_set_member_name(json, name);
    json_builder_begin_object(json);
    add_string(json, "server", other->name);
    add_number(json, "iops", bench_series_ratio(&peer->series[BENCH_IOPS],
                                                &other->series[BENCH_IOPS]));
    add_number(json, "cpu", bench_series_ratio(&peer->series[BENCH_CPU],
                                               &other->series[BENCH_CPU]));
    json_builder_end_object(json);
}

static void add_peer(JsonBuilder *json, const BenchRowResult *result,
                     unsigned i)
{
    const BenchPeer *peer = &result->peers[i];

    json_builder_begin_object(json);
    add_string(json, "server", peer->name);
    json_builder_set_member_name(json, "bare");
    json_builder_add_boolean_value(json, !result->servers[i]->command);
    if (result->failures[i]) {
        add_string(json, "error", result->failures[i]);
    }
    for (unsigned m = 0; m < BENCH_METRICS; m++) {
        add_series(json, bench_metric_name(m), &peer->series[m]);
    }
    add_ratios(json, "against", peer, bench_compare_reference(result, i));
    add_ratios(json, "against_bare", peer, bench_compare_bare(result));
    if (result->samples[i]) {
        json_builder_set_member_name(json, "last_run");
        bench_report_json(json, result->job, result->samples[i]);
    }
    json_builder_end_object(json);
}

static void add_goals(JsonBuilder *json, const BenchSpec *spec,
                      const BenchRowResult *result)
{
    static const char *const words[] = {
        [BENCH_REACHED] = "reached", [BENCH_MISSED] = "missed",
        [BENCH_NOT_JUDGED] = "not judged",
    };
    g_auto(GStrv) goals = bench_compare_goals(spec, result->row);

    json_builder_set_member_name(json, "goals");
    json_builder_begin_array(json);
    for (unsigned i = 0; goals[i]; i++) {
        BenchGoal goal = { 0 };
        double value;

        if (!bench_goal_parse(goals[i], &goal, NULL)) {
            continue; /* cannot be: they were checked */
        }
        json_builder_begin_object(json);
        add_string(json, "goal", goals[i]);
        add_string(json, "verdict",
                   words[bench_goal_judge(&goal, result->peers,
                                          result->n_peers, &value)]);
        add_number(json, "value", value);
        json_builder_end_object(json);
        bench_goal_clear(&goal);
    }
    json_builder_end_array(json);
}

static void add_row(JsonBuilder *json, const BenchSpec *spec,
                    const BenchRowResult *result)
{
    json_builder_begin_object(json);
    add_string(json, "row", result->row->name);
    add_string(json, "image", result->row->image->name);
    add_string(json, "rw", bench_job_rw_name(result->job));
    add_number(json, "bs", result->job->bs);
    add_number(json, "iodepth", result->job->iodepth);
    add_number(json, "numjobs", result->job->numjobs);
    add_number(json, "exports", result->row->exports);
    if (result->skipped) {
        add_string(json, "skipped", result->skipped);
    }
    json_builder_set_member_name(json, "servers");
    json_builder_begin_array(json);
    for (unsigned i = 0; i < result->n_peers && !result->skipped; i++) {
        add_peer(json, result, i);
    }
    json_builder_end_array(json);
    add_goals(json, spec, result);
    json_builder_end_object(json);
}

void bench_compare_print_json(FILE *out, const BenchSpec *spec,
                              GPtrArray *results)
{
    g_autoptr(JsonBuilder) json = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;

    json_builder_begin_object(json);
    add_string(json, "title", spec->title ? spec->title : "");
    json_builder_set_member_name(json, "rounds");
    json_builder_add_int_value(json, spec->rounds);
    json_builder_set_member_name(json, "rows");
    json_builder_begin_array(json);
    for (unsigned i = 0; i < results->len; i++) {
        add_row(json, spec, results->pdata[i]);
    }
    json_builder_end_array(json);
    json_builder_end_object(json);
    root = json_builder_get_root(json);
    text = json_to_string(root, TRUE);
    fprintf(out, "%s\n", text);
}
