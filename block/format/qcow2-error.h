/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors of operations on whole images, in one line each. */
#ifndef BLOCK_FORMAT_QCOW2_ERROR_H
#define BLOCK_FORMAT_QCOW2_ERROR_H

#include <glib.h>
#include <stdbool.h>

/* Both set *error and return false, for "return qcow2_error(...)".
 * Context: any */
bool qcow2_error(GError **error, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* @ret is a negative errno, whose text follows after a colon. */
bool qcow2_error_errno(GError **error, int ret, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

#endif
