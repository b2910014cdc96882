/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a SPEC. A run that fails is reported, its server is left out of the
 * rest of that row, and the exit status says so at the end; a server that
 * hangs costs one timeout.
 */
#include "compare.h"
#include "cmdline.h"
#include "image.h"
#include "report.h"
#include "supervise.h"

#include <errno.h>
#include <gio/gio.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Comparison {
    BenchCompare options;
    BenchSpec *spec;
    GPtrArray *results;        /* BenchRowResult */
    GHashTable *obstacles;     /* image -> why it cannot be had here */
    GHashTable *prepared;      /* images to be released */
    unsigned n_rows, row;      /* selected; at hand */
    unsigned failures, missed;
    bool show_progress;
} Comparison;

static void free_row_result(gpointer data)
{
    BenchRowResult *result = data;

    bench_job_free(result->job);
    for (unsigned i = 0; i < result->n_peers; i++) {
        g_free(result->failures[i]);
        bench_result_free(result->samples[i]);
    }
    g_free(result->failures);
    g_free(result->samples);
    g_free(result->peers);
    g_free(result->servers);
    g_free(result->skipped);
    g_free(result);
}

/* Bare files cannot be had without a file. */
static bool fits(const BenchSpecRow *row, const BenchSpecServer *server)
{
    return bench_matches(server->images, row->image->name) &&
           (server->command || row->image->kind != BENCH_IMAGE_NULL);
}

static BenchRowResult *new_row_result(const Comparison *c,
                                      const BenchSpecRow *row)
{
    BenchRowResult *result = g_new0(BenchRowResult, 1);
    unsigned n = c->spec->servers->len;

    result->row = row;
    result->peers = g_new0(BenchPeer, n);
    result->servers = g_new0(const BenchSpecServer *, n);
    result->failures = g_new0(char *, n);
    result->samples = g_new0(BenchResult *, n);
    for (unsigned i = 0; i < n; i++) {
        const BenchSpecServer *server = c->spec->servers->pdata[i];

        if (bench_matches(row->servers, server->name) &&
            bench_matches(c->options.servers, server->name) &&
            fits(row, server)) {
            result->peers[result->n_peers].name = server->name;
            result->servers[result->n_peers++] = server;
        }
    }
    return result;
}

/* {daemon}: ours, from where this program was built or installed. */
static void add_own_paths(GHashTable *variables)
{
    static const char *const places[] = {
        "vblk-storage-daemon", "../storage-daemon/vblk-storage-daemon"
    };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self ? g_path_get_dirname(self) : g_strdup(".");
    char *daemon = g_strdup("vblk-storage-daemon");

    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(folder, places[i], NULL);

        if (g_file_test(path, G_FILE_TEST_IS_EXECUTABLE)) {
            g_free(daemon);
            daemon = g_steal_pointer(&path);
            break;
        }
    }
    if (g_hash_table_lookup(variables, "daemon")) {
        g_free(daemon);
    } else {
        g_hash_table_insert(variables, g_strdup("daemon"), daemon);
    }
}

/* The command of a target, and the job that goes with it. */
typedef struct PeerRun {
    BenchJob *job;
    char *command, *export;
    char **images;
    BenchTarget target;
} PeerRun;

static void clear_peer_run(PeerRun *run)
{
    bench_job_free(run->job);
    g_free(run->command);
    g_free(run->export);
    g_strfreev(run->images);
}

static bool make_peer_run(const Comparison *c, const BenchSpecRow *row,
                          const BenchSpecServer *server, PeerRun *run,
                          GError **error)
{
    const BenchSpec *spec = c->spec;
    const char *cpus = row->server_cpus ? row->server_cpus
                                        : spec->server_cpus;

    run->job = bench_spec_job(spec, row, server, error);
    if (!run->job) {
        return false;
    }
    if (c->options.runtime_ns) {
        run->job->runtime_ns = c->options.runtime_ns;
    }
    if (server->command) {
        run->command = bench_spec_expand(spec, row, server, server->command,
                                         error);
        run->export = server->export
                          ? bench_spec_expand(spec, row, server,
                                              server->export, error)
                          : NULL;
        if (!run->command || (server->export && !run->export)) {
            return false;
        }
    } else if (cpus) {
        /* what does the I/O runs where the servers run */
        g_free(run->job->cpus_allowed);
        run->job->cpus_allowed = g_strdup(cpus);
    }
    run->images = g_new0(char *, row->exports + 1);
    for (unsigned i = 0; i < row->exports; i++) {
        run->images[i] = bench_image_path(row->image, i);
    }
    run->target = (BenchTarget) {
        .command = run->command,
        .export = run->export,
        .exports = row->exports,
        .images = run->images,
        .server_cpus = cpus,
        .filename = row->image->kind == BENCH_IMAGE_NULL ? NULL
                                                         : run->images[0],
    };
    return true;
}

