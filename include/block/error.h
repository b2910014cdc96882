/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes a GError of what went wrong and leaves the function: return
 * error_setg(...).
 */
#ifndef BLOCK_ERROR_H
#define BLOCK_ERROR_H

#include <glib.h>
#include <stdbool.h>

/* Sets @error, if it is not NULL; @fmt has no newline. Returns false, to be
 * returned. Context: any */
bool error_setg(GError **error, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
