/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers on the command lines of vblk-io. Errors are shown where they are
 * found, in QEMU's words. Context: main */
#ifndef TOOLS_IO_ARGS_H
#define TOOLS_IO_ARGS_H

#include "io.h"

/* Bytes, with a suffix if they like. */
bool io_parse_size(const char *text, int64_t *value);

/* The same for a length of at most IO_MAX_BYTES. */
bool io_parse_length(const char *text, int64_t *value);

/* -P: 0 to 255. */
bool io_parse_pattern(const char *text, int *value);

/* Of what only works on whole sectors; @name: 'offset' or 'count'. */
bool io_check_sector_aligned(const char *name, int64_t value);

/* Shows how the command is used; false, for the caller to return. */
bool io_usage(const IoCommand *command);

#endif
