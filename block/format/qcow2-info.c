/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What "qemu-img info" prints about an image besides its size: members of
 * ImageInfoSpecificQCow2, in the order in which that prints them. Called by
 * the tools.
 */
#include "qcow2.h"

static const char *compression_name(const Qcow2State *s)
{
    return s->compression == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
}

static void add_v3(const Qcow2State *s, JsonObject *data)
{
    if (s->data_file_name) {
        json_object_set_string_member(data, "data-file", s->data_file_name);
    }
    if (qcow2_has_data_file(s)) {
        json_object_set_boolean_member(data, "data-file-raw",
                                       qcow2_data_file_is_raw(s));
    }
    json_object_set_boolean_member(data, "corrupt",
                                   s->incompatible & QCOW2_INCOMPAT_CORRUPT);
    json_object_set_boolean_member(data, "extended-l2",
                                   qcow2_has_subclusters(s));
}

/* As qemu-img orders them: flags, name, granularity. */
static JsonObject *bitmap_object(const BlockBitmapInfo *bitmap)
{
    JsonObject *object = json_object_new();
    JsonArray *flags = json_array_new();

    if (bitmap->in_use) {
        json_array_add_string_element(flags, "in-use");
    }
    if (bitmap->autoload) {
        json_array_add_string_element(flags, "auto");
    }
    json_object_set_array_member(object, "flags", flags);
    json_object_set_string_member(object, "name", bitmap->name);
    json_object_set_int_member(object, "granularity", bitmap->granularity);
    return object;
}

static void add_bitmaps(BlockDriverState *bs, JsonObject *data)
{
    g_autoptr(GPtrArray) bitmaps = qcow2_bitmap_list(bs);
    JsonArray *array;

    if (!bitmaps || bitmaps->len == 0) {
        return;
    }
    array = json_array_new();
    for (unsigned i = 0; i < bitmaps->len; i++) {
        json_array_add_object_element(array,
                                      bitmap_object(bitmaps->pdata[i]));
    }
    json_object_set_array_member(data, "bitmaps", array);
}

static JsonObject *specific_data(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    JsonObject *data = json_object_new();

    json_object_set_string_member(data, "compat",
                                  s->version < 3 ? "0.10" : "1.1");
    json_object_set_string_member(data, "compression-type",
                                  compression_name(s));
    if (s->version >= 3) {
        json_object_set_boolean_member(data, "lazy-refcounts",
                                       s->compatible &
                                           QCOW2_COMPAT_LAZY_REFCOUNTS);
        add_bitmaps(bs, data);
    }
    json_object_set_int_member(data, "refcount-bits", s->refcount_bits);
    if (s->version >= 3) {
        add_v3(s, data);
    }
    return data;
}

bool qcow2_info(BlockDriverState *bs, BlockImageInfo *info, GError **error)
{
    const Qcow2State *s = bs->opaque;

    info->cluster_bytes = s->cluster_size;
    info->vm_state_offset = qcow2_vm_state_offset(bs);
    info->dirty = s->incompatible & QCOW2_INCOMPAT_DIRTY;
    info->corrupt = s->incompatible & QCOW2_INCOMPAT_CORRUPT;
    info->snapshots = qcow2_snapshot_list(bs);
    info->specific = json_object_new();
    json_object_set_string_member(info->specific, "type", "qcow2");
    json_object_set_object_member(info->specific, "data",
                                  specific_data(bs));
    return true;
}
