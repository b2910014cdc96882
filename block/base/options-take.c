/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Typed takers: a value comes out of the tree as what the consumer asked
 * for, or an error says what was needed and what was there.
 *
 * key=value text makes everything a string; JSON has its own booleans and
 * numbers. Both are accepted for both kinds.
 */
#include "options-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What stands there, for an error; a string as it is. Caller frees. */
static char *value_text(JsonNode *node)
{
    g_autofree char *text = NULL;

    if (JSON_NODE_HOLDS_OBJECT(node)) {
        return g_strdup("an object");
    }
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        return g_strdup("a list");
    }
    if (JSON_NODE_HOLDS_NULL(node)) {
        return g_strdup("null");
    }
    if (json_node_get_value_type(node) == G_TYPE_STRING) {
        text = options_printable(json_node_get_string(node));
        return g_strdup_printf("'%s'", text);
    }
    text = json_to_string(node, FALSE);
    return g_strdup_printf("'%s'", text);
}

static bool refuse(const Options *opts, const char *key, JsonNode *node,
                   const char *needs, GError **error)
{
    g_autofree char *text = value_text(node);

    options_error(opts, key, error, "needs %s, not %s", needs, text);
    return false;
}

/* In QEMU's words, which scripts know; those of its tools, whose options have
 * no other name in front, also explain. */
static bool expects(const Options *opts, const char *key, const char *what,
                    const char *hint, GError **error)
{
    if (*opts->what) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: Parameter '%s%s' expects %s", opts->what,
                    opts->prefix, key, what);
    } else {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    ": Parameter '%s' expects %s%s", key, what, hint);
    }
    return false;
}

static const char *node_string(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) &&
           json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : NULL;
}

bool options_take_str(Options *opts, const char *key, char **value,
                      GError **error)
{
    g_autoptr(JsonNode) node = options_steal(opts, key);

    if (!node) {
        return true;
    }
    if (!node_string(node)) {
        return refuse(opts, key, node, "a string", error);
    }
    g_free(*value);
    *value = g_strdup(node_string(node));
    return true;
}

bool options_take_text(Options *opts, const char *key, char **value,
                       GError **error)
{
    JsonNode *node = options_peek(opts, key);
    char *text;

    if (!node || !JSON_NODE_HOLDS_VALUE(node) || node_string(node)) {
        return options_take_str(opts, key, value, error);
    }
    text = json_to_string(node, FALSE);
    json_node_unref(options_steal(opts, key));
    g_free(*value);
    *value = text;
    return true;
}

bool options_need_str(Options *opts, const char *key, char **value,
                      GError **error)
{
    if (!options_has(opts, key)) {
        options_error(opts, key, error, "is missing");
        return false;
    }
    return options_take_str(opts, key, value, error);
}

static bool parse_bool(const char *text, bool *value)
{
    static const struct {
        const char *name;
        bool value;
    } names[] = { { "on", true },     { "off", false }, { "yes", true },
                  { "no", false },    { "true", true }, { "false", false },
                  { "y", true },      { "n", false } };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *value = names[i].value;
            return true;
        }
    }
    return false;
}

bool options_take_bool(Options *opts, const char *key, bool *value,
                       GError **error)
{
    g_autoptr(JsonNode) node = options_steal(opts, key);

    if (!node) {
        return true;
    }
    if (JSON_NODE_HOLDS_VALUE(node) &&
        json_node_get_value_type(node) == G_TYPE_BOOLEAN) {
        *value = json_node_get_boolean(node);
        return true;
    }
    if (node_string(node) && parse_bool(node_string(node), value)) {
        return true;
    }
    return expects(opts, key, "'on' or 'off'", "", error);
}

bool options_number(const char *text, uint64_t *value)
{
    bool hex = g_str_has_prefix(text, "0x");
    char *end;

    /* strtoull() itself would take spaces and a minus sign */
    if (!g_ascii_isxdigit(text[hex ? 2 : 0])) {
        return false;
    }
    errno = 0;
    *value = strtoull(text, &end, hex ? 16 : 10);
    return errno == 0 && *end == '\0';
}

static bool node_number(JsonNode *node, uint64_t *value)
{
    int64_t number;

    if (node_string(node)) {
        return options_number(node_string(node), value);
    }
    if (!JSON_NODE_HOLDS_VALUE(node) ||
        json_node_get_value_type(node) != G_TYPE_INT64) {
        return false;
    }
    number = json_node_get_int(node);
    *value = number;
    return number >= 0;
}

bool options_take_range(Options *opts, const char *key, uint64_t min,
                        uint64_t max, uint64_t *value, GError **error)
{
    g_autoptr(JsonNode) node = options_steal(opts, key);
    g_autofree char *needs = NULL;
    uint64_t number;

    if (!node) {
        return true;
    }
    if (!node_number(node, &number) || number < min || number > max) {
        needs = g_strdup_printf("a number from %" G_GUINT64_FORMAT
                                " to %" G_GUINT64_FORMAT, min, max);
        return refuse(opts, key, node, needs, error);
    }
    *value = number;
    return true;
}

bool options_take_uint(Options *opts, const char *key, uint64_t max,
                       uint64_t *value, GError **error)
{
    return options_take_range(opts, key, 0, max, value, error);
}

