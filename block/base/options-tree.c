/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options as trees: made empty, joined, copied, asked what is left. For those
 * who make options out of a file's name; who consumes them has the takers.
 */
#include "options-private.h"

#include <string.h>

Options *options_new(const char *what)
{
    return options_new_from(json_object_new(), what, "");
}

static void join_objects(JsonObject *to, JsonObject *from)
{
    g_autoptr(GList) names = json_object_get_members(from);

    for (GList *l = names; l; l = l->next) {
        JsonNode *theirs = json_object_get_member(from, l->data);
        JsonNode *ours = json_object_get_member(to, l->data);

        if (!ours) {
            json_object_set_member(to, l->data, json_node_copy(theirs));
        } else if (JSON_NODE_HOLDS_OBJECT(ours) &&
                   JSON_NODE_HOLDS_OBJECT(theirs)) {
            join_objects(json_node_get_object(ours),
                         json_node_get_object(theirs));
        }
    }
}

void options_join(Options *opts, const Options *from)
{
    g_autoptr(JsonObject) copy = options_copy(from);

    join_objects(opts->root, copy);
}

/* json_node_copy() shares objects; what is taken out of one tree must stay in
 * the other. Depth was bounded when the tree was read. */
static JsonObject *copy_object(JsonObject *object)
{
    g_autoptr(GList) names = json_object_get_members(object);
    JsonObject *copy = json_object_new();

    for (GList *l = names; l; l = l->next) {
        JsonNode *node = json_object_get_member(object, l->data);

        if (JSON_NODE_HOLDS_OBJECT(node)) {
            json_object_set_object_member(
                copy, l->data, copy_object(json_node_get_object(node)));
        } else {
            json_object_set_member(copy, l->data, json_node_copy(node));
        }
    }
    return copy;
}

JsonObject *options_copy(const Options *opts)
{
    return copy_object(opts->root);
}

void options_set_child(Options *opts, const char *key, const Options *child)
{
    g_auto(GStrv) path = g_strsplit(key, ".", -1);

    json_object_set_object_member(options_object_of(opts, path),
                                  path[g_strv_length(path) - 1],
                                  options_copy(child));
}

const char *options_peek_str(const Options *opts, const char *key)
{
    JsonNode *node = options_peek(opts, key);

    return node && JSON_NODE_HOLDS_VALUE(node) &&
                   json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : NULL;
}

bool options_take_null(Options *opts, const char *key)
{
    JsonNode *node = options_peek(opts, key);

    if (!node || !JSON_NODE_HOLDS_NULL(node)) {
        return false;
    }
    json_node_unref(options_steal(opts, key));
    return true;
}

/* Appends the dotted name of the first key left in @object. */
static void name_first(JsonObject *object, GString *name)
{
    g_autoptr(GList) keys = json_object_get_members(object);
    JsonNode *node;

    g_string_append(name, keys->data);
    node = json_object_get_member(object, keys->data);
    if (JSON_NODE_HOLDS_OBJECT(node) &&
        json_object_get_size(json_node_get_object(node)) > 0) {
        g_string_append_c(name, '.');
        name_first(json_node_get_object(node), name);
    }
}

char *options_first_key(const Options *opts)
{
    g_autofree char *dotted = NULL;
    GString *name;

    if (json_object_get_size(opts->root) == 0) {
        return NULL;
    }
    name = g_string_new(NULL);
    name_first(opts->root, name);
    dotted = g_string_free(name, FALSE);
    return options_printable(dotted);
}

/* --- JSON whose names have dots --- */

static bool nest_member(JsonObject *to, char **path, JsonNode *value,
                        const char *what, GError **error);

/* Into @to goes what @from has, "a.b" as b in a. */
static bool nest_object(JsonObject *to, JsonObject *from, const char *what,
                        GError **error)
{
    g_autoptr(GList) names = json_object_get_members(from);

    for (GList *l = names; l; l = l->next) {
        g_auto(GStrv) path = g_strsplit(l->data, ".", -1);

        if (!nest_member(to, path, json_object_get_member(from, l->data),
                         what, error)) {
            return false;
        }
    }
    return true;
}

/* The object @name in @to, made when it is missing; NULL if that is no
 * object. */
static JsonObject *object_at(JsonObject *to, const char *name)
{
    JsonNode *node = json_object_get_member(to, name);

    if (!node) {
        json_object_set_object_member(to, name, json_object_new());
        node = json_object_get_member(to, name);
    }
    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static JsonNode *nest_list(JsonArray *list, const char *what, GError **error);

/* What @value is once its names have no dots; NULL with an error. */
static JsonNode *nest_value(JsonNode *value, const char *what, GError **error)
{
    g_autoptr(JsonObject) object = NULL;
    JsonNode *node;

    if (JSON_NODE_HOLDS_ARRAY(value)) {
        return nest_list(json_node_get_array(value), what, error);
    }
    if (!JSON_NODE_HOLDS_OBJECT(value)) {
        return json_node_copy(value);
    }
    object = json_object_new();
    if (!nest_object(object, json_node_get_object(value), what, error) ||
        !options_make_lists(object, what, error)) {
        return NULL;
    }
    node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, g_steal_pointer(&object));
    return node;
}

/* Depth was bounded when it was read. */
static JsonNode *nest_list(JsonArray *list, const char *what, GError **error)
{
    g_autoptr(JsonArray) nested = json_array_new();
    JsonNode *node;

    for (unsigned i = 0; i < json_array_get_length(list); i++) {
        node = nest_value(json_array_get_element(list, i), what, error);
        if (!node) {
            return NULL;
        }
        json_array_add_element(nested, node);
    }
    node = json_node_new(JSON_NODE_ARRAY);
    json_node_take_array(node, g_steal_pointer(&nested));
    return node;
}

static bool nest_member(JsonObject *to, char **path, JsonNode *value,
                        const char *what, GError **error)
{
    JsonNode *nested;
    bool is_object = JSON_NODE_HOLDS_OBJECT(value);
    JsonObject *object = to;

    for (; path[0] && (path[1] || is_object) && object; path++) {
        object = object_at(object, path[0]);
    }
    if (object && is_object) {
        return nest_object(object, json_node_get_object(value), what, error);
    }
    if (!object || !path[0] || json_object_has_member(object, path[0])) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "%s: an option has both a value and parts, or two values",
                    what);
        return false;
    }
    nested = nest_value(value, what, error);
    if (nested) {
        json_object_set_member(object, path[0], nested);
    }
    return nested;
}

Options *options_parse_dotted(const char *text, const char *what,
                              GError **error)
{
    g_autoptr(JsonObject) flat = NULL;
    g_autoptr(JsonObject) root = json_object_new();

    if (strlen(text) > OPTIONS_MAX_TEXT) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "%s: longer than %d bytes", what, OPTIONS_MAX_TEXT);
        return NULL;
    }
    flat = options_read_json(text, what, OPTIONS_JSON_DOTS, error);
    if (!flat || !nest_object(root, flat, what, error) ||
        !options_make_lists(root, what, error)) {
        return NULL;
    }
    return options_new_from(g_steal_pointer(&root), what, "");
}