static BenchResult *run_peer(const Comparison *c, const BenchSpecRow *row,
                             const BenchSpecServer *server, const char *title,
                             GError **error)
{
    BenchOptions options = {
        .syscalls = c->options.syscalls,
        .idle_ns = row->idle_ns,
        .progress_cb = c->show_progress ? bench_progress_show : NULL,
        .opaque = (void *)title,
    };
    BenchResult *result = NULL;
    PeerRun run = { 0 };

    if (make_peer_run(c, row, server, &run, error) &&
        bench_image_settle(row->image, error)) {
        result = bench_run(run.job, &run.target, &options, error);
    }
    clear_peer_run(&run);
    return result;
}

static void note_result(BenchRowResult *result, unsigned peer,
                        BenchResult *sample)
{
    for (unsigned m = 0; m < BENCH_METRICS; m++) {
        BenchSeries *series = &result->peers[peer].series[m];

        series->values[series->n++] = bench_metric_value(m, sample);
    }
    bench_result_free(result->samples[peer]);
    result->samples[peer] = sample;
}

static void complain(const BenchRowResult *result, unsigned peer,
                     const char *what)
{
    if (what) {
        bench_progress_end();
        fprintf(stderr, "vblk-bench: %s: %s: %s\n", result->row->name,
                result->peers[peer].name, what);
    }
}

static void run_round(Comparison *c, BenchRowResult *result, unsigned round)
{
    for (unsigned i = 0; i < result->n_peers; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *title = NULL;
        BenchResult *sample;

        if (result->failures[i]) {
            continue;
        }
        title = g_strdup_printf("row %u/%u %s, round %u/%" G_GUINT64_FORMAT
                                ", %s ", c->row, c->n_rows, result->row->name,
                                round + 1, c->spec->rounds,
                                result->peers[i].name);
        sample = run_peer(c, result->row, result->servers[i], title, &error);
        complain(result, i, sample ? sample->untidy : error->message);
        if (sample) {
            note_result(result, i, sample);
        } else {
            result->failures[i] = g_strdup(error->message);
            c->failures++;
        }
    }
}

/* The row's job without what a server adds to it, for the report. */
static BenchJob *plain_job(const Comparison *c, const BenchSpecRow *row,
                           GError **error)
{
    static char *no_words[] = { NULL };
    static const BenchSpecServer nobody = { .name = (char *)"",
                                            .words = no_words };

    return bench_spec_job(c->spec, row, &nobody, error);
}

static bool run_row(Comparison *c, BenchRowResult *result, GError **error)
{
    const BenchSpecRow *row = result->row;

    result->job = plain_job(c, row, error);
    if (!result->job) {
        return false;
    }
    result->skipped = g_strdup(g_hash_table_lookup(c->obstacles, row->image));
    if (result->skipped) {
        return true;
    }
    if (c->show_progress) {
        fprintf(stderr, "\r\033[Kpreparing image %s", row->image->name);
        fflush(stderr);
    }
    g_hash_table_add(c->prepared, (gpointer)row->image);
    if (!bench_image_prepare(row->image, error)) {
        return false;
    }
    for (unsigned i = 0; i < c->spec->rounds; i++) {
        run_round(c, result, i);
    }
    return true;
}

static bool run_rows(Comparison *c, FILE *out, GError **error)
{
    for (unsigned i = 0; i < c->spec->rows->len; i++) {
        const BenchSpecRow *row = c->spec->rows->pdata[i];
        BenchRowResult *result;

        if (!bench_matches(c->options.rows, row->name)) {
            continue;
        }
        c->row++;
        result = new_row_result(c, row);
        g_ptr_array_add(c->results, result);
        if (!run_row(c, result, error)) {
            return false;
        }
        bench_progress_end();
        c->missed += bench_compare_missed(c->spec, result);
        if (!c->options.json) {
            bench_compare_print_row(out, c->spec, result);
            fflush(out);
        }
    }
    return true;
}

static void find_obstacles(Comparison *c)
{
    for (unsigned i = 0; i < c->spec->images->len; i++) {
        BenchSpecImage *image = c->spec->images->pdata[i];
        char *obstacle = bench_image_obstacle(image);

        if (obstacle) {
            g_hash_table_insert(c->obstacles, image, obstacle);
        }
    }
}

static void release_images(Comparison *c)
{
    GHashTableIter iter;
    gpointer image;

    g_hash_table_iter_init(&iter, c->prepared);
    while (g_hash_table_iter_next(&iter, &image, NULL)) {
        bench_image_release(image);
    }
}

