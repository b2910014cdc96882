/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes a GError of what went wrong with an image. */
#include "qcow2-error.h"

#include <stdarg.h>

bool qcow2_error(GError **error, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, text);
    return false;
}

bool qcow2_error_errno(GError **error, int ret, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-ret), "%s: %s",
                text, g_strerror(-ret));
    return false;
}
