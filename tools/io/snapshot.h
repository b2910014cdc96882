/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What -s does. Context: main */
#ifndef TOOLS_IO_SNAPSHOT_H
#define TOOLS_IO_SNAPSHOT_H

#include "image.h"

/* Opens the image of @spec, only to be read, below a temporary one that takes
 * what is written and is gone when it is closed. Returns a reference. */
BlockDriverState *io_snapshot_open(const IoImageSpec *spec, GError **error);

#endif
