/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What "reopen -o" may change. Drivers here do not change their options while
 * they are open: the image is closed and opened with what these functions
 * leave. They say what QEMU's drivers would say of it.
 */
#include "reopen.h"

#include <string.h>

#include "block/driver.h"

static const char *const changeable[] = {
    /* any */
    "read-only", "auto-read-only", "cache", "force-share", "discard",
    "detect-zeroes",
    /* raw */
    "offset", "size",
    /* throttle */
    "throttle-group",
    /* qcow2 */
    "lazy-refcounts", "pass-discard-request", "pass-discard-snapshot",
    "pass-discard-other", "overlap-check", "cache-size", "l2-cache-size",
    "l2-cache-entry-size", "refcount-cache-size", "cache-clean-interval",
    NULL,
};

typedef struct Check {
    const Options *was;
    GPtrArray *same;   /* dotted keys, owned */
    GError **error;
} Check;

static bool fail(Check *check, const char *fmt, const char *what)
    G_GNUC_PRINTF(2, 0);

static bool fail(Check *check, const char *fmt, const char *what)
{
    g_autofree char *text = g_strdup_printf(fmt, what);

    g_set_error_literal(check->error, G_OPTION_ERROR,
                        G_OPTION_ERROR_BAD_VALUE, text);
    return false;
}

static bool is_same(const Check *check, const BlockDriverState *bs,
                    const char *name, const char *key, const char *value)
{
    if (strcmp(key, "driver") == 0) {
        return g_strcmp0(value, bs->drv->name) == 0;
    }
    if (strcmp(key, "node-name") == 0) {
        return g_strcmp0(value, bs->node_name) == 0;
    }
    if (strcmp(key, "filename") == 0 && bs->drv->is_protocol) {
        return g_strcmp0(value, bs->filename) == 0;
    }
    return value && g_strcmp0(value, options_peek_str(check->was, name)) == 0;
}

static BlockDriverState *find_child(const BlockDriverState *bs,
                                    const char *key)
{
    for (unsigned i = 0; i < bs->children->len; i++) {
        if (strcmp(bs->child_keys->pdata[i], key) == 0) {
            return bs->children->pdata[i];
        }
    }
    return NULL;
}

/* "a" of "a.b" when that is all there is to say what cannot be changed */
static char *first_leaf(const char *key, JsonNode *node)
{
    g_autofree char *rest = NULL;
    g_autoptr(GList) members = NULL;

    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        return g_strdup(key);
    }
    members = json_object_get_members(json_node_get_object(node));
    if (!members) {
        return g_strdup(key);
    }
    rest = first_leaf(members->data,
                      json_object_get_member(json_node_get_object(node),
                                             members->data));
    return g_strconcat(key, ".", rest, NULL);
}

static bool check_object(Check *check, BlockDriverState *bs,
                         const char *prefix, JsonObject *object);

static bool check_option(Check *check, BlockDriverState *bs,
                         const char *prefix, const char *key, JsonNode *node)
{
    g_autofree char *name = g_strconcat(prefix, key, NULL);
    BlockDriverState *child = find_child(bs, key);
    const char *value = JSON_NODE_HOLDS_VALUE(node)
                            ? json_node_get_string(node) : NULL;
    g_autofree char *leaf = NULL;

    if (child && JSON_NODE_HOLDS_OBJECT(node)) {
        g_autofree char *below = g_strconcat(name, ".", NULL);

        return check_object(check, child, below, json_node_get_object(node));
    }
    if (value && (child || strcmp(key, "backing") == 0)) {
        return fail(check, "Cannot find device='' nor node-name='%s'",
                    value);
    }
    if (is_same(check, bs, name, key, value)) {
        g_ptr_array_add(check->same, g_steal_pointer(&name));
        return true;
    }
    leaf = first_leaf(key, node);
    if (g_strv_contains(changeable, key) &&
        strcmp(leaf, "cache.writeback") != 0) {
        return true;
    }
    return fail(check, "Cannot change the option '%s'", leaf);
}

/* Depth was bounded when the options were parsed. */
static bool check_object(Check *check, BlockDriverState *bs,
                         const char *prefix, JsonObject *object)
{
    g_autoptr(GList) keys = json_object_get_members(object);

    for (GList *l = keys; l; l = l->next) {
        if (!check_option(check, bs, prefix, l->data,
                          json_object_get_member(object, l->data))) {
            return false;
        }
    }
    return true;
}

bool io_reopen_check(BlockDriverState *bs, const Options *was, Options *opts,
                     GError **error)
{
    g_autoptr(GPtrArray) same = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(JsonObject) object = options_copy(opts);
    Check check = { .was = was, .same = same, .error = error };

    if (!check_object(&check, bs, "", object)) {
        return false;
    }
    for (unsigned i = 0; i < same->len; i++) {
        g_autofree char *value = NULL;

        options_take_str(opts, same->pdata[i], &value, NULL);
    }
    return true;
}

/* --- groups of options of which a new one puts an end to old ones --- */

static void drop(Options *opts, const char *key)
{
    g_autofree char *value = NULL;
    Options *child = NULL;

    options_take_child(opts, key, &child, NULL);
    options_free(child);
    options_take_str(opts, key, &value, NULL);
}

/* "overlap-check=constant" is short for overlap-check.template; the others
 * of its kind are exceptions from that. */
static void join_overlap_check(Options *opts, Options *was)
{
    const char *old = options_peek_str(was, "overlap-check");

    if (!options_has(opts, "overlap-check")) {
        return;
    }
    if (!options_peek_str(opts, "overlap-check") &&
        !options_has(opts, "overlap-check.template")) {
        if (!old) {
            return;
        }
        options_set_str(opts, "overlap-check.template", old);
    }
    drop(was, "overlap-check");
}

/* Of the three only two can be set. */
static void join_cache_sizes(Options *opts, Options *was)
{
    if (options_has(opts, "cache-size")) {
        drop(was, "l2-cache-size");
        drop(was, "refcount-cache-size");
    } else if ((options_has(opts, "l2-cache-size") ||
                options_has(was, "l2-cache-size")) &&
               (options_has(opts, "refcount-cache-size") ||
                options_has(was, "refcount-cache-size"))) {
        drop(was, "cache-size");
    }
}

void io_reopen_join(Options *opts, Options *was)
{
    join_overlap_check(opts, was);
    join_cache_sizes(opts, was);
    options_join(opts, was);
    options_free(was);
}
