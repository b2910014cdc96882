/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads one JSON text, and nothing that only resembles one: what json-glib
 * accepts beyond the standard (comments, assignments, members that come
 * twice) has no business in a protocol. Called by monitor.c with what
 * qmp-framer.c has cut out. It recurses, QMP_MAX_DEPTH deep at most.
 */
#include "qmp-json.h"

#include <errno.h>
#include <math.h>
#include <string.h>

typedef struct Reader {
    const char *at, *end;
    unsigned depth;
    GError **error;
} Reader;

static JsonNode *read_value(Reader *r);

/* Always NULL. */
static JsonNode *fail(Reader *r, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

static JsonNode *fail(Reader *r, const char *fmt, ...)
{
    g_autofree char *cause = NULL;
    va_list ap;

    va_start(ap, fmt);
    cause = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error(r->error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                "JSON parse error, %s", cause);
    return NULL;
}

static void skip_space(Reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' ||
                              *r->at == '\n' || *r->at == '\r')) {
        r->at++;
    }
}

/* The next character that counts, or 0 at the end. */
static char peek(Reader *r)
{
    skip_space(r);
    return r->at < r->end ? *r->at : '\0';
}

static bool accept(Reader *r, char c)
{
    if (peek(r) != c || r->at == r->end) {
        return false;
    }
    r->at++;
    return true;
}

/* --- Strings --- */

