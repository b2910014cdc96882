/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP commands about nodes: what there is, blockdev-add, blockdev-del,
 * blockdev-set-active.
 * Called by clients through monitor/qmp.h; calls the graph.
 */
#include "qmp-commands.h"

#include "activation.h"
#include "settings.h"
#include "block/error.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/image.h"
#include "tools/common/image-info.h"

static const char *const detect_names[] = {
    [DETECT_ZEROES_OFF] = "off",
    [DETECT_ZEROES_ON] = "on",
    [DETECT_ZEROES_UNMAP] = "unmap",
};

/* --- query-named-block-nodes --- */

typedef struct InfoCall {
    BlockDriverState *bs;
    ImageInfo *info;
    GError *error;
} InfoCall;

static void info_fn(void *opaque)
{
    InfoCall *call = opaque;

    call->info = image_info_new(call->bs, &call->error);
}

/* Asked where the node is at home: there nobody changes it meanwhile. */
static JsonNode *image_of(BlockDriverState *bs, bool flat, GError **error)
{
    InfoCall call = { .bs = bs };
    JsonNode *node, *backing;

    if (bs->home) {
        aio_bh_run_sync(bs->home, info_fn, &call);
    } else {
        info_fn(&call);
    }
    if (!call.info) {
        g_propagate_error(error, call.error);
        return NULL;
    }
    /* QEMU counts in sectors here; a served disk is as long as it is */
    call.info->virtual_bytes = (call.info->virtual_bytes + 511) & ~INT64_C(511);
    node = image_info_to_json(call.info);
    image_info_free(call.info);
    if (flat || !bs->backing) {
        return node;
    }
    backing = image_of(bs->backing, false, error);
    if (!backing) {
        json_node_unref(node);
        return NULL;
    }
    json_object_set_member(json_node_get_object(node), "backing-image",
                           backing);
    return node;
}

static JsonObject *cache_of(const BlockDriverState *bs)
{
    JsonObject *cache = json_object_new();

    json_object_set_boolean_member(cache, "writeback", true);
    json_object_set_boolean_member(cache, "direct", bs->cache_direct);
    json_object_set_boolean_member(cache, "no-flush", bs->cache_no_flush);
    return cache;
}

static unsigned backing_depth(const BlockDriverState *bs)
{
    unsigned depth = 0;

    for (; bs->backing; bs = bs->backing) {
        depth++;
    }
    return depth;
}

/* Limits of QEMU's own kind of throttling, which nobody has here. */
static void add_no_limits(JsonObject *object)
{
    static const char *const names[] = {
        "iops", "iops_rd", "iops_wr", "bps", "bps_rd", "bps_wr",
        "write_threshold",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        json_object_set_int_member(object, names[i], 0);
    }
}

static JsonObject *node_to_json(BlockDriverState *bs, JsonNode *image)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "file",
                                  bs->filename ? bs->filename : "");
    json_object_set_string_member(object, "node-name", bs->node_name);
    json_object_set_boolean_member(object, "ro", bs->read_only);
    json_object_set_string_member(object, "drv", bs->drv->name);
    json_object_set_boolean_member(object, "encrypted", false);
    json_object_set_object_member(object, "cache", cache_of(bs));
    json_object_set_string_member(object, "detect_zeroes",
                                  detect_names[bs->detect_zeroes]);
    if (bs->backing_file && *bs->backing_file) {
        json_object_set_string_member(object, "backing_file",
                                      bs->backing_file);
    }
    json_object_set_int_member(object, "backing_file_depth",
                               backing_depth(bs));
    json_object_set_boolean_member(object, "active", !bs->inactive);
    add_no_limits(object);
    json_object_set_member(object, "image", image);
    return object;
}

typedef struct NodeList {
    JsonArray *array;
    bool flat;
    GError *error;
} NodeList;

