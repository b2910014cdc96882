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
    info->specific = json_object_new();
    json_object_set_string_member(info->specific, "type", "qcow2");
    json_object_set_object_member(info->specific, "data",
                                  specific_data(bs));
    return true;
}
