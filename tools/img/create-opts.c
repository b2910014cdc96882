/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads, checks, prints and explains the lists behind -o. Called by the
 * subcommands that make or amend images; the drivers get what was given and
 * nothing else, so that their defaults are theirs.
 */
#include "create-opts.h"

#include "tools/common/message.h"
#include "tools/common/size.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CreateOpts {
    GPtrArray *known;   /* of const BlockOptionHelp *, borrowed */
    const BlockOptionHelp *too_late; /* NULL, or a table of which all that is
                                        not known can only be created */
    GHashTable *values; /* name, borrowed from known, to string, owned */
};

static bool in_table(const BlockOptionHelp *table, const char *name)
{
    for (; table && table->name; table++) {
        if (strcmp(table->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static const BlockOptionHelp *find(const CreateOpts *opts, const char *name)
{
    for (unsigned i = 0; i < opts->known->len; i++) {
        const BlockOptionHelp *help = opts->known->pdata[i];

        if (strcmp(help->name, name) == 0) {
            return help;
        }
    }
    return NULL;
}

static CreateOpts *new_empty(void)
{
    CreateOpts *opts = g_new0(CreateOpts, 1);

    opts->known = g_ptr_array_new();
    opts->values = g_hash_table_new_full(g_str_hash, g_str_equal, NULL,
                                         g_free);
    return opts;
}

static void add_table(CreateOpts *opts, const BlockOptionHelp *table)
{
    for (; table && table->name; table++) {
        if (!find(opts, table->name)) {
            g_ptr_array_add(opts->known, (void *)table);
        }
    }
}

CreateOpts *create_opts_new(const BlockOptionHelp *format,
                            const BlockOptionHelp *protocol)
{
    CreateOpts *opts = new_empty();

    add_table(opts, format);
    add_table(opts, protocol);
    return opts;
}

CreateOpts *create_opts_new_amend(const BlockOptionHelp *format)
{
    CreateOpts *opts = new_empty();

    opts->too_late = format;
    for (; format && format->name; format++) {
        if (format->amendable) {
            g_ptr_array_add(opts->known, (void *)format);
        }
    }
    return opts;
}

void create_opts_free(CreateOpts *opts)
{
    if (!opts) {
        return;
    }
    g_ptr_array_unref(opts->known);
    g_hash_table_unref(opts->values);
    g_free(opts);
}

bool create_opts_knows(const CreateOpts *opts, const char *name)
{
    return find(opts, name) != NULL;
}

const char *create_opts_get(const CreateOpts *opts, const char *name)
{
    return g_hash_table_lookup(opts->values, name);
}

bool create_opts_parse_size(const char *name, const char *text,
                            uint64_t *value, GError **error)
{
    int ret = size_from_text(text, value);

    if (ret == -ERANGE) {
        return error_setg(error, "Value '%s' is out of range for parameter "
                          "'%s'", text, name);
    }
    if (ret < 0) {
        return error_setg(error, "Parameter '%s' expects a non-negative number "
                          "below 2^64\n"
                          "Optional suffix k, M, G, T, P or E means kilo-, "
                          "mega-, giga-, tera-, peta-\n"
                          "and exabytes, respectively.", name);
    }
    if (size_has_hex_suffix(text)) {
        warn_report("Using a multiplier suffix on hex numbers is deprecated: "
                    "%s", text);
    }
    return true;
}

/* A size becomes a plain number. */
static bool normalize_size(const char *name, char **value, GError **error)
{
    uint64_t number;

    if (!create_opts_parse_size(name, *value, &number, error)) {
        return false;
    }
    if (number > INT64_MAX) {
        return error_setg(error, "Value '%s' is out of range for parameter "
                          "'%s'", *value, name);
    }
    g_free(*value);
    *value = g_strdup_printf("%" G_GUINT64_FORMAT, number);
    return true;
}

static bool normalize_number(const char *name, char **value, GError **error)
{
    char *end;
    uint64_t number;

    errno = 0;
    number = strtoull(*value, &end, 0);
    if (errno || end == *value || *end) {
        return error_setg(error, "Parameter '%s' expects a number", name);
    }
    g_free(*value);
    *value = g_strdup_printf("%" G_GUINT64_FORMAT, number);
    return true;
}

static bool check_bool(const char *name, const char *value, GError **error)
{
    static const char *const words[] = {
        "on", "off", "yes", "no", "true", "false", "y", "n", NULL,
    };

    if (!g_strv_contains(words, value)) {
        return error_setg(error, "Parameter '%s' expects 'on' or 'off'", name);
    }
    return true;
}

static bool normalize(const BlockOptionHelp *help, char **value,
                      GError **error)
{
    switch (help->type) {
    case BLOCK_OPTION_SIZE:
        return normalize_size(help->name, value, error);
    case BLOCK_OPTION_NUMBER:
        return normalize_number(help->name, value, error);
    case BLOCK_OPTION_BOOL:
        return check_bool(help->name, *value, error);
    default:
        return true;
    }
}

bool create_opts_set(CreateOpts *opts, const char *name, const char *value,
                     GError **error)
{
    const BlockOptionHelp *help = find(opts, name);
    g_autofree char *copy = g_strdup(value);

    if (!help) {
        return error_setg(error, "Invalid parameter '%s'%s", name,
                          in_table(opts->too_late, name)
                              ? "\nThis option is only supported for image "
                                "creation" : "");
    }
    if (!normalize(help, &copy, error)) {
        return false;
    }
    g_hash_table_insert(opts->values, (void *)help->name,
                        g_steal_pointer(&copy));
    return true;
}

/* The text up to the next single comma, with ",," made one; moves past it. */
static char *next_item(const char **pos)
{
    GString *item = g_string_new(NULL);

    while (**pos) {
        if (**pos == ',') {
            (*pos)++;
            if (**pos != ',') {
                break;
            }
        }
        g_string_append_c(item, *(*pos)++);
    }
    return g_string_free(item, FALSE);
}

/* A word alone is a switch: "on", or "off" if it starts with "no". */
static bool take_item(CreateOpts *opts, char *item, GError **error)
{
    char *value = strchr(item, '=');

    if (value) {
        *value++ = '\0';
        return create_opts_set(opts, item, value, error);
    }
    if (g_str_has_prefix(item, "no")) {
        return create_opts_set(opts, item + 2, "off", error);
    }
    return create_opts_set(opts, item, "on", error);
}

bool create_opts_parse(CreateOpts *opts, const char *text, GError **error)
{
    while (text && *text) {
        g_autofree char *item = next_item(&text);

        if (!take_item(opts, item, error)) {
            return false;
        }
    }
    return true;
}

/* What was given as -1 is shown as that. */
static void append_number(GString *out, const char *value)
{
    g_string_append_printf(out, "%" G_GINT64_FORMAT,
                           (int64_t)g_ascii_strtoull(value, NULL, 10));
}

static void append_value(GString *out, const char *value)
{
    for (; *value; value++) {
        g_string_append(out, *value == ',' ? "," : "");
        g_string_append_c(out, *value);
    }
}

char *create_opts_to_text(const CreateOpts *opts)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < opts->known->len; i++) {
        const BlockOptionHelp *help = opts->known->pdata[i];
        const char *value = create_opts_get(opts, help->name);

        value = value ? value : help->def;
        if (!value) {
            continue;
        }
        g_string_append_printf(out, " %s=", help->name);
        if (help->type == BLOCK_OPTION_NUMBER) {
            append_number(out, value);
        } else {
            append_value(out, value);
        }
    }
    return g_string_free(out, FALSE);
}

Options *create_opts_to_options(const CreateOpts *opts, const char *what)
{
    Options *options = options_new(what);

    for (unsigned i = 0; i < opts->known->len; i++) {
        const BlockOptionHelp *help = opts->known->pdata[i];
        const char *value = create_opts_get(opts, help->name);

        if (value) {
            options_set_str(options, help->name, value);
        }
    }
    return options;
}

static int compare_help(gconstpointer a, gconstpointer b)
{
    const BlockOptionHelp *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

void create_opts_print_help(const CreateOpts *opts)
{
    static const char *const types[] = {
        [BLOCK_OPTION_STRING] = "str",
        [BLOCK_OPTION_BOOL] = "bool (on/off)",
        [BLOCK_OPTION_NUMBER] = "num",
        [BLOCK_OPTION_SIZE] = "size",
    };
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(opts->known, NULL, NULL);

    g_ptr_array_sort(sorted, compare_help);
    for (unsigned i = 0; i < sorted->len; i++) {
        const BlockOptionHelp *help = sorted->pdata[i];
        g_autofree char *left = g_strdup_printf("%s=<%s>", help->name,
                                                types[help->type]);

        printf("  %-22s - %s\n", left, help->help);
    }
}

/* Neither empty nor with an empty item at either end. */
static bool is_list(const char *text)
{
    size_t len = strlen(text), commas = 0;

    while (commas < len && text[len - 1 - commas] == ',') {
        commas++;
    }
    return len > 0 && *text != ',' && commas % 2 == 0;
}

bool create_opts_append(char **list, const char *text)
{
    char *longer;

    if (!is_list(text)) {
        error_report("Invalid option list: %s", text);
        return false;
    }
    longer = *list ? g_strdup_printf("%s,%s", *list, text) : g_strdup(text);
    g_free(*list);
    *list = longer;
    return true;
}

bool create_opts_wants_help(const char *list)
{
    while (list && *list) {
        g_autofree char *item = next_item(&list);

        if (strcmp(item, "help") == 0 || strcmp(item, "?") == 0) {
            return true;
        }
    }
    return false;
}
