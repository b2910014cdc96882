/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads "driver=raw,file.driver=file,file.filename=a,,b" into a tree.
 *
 * Called by options_parse() only. Nested keys make objects; an object whose
 * keys are 0, 1, 2 ... is turned into a list when all of the text is read,
 * because only then is it known to have no hole.
 */
#include "options-private.h"

#include <string.h>

typedef struct KeyvalReader {
    const char *what;
    const char *pos;
    unsigned keys;
} KeyvalReader;

static void keyval_error(const KeyvalReader *reader, GError **error,
                         const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static void keyval_error(const KeyvalReader *reader, GError **error,
                         const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "%s: %s",
                reader->what, text);
}

static bool is_index(const char *name)
{
    return *name && strspn(name, "0123456789") == strlen(name);
}

static bool is_name(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > OPTIONS_MAX_NAME) {
        return false;
    }
    if (is_index(name)) {
        return len <= 4; /* more than OPTIONS_MAX_KEYS can never be filled */
    }
    return g_ascii_isalpha(*name) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

/* The text up to the next single comma, with ",," made one; moves past it. */
static char *keyval_value(KeyvalReader *reader)
{
    GString *value = g_string_new(NULL);

    while (*reader->pos) {
        if (*reader->pos == ',') {
            reader->pos++;
            if (*reader->pos != ',') {
                break;
            }
        }
        g_string_append_c(value, *reader->pos++);
    }
    return g_string_free(value, FALSE);
}

/* The object that holds the last part of @path, made where it is missing. */
static JsonObject *keyval_parent(KeyvalReader *reader, JsonObject *root,
                                 char **path, GError **error)
{
    JsonObject *object = root;
    JsonNode *node;

    for (; path[1]; path++) {
        node = json_object_get_member(object, path[0]);
        if (!node) {
            JsonObject *child = json_object_new();

            json_object_set_object_member(object, path[0], child);
            object = child;
        } else if (JSON_NODE_HOLDS_OBJECT(node)) {
            object = json_node_get_object(node);
        } else {
            keyval_error(reader, error,
                         "option '%s' has both a value and parts '%s.*'",
                         path[0], path[0]);
            return NULL;
        }
    }
    return object;
}

static bool keyval_check_path(KeyvalReader *reader, const char *key,
                              char **path, GError **error)
{
    g_autofree char *shown = options_printable(key);
    unsigned i;

    if (g_strv_length(path) > OPTIONS_MAX_DEPTH) {
        keyval_error(reader, error, "option '%s' nests deeper than %d", shown,
                     OPTIONS_MAX_DEPTH);
        return false;
    }
    for (i = 0; path[i]; i++) {
        if (!is_name(path[i]) || (i == 0 && is_index(path[i]))) {
            keyval_error(reader, error, "'%s' is not a valid option name",
                         shown);
            return false;
        }
    }
    return path[0] != NULL;
}

static bool keyval_store(KeyvalReader *reader, JsonObject *root,
                         const char *key, const char *value, GError **error)
{
    g_auto(GStrv) path = g_strsplit(*key ? key : " ", ".", -1);
    JsonObject *parent;
    JsonNode *old;
    const char *last;

    if (!keyval_check_path(reader, key, path, error)) {
        return false;
    }
    parent = keyval_parent(reader, root, path, error);
    if (!parent) {
        return false;
    }
    last = path[g_strv_length(path) - 1];
    old = json_object_get_member(parent, last);
    if (old && JSON_NODE_HOLDS_OBJECT(old)) {
        keyval_error(reader, error,
                     "option '%s' has both a value and parts '%s.*'", key, key);
        return false;
    }
    if (++reader->keys > OPTIONS_MAX_KEYS) {
        keyval_error(reader, error, "more than %d options", OPTIONS_MAX_KEYS);
        return false;
    }
    json_object_set_string_member(parent, last, value);
    return true;
}

/* One "key=value"; the first may be a bare value for @implied_key. */
static bool keyval_pair(KeyvalReader *reader, JsonObject *root,
                        const char *implied_key, GError **error)
{
    size_t len = strcspn(reader->pos, "=,");
    g_autofree char *key = NULL;
    g_autofree char *value = NULL;

    if (reader->pos[len] == '=') {
        key = g_strndup(reader->pos, len);
        reader->pos += len + 1;
    } else if (implied_key && len > 0) {
        key = g_strdup(implied_key);
    } else {
        g_autofree char *word = g_strndup(reader->pos, len);
        g_autofree char *shown = options_printable(word);

        keyval_error(reader, error, "expected '=' after '%s'", shown);
        return false;
    }
    value = keyval_value(reader);
    if (!g_utf8_validate(value, -1, NULL)) {
        g_autofree char *shown = options_printable(key);

        keyval_error(reader, error, "option '%s' is not valid UTF-8", shown);
        return false;
    }
    return keyval_store(reader, root, key, value, error);
}

/* Turns the object at @node into a list when its keys are all numbers. */
static bool listify(JsonObject *parent, const char *name, const char *what,
                    GError **error)
{
    JsonObject *object = json_object_get_object_member(parent, name);
    g_autoptr(GList) keys = json_object_get_members(object);
    unsigned n = g_list_length(keys), indices = 0, i;
    g_autoptr(JsonArray) array = json_array_sized_new(n);

    for (GList *l = keys; l; l = l->next) {
        indices += is_index(l->data);
    }
    if (indices == 0) {
        return true;
    }
    for (i = 0; i < n; i++) {
        char index[16];

        g_snprintf(index, sizeof(index), "%u", i);
        if (indices < n || !json_object_has_member(object, index)) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                        "%s: the list '%s' needs the elements '%s.0' to "
                        "'%s.%u' and nothing else", what, name, name, name,
                        n - 1);
            return false;
        }
        json_array_add_element(array, json_object_dup_member(object, index));
    }
    json_object_set_array_member(parent, name, g_steal_pointer(&array));
    return true;
}

/* Depth is bounded by keyval_check_path() and json_check_name(). */
bool options_make_lists(JsonObject *root, const char *what, GError **error)
{
    g_autoptr(GList) keys = json_object_get_members(root);

    for (GList *l = keys; l; l = l->next) {
        JsonNode *node = json_object_get_member(root, l->data);

        if (!JSON_NODE_HOLDS_OBJECT(node)) {
            continue;
        }
        if (!options_make_lists(json_node_get_object(node), what, error) ||
            !listify(root, l->data, what, error)) {
            return false;
        }
    }
    return true;
}

bool options_read_keyval(JsonObject *root, const char *text, const char *what,
                         const char *implied_key, GError **error)
{
    KeyvalReader reader = { .what = what, .pos = text };

    while (*reader.pos) {
        if (!keyval_pair(&reader, root, implied_key, error)) {
            return false;
        }
        implied_key = NULL;
    }
    return options_make_lists(root, what, error);
}
