/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log lines for the administrator, for events that have no caller to return
 * an error to. Called from every thread; the program may redirect the lines.
 */
#include "block/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

/* Not a GMutex: ThreadSanitizer knows this one. */
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static LogSink *sink; /* protected by sink_lock */
static void *sink_opaque;

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error: ",
    [LOG_LEVEL_WARNING] = "warning: ",
    [LOG_LEVEL_INFO] = "",
};

void log_set_sink(LogSink *new_sink, void *opaque)
{
    pthread_mutex_lock(&sink_lock);
    sink = new_sink;
    sink_opaque = opaque;
    pthread_mutex_unlock(&sink_lock);
}

static void log_line(LogLevel level, const char *fmt, va_list ap)
{
    g_autofree char *line = g_strdup_vprintf(fmt, ap);

    pthread_mutex_lock(&sink_lock);
    if (sink) {
        sink(level, line, sink_opaque);
    } else {
        const char *program = g_get_prgname();

        fprintf(stderr, "%s: %s%s\n", program ? program : "vblk",
                level_names[level], line);
    }
    pthread_mutex_unlock(&sink_lock);
}

void log_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_ERROR, fmt, ap);
    va_end(ap);
}

void log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_WARNING, fmt, ap);
    va_end(ap);
}

void log_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_INFO, fmt, ap);
    va_end(ap);
}