/* Four hex digits, or -1. */
static int read_hex(Reader *r)
{
    int value = 0;

    if (r->end - r->at < 4) {
        return -1;
    }
    for (unsigned i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(*r->at++);

        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

/* Behind "\u": a character, or a pair of surrogates that make one. */
static bool read_unicode(Reader *r, GString *out)
{
    int high = read_hex(r), low;
    gunichar c = high;

    if (high >= 0xd800 && high < 0xdc00) {
        if (r->end - r->at < 2 || memcmp(r->at, "\\u", 2) != 0) {
            return false;
        }
        r->at += 2;
        low = read_hex(r);
        if (low < 0xdc00 || low > 0xdfff) {
            return false;
        }
        c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    } else if (high <= 0 || (high >= 0xdc00 && high < 0xe000)) {
        return false;
    }
    g_string_append_unichar(out, c);
    return true;
}

static bool read_escape(Reader *r, GString *out)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->end ? *r->at++ : '\0';
    const char *found = c ? strchr(letters, c) : NULL;

    if (c == 'u') {
        return read_unicode(r, out);
    }
    if (found) {
        g_string_append_c(out, meanings[found - letters]);
    }
    return found;
}

/* The opening quote has been taken. NULL with an error. */
static char *read_string(Reader *r)
{
    g_autoptr(GString) out = g_string_new(NULL);

    while (r->at < r->end) {
        unsigned char c = *r->at++;

        if (c == '"') {
            if (!g_utf8_validate(out->str, out->len, NULL)) {
                fail(r, "invalid UTF-8 sequence in string");
                return NULL;
            }
            return g_strdup(out->str);
        }
        if (c < 0x20) {
            fail(r, "control character in string");
            return NULL;
        }
        if (c != '\\') {
            g_string_append_c(out, c);
        } else if (!read_escape(r, out)) {
            fail(r, "invalid escape sequence in string");
            return NULL;
        }
    }
    fail(r, "unterminated string");
    return NULL;
}

/* --- Numbers and words --- */

static bool skip_digits(const char **p)
{
    const char *start = *p;

    while (g_ascii_isdigit(**p)) {
        (*p)++;
    }
    return *p > start;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool is_number(const char *p, bool *integer)
{
    p += *p == '-';
    *integer = true;
    if (*p == '0') {
        p++;
    } else if (!skip_digits(&p)) {
        return false;
    }
    if (*p == '.') {
        *integer = false;
        p++;
        if (!skip_digits(&p)) {
            return false;
        }
    }
    if (*p == 'e' || *p == 'E') {
        *integer = false;
        p++;
        p += *p == '+' || *p == '-';
        if (!skip_digits(&p)) {
            return false;
        }
    }
    return *p == '\0';
}

static JsonNode *number_node(Reader *r, const char *word, bool integer)
{
    JsonNode *node;
    gint64 whole;
    double real;

    if (integer && g_ascii_string_to_signed(word, 10, G_MININT64, G_MAXINT64,
                                            &whole, NULL)) {
        node = json_node_new(JSON_NODE_VALUE);
        json_node_set_int(node, whole);
        return node;
    }
    real = g_ascii_strtod(word, NULL);
    if (!isfinite(real)) {
        return fail(r, "number out of range");
    }
    node = json_node_new(JSON_NODE_VALUE);
    json_node_set_double(node, real);
    return node;
}

static JsonNode *read_word(Reader *r)
{
    const char *start = r->at;
    g_autofree char *word = NULL;
    JsonNode *node;
    bool integer;

    while (r->at < r->end && (g_ascii_isalnum(*r->at) ||
                              strchr("+-._", *r->at)) && *r->at) {
        r->at++;
    }
    if (r->at == start) {
        return fail(r, "expecting value");
    }
    word = g_strndup(start, r->at - start);
    if (is_number(word, &integer)) {
        return number_node(r, word, integer);
    }
    if (strcmp(word, "null") == 0) {
        return json_node_new(JSON_NODE_NULL);
    }
    if (strcmp(word, "true") != 0 && strcmp(word, "false") != 0) {
        return fail(r, "invalid keyword '%.64s'", word);
    }
    node = json_node_new(JSON_NODE_VALUE);
    json_node_set_boolean(node, *word == 't');
    return node;
}

/* --- Objects and lists --- */

static bool read_member(Reader *r, JsonObject *object)
{
    g_autofree char *name = NULL;
    JsonNode *value;

    if (!accept(r, '"')) {
        fail(r, "key is not a string in object");
        return false;
    }
    name = read_string(r);
    if (!name) {
        return false;
    }
    if (json_object_has_member(object, name)) {
        fail(r, "duplicate key");
        return false;
    }
    if (!accept(r, ':')) {
        fail(r, "missing : in object pair");
        return false;
    }
    value = read_value(r);
    if (!value) {
        return false;
    }
    json_object_set_member(object, name, value);
    return true;
}

static bool read_members(Reader *r, JsonObject *object)
{
    if (accept(r, '}')) {
        return true;
    }
    do {
        if (!read_member(r, object)) {
            return false;
        }
    } while (accept(r, ','));
    if (!accept(r, '}')) {
        fail(r, "expected separator in dict");
        return false;
    }
    return true;
}

static bool read_elements(Reader *r, JsonArray *array)
{
    if (accept(r, ']')) {
        return true;
    }
    do {
        JsonNode *value = read_value(r);

        if (!value) {
            return false;
        }
        json_array_add_element(array, value);
    } while (accept(r, ','));
    if (!accept(r, ']')) {
        fail(r, "expected separator in list");
        return false;
    }
    return true;
}

static JsonNode *read_object(Reader *r)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonNode *node;

    if (!read_members(r, object)) {
        return NULL;
    }
    node = json_node_new(JSON_NODE_OBJECT);
    json_node_set_object(node, object);
    return node;
}

static JsonNode *read_array(Reader *r)
{
    g_autoptr(JsonArray) array = json_array_new();
    JsonNode *node;

    if (!read_elements(r, array)) {
        return NULL;
    }
    node = json_node_new(JSON_NODE_ARRAY);
    json_node_set_array(node, array);
    return node;
}

static JsonNode *read_string_node(Reader *r)
{
    g_autofree char *text = read_string(r);
    JsonNode *node;

    if (!text) {
        return NULL;
    }
    node = json_node_new(JSON_NODE_VALUE);
    json_node_set_string(node, text);
    return node;
}

static JsonNode *read_nested(Reader *r, JsonNode *(*read)(Reader *))
{
    JsonNode *node;

    if (r->depth == QMP_MAX_DEPTH) {
        return fail(r, "nested too deeply");
    }
    r->depth++;
    node = read(r);
    r->depth--;
    return node;
}

static JsonNode *read_value(Reader *r)
{
    if (accept(r, '{')) {
        return read_nested(r, read_object);
    }
    if (accept(r, '[')) {
        return read_nested(r, read_array);
    }
    if (accept(r, '"')) {
        return read_string_node(r);
    }
    return read_word(r);
}

JsonNode *qmp_json_parse(const char *text, size_t length, GError **error)
{
    Reader r = { .at = text, .end = text + length, .error = error };
    JsonNode *node = read_value(&r);

    skip_space(&r);
    if (node && r.at < r.end) {
        json_node_unref(node);
        return fail(&r, "something follows the value");
    }
    return node;
}
