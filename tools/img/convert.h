/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of vblk-img convert share: its command line, its target, its
 * bitmaps. All: Context: main.
 */
#ifndef TOOLS_IMG_CONVERT_H
#define TOOLS_IMG_CONVERT_H

#include "args.h"
#include "create-opts.h"
#include "disk.h"
#include "snapshot-param.h"

typedef struct ConvertArgs {
    ImgArgs img;
    SnapshotParam snapshot;     /* -l */
    const char *out_format;     /* -O; NULL: --target-image-opts say it */
    const char *backing_file;   /* -B */
    const char *backing_format; /* -F */
    char *options;              /* -o, owned */
    int64_t workers;            /* -m */
    int64_t rate;               /* -r, bytes a second; 0: no limit */
    int64_t sparse_bytes;       /* -S */
    bool sparse_given;
    bool compress;              /* -c */
    bool copy_range;            /* -C */
    bool skip_create;           /* -n */
    bool out_of_order;          /* -W */
    bool bitmaps, skip_broken_bitmaps;
    bool salvage;
    bool target_image_opts, target_is_zero;
    char **sources;             /* of argv */
    unsigned n_sources;
    const char *target;         /* NULL: help was asked for without */
} ConvertArgs;

/* --- convert-args.c --- */

void convert_args_clear(ConvertArgs *args);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ConvertArgs, convert_args_clear)

/* Fills in *args, which is zeroed. Returns -1, or what to exit with when
 * there is nothing else to do. */
int convert_args_parse(ConvertArgs *args, int argc, char **argv);

/* --- convert-target.c; errors are reported --- */

typedef struct ConvertTarget {
    CreateOpts *opts;   /* of the image to be made; NULL: it is there */
    const char *backing_file; /* what it has, or is to have; or NULL */
    ImgDisk *disk;      /* NULL at first */
} ConvertTarget;

void convert_target_clear(ConvertTarget *target);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ConvertTarget, convert_target_clear)

/* Checks what can be checked before anything is written. */
bool convert_target_check(ConvertTarget *target, const ConvertArgs *args,
                          int64_t bytes);

/* Makes the image, if need be, and opens it. */
bool convert_target_open(ConvertTarget *target, const ConvertArgs *args,
                         int64_t bytes);

/* Whether all of it reads as zeroes as it is. */
bool convert_target_is_zero(const ConvertTarget *target,
                            const ConvertArgs *args);

/* --- convert-bitmaps.c; errors are reported --- */

/* Whether the source's can be copied, or left out. */
bool convert_bitmaps_check(BlockDriverState *source, const ConvertArgs *args);

/* Both have the same size and are attached to the control thread. */
bool convert_bitmaps_copy(BlockDriverState *source, BlockDriverState *target);

/* Whether the image may have any; says what bitmap_list() says. */
bool convert_bitmaps_possible(BlockDriverState *bs);

#endif
