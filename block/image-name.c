/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gives an open node its name: the file's name if opening that would give
 * this node again, else "json:{...}" with the options that would. Called by
 * graph.c when a node was opened; its children have their names by then.
 *
 * The names are compared by scripts, so the order of keys is that of
 * qemu-img, which is the one its table happens to have.
 */
#include "image-filename.h"

#include <stdio.h>
#include <string.h>

#include "block/image.h"

/* As found by asking; n stands for a number. */
static const char *const key_order[] = {
    "inject-error.n.state", "opt-write-zero", "inject-error.n.immediately",
    "set-state.n.event", "inject-error.n.once", "max-write-zero", "backing",
    "offset", "throttle-group", "read-zeroes", "test", "server.path",
    "server.host", "server.port", "image", "max-transfer", "driver",
    "inject-error.n.iotype", "set-state.n.new_state", "inject-error.n.event",
    "inject-error.n.errno", "opt-discard", "set-state.n.state",
    "inject-error.n.sector", "max-discard", "config", "align", "size",
    "export", "server.type", "raw", "filename", "file",
};

static bool is_number(const char *text, size_t len)
{
    return len > 0 && strspn(text, "0123456789") >= len;
}

/* Whether @key is @pattern, part by part. */
static bool key_matches(const char *pattern, const char *key)
{
    while (*pattern && *key) {
        size_t n = strcspn(pattern, "."), len = strcspn(key, ".");
        bool same = n == len && memcmp(pattern, key, n) == 0;

        if (!same && !(n == 1 && *pattern == 'n' && is_number(key, len))) {
            return false;
        }
        pattern += n + (pattern[n] == '.');
        key += len + (key[len] == '.');
    }
    return *pattern == *key;
}

static unsigned key_rank(const char *key)
{
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(key_order); i++) {
        if (key_matches(key_order[i], key)) {
            break;
        }
    }
    return i;
}

static int compare_keys(gconstpointer a, gconstpointer b)
{
    return (int)key_rank(a) - (int)key_rank(b);
}

/* --- printing --- */

