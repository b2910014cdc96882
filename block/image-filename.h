/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of files and the options that they stand for. Private to block/. */
#ifndef BLOCK_IMAGE_FILENAME_H
#define BLOCK_IMAGE_FILENAME_H

#include "block/driver.h"

/*
 * The options of the protocol node that @filename names: a path, or
 * "protocol:..." . Context: any
 */
Options *image_filename_options(const char *filename, GError **error);

/* "driver" for options that have a "filename", which is a path, and none. */
void image_default_protocol(Options *opts);

/* Whether it starts with "word:" and not with a path. */
bool image_filename_has_protocol(const char *filename);

/* --- image-name.c --- */

/*
 * Sets bs->filename and bs->full_options; @given is what it was opened with.
 * Its children have theirs. Context: main
 */
void image_name_node(BlockDriverState *bs, JsonObject *given);

#endif
