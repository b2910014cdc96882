/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One GError for what is told to people and looked at by nobody else. */
#include "block/error.h"

#include <stdarg.h>

bool error_setg(GError **error, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        text);
    return false;
}
