/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Collects what an image says of itself, and turns it into JSON. Called by
 * vblk-img's info, which has a form for people, and by the daemon's QMP.
 */
#include "image-info.h"

#define NS_PER_S INT64_C(1000000000)

/* Below filters: the node that has or lacks the contents. */
static const BlockDriverState *bottom(const BlockDriverState *bs)
{
    while (bs->file) {
        bs = bs->file;
    }
    return bs;
}

/* A driver without metadata says no more than that nothing is wrong, unless
 * there is no file either. */
static bool ask_driver(BlockDriverState *bs, ImageInfo *info, GError **error)
{
    const BlockImageOps *ops = bs->drv->image;

    if (ops && ops->info) {
        info->has_driver_info = true;
        return ops->info(bs, &info->driver, error);
    }
    ops = bottom(bs)->drv->image;
    info->has_driver_info = ops && ops->allocated_bytes &&
                            !g_str_has_prefix(bottom(bs)->drv->name, "null");
    return true;
}

ImageInfo *image_info_new(BlockDriverState *bs, GError **error)
{
    g_autoptr(ImageInfo) info = g_new0(ImageInfo, 1);

    info->filename = g_strdup(bs->filename);
    info->format = g_strdup(bs->drv->name);
    info->virtual_bytes = bs->total_bytes;
    info->actual_bytes = bdrv_allocated_bytes(bs);
    if (!ask_driver(bs, info, error)) {
        return NULL;
    }
    if (bs->backing_file && *bs->backing_file) {
        info->backing_file = g_strdup(bs->backing_file);
        info->backing_format = g_strdup(bs->backing_format);
        info->backing_path = bdrv_full_backing_path(bs, NULL);
    }
    return g_steal_pointer(&info);
}

void image_info_free(ImageInfo *info)
{
    if (!info) {
        return;
    }
    block_image_info_clear(&info->driver);
    g_free(info->filename);
    g_free(info->format);
    g_free(info->backing_file);
    g_free(info->backing_path);
    g_free(info->backing_format);
    g_free(info);
}

static JsonObject *snapshot_to_json(const BlockSnapshot *snapshot)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "id", snapshot->id);
    json_object_set_string_member(object, "name", snapshot->name);
    json_object_set_int_member(object, "vm-state-size",
                               snapshot->vm_state_bytes);
    json_object_set_int_member(object, "date-sec", snapshot->date_s);
    json_object_set_int_member(object, "date-nsec", snapshot->date_ns);
    json_object_set_int_member(object, "vm-clock-sec",
                               snapshot->vm_clock_ns / NS_PER_S);
    json_object_set_int_member(object, "vm-clock-nsec",
                               snapshot->vm_clock_ns % NS_PER_S);
    if (snapshot->icount != UINT64_MAX) {
        json_object_set_int_member(object, "icount", snapshot->icount);
    }
    return object;
}

static JsonArray *snapshots_to_json(const GPtrArray *snapshots)
{
    JsonArray *array = json_array_new();

    for (unsigned i = 0; i < snapshots->len; i++) {
        json_array_add_object_element(array,
                                      snapshot_to_json(snapshots->pdata[i]));
    }
    return array;
}

static void add_string(JsonObject *object, const char *name, const char *value)
{
    if (value) {
        json_object_set_string_member(object, name, value);
    }
}

static void add_driver_info(JsonObject *object, const BlockImageInfo *info)
{
    json_object_set_boolean_member(object, "dirty-flag", info->dirty);
    if (info->cluster_bytes > 0) {
        json_object_set_int_member(object, "cluster-size",
                                   info->cluster_bytes);
    }
    if (info->snapshots && info->snapshots->len > 0) {
        json_object_set_array_member(object, "snapshots",
                                     snapshots_to_json(info->snapshots));
    }
    if (info->specific) {
        json_object_set_object_member(object, "format-specific",
                                      json_object_ref(info->specific));
    }
}

JsonNode *image_info_to_json(const ImageInfo *info)
{
    JsonObject *object = json_object_new();
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    add_string(object, "filename", info->filename);
    add_string(object, "format", info->format);
    json_object_set_int_member(object, "virtual-size", info->virtual_bytes);
    if (info->actual_bytes >= 0) {
        json_object_set_int_member(object, "actual-size", info->actual_bytes);
    }
    add_string(object, "backing-filename", info->backing_file);
    add_string(object, "full-backing-filename", info->backing_path);
    add_string(object, "backing-filename-format", info->backing_format);
    if (info->has_driver_info) {
        add_driver_info(object, &info->driver);
    }
    json_node_take_object(node, object);
    return node;
}
