/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints JSON byte for byte as QEMU's programs do. Called by the tools and
 * wherever a "json:{...}" file name is made.
 *
 * The order of members. QEMU keeps an object in a hash table of 512 chains
 * and lists it chain by chain, the newest member of a chain first; its output
 * is in that order and nobody's script sorts it. So we sort by the number of
 * the chain: "virtual-size" (309) comes before "filename" (313).
 */
#include "block/qjson.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define CHAINS 512

typedef struct QDictName {
    unsigned chain;
    unsigned added; /* position in which it came */
    const char *name;
} QDictName;

typedef struct QJsonWriter {
    GString *out;
    bool pretty;
    unsigned depth;
} QJsonWriter;

static void write_node(QJsonWriter *w, JsonNode *node);

/* The hash of tdb, which QEMU uses: 32 bits, wrapping. */
static unsigned chain_of(const char *name)
{
    uint32_t hash = 0x238f13afu * (uint32_t)strlen(name);
    unsigned shift = 0;

    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        hash += (uint32_t)*p << shift;
        shift = (shift + 5) % 24;
    }
    return (hash * 1103515243u + 12345u) % CHAINS;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    const QDictName *x = a, *y = b;

    if (x->chain != y->chain) {
        return x->chain < y->chain ? -1 : 1;
    }
    return x->added > y->added ? -1 : 1;
}

GPtrArray *qdict_names(JsonObject *object)
{
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(QDictName));
    g_autoptr(GList) members = json_object_get_members(object);
    GPtrArray *names = g_ptr_array_new();

    for (GList *l = members; l; l = l->next) {
        QDictName name = { chain_of(l->data), order->len, l->data };

        g_array_append_val(order, name);
    }
    g_array_sort(order, compare_names);
    for (unsigned i = 0; i < order->len; i++) {
        QDictName *name = &g_array_index(order, QDictName, i);

        g_ptr_array_add(names, (void *)name->name);
    }
    return names;
}

/* What JSON cannot hold as it is, and all that is not ASCII. */
static void write_escaped(GString *out, gunichar c)
{
    if (c >= 0x10000) {
        g_string_append_printf(out, "\\u%04X\\u%04X",
                               0xd800 + ((c - 0x10000) >> 10),
                               0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
        g_string_append_printf(out, "\\u%04X", c);
    }
}

static void write_character(GString *out, gunichar c)
{
    static const char plain[] = "\"\\\b\f\n\r\t";
    static const char letter[] = "\"\\bfnrt";
    const char *found = c && c < 0x7f ? strchr(plain, c) : NULL;

    if (found) {
        g_string_append_c(out, '\\');
        g_string_append_c(out, letter[found - plain]);
    } else if (c >= 0x20 && c < 0x7f) {
        g_string_append_c(out, c);
    } else {
        write_escaped(out, c);
    }
}

static void write_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    while (*text) {
        gunichar c = g_utf8_get_char_validated(text, -1);

        if (c == (gunichar)-1 || c == (gunichar)-2) {
            write_character(out, 0xfffd); /* a byte that is no UTF-8 */
            text++;
        } else {
            write_character(out, c);
            text = g_utf8_next_char(text);
        }
    }
    g_string_append_c(out, '"');
}

static void write_double(GString *out, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append(out, g_ascii_formatd(text, sizeof(text), "%.17g", value));
}

static void write_value(GString *out, JsonNode *node)
{
    GType type = json_node_get_value_type(node);

    if (type == G_TYPE_STRING) {
        write_string(out, json_node_get_string(node));
    } else if (type == G_TYPE_BOOLEAN) {
        g_string_append(out, json_node_get_boolean(node) ? "true" : "false");
    } else if (type == G_TYPE_INT64) {
        g_string_append_printf(out, "%" G_GINT64_FORMAT,
                               json_node_get_int(node));
    } else {
        write_double(out, json_node_get_double(node));
    }
}

static void new_line(QJsonWriter *w)
{
    if (w->pretty) {
        g_string_append_printf(w->out, "\n%*s", 4 * w->depth, "");
    }
}

/* Between the elements of an object or list; before the first of them. */
static void separate(QJsonWriter *w, bool first)
{
    if (!first) {
        g_string_append(w->out, w->pretty ? "," : ", ");
    }
    new_line(w);
}

static void write_object(QJsonWriter *w, JsonObject *object)
{
    g_autoptr(GPtrArray) names = qdict_names(object);

    g_string_append_c(w->out, '{');
    w->depth++;
    for (unsigned i = 0; i < names->len; i++) {
        separate(w, i == 0);
        write_string(w->out, names->pdata[i]);
        g_string_append(w->out, ": ");
        write_node(w, json_object_get_member(object, names->pdata[i]));
    }
    w->depth--;
    new_line(w);
    g_string_append_c(w->out, '}');
}

static void write_array(QJsonWriter *w, JsonArray *array)
{
    g_string_append_c(w->out, '[');
    w->depth++;
    for (unsigned i = 0; i < json_array_get_length(array); i++) {
        separate(w, i == 0);
        write_node(w, json_array_get_element(array, i));
    }
    w->depth--;
    new_line(w);
    g_string_append_c(w->out, ']');
}

static void write_node(QJsonWriter *w, JsonNode *node)
{
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        write_object(w, json_node_get_object(node));
    } else if (JSON_NODE_HOLDS_ARRAY(node)) {
        write_array(w, json_node_get_array(node));
    } else if (JSON_NODE_HOLDS_NULL(node)) {
        g_string_append(w->out, "null");
    } else {
        write_value(w->out, node);
    }
}

static char *print(JsonNode *node, bool pretty)
{
    QJsonWriter w = { .out = g_string_new(NULL), .pretty = pretty };

    write_node(&w, node);
    return g_string_free(w.out, FALSE);
}

char *qobject_to_json(JsonNode *node)
{
    return print(node, false);
}

char *qobject_to_json_pretty(JsonNode *node)
{
    return print(node, true);
}
