/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backing files of an open image. */
#ifndef TOOLS_IMG_CHAIN_H
#define TOOLS_IMG_CHAIN_H

#include "block/image.h"

/* The image itself, below what only filters it. Context: any */
BlockDriverState *img_skip_filters(BlockDriverState *bs);

/* What @backing, as the user names it, is to @bs: relative to its folder.
 * Caller frees; NULL with @error. Context: any */
char *img_backing_path(const BlockDriverState *bs, const char *backing,
                       GError **error);

/* The one of @bs's backing files that is called so, or NULL. Borrowed.
 * Context: main */
BlockDriverState *img_find_backing(BlockDriverState *bs, const char *name);

#endif
