/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gives an open node its name: the file's name if opening that would give
 * this node again, else "json:{...}" with the options that would. Called by
 * graph.c when a node was opened; its children have their names by then.
 */
#include "image-filename.h"

#include "block/image.h"
#include "block/qjson.h"

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
    named = bdrv_full_backing_path(bs, NULL);
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

static char *json_name(JsonObject *full)
{
    g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), full);
    g_autofree char *text = qobject_to_json(node);

    return g_strconcat("json:", text, NULL);
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
        bs->filename = json_name(full);
    }
}
