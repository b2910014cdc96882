/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block_resize: makes a node longer or shorter while guests use it. Called by
 * clients through qmp-exports.c's table.
 *
 * The exports of the node are paused for it: no request is in flight when its
 * length changes, and each guest is told by an interrupt for config space.
 */
#include "qmp-commands.h"

#include "export.h"
#include "block/control.h"
#include "block/error.h"
#include "block/graph.h"
#include "block/image.h"

#include <string.h>

#define SECTOR_SIZE 512

typedef struct Resize {
    BlockDriverState *bs;
    BlockTruncate to;
    bool is_child;   /* of another node, which would not know */
    GError *error;
} Resize;

static void look_for_parent(BlockDriverState *bs, void *opaque)
{
    Resize *resize = opaque;

    resize->is_child |= g_ptr_array_find(bs->children, resize->bs, NULL);
}

static bool check_resize(Resize *resize, GError **error)
{
    const char *name = resize->bs->node_name;

    if (resize->to.bytes <= 0) {
        error_setg(error, "Parameter 'size' expects a >0 size");
    } else if (resize->to.bytes % SECTOR_SIZE) {
        error_setg(error, "Parameter 'size' expects a multiple of %d",
                   SECTOR_SIZE);
    } else if (bdrv_is_inactive(resize->bs)) {
        error_setg(error, "Node '%s' is inactive", name);
    } else if (resize->bs->read_only) {
        error_setg(error, "Image is read-only");
    } else if (resize->is_child) {
        error_setg(error, "Node '%s' is used by another node: resize that",
                   name);
    } else {
        return true;
    }
    return false;
}

/* A guest's blocks have to fit. */
static void check_export(Export *export, void *opaque)
{
    Resize *resize = opaque;
    uint32_t block_size = export_block_size(export);

    if (!resize->error && bdrv_find_node(export_node_name(export)) ==
                              resize->bs &&
        resize->to.bytes % block_size) {
        error_setg(&resize->error, "Parameter 'size' expects a multiple of the "
                   "logical block size %u of export '%s'", block_size,
                   export_id(export));
    }
}

static void pause_export(Export *export, void *opaque)
{
    Resize *resize = opaque;

    if (bdrv_find_node(export_node_name(export)) == resize->bs) {
        virtio_blk_pause(export_device(export));
    }
}

static void unpause_export(Export *export, void *opaque)
{
    Resize *resize = opaque;

    if (bdrv_find_node(export_node_name(export)) == resize->bs) {
        virtio_blk_unpause(export_device(export));
    }
}

static void coroutine_fn resize_co(void *opaque)
{
    Resize *resize = opaque;

    bdrv_co_truncate(resize->bs, &resize->to, &resize->error);
}

static bool take_args(Options *args, Resize *resize, GError **error)
{
    g_autofree char *device = NULL, *name = NULL;
    int64_t size = 0;

    if (!options_take_str(args, "device", &device, error) ||
        !options_take_str(args, "node-name", &name, error)) {
        return false;
    }
    resize->bs = name ? bdrv_find_node(name) : NULL;
    if (!resize->bs) {
        return error_setg(error, "Cannot find device='%.64s' nor "
                          "node-name='%.64s'", device ? device : "",
                          name ? name : "");
    }
    if (!options_has(args, "size")) {
        return error_setg(error, "Parameter 'size' is missing");
    }
    if (!options_take_size(args, "size", &size, NULL)) {
        size = 0; /* negative */
    }
    resize->to.bytes = size;
    return qmp_args_done(args, error);
}

void qmp_block_resize(QmpCall *call, Options *args)
{
    Resize resize = { 0 };

    if (!take_args(args, &resize, &resize.error)) {
        qmp_fail(call, resize.error);
        return;
    }
    bdrv_foreach_node(look_for_parent, &resize);
    if (check_resize(&resize, &resize.error)) {
        export_foreach(check_export, &resize);
    }
    if (!resize.error) {
        export_foreach(pause_export, &resize);
        bdrv_run_co(resize.bs, resize_co, &resize);
        export_foreach(unpause_export, &resize);
    }
    qmp_finish(call, resize.error);
}
