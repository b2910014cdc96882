/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -l of convert and measure: an internal snapshot in place of the image.
 * All: Context: main; errors are reported.
 */
#ifndef TOOLS_IMG_SNAPSHOT_PARAM_H
#define TOOLS_IMG_SNAPSHOT_PARAM_H

#include "block/image.h"

typedef struct SnapshotParam {
    char *either;      /* an id or a name */
    char *id, *name;   /* "snapshot.id=...,snapshot.name=...": both match */
} SnapshotParam;

bool snapshot_param_parse(SnapshotParam *param, const char *text);
void snapshot_param_clear(SnapshotParam *param);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SnapshotParam, snapshot_param_clear)

/* @bs shows that snapshot from now on. Does nothing when none was asked
 * for. */
bool snapshot_param_load(const SnapshotParam *param, BlockDriverState *bs);

#endif
