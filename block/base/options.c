/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tree of options of one --blockdev, --export or --object.
 *
 * Both readers (options-keyval.c, options-json.c) build it, the takers
 * (options-take.c) take it apart, and what remains at the end was unknown.
 */
#include "options-private.h"

#include <string.h>

Options *options_new_from(JsonObject *root, const char *what,
                          const char *prefix)
{
    Options *opts = g_new0(Options, 1);

    opts->root = root;
    opts->what = g_strdup(what);
    opts->prefix = g_strdup(prefix);
    return opts;
}

Options *options_parse(const char *text, const char *what,
                       const char *implied_key, GError **error)
{
    JsonObject *root;

    if (strlen(text) > OPTIONS_MAX_TEXT) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "%s: longer than %d bytes", what, OPTIONS_MAX_TEXT);
        return NULL;
    }
    if (*text == '{') {
        root = options_read_json(text, what, 0, error);
        return root ? options_new_from(root, what, "") : NULL;
    }
    root = json_object_new();
    if (!options_read_keyval(root, text, what, implied_key, error)) {
        json_object_unref(root);
        return NULL;
    }
    return options_new_from(root, what, "");
}

void options_free(Options *opts)
{
    if (!opts) {
        return;
    }
    json_object_unref(opts->root);
    g_free(opts->what);
    g_free(opts->prefix);
    g_free(opts);
}

void options_set_what(Options *opts, const char *what)
{
    char *copy = g_strdup(what);

    g_free(opts->what);
    opts->what = copy;
    *opts->prefix = '\0';
}

const char *options_what(const Options *opts)
{
    return opts->what;
}

char *options_printable(const char *text)
{
    g_autofree char *cut = g_strndup(text, 200);
    GString *out = g_string_new(NULL);

    for (const char *p = cut; *p; p++) {
        g_string_append_c(out, (unsigned char)*p < 0x20 || *p == 0x7f ? '?'
                                                                      : *p);
    }
    if (strlen(text) > strlen(cut)) {
        g_string_append(out, "...");
    }
    return g_string_free(out, FALSE);
}

void options_error(const Options *opts, const char *key, GError **error,
                   const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: option '%s%s' %s", opts->what, opts->prefix, key, text);
}

bool options_fail(const Options *opts, GError **error, const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: %s",
                opts->what, text);
    return false;
}

/* Looks up, or removes, path[0..]; prunes what becomes empty on the way. */
static JsonNode *walk(JsonObject *object, char **path, bool steal)
{
    JsonNode *node = json_object_get_member(object, path[0]);
    JsonNode *found = NULL;
    JsonObject *child;

    if (!node) {
        return NULL;
    }
    if (!path[1]) {
        if (!steal) {
            return node;
        }
        found = json_object_dup_member(object, path[0]);
        json_object_remove_member(object, path[0]);
        return found;
    }
    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        return NULL;
    }
    child = json_node_get_object(node);
    found = walk(child, path + 1, steal);
    if (steal && json_object_get_size(child) == 0) {
        json_object_remove_member(object, path[0]);
    }
    return found;
}

JsonNode *options_peek(const Options *opts, const char *key)
{
    g_auto(GStrv) path = g_strsplit(key, ".", -1);

    return walk(opts->root, path, false);
}

JsonNode *options_steal(Options *opts, const char *key)
{
    g_auto(GStrv) path = g_strsplit(key, ".", -1);

    return walk(opts->root, path, true);
}

bool options_has(const Options *opts, const char *key)
{
    return options_peek(opts, key) != NULL;
}

bool options_take_child(Options *opts, const char *key, Options **child,
                        GError **error)
{
    JsonNode *node = options_peek(opts, key);
    g_autofree char *prefix = g_strdup_printf("%s%s.", opts->prefix, key);

    *child = NULL;
    if (!node || (JSON_NODE_HOLDS_VALUE(node) &&
                  json_node_get_value_type(node) == G_TYPE_STRING)) {
        return true;
    }
    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        options_error(opts, key, error, "needs an object or a name");
        return false;
    }
    node = options_steal(opts, key);
    *child = options_new_from(json_node_dup_object(node), opts->what, prefix);
    json_node_unref(node);
    return true;
}

bool options_finish(Options *opts, GError **error)
{
    g_autofree char *key = options_first_key(opts);

    if (!key) {
        return true;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
                "%s: unknown option '%s%s'", opts->what, opts->prefix, key);
    return false;
}

JsonObject *options_object_of(Options *opts, char **path)
{
    JsonObject *object = opts->root;

    for (unsigned i = 0; path[i + 1]; i++) {
        JsonNode *node = json_object_get_member(object, path[i]);

        if (!node || !JSON_NODE_HOLDS_OBJECT(node)) {
            json_object_set_object_member(object, path[i], json_object_new());
            node = json_object_get_member(object, path[i]);
        }
        object = json_node_get_object(node);
    }
    return object;
}

void options_set_str(Options *opts, const char *key, const char *value)
{
    g_auto(GStrv) path = g_strsplit(key, ".", -1);

    json_object_set_string_member(options_object_of(opts, path),
                                  path[g_strv_length(path) - 1], value);
}
