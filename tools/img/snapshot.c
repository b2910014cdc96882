/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img snapshot: lists, makes, applies and deletes internal snapshots.
 */
#include "args.h"
#include "image-info-print.h"
#include "img.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer names are cut. */
#define NAME_MAX_BYTES 255

static const char letters[] = ":la:c:d:hqU";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

typedef struct SnapshotCall {
    BlockDriverState *bs;
    const char *name;
    bool ok;
    GError *error;
} SnapshotCall;

static GPtrArray *list_of(BlockDriverState *bs)
{
    const BlockImageOps *ops = bs->drv->image;

    return ops && ops->snapshot_list ? ops->snapshot_list(bs) : NULL;
}

static int list(BlockDriverState *bs)
{
    g_autoptr(GPtrArray) snapshots = list_of(bs);

    if (snapshots && snapshots->len > 0) {
        printf("Snapshot list:\n");
        snapshot_table_print(snapshots);
    }
    return EXIT_SUCCESS;
}

static int finish(const SnapshotCall *call, const char *what)
{
    if (call->ok) {
        return EXIT_SUCCESS;
    }
    error_reportf_err(call->error, "Could not %s snapshot '%s': ", what,
                      call->name);
    return EXIT_FAILURE;
}

/* --- create --- */

static void coroutine_fn create_entry(void *opaque)
{
    SnapshotCall *call = opaque;
    int64_t now_us = g_get_real_time();
    g_autofree char *name = g_strndup(call->name, NAME_MAX_BYTES);
    BlockSnapshot snapshot = {
        .name = name,
        .date_s = now_us / G_USEC_PER_SEC,
        .date_ns = now_us % G_USEC_PER_SEC * 1000,
        .disk_bytes = call->bs->total_bytes,
    };

    call->ok = call->bs->drv->image->co_snapshot_create(call->bs, &snapshot,
                                                        &call->error);
    g_free(snapshot.id);
}

static int create(BlockDriverState *bs, const char *name)
{
    SnapshotCall call = { .bs = bs, .name = name };

    if (!bs->drv->image || !bs->drv->image->co_snapshot_create) {
        error_report("Could not create snapshot '%s': %d (%s)", name,
                     -ENOTSUP, g_strerror(ENOTSUP));
        return EXIT_FAILURE;
    }
    bdrv_run_co(bs, create_entry, &call);
    return finish(&call, "create");
}

/* --- apply --- */

static void coroutine_fn apply_entry(void *opaque)
{
    SnapshotCall *call = opaque;

    call->ok = call->bs->drv->image->co_snapshot_apply(call->bs, call->name,
                                                       &call->error);
}

static int apply(BlockDriverState *bs, const char *name)
{
    SnapshotCall call = { .bs = bs, .name = name };

    if (!bs->drv->image || !bs->drv->image->co_snapshot_apply) {
        error_report("Could not apply snapshot '%s': Block driver does not "
                     "support snapshots", name);
        return EXIT_FAILURE;
    }
    bdrv_run_co(bs, apply_entry, &call);
    return finish(&call, "apply");
}

/* --- delete --- */

static void coroutine_fn delete_entry(void *opaque)
{
    SnapshotCall *call = opaque;

    call->ok = call->bs->drv->image->co_snapshot_delete(call->bs, call->name,
                                                        &call->error);
}

static const char *id_of(const GPtrArray *snapshots, const char *name)
{
    for (unsigned i = 0; snapshots && i < snapshots->len; i++) {
        const BlockSnapshot *snapshot = snapshots->pdata[i];

        if (strcmp(snapshot->name, name) == 0) {
            return snapshot->id;
        }
    }
    return NULL;
}

/* By name only: who gives an id by mistake keeps the snapshot. */
static int delete(BlockDriverState *bs, const char *name)
{
    g_autoptr(GPtrArray) snapshots = list_of(bs);
    SnapshotCall call = { .bs = bs, .name = id_of(snapshots, name) };

    if (!call.name) {
        error_report("Could not delete snapshot '%s': snapshot not found",
                     name);
        return EXIT_FAILURE;
    }
    bdrv_run_co(bs, delete_entry, &call);
    call.name = name;
    return finish(&call, "delete");
}

/* --- which of them --- */

static int act(BlockDriverState *bs, int action, const char *name)
{
    switch (action) {
    case 'l':
        return list(bs);
    case 'c':
        return create(bs, name);
    case 'a':
        return apply(bs, name);
    case 'd':
        return delete(bs, name);
    default:
        return EXIT_SUCCESS;
    }
}

static int open_and_act(const ImgArgs *args, const char *filename, int action,
                        const char *name)
{
    g_autoptr(BlockDriverState) bs = NULL;
    unsigned flags = action == 'l' ? BDRV_OPEN_READ_ONLY : BDRV_OPEN_DISCARD;

    flags |= args->force_share ? BDRV_OPEN_SHARE : 0;
    bs = img_open(args, filename, flags);
    return bs ? act(bs, action, name) : EXIT_FAILURE;
}

int img_snapshot(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    const char *name = NULL;
    int action = 0, c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args.status;
        }
        if (action) {
            return img_bad_usage("Cannot mix '-l', '-a', '-c', '-d'");
        }
        action = c;
        name = optarg;
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting one image file name");
    }
    return open_and_act(&args, argv[optind], action, name);
}