char **bench_compare_goals(const BenchSpec *spec, const BenchSpecRow *row)
{
    GPtrArray *goals = g_ptr_array_new();

    for (unsigned i = 0; spec->goals && spec->goals[i]; i++) {
        g_ptr_array_add(goals, g_strdup(spec->goals[i]));
    }
    for (unsigned i = 0; row->goals && row->goals[i]; i++) {
        g_ptr_array_add(goals, g_strdup(row->goals[i]));
    }
    g_ptr_array_add(goals, NULL);
    return (char **)g_ptr_array_free(goals, FALSE);
}

unsigned bench_compare_missed(const BenchSpec *spec,
                              const BenchRowResult *result)
{
    g_auto(GStrv) goals = bench_compare_goals(spec, result->row);
    unsigned missed = 0;
    double value;

    for (unsigned i = 0; goals[i]; i++) {
        BenchGoal goal = { 0 };

        missed += bench_goal_parse(goals[i], &goal, NULL) &&
                  bench_goal_judge(&goal, result->peers, result->n_peers,
                                   &value) == BENCH_MISSED;
        bench_goal_clear(&goal);
    }
    return missed;
}

const BenchPeer *bench_compare_bare(const BenchRowResult *result)
{
    g_autofree BenchPeer *bare = g_new0(BenchPeer, result->n_peers);
    const BenchPeer *best;
    unsigned n = 0;

    for (unsigned i = 0; i < result->n_peers; i++) {
        if (!result->servers[i]->command) {
            bare[n++] = result->peers[i];
        }
    }
    best = bench_best_peer(bare, n, "*", BENCH_IOPS);
    for (unsigned i = 0; best && i < result->n_peers; i++) {
        if (result->peers[i].name == best->name) {
            return &result->peers[i];
        }
    }
    return NULL;
}

const BenchPeer *bench_compare_reference(const BenchRowResult *result,
                                         unsigned i)
{
    const BenchSpecServer *server = result->servers[i];
    const BenchPeer *best = NULL;

    for (unsigned k = 0; server->against && server->against[k]; k++) {
        const BenchPeer *peer = bench_best_peer(result->peers,
                                                result->n_peers,
                                                server->against[k],
                                                BENCH_IOPS);

        if (peer && (!best ||
                     bench_series_median(&peer->series[BENCH_IOPS]) >
                         bench_series_median(&best->series[BENCH_IOPS]))) {
            best = peer;
        }
    }
    if (!server->against && server->command && i > 0) {
        best = &result->peers[0];
    }
    return best == &result->peers[i] ? NULL : best;
}

/* Before anything is run. */
static bool check_goals(const Comparison *c, GError **error)
{
    for (unsigned i = 0; i < c->spec->rows->len; i++) {
        g_auto(GStrv) goals = bench_compare_goals(c->spec,
                                                  c->spec->rows->pdata[i]);

        for (unsigned k = 0; goals[k]; k++) {
            BenchGoal goal = { 0 };

            if (!bench_goal_parse(goals[k], &goal, error)) {
                return false;
            }
            bench_goal_clear(&goal);
        }
    }
    return true;
}

static bool count_rows(Comparison *c, GError **error)
{
    for (unsigned i = 0; i < c->spec->rows->len; i++) {
        const BenchSpecRow *row = c->spec->rows->pdata[i];

        c->n_rows += bench_matches(c->options.rows, row->name);
    }
    if (c->n_rows == 0) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--rows: no row matches '%s'", c->options.row_text);
    }
    return c->n_rows > 0;
}

static void list_rows(const Comparison *c, FILE *out)
{
    for (unsigned i = 0; i < c->spec->rows->len; i++) {
        const BenchSpecRow *row = c->spec->rows->pdata[i];

        if (bench_matches(c->options.rows, row->name)) {
            fprintf(out, "%s\n", row->name);
        }
    }
}

static void warn_of_load(void)
{
    double load;

    if (getloadavg(&load, 1) == 1 && load > 0.7) {
        fprintf(stderr, "vblk-bench: warning: the machine is busy (load "
                "%.1f): what comes out is noise\n", load);
    }
}

static bool run_all(Comparison *c, FILE *out, GError **error)
{
    bool good;

    if (!c->options.json) {
        bench_compare_print_head(out, c->spec, &c->options);
    }
    warn_of_load();
    find_obstacles(c);
    good = run_rows(c, out, error);
    bench_progress_end();
    release_images(c);
    if (good && c->options.json) {
        bench_compare_print_json(out, c->spec, c->results);
    }
    return good;
}

