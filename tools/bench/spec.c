/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a SPEC. spec-job.c joins what its parts say about one job.
 *
 * How it works: a group's keys are sorted into those that the SPEC itself
 * knows, "var.NAME", and words of a job, which stay text until row and server
 * are joined. A row whose words have lists becomes several here: "rw=read;
 * write" in [row seq] makes seq-read and seq-write.
 */
#include "spec.h"

#include <gio/gio.h>
#include <string.h>

#define MAX_ROWS 1000

static const char *const kind_names[] = {
    "null", "file", "tmpfs", "zram", "block", "given", NULL
};

typedef struct SpecReader {
    BenchSpec *spec;
    GKeyFile *file;
    GError *error;
} SpecReader;

static bool refuse(GError **error, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

static bool refuse(GError **error, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (error) {
        *error = g_error_new_valist(G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                                    fmt, args);
    }
    va_end(args);
    return false;
}

static GHashTable *new_vars(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

/* "a; b" -> { "a", "b" }, or NULL for NULL. */
static char **split_list(const char *text)
{
    g_auto(GStrv) parts = text ? g_strsplit(text, ";", -1) : NULL;
    GPtrArray *list = g_ptr_array_new();

    for (unsigned i = 0; parts && parts[i]; i++) {
        if (*g_strstrip(parts[i])) {
            g_ptr_array_add(list, g_strdup(parts[i]));
        }
    }
    g_ptr_array_add(list, NULL);
    if (!text) {
        g_ptr_array_free(list, TRUE);
        return NULL;
    }
    return (char **)g_ptr_array_free(list, FALSE);
}

/*
 * The keys of @group as Options, without those "var.NAME", which go into
 * @vars. NULL and an error when it is there twice, or not at all.
 */
static Options *read_group(SpecReader *r, const char *group, GHashTable *vars)
{
    g_autofree char *what = g_strdup_printf("[%s]", group);
    g_auto(GStrv) keys = g_key_file_get_keys(r->file, group, NULL, NULL);
    Options *opts = options_parse("", what, NULL, NULL);

    for (unsigned i = 0; keys && keys[i]; i++) {
        g_autofree char *key = g_strdup(keys[i]);
        char *value = g_key_file_get_value(r->file, group, keys[i], NULL);

        if (g_str_has_prefix(key, "var.")) {
            g_hash_table_replace(vars, g_strdup(key + 4), value);
            continue;
        }
        g_strdelimit(key, "-.", '_');
        options_set_str(opts, key, value);
        g_free(value);
    }
    return opts;
}

/* What is left of @group for the job, as alternating keys and values. */
static char **left_words(SpecReader *r, const char *group, Options *opts)
{
    g_auto(GStrv) keys = g_key_file_get_keys(r->file, group, NULL, NULL);
    GPtrArray *words = g_ptr_array_new();

    for (unsigned i = 0; keys && keys[i]; i++) {
        g_autofree char *key = g_strdup(keys[i]);
        char *value = NULL;

        g_strdelimit(key, "-.", '_');
        if (options_has(opts, key) &&
            options_take_str(opts, key, &value, NULL)) {
            g_ptr_array_add(words, g_strdup(key));
            g_ptr_array_add(words, value);
        }
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

static bool take_list(Options *opts, const char *key, char ***list,
                      GError **error)
{
    g_autofree char *text = NULL;

    if (!options_take_str(opts, key, &text, error)) {
        return false;
    }
    if (text) {
        g_strfreev(*list);
        *list = split_list(text);
    }
    return true;
}

static bool read_compare(SpecReader *r)
{
    BenchSpec *spec = r->spec;
    g_autoptr(Options) opts = read_group(r, "compare", spec->variables);
    g_autofree char *include = NULL; /* read_text() has seen to it */
    bool good;

    good = options_take_str(opts, "include", &include, &r->error) &&
           options_take_str(opts, "title", &spec->title, &r->error) &&
           options_take_uint(opts, "rounds", 100, &spec->rounds, &r->error) &&
           options_take_str(opts, "server_cpus", &spec->server_cpus,
                            &r->error) &&
           take_list(opts, "goals", &spec->goals, &r->error);
    spec->words = left_words(r, "compare", opts);
    return good;
}

static bool read_variables(SpecReader *r, char **set)
{
    g_auto(GStrv) keys = g_key_file_get_keys(r->file, "variables", NULL,
                                             NULL);

    for (unsigned i = 0; keys && keys[i]; i++) {
        g_hash_table_replace(r->spec->variables, g_strdup(keys[i]),
                             g_key_file_get_value(r->file, "variables",
                                                  keys[i], NULL));
    }
    for (unsigned i = 0; set && set[i]; i++) {
        const char *equals = strchr(set[i], '=');

        if (!equals || equals == set[i]) {
            return refuse(&r->error, "--set: '%s' is not NAME=VALUE", set[i]);
        }
        g_hash_table_replace(r->spec->variables,
                             g_strndup(set[i], equals - set[i]),
                             g_strdup(equals + 1));
    }
    return true;
}

static bool read_image(SpecReader *r, const char *group, const char *name)
{
    BenchSpecImage *image = g_new0(BenchSpecImage, 1);
    g_autoptr(Options) opts = read_group(r, group, NULL);

    image->name = g_strdup(name);
    image->count = 1;
    g_ptr_array_add(r->spec->images, image);
    if (!options_take_enum(opts, "kind", kind_names, &image->kind,
                           &r->error) ||
        !options_take_str(opts, "path", &image->path, &r->error) ||
        !options_take_size(opts, "size", &image->size, &r->error) ||
        !options_take_uint(opts, "count", 64, &image->count, &r->error) ||
        !options_take_bool(opts, "sparse", &image->sparse, &r->error) ||
        !options_take_bool(opts, "warm", &image->warm, &r->error) ||
        !options_take_str(opts, "qcow2", &image->qcow2, &r->error) ||
        !options_take_size(opts, "qcow2_size", &image->qcow2_size,
                           &r->error) ||
        !options_take_bool(opts, "qcow2_fresh", &image->qcow2_fresh,
                           &r->error) ||
        !options_finish(opts, &r->error)) {
        return false;
    }
    if (image->kind != BENCH_IMAGE_NULL && !image->path) {
        return refuse(&r->error, "[%s]: option 'path' is missing", group);
    }
    if (image->kind != BENCH_IMAGE_BLOCK && image->kind != BENCH_IMAGE_NULL &&
        image->kind != BENCH_IMAGE_GIVEN && image->size < 1 << 20) {
        return refuse(&r->error, "[%s]: option 'size' needs at least 1M",
                      group);
    }
    return true;
}

static bool read_server(SpecReader *r, const char *group, const char *name)
{
    BenchSpecServer *server = g_new0(BenchSpecServer, 1);
    g_autoptr(Options) opts = NULL;

    server->name = g_strdup(name);
    server->vars = new_vars();
    g_ptr_array_add(r->spec->servers, server);
    opts = read_group(r, group, server->vars);
    if (!options_take_str(opts, "command", &server->command, &r->error) ||
        !options_take_str(opts, "export", &server->export, &r->error) ||
        !take_list(opts, "against", &server->against, &r->error) ||
        !take_list(opts, "images", &server->images, &r->error)) {
        return false;
    }
    if (!server->command == !options_has(opts, "bare")) {
        return refuse(&r->error, "[%s]: one of 'command' and 'bare' is "
                      "needed", group);
    }
    server->words = left_words(r, group, opts);
    return true;
}

static const BenchSpecImage *find_image(const BenchSpec *spec,
                                        const char *name)
{
    for (unsigned i = 0; i < spec->images->len; i++) {
        const BenchSpecImage *image = spec->images->pdata[i];

        if (strcmp(image->name, name) == 0) {
            return image;
        }
    }
    return NULL;
}

static bool fill_row(SpecReader *r, const char *group, BenchSpecRow *row)
{
    g_autoptr(Options) opts = read_group(r, group, row->vars);
    g_autofree char *image = NULL;

    if (!options_need_str(opts, "image", &image, &r->error) ||
        !take_list(opts, "servers", &row->servers, &r->error) ||
        !take_list(opts, "goals", &row->goals, &r->error) ||
        !options_take_str(opts, "server_cpus", &row->server_cpus,
                          &r->error) ||
        !bench_take_duration(opts, "idle_time", &row->idle_ns, &r->error)) {
        return false;
    }
    row->image = find_image(r->spec, image);
    if (!row->image) {
        return refuse(&r->error, "[%s]: there is no [image %s]", group,
                      image);
    }
    row->words = left_words(r, group, opts);
    return true;
}

static void free_row(gpointer data)
{
    BenchSpecRow *row = data;

    g_free(row->name);
    g_free(row->server_cpus);
    g_strfreev(row->servers);
    g_strfreev(row->goals);
    g_strfreev(row->words);
    g_hash_table_unref(row->vars);
    g_free(row);
}

static BenchSpecRow *copy_row(const BenchSpecRow *row)
{
    BenchSpecRow *copy = g_memdup2(row, sizeof(*row));

    copy->name = g_strdup(row->name);
    copy->server_cpus = g_strdup(row->server_cpus);
    copy->servers = g_strdupv(row->servers);
    copy->goals = g_strdupv(row->goals);
    copy->words = g_strdupv(row->words);
    g_hash_table_ref(row->vars);
    return copy;
}

/* Moves exports=N, which may have been a list, from words to its field. */
static bool take_exports(BenchSpecRow *row, GError **error)
{
    for (unsigned i = 0; row->words[i]; i += 2) {
        if (strcmp(row->words[i], "exports") == 0) {
            guint64 number;
            char **word = &row->words[i];

            if (!g_ascii_string_to_unsigned(word[1], 10, 1, 64, &number,
                                            error)) {
                g_prefix_error(error, "[row %s]: option 'exports': ",
                               row->name);
                return false;
            }
            row->exports = number;
            g_free(word[0]);
            g_free(word[1]);
            memmove(word, word + 2,
                    (g_strv_length(word + 2) + 1) * sizeof(*word));
            return true;
        }
    }
    return true;
}

static const char *suffix_of(const char *key)
{
    return strcmp(key, "iodepth") == 0 ? "qd"
         : strcmp(key, "exports") == 0 || strcmp(key, "numjobs") == 0 ? key
                                                                      : "";
}

/* Takes @row: appends it, or one for each value of its first list. */
static bool add_row(SpecReader *r, BenchSpecRow *row)
{
    for (unsigned i = 0; row->words[i]; i += 2) {
        g_auto(GStrv) list = NULL;
        bool good = true;

        if (!strchr(row->words[i + 1], ';')) {
            continue;
        }
        list = split_list(row->words[i + 1]);
        for (unsigned k = 0; good && list[k]; k++) {
            BenchSpecRow *one = copy_row(row);

            g_free(one->name);
            one->name = g_strdup_printf("%s-%s%s", row->name,
                                        suffix_of(row->words[i]), list[k]);
            g_free(one->words[i + 1]);
            one->words[i + 1] = g_strdup(list[k]);
            good = add_row(r, one);
        }
        free_row(row);
        return good;
    }
    g_ptr_array_add(r->spec->rows, row);
    if (!take_exports(row, &r->error)) {
        return false;
    }
    return r->spec->rows->len <= MAX_ROWS ||
           refuse(&r->error, "more than %d rows", MAX_ROWS);
}

static bool read_row(SpecReader *r, const char *group, const char *name)
{
    BenchSpecRow *row = g_new0(BenchSpecRow, 1);

    row->name = g_strdup(name);
    row->vars = new_vars();
    row->exports = 1;
    if (!fill_row(r, group, row)) {
        free_row(row);
        return false;
    }
    return add_row(r, row);
}

/* All groups of a kind; "row " has the names behind it. */
static bool read_groups(SpecReader *r, const char *prefix,
                        bool (*read)(SpecReader *r, const char *group,
                                     const char *name))
{
    g_auto(GStrv) groups = g_key_file_get_groups(r->file, NULL);

    for (unsigned i = 0; groups[i]; i++) {
        if (g_str_has_prefix(groups[i], prefix) &&
            !read(r, groups[i], groups[i] + strlen(prefix))) {
            return false;
        }
    }
    return true;
}

static bool check_groups(SpecReader *r)
{
    g_auto(GStrv) groups = g_key_file_get_groups(r->file, NULL);

    for (unsigned i = 0; groups[i]; i++) {
        if (strcmp(groups[i], "compare") && strcmp(groups[i], "variables") &&
            !g_str_has_prefix(groups[i], "image ") &&
            !g_str_has_prefix(groups[i], "server ") &&
            !g_str_has_prefix(groups[i], "row ")) {
            return refuse(&r->error, "unknown group [%s]", groups[i]);
        }
    }
    return true;
}

/* Each pair of row and server, so that a typing error shows at once. */
static bool check_jobs(SpecReader *r)
{
    for (unsigned i = 0; i < r->spec->rows->len; i++) {
        for (unsigned k = 0; k < r->spec->servers->len; k++) {
            BenchJob *job = bench_spec_job(r->spec, r->spec->rows->pdata[i],
                                           r->spec->servers->pdata[k],
                                           &r->error);

            if (!job) {
                return false;
            }
            bench_job_free(job);
        }
    }
    if (!r->spec->rows->len || !r->spec->servers->len) {
        return refuse(&r->error, "a [row] and a [server] are needed");
    }
    return true;
}

static void free_image(gpointer data)
{
    BenchSpecImage *image = data;

    g_free(image->name);
    g_free(image->path);
    g_free(image->qcow2);
    g_free(image);
}

static void free_server(gpointer data)
{
    BenchSpecServer *server = data;

    g_free(server->name);
    g_free(server->command);
    g_free(server->export);
    g_strfreev(server->against);
    g_strfreev(server->images);
    g_strfreev(server->words);
    g_hash_table_unref(server->vars);
    g_free(server);
}

/*
 * The text of @path with that of the file its "include=" names, if any, in
 * front: GKeyFile then takes the later of two values. NULL: an error.
 */
static char *read_text(const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *text = NULL, *name = NULL, *folder = NULL, *other = NULL;
    g_autofree char *included = NULL;

    if (!g_file_get_contents(path, &text, NULL, error) ||
        !g_key_file_load_from_data(file, text, -1, G_KEY_FILE_NONE, error)) {
        return NULL;
    }
    name = g_key_file_get_value(file, "compare", "include", NULL);
    if (!name) {
        return g_steal_pointer(&text);
    }
    folder = g_path_get_dirname(path);
    other = g_build_filename(folder, name, NULL);
    if (!g_file_get_contents(other, &included, NULL, error)) {
        return NULL;
    }
    return g_strconcat(included, "\n", text, NULL);
}

static bool load(SpecReader *r, const char *path)
{
    g_autofree char *text = read_text(path, &r->error);

    return text && g_key_file_load_from_data(r->file, text, -1,
                                             G_KEY_FILE_NONE, &r->error);
}

static bool expand_paths(SpecReader *r)
{
    for (unsigned i = 0; i < r->spec->images->len; i++) {
        BenchSpecImage *image = r->spec->images->pdata[i];
        char *path;

        if (!image->path) {
            continue;
        }
        path = bench_spec_expand(r->spec, NULL, NULL, image->path, &r->error);
        if (!path) {
            return false;
        }
        g_free(image->path);
        image->path = path;
    }
    return true;
}

BenchSpec *bench_spec_load(const char *path, char **set, GError **error)
{
    g_autoptr(BenchSpec) spec = g_new0(BenchSpec, 1);
    g_autoptr(GKeyFile) file = g_key_file_new();
    SpecReader r = { .spec = spec, .file = file };

    spec->rounds = 5;
    spec->variables = new_vars();
    spec->images = g_ptr_array_new_with_free_func(free_image);
    spec->servers = g_ptr_array_new_with_free_func(free_server);
    spec->rows = g_ptr_array_new_with_free_func(free_row);
    if (load(&r, path) && check_groups(&r) && read_compare(&r) &&
        read_variables(&r, set) && read_groups(&r, "image ", read_image) &&
        read_groups(&r, "server ", read_server) &&
        read_groups(&r, "row ", read_row) && expand_paths(&r) &&
        check_jobs(&r)) {
        return g_steal_pointer(&spec);
    }
    g_propagate_prefixed_error(error, r.error, "%s: ", path);
    return NULL;
}

void bench_spec_free(BenchSpec *spec)
{
    if (spec) {
        g_free(spec->title);
        g_free(spec->server_cpus);
        g_strfreev(spec->words);
        g_strfreev(spec->goals);
        g_hash_table_unref(spec->variables);
        g_ptr_array_unref(spec->images);
        g_ptr_array_unref(spec->servers);
        g_ptr_array_unref(spec->rows);
        g_free(spec);
    }
}
