/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints errors and warnings of the image tools. Called by all of their
 * files; the only place that knows what stands in front of a message.
 */
#include "message.h"

#include "block/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One write for the whole of it: threads may log at the same time. */
static void show(const char *kind, const char *before, const char *text)
{
    const char *end = g_str_has_suffix(text, "\n") ? "" : "\n";

    fprintf(stderr, "%s: %s%s%s%s", g_get_prgname(), kind, before, text, end);
}

static void show_line(LogLevel level, const char *line, void *opaque)
{
    static const char *const kinds[] = {
        [LOG_LEVEL_ERROR] = "",
        [LOG_LEVEL_WARNING] = "warning: ",
        [LOG_LEVEL_INFO] = "info: ",
    };

    if (level == LOG_LEVEL_PLAIN) {
        fprintf(stderr, "%s\n", line);
    } else {
        show(kinds[level], "", line);
    }
}

void message_init(const char *argv0)
{
    g_autofree char *name = g_path_get_basename(argv0);

    g_set_prgname(name);
    log_set_sink(show_line, NULL);
}

static void show_formatted(const char *kind, const char *fmt, va_list ap,
                           const char *after)
{
    g_autofree char *before = g_strdup_vprintf(fmt, ap);

    show(kind, before, after);
}

void error_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    show_formatted("", fmt, ap, "");
    va_end(ap);
}

void warn_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    show_formatted("warning: ", fmt, ap, "");
    va_end(ap);
}

void error_report_err(GError *error)
{
    show("", "", error->message);
    g_error_free(error);
}

void error_reportf_err(GError *error, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    show_formatted("", fmt, ap, error->message);
    va_end(ap);
    g_error_free(error);
}

void warn_report_err(GError *error)
{
    show("warning: ", "", error->message);
    g_error_free(error);
}

void warn_reportf_err(GError *error, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    show_formatted("warning: ", fmt, ap, error->message);
    va_end(ap);
    g_error_free(error);
}
