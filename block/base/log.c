/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log lines for the administrator, for events that have no caller to return
 * an error to. Called from every thread; the program may redirect the lines.
 * A short line takes no memory: that memory is short may be what it says.
 */
#include "block/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#define SHORT_LINE 512

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

/* With sink_lock held. */
static void write_line(LogLevel level, const char *line)
{
    const char *program = g_get_prgname();

    if (sink) {
        sink(level, line, sink_opaque);
        return;
    }
    if (level == LOG_LEVEL_PLAIN) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    fprintf(stderr, "%s: %s%s\n", program ? program : "vblk",
            level_names[level], line);
}

/* With sink_lock held. Returns how many lines were dropped before this one,
 * or -1 when this one is to be dropped. */
static int limit_pass(LogLimit *limit)
{
    int64_t now_us = g_get_monotonic_time();
    int dropped = 0;

    if (limit->lines == 0 ||
        now_us - limit->window_us >= LOG_LIMIT_WINDOW_US) {
        dropped = MIN(limit->dropped, G_MAXINT);
        *limit = (LogLimit){ .window_us = now_us };
    }
    if (limit->lines == LOG_LIMIT_LINES) {
        limit->dropped++;
        return -1;
    }
    limit->lines++;
    return dropped;
}

static void log_line(LogLevel level, LogLimit *limit, const char *fmt,
                     va_list ap)
{
    g_autofree char *long_line = NULL;
    char short_line[SHORT_LINE];
    const char *line = short_line;
    va_list again;
    int dropped;

    va_copy(again, ap);
    if (vsnprintf(short_line, sizeof(short_line), fmt, ap) >= SHORT_LINE) {
        line = long_line = g_strdup_vprintf(fmt, again);
    }
    va_end(again);
    pthread_mutex_lock(&sink_lock);
    dropped = limit ? limit_pass(limit) : 0;
    if (dropped > 0) {
        g_autofree char *more = g_strdup_printf("%s (and %d lines before it)",
                                                line, dropped);

        write_line(level, more);
    } else if (dropped == 0) {
        write_line(level, line);
    }
    pthread_mutex_unlock(&sink_lock);
}

void log_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_ERROR, NULL, fmt, ap);
    va_end(ap);
}

void log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_WARNING, NULL, fmt, ap);
    va_end(ap);
}

void log_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_INFO, NULL, fmt, ap);
    va_end(ap);
}

void log_plain(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_PLAIN, NULL, fmt, ap);
    va_end(ap);
}

void log_warn_limited(LogLimit *limit, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(LOG_LEVEL_WARNING, limit, fmt, ap);
    va_end(ap);
}
