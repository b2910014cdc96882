/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The form for people of what tools/common/image-info.h has. All functions:
 * Context: main.
 */
#ifndef TOOLS_IMG_IMAGE_INFO_PRINT_H
#define TOOLS_IMG_IMAGE_INFO_PRINT_H

#include "tools/common/image-info.h"

/* Lines for people. */
void image_info_print(const ImageInfo *info);

/* A table of BlockSnapshot, with its head. */
void snapshot_table_print(const GPtrArray *snapshots);

#endif