static void print_string(const char *text, GString *out)
{
    static const char plain[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";

    g_string_append_c(out, '"');
    while (*text) {
        gunichar c = g_utf8_get_char_validated(text, -1);
        const char *special = c && c < 0x80 ? strchr(plain, (int)c) : NULL;

        if ((gint32)c < 0) { /* not UTF-8 */
            g_string_append(out, "\\uFFFD");
            text++;
            continue;
        }
        if (special) {
            g_string_append_printf(out, "\\%c", letters[special - plain]);
        } else if (c >= 0x10000) {
            g_string_append_printf(out, "\\u%04X\\u%04X",
                                   0xd800 + ((c - 0x10000) >> 10),
                                   0xdc00 + ((c - 0x10000) & 0x3ff));
        } else if (c < 0x20 || c >= 0x7f) {
            g_string_append_printf(out, "\\u%04X", c);
        } else {
            g_string_append_c(out, (char)c);
        }
        text = g_utf8_next_char(text);
    }
    g_string_append_c(out, '"');
}

static void print_object(JsonObject *object, GString *out);

/* Objects are children; what nests otherwise was flattened. */
static void print_value(JsonNode *node, GString *out)
{
    GType type;

    if (JSON_NODE_HOLDS_OBJECT(node)) {
        print_object(json_node_get_object(node), out);
        return;
    }
    if (JSON_NODE_HOLDS_NULL(node)) {
        g_string_append(out, "null");
        return;
    }
    type = json_node_get_value_type(node);
    if (type == G_TYPE_STRING) {
        print_string(json_node_get_string(node), out);
    } else if (type == G_TYPE_BOOLEAN) {
        g_string_append(out, json_node_get_boolean(node) ? "true" : "false");
    } else if (type == G_TYPE_INT64) {
        g_string_append_printf(out, "%" G_GINT64_FORMAT,
                               json_node_get_int(node));
    } else {
        g_string_append_printf(out, "%.17g", json_node_get_double(node));
    }
}

static void print_object(JsonObject *object, GString *out)
{
    g_autoptr(GList) keys =
        g_list_sort(json_object_get_members(object), compare_keys);

    g_string_append_c(out, '{');
    for (GList *l = keys; l; l = l->next) {
        print_string(l->data, out);
        g_string_append(out, ": ");
        print_value(json_object_get_member(object, l->data), out);
        g_string_append(out, l->next ? ", " : "");
    }
    g_string_append_c(out, '}');
}

/* --- what is part of a name --- */

/* @strong lists "key" and "key." for all below it. */
static bool is_strong(const char *const *strong, const char *key)
{
    for (; strong && *strong; strong++) {
        if (g_str_equal(*strong, key) || (g_str_has_suffix(*strong, ".") &&
                                          g_str_has_prefix(key, *strong))) {
            return true;
        }
    }
    return false;
}

static void take_strong(JsonNode *node, const char *key,
                        const char *const *strong, JsonObject *full);

static void take_strong_members(JsonObject *object, const char *prefix,
                                const char *const *strong, JsonObject *full)
{
    g_autoptr(GList) keys = json_object_get_members(object);

    for (GList *l = keys; l; l = l->next) {
        g_autofree char *key = g_strconcat(prefix, l->data, NULL);

        take_strong(json_object_get_member(object, l->data), key, strong,
                    full);
    }
}

/* Depth was bounded when the options were read. */
static void take_strong(JsonNode *node, const char *key,
                        const char *const *strong, JsonObject *full)
{
    g_autofree char *prefix = g_strconcat(key, ".", NULL);

    if (JSON_NODE_HOLDS_OBJECT(node)) {
        take_strong_members(json_node_get_object(node), prefix, strong, full);
    } else if (JSON_NODE_HOLDS_ARRAY(node)) {
        JsonArray *array = json_node_get_array(node);

        for (unsigned i = 0; i < json_array_get_length(array); i++) {
            g_autofree char *name = g_strdup_printf("%s%u", prefix, i);

            take_strong(json_array_get_element(array, i), name, strong, full);
        }
    } else if (is_strong(strong, key)) {
        json_object_set_member(full, key, json_node_copy(node));
    }
}

/* Not the one that the image names. */
static bool backing_overridden(const BlockDriverState *bs, JsonObject *given)
{
    g_autofree char *named = NULL;

    if (!json_object_has_member(given, "backing") ||
        (bs->open_flags & BDRV_OPEN_NO_BACKING)) {
        return false;
    }
    if (!bs->backing || !bs->backing_file || !bs->file) {
        return bs->backing || bs->backing_file;
    }
    named = bdrv_backing_path(bs->file->filename, bs->backing_file, NULL);
    return !named || !g_str_equal(named, bs->backing->filename);
}

static void add_children(const BlockDriverState *bs, JsonObject *given,
                         JsonObject *full)
{
    for (unsigned i = 0; i < bs->children->len; i++) {
        BlockDriverState *child = bs->children->pdata[i];

        if (child != bs->backing) {
            json_object_set_object_member(
                full, bs->child_keys->pdata[i],
                json_object_ref(child->full_options));
        }
    }
    if (!backing_overridden(bs, given)) {
        return;
    }
    if (bs->backing) {
        json_object_set_object_member(
            full, "backing", json_object_ref(bs->backing->full_options));
    } else {
        json_object_set_null_member(full, "backing");
    }
}

static bool is_json(const char *name)
{
    return g_str_has_prefix(name, "json:");
}

/* "driver", the children and @names apart, nothing was given that matters. */
static char *exact_name(const BlockDriverState *bs, unsigned options)
{
    const char *path = json_object_get_string_member_with_default(
        bs->full_options, "filename", NULL);

    if (bs->drv->is_protocol) {
        return path && options == 1 ? g_strdup(path) : NULL;
    }
    if (bs->drv->is_filter || options > 0 || !bs->file->drv->is_protocol ||
        is_json(bs->file->filename) ||
        json_object_has_member(bs->full_options, "backing")) {
        return NULL;
    }
    return g_strdup(bs->file->filename);
}

void image_name_node(BlockDriverState *bs, JsonObject *given)
{
    static const char *const just_filename[] = { "filename", NULL };
    const char *const *strong = bs->drv->strong_options;
    JsonObject *full = json_object_new();
    unsigned options;

    if (!strong && bs->drv->is_protocol) {
        strong = just_filename;
    }
    take_strong_members(given, "", strong, full);
    options = json_object_get_size(full);
    json_object_set_string_member(full, "driver", bs->drv->name);
    add_children(bs, given, full);
    g_clear_pointer(&bs->full_options, json_object_unref);
    bs->full_options = full;
    g_free(bs->filename);
    bs->filename = bs->drv->exact_name ? bs->drv->exact_name((void *)bs)
                                       : exact_name(bs, options);
    if (!bs->filename) {
        GString *name = g_string_new("json:");

        print_object(full, name);
        bs->filename = g_string_free(name, FALSE);
    }
}
