/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a SPEC says about one row on one server: the job, the command. The
 * later of [compare], [row] and [server] is stronger for words of the job; of
 * variables, those of the row come first.
 */
#include "spec.h"

#include <string.h>

#define MAX_DEPTH 8 /* of variables in variables */

bool bench_matches(char **patterns, const char *name)
{
    if (!patterns) {
        return true;
    }
    for (unsigned i = 0; patterns[i]; i++) {
        if (g_pattern_match_simple(patterns[i], name)) {
            return true;
        }
    }
    return false;
}

static bool take_words(BenchJob *job, char **words, const char *kind,
                       const char *name, GError **error)
{
    g_autofree char *what = g_strdup_printf("[%s%s]", kind, name);
    g_autoptr(Options) opts = options_parse("", what, NULL, error);

    for (unsigned i = 0; opts && words[i]; i += 2) {
        options_set_str(opts, words[i], words[i + 1]);
    }
    return opts && bench_job_take(job, opts, error) &&
           options_finish(opts, error);
}

BenchJob *bench_spec_job(const BenchSpec *spec, const BenchSpecRow *row,
                         const BenchSpecServer *server, GError **error)
{
    g_autoptr(BenchJob) job = bench_job_new();

    if (!take_words(job, spec->words, "compare", "", error) ||
        !take_words(job, row->words, "row ", row->name, error) ||
        !take_words(job, server->words, "server ", server->name, error)) {
        return NULL;
    }
    if (!bench_job_check(job, error)) {
        g_prefix_error(error, "[row %s], [server %s]: ", row->name,
                       server->name);
        return NULL;
    }
    job->name = g_strdup(row->name);
    return g_steal_pointer(&job);
}

static const char *find_variable(const BenchSpec *spec,
                                 const BenchSpecRow *row,
                                 const BenchSpecServer *server,
                                 const char *name)
{
    const char *value = row ? g_hash_table_lookup(row->vars, name) : NULL;

    if (!value && server) {
        value = g_hash_table_lookup(server->vars, name);
    }
    return value ? value : g_hash_table_lookup(spec->variables, name);
}

/* One pass; *changed: something was put in, which may have variables too. */
static char *expand_once(const BenchSpec *spec, const BenchSpecRow *row,
                         const BenchSpecServer *server, const char *text,
                         bool *changed)
{
    GString *out = g_string_new(NULL);
    const char *open, *end;

    *changed = false;
    while ((open = strchr(text, '{')) && (end = strchr(open, '}'))) {
        g_autofree char *name = g_strndup(open + 1, end - open - 1);
        const char *value = find_variable(spec, row, server, name);

        g_string_append_len(out, text, open - text);
        if (value) {
            g_string_append(out, value);
            *changed = true;
            text = end + 1;
        } else {
            g_string_append_c(out, '{');
            text = open + 1;
        }
    }
    g_string_append(out, text);
    return g_string_free(out, FALSE);
}

char *bench_spec_expand(const BenchSpec *spec, const BenchSpecRow *row,
                        const BenchSpecServer *server, const char *text,
                        GError **error)
{
    g_autofree char *now = g_strdup(text);

    for (unsigned i = 0; i < MAX_DEPTH; i++) {
        bool changed;
        char *next = expand_once(spec, row, server, now, &changed);

        g_free(now);
        now = next;
        if (!changed) {
            return g_steal_pointer(&now);
        }
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "'%s': variables name each other without an end", text);
    return NULL;
}