/* Returns the power of two, or -1. Bytes have no fractions. */
static int size_shift(const char *suffix, bool fraction)
{
    static const char letters[] = "bkmgtpe";
    const char *letter;

    if (*suffix == '\0') {
        return fraction ? -1 : 0;
    }
    letter = strchr(letters, g_ascii_tolower(*suffix));
    if (!letter || suffix[1] != '\0' || (fraction && letter == letters)) {
        return -1;
    }
    return 10 * (letter - letters);
}

bool options_size(const char *text, int64_t *value)
{
    unsigned __int128 sum = 0, scale = 1;
    const char *p = text;
    uint64_t plain;
    int shift;

    if (g_str_has_prefix(text, "0x")) {
        if (!options_number(text, &plain) || plain > INT64_MAX) {
            return false;
        }
        *value = plain;
        return true;
    }
    for (; g_ascii_isdigit(*p) && p - text < 20; p++) {
        sum = sum * 10 + (*p - '0');
    }
    if (p == text || sum > INT64_MAX) {
        return false;
    }
    if (*p == '.' && g_ascii_isdigit(p[1])) {
        /* 17 digits fit in 128 bits with every suffix; more say nothing */
        for (p++; g_ascii_isdigit(*p); p++) {
            if (scale < 100000000000000000) {
                sum = sum * 10 + (*p - '0');
                scale *= 10;
            }
        }
    }
    shift = size_shift(p, scale > 1);
    if (shift < 0 || sum / scale > ((uint64_t)INT64_MAX >> shift)) {
        return false;
    }
    sum = (sum / scale << shift) + ((sum % scale << shift) / scale);
    if (sum > INT64_MAX) {
        return false;
    }
    *value = sum;
    return true;
}

bool options_take_size(Options *opts, const char *key, int64_t *value,
                       GError **error)
{
    g_autoptr(JsonNode) node = options_steal(opts, key);
    uint64_t number;

    if (!node) {
        return true;
    }
    if (node_string(node) ? options_size(node_string(node), value)
                          : node_number(node, &number)) {
        if (!node_string(node)) {
            *value = number;
        }
        return true;
    }
    return expects(opts, key, "a non-negative number below 2^64",
                   "\nOptional suffix k, M, G, T, P or E means kilo-, mega-, "
                   "giga-, tera-, peta-\nand exabytes, respectively.", error);
}

/* "'a', 'b' or 'c'" */
static char *list_names(const char *const *names)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; names[i]; i++) {
        const char *before = i == 0 ? "" : names[i + 1] ? ", " : " or ";

        g_string_append_printf(text, "%s'%s'", before, names[i]);
    }
    return g_string_free(text, FALSE);
}

bool options_take_enum(Options *opts, const char *key,
                       const char *const *names, int *value, GError **error)
{
    g_autoptr(JsonNode) node = options_steal(opts, key);
    g_autofree char *needs = NULL;

    if (!node) {
        return true;
    }
    for (int i = 0; node_string(node) && names[i]; i++) {
        if (strcmp(node_string(node), names[i]) == 0) {
            *value = i;
            return true;
        }
    }
    needs = list_names(names);
    return refuse(opts, key, node, needs, error);
}

bool options_take_strv(Options *opts, const char *key, char ***list,
                       GError **error)
{
    g_autoptr(JsonNode) node = options_steal(opts, key);
    g_autoptr(GPtrArray) strings = g_ptr_array_new_with_free_func(g_free);
    JsonArray *array;

    if (!node) {
        return true;
    }
    if (node_string(node)) {
        g_ptr_array_add(strings, g_strdup(node_string(node)));
    } else if (JSON_NODE_HOLDS_ARRAY(node)) {
        array = json_node_get_array(node);
        for (unsigned i = 0; i < json_array_get_length(array); i++) {
            JsonNode *element = json_array_get_element(array, i);

            if (!node_string(element)) {
                return refuse(opts, key, element, "a list of strings", error);
            }
            g_ptr_array_add(strings, g_strdup(node_string(element)));
        }
    } else {
        return refuse(opts, key, node, "a string or a list of strings", error);
    }
    g_strfreev(*list);
    g_ptr_array_add(strings, NULL);
    *list = (char **)g_ptr_array_free(g_steal_pointer(&strings), FALSE);
    return true;
}

static bool add_object(const Options *opts, const char *name, JsonNode *node,
                       GPtrArray *list, GError **error)
{
    g_autofree char *prefix = g_strdup_printf("%s%s.", opts->prefix, name);

    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        options_error(opts, name, error, "needs an object");
        return false;
    }
    g_ptr_array_add(list, options_new_from(json_node_dup_object(node),
                                           opts->what, prefix));
    return true;
}

static bool add_objects(const Options *opts, const char *key, JsonArray *array,
                        GPtrArray *list, GError **error)
{
    for (unsigned i = 0; i < json_array_get_length(array); i++) {
        g_autofree char *name = g_strdup_printf("%s.%u", key, i);

        if (!add_object(opts, name, json_array_get_element(array, i), list,
                        error)) {
            return false;
        }
    }
    return true;
}

bool options_take_list(Options *opts, const char *key, GPtrArray **list,
                       GError **error)
{
    g_autoptr(GPtrArray) found =
        g_ptr_array_new_with_free_func((GDestroyNotify)options_free);
    g_autoptr(JsonNode) node = options_steal(opts, key);

    *list = NULL;
    if (!node) {
        return true;
    }
    if (JSON_NODE_HOLDS_ARRAY(node)
            ? !add_objects(opts, key, json_node_get_array(node), found, error)
            : !add_object(opts, key, node, found, error)) {
        return false;
    }
    *list = g_steal_pointer(&found);
    return true;
}