static bool prepare(Comparison *c, GError **error)
{
    BenchCompare *options = &c->options;

    c->spec = bench_spec_load(options->spec_path, options->set, error);
    if (!c->spec) {
        return false;
    }
    add_own_paths(c->spec->variables);
    if (options->rounds) {
        c->spec->rounds = options->rounds;
    }
    if (options->quick) {
        c->spec->rounds = 1;
        options->runtime_ns = BENCH_NS * 3 / 10;
    }
    c->show_progress = options->eta == BENCH_ON ||
                       (options->eta == BENCH_AUTO && isatty(STDERR_FILENO));
    return check_goals(c, error) && count_rows(c, error);
}

static bool compare(Comparison *c, GError **error)
{
    const char *path = c->options.output;
    FILE *out = stdout;
    bool good = true;

    if (path && !(out = fopen(path, "we"))) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "--output: %s: %s", path, g_strerror(errno));
        return false;
    }
    if (c->options.list) {
        list_rows(c, out);
    } else {
        good = run_all(c, out, error);
    }
    if (out != stdout) {
        fclose(out);
    }
    return good;
}

static bool parse(BenchCompare *options, int argc, char **argv,
                  GError **error)
{
    static const char *const formats[] = { "normal", "json", NULL };
    static const char *const etas[] = { "never", "always", "auto", NULL };
    static const char *const whether[] = { "off", "on", "auto", NULL };
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_autoptr(Options) opts = bench_cmdline_read(argc, argv, words, error);
    g_autofree char *set = NULL;
    int format = 0;

    options->eta = options->syscalls = BENCH_AUTO;
    if (!opts || !options_take_bool(opts, "help", &options->help, error) ||
        options->help) {
        return opts != NULL;
    }
    if (!options_take_str(opts, "rows", &options->row_text, error) ||
        !options_take_str(opts, "servers", &options->server_text, error) ||
        !options_take_str(opts, "set", &set, error) ||
        !options_take_uint(opts, "rounds", BENCH_MAX_ROUNDS, &options->rounds,
                           error) ||
        !bench_take_duration(opts, "runtime", &options->runtime_ns, error) ||
        !options_take_bool(opts, "quick", &options->quick, error) ||
        !options_take_bool(opts, "list", &options->list, error) ||
        !options_take_enum(opts, "output_format", formats, &format, error) ||
        !options_take_enum(opts, "eta", etas, &options->eta, error) ||
        !options_take_enum(opts, "syscalls", whether, &options->syscalls,
                           error) ||
        !options_take_str(opts, "output", &options->output, error) ||
        !options_finish(opts, error)) {
        return false;
    }
    if (words->len != 1) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "compare needs one SPEC, not %u", words->len);
        return false;
    }
    options->json = format == 1;
    options->spec_path = g_strdup(words->pdata[0]);
    options->rows = options->row_text ? g_strsplit(options->row_text, ",", -1)
                                      : NULL;
    options->servers = options->server_text
                           ? g_strsplit(options->server_text, ",", -1)
                           : NULL;
    options->set = set ? g_strsplit(set, ",", -1) : NULL;
    return true;
}

static int fail(GError *error)
{
    bench_progress_end();
    fprintf(stderr, "vblk-bench: error: %s\n", error->message);
    return 1;
}

static int compare_work(void *opaque)
{
    g_autoptr(GError) error = NULL;
    Comparison *c = opaque;
    bool good = compare(c, &error);

    if (error) {
        return fail(error);
    }
    return !good || c->failures ? 1 : c->missed ? 2 : 0;
}

static void compare_tidy(void *opaque)
{
    Comparison *c = opaque;

    for (unsigned i = 0; i < c->spec->images->len; i++) {
        bench_image_abandon(c->spec->images->pdata[i]);
    }
}

static void clear(Comparison *c)
{
    bench_spec_free(c->spec);
    g_ptr_array_unref(c->results);
    g_hash_table_unref(c->obstacles);
    g_hash_table_unref(c->prepared);
    g_strfreev(c->options.rows);
    g_strfreev(c->options.servers);
    g_strfreev(c->options.set);
    g_free(c->options.row_text);
    g_free(c->options.server_text);
    g_free(c->options.output);
    g_free(c->options.spec_path);
}

int bench_compare_main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Comparison c = {
        .results = g_ptr_array_new_with_free_func(free_row_result),
        .obstacles = g_hash_table_new_full(NULL, NULL, NULL, g_free),
        .prepared = g_hash_table_new(NULL, NULL),
    };
    int status;

    if (!parse(&c.options, argc, argv, &error)) {
        status = fail(error);
    } else if (c.options.help) {
        fputs(bench_help, stdout);
        status = 0;
    } else if (!prepare(&c, &error)) {
        status = fail(error);
    } else {
        status = bench_supervise(compare_work, compare_tidy, &c);
    }
    clear(&c);
    return status;
}
