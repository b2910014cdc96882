/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which options of an open image can be changed. Context: main */
#ifndef TOOLS_IO_REOPEN_H
#define TOOLS_IO_REOPEN_H

#include "image.h"

/*
 * Takes from @opts what is as it was and leaves what changes. @was: the
 * options @bs was opened with. False when something cannot be changed.
 */
bool io_reopen_check(BlockDriverState *bs, const Options *was, Options *opts,
                     GError **error);

/* Adds to @opts what of @was still holds; consumes @was. */
void io_reopen_join(Options *opts, Options *was);

#endif
