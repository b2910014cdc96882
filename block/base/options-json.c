/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the JSON form of options, with bounds that the parser lacks.
 *
 * Called by options.c and options-tree.c. The parser recurses, so nesting is measured
 * in the text first.
 */
#include "options-private.h"

#include <string.h>

static bool json_error(const char *what, GError **error, const char *text)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "%s: %s", what,
                text);
    return false;
}

/* Brackets inside strings do not count. */
static unsigned json_depth(const char *text, bool *unfinished)
{
    unsigned depth = 0, max = 0;
    bool quoted = false;

    for (; *text; text++) {
        if (quoted) {
            if (*text == '\\' && text[1]) {
                text++;
            } else if (*text == '"') {
                quoted = false;
            }
        } else if (*text == '"') {
            quoted = true;
        } else if (*text == '{' || *text == '[') {
            depth++;
            max = MAX(max, depth);
        } else if ((*text == '}' || *text == ']') && depth > 0) {
            depth--;
        }
    }
    *unfinished = quoted || depth > 0;
    return max;
}

/* The number of "\uXXXX", or -1 when @text does not begin with that. */
static int json_escape(const char *text)
{
    int number = 0;

    if (text[0] != '\\' || text[1] != 'u') {
        return -1;
    }
    for (unsigned i = 2; i < 6; i++) {
        int digit = g_ascii_xdigit_value(text[i]);

        if (digit < 0) {
            return -1;
        }
        number = number << 4 | digit;
    }
    return number;
}

static bool is_surrogate(int number, int first)
{
    return number >= first && number < first + 0x400;
}

/* Of an escape the parser would make a string that is no UTF-8 (half of a
 * pair), or one that ends there (zero); it also takes one of fewer digits.
 * Returns the first such, or NULL. */
static const char *json_bad_escape(const char *text)
{
    while ((text = strchr(text, '\\'))) {
        int number = json_escape(text);

        if (is_surrogate(number, 0xd800) &&
            is_surrogate(json_escape(text + 6), 0xdc00)) {
            text += 12;
        } else if (number == 0 || (number < 0 && text[1] == 'u') ||
                   is_surrogate(number, 0xd800) ||
                   is_surrogate(number, 0xdc00)) {
            return text;
        } else {
            text += text[1] ? 2 : 1;
        }
    }
    return NULL;
}

static bool json_check_escapes(const char *text, const char *what,
                               GError **error)
{
    const char *bad = json_bad_escape(text);
    g_autofree char *escape = NULL, *shown = NULL;

    if (!bad) {
        return true;
    }
    escape = g_utf8_substring(bad, 0, MIN(6, g_utf8_strlen(bad, -1)));
    shown = options_printable(escape);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                "%s: JSON parse error, %s is not a valid Unicode character",
                what, shown);
    return false;
}

typedef struct JsonCheck {
    const char *what;
    unsigned flags; /* OPTIONS_JSON_ */
    unsigned keys;
    unsigned dots;
} JsonCheck;

static bool json_check_node(JsonNode *node, JsonCheck *check, GError **error);

/* Each dot makes one level more. */
static bool json_check_name(const char *name, JsonCheck *check,
                            GError **error)
{
    bool dots = check->flags & OPTIONS_JSON_DOTS;
    g_autofree char *shown = options_printable(name);

    if (*name == '\0' || strlen(name) > OPTIONS_MAX_NAME ||
        (strchr(name, '.') && !dots)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "%s: '%s' is not a valid option name in JSON%s",
                    check->what, shown,
                    strchr(name, '.') ? "; nest objects instead of dots" : "");
        return false;
    }
    if (++check->keys > OPTIONS_MAX_KEYS) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "%s: more than %d options", check->what,
                    OPTIONS_MAX_KEYS);
        return false;
    }
    for (; *name; name++) {
        check->dots += *name == '.';
    }
    if (check->dots > OPTIONS_MAX_KEYS) {
        return json_error(check->what, error, "too many dots in names");
    }
    return true;
}

static bool json_check_object(JsonObject *object, JsonCheck *check,
                              GError **error)
{
    g_autoptr(GList) names = json_object_get_members(object);

    for (GList *l = names; l; l = l->next) {
        if (!json_check_name(l->data, check, error) ||
            !json_check_node(json_object_get_member(object, l->data), check,
                             error)) {
            return false;
        }
    }
    return true;
}

/* Depth was bounded by json_depth(). */
static bool json_check_node(JsonNode *node, JsonCheck *check, GError **error)
{
    JsonArray *array;

    if (JSON_NODE_HOLDS_OBJECT(node)) {
        return json_check_object(json_node_get_object(node), check, error);
    }
    if (!JSON_NODE_HOLDS_ARRAY(node)) {
        return true;
    }
    array = json_node_get_array(node);
    for (unsigned i = 0; i < json_array_get_length(array); i++) {
        if (++check->keys > OPTIONS_MAX_KEYS) {
            return json_error(check->what, error, "a list is too long");
        }
        if (!json_check_node(json_array_get_element(array, i), check,
                             error)) {
            return false;
        }
    }
    return true;
}

JsonObject *options_read_json(const char *text, const char *what,
                              unsigned flags, GError **error)
{
    JsonCheck check = { .what = what, .flags = flags };
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) cause = NULL;
    g_autofree char *line = NULL, *invalid = NULL;
    JsonNode *root;
    bool unfinished;

    if (!g_utf8_validate(text, -1, NULL)) {
        json_error(what, error, "the JSON text is not valid UTF-8");
        return NULL;
    }
    if (json_depth(text, &unfinished) > OPTIONS_MAX_DEPTH) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "%s: JSON nests deeper than %d", what, OPTIONS_MAX_DEPTH);
        return NULL;
    }
    if (!json_check_escapes(text, what, error)) {
        return NULL;
    }
    if (!json_parser_load_from_data(parser, text, -1, &cause)) {
        line = unfinished ? g_strdup("premature EOI")
                          : g_strdelimit(g_strdup(cause->message), "\n\r",
                                         ' ');
        invalid = g_strconcat("JSON parse error, ", line, NULL);
        json_error(what, error, invalid);
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        json_error(what, error, "the JSON text is not one object");
        return NULL;
    }
    if (!json_check_object(json_node_get_object(root), &check, error)) {
        return NULL;
    }
    return json_node_dup_object(root);
}

Options *options_from_json(JsonObject *object, const char *what,
                           GError **error)
{
    JsonCheck check = { .what = what };

    if (!object) {
        return options_new(what);
    }
    if (!json_check_object(object, &check, error)) {
        return NULL;
    }
    return options_new_from(json_object_ref(object), what, "");
}