static void add_node(BlockDriverState *bs, void *opaque)
{
    NodeList *list = opaque;
    JsonNode *image;

    if (list->error) {
        return;
    }
    image = image_of(bs, list->flat, &list->error);
    if (image) {
        json_array_add_object_element(list->array, node_to_json(bs, image));
    }
}

static void query_named_block_nodes(QmpCall *call, Options *args)
{
    NodeList list = { 0 };

    if (!options_take_bool(args, "flat", &list.flat, &list.error) ||
        !qmp_args_done(args, &list.error)) {
        qmp_fail(call, list.error);
        return;
    }
    list.array = json_array_new();
    bdrv_foreach_node(add_node, &list);
    if (list.error) {
        json_array_unref(list.array);
        qmp_fail(call, list.error);
        return;
    }
    qmp_return_array(call, list.array);
}

/* --- blockdev-add, blockdev-del --- */

/* What QEMU checks before it looks at anything else. */
static bool check_driver(Options *args, GError **error)
{
    const char *driver = options_peek_str(args, "driver");

    if (!options_has(args, "driver")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Parameter 'driver' is missing");
        return false;
    }
    if (!driver || !bdrv_find_driver(driver)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Parameter 'driver' does not accept value '%.64s'",
                    driver ? driver : "");
        return false;
    }
    return true;
}

static void blockdev_add(QmpCall *call, Options *args)
{
    g_autoptr(Change) change = NULL;
    GError *error = NULL;

    if (check_driver(args, &error) &&
        settings_prepare(CHANGE_NODE, args, &change, &error) &&
        bdrv_open_blockdev(qmp_args_copy(args), &error)) {
        settings_added(g_steal_pointer(&change));
    }
    qmp_finish(call, error);
}

static void blockdev_del(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *name = NULL;

    if (qmp_need_str(args, "node-name", &name, &error) &&
        qmp_args_done(args, &error) && !settings_give_up(CHANGE_NODE, name) &&
        bdrv_del_blockdev(name, &error)) {
        settings_deleted(CHANGE_NODE, name);
    }
    qmp_finish(call, error);
}

static bool take_node(Options *args, BlockDriverState **bs, GError **error)
{
    g_autofree char *name = NULL;

    *bs = NULL;
    if (!options_take_str(args, "node-name", &name, error)) {
        return false;
    }
    if (name) {
        *bs = bdrv_find_node(name);
    }
    return *bs || !name ||
           error_setg(error, "Failed to find node with node-name='%.64s'",
                      name);
}

static bool take_active(Options *args, bool *active, GError **error)
{
    if (!options_has(args, "active")) {
        return error_setg(error, "Parameter 'active' is missing");
    }
    return options_take_bool(args, "active", active, error);
}

static void blockdev_set_active(QmpCall *call, Options *args)
{
    g_autoptr(Options) copy = qmp_args_copy(args);
    g_autoptr(Change) change = NULL;
    GError *error = NULL;
    BlockDriverState *bs;
    bool active = true;

    if (take_node(args, &bs, &error) && take_active(args, &active, &error) &&
        qmp_args_done(args, &error) &&
        settings_prepare(CHANGE_ACTIVE, copy, &change, &error) &&
        activation_set(bs, active, &error) &&
        !(bs && activation_is_automatic(bs))) { /* not for long */
        settings_added(g_steal_pointer(&change));
    }
    qmp_finish(call, error);
}

/* Of these there are none, and never will be: devices are exports here, and
 * no command takes so long that it is a job. */
static void query_none(QmpCall *call, Options *args)
{
    if (qmp_no_args(call, args)) {
        qmp_return_array(call, json_array_new());
    }
}

const QmpCommand qmp_node_commands[] = {
    { "query-named-block-nodes", query_named_block_nodes },
    { "query-block", query_none },
    { "query-jobs", query_none },
    { "query-block-jobs", query_none },
    { "blockdev-add", blockdev_add },
    { "blockdev-del", blockdev_del },
    { "blockdev-set-active", blockdev_set_active },
    { NULL, NULL },
};
