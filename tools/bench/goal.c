/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goals of rows: words to numbers, numbers to a verdict. */
#include "goal.h"

#include <math.h>
#include <string.h>

static bool refuse(const char *text, GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "goal '%s' is not SERVER METRIC >=|<= NUMBER [SERVER]", text);
    return false;
}

bool bench_goal_parse(const char *text, BenchGoal *goal, GError **error)
{
    g_auto(GStrv) words = g_strsplit_set(text, " \t", -1);
    char *word[6] = { NULL };
    unsigned n = 0;
    char *end;

    for (unsigned i = 0; words[i] && n < G_N_ELEMENTS(word); i++) {
        if (*words[i]) {
            word[n++] = words[i];
        }
    }
    if (n < 4 || n > 5 || !bench_metric_find(word[1], &goal->metric) ||
        (strcmp(word[2], ">=") && strcmp(word[2], "<="))) {
        return refuse(text, error);
    }
    goal->factor = g_ascii_strtod(word[3], &end);
    if (*end || end == word[3] || !isfinite(goal->factor)) {
        return refuse(text, error);
    }
    goal->at_least = *word[2] == '>';
    goal->who = g_strdup(word[0]);
    goal->peer = g_strdup(word[4]);
    return true;
}

void bench_goal_clear(BenchGoal *goal)
{
    g_clear_pointer(&goal->who, g_free);
    g_clear_pointer(&goal->peer, g_free);
}

const BenchPeer *bench_best_peer(const BenchPeer *peers, unsigned n,
                                 const char *pattern, BenchMetric metric)
{
    bool more = bench_metric_more_is_better(metric);
    const BenchPeer *best = NULL;
    double best_value = 0;

    for (unsigned i = 0; i < n; i++) {
        double value = bench_series_median(&peers[i].series[metric]);

        if (isnan(value) || !g_pattern_match_simple(pattern, peers[i].name)) {
            continue;
        }
        if (!best || (more ? value > best_value : value < best_value)) {
            best = &peers[i];
            best_value = value;
        }
    }
    return best;
}

BenchVerdict bench_goal_judge(const BenchGoal *goal, const BenchPeer *peers,
                              unsigned n, double *value)
{
    const BenchPeer *who = bench_best_peer(peers, n, goal->who, goal->metric);
    const BenchPeer *peer = goal->peer ? bench_best_peer(peers, n, goal->peer,
                                                         goal->metric) : NULL;

    *value = NAN;
    if (!who || (goal->peer && !peer)) {
        return BENCH_NOT_JUDGED;
    }
    *value = peer ? bench_series_ratio(&who->series[goal->metric],
                                       &peer->series[goal->metric])
                  : bench_series_median(&who->series[goal->metric]);
    if (isnan(*value)) {
        return BENCH_NOT_JUDGED;
    }
    return (goal->at_least ? *value >= goal->factor : *value <= goal->factor)
               ? BENCH_REACHED
               : BENCH_MISSED;
}
