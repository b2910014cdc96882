/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line for the administrator. Libraries report errors to their callers;
 * this is for what has no caller: a guest that broke its ring, an engine that
 * fell back. Thread-safe. The program decides where lines go.
 */
#ifndef BLOCK_LOG_H
#define BLOCK_LOG_H

#include <glib.h>

typedef enum LogLevel { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO,
               LOG_LEVEL_PLAIN } LogLevel;

typedef void LogSink(LogLevel level, const char *line, void *opaque);

/* NULL restores the default: "PROGRAM: warning: LINE" on stderr. Context: main */
void log_set_sink(LogSink *sink, void *opaque);

/* @fmt has no newline. Context: any */
void log_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_warn(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_info(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* A warning whose line stands as it is, without the program's name. */
void log_plain(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/*
 * For what a guest or front end can cause as often as it likes: a limit for
 * each of them, zeroed at first. Protected by the log's lock.
 */
typedef struct LogLimit {
    int64_t window_us; /* when the current window began */
    unsigned lines;    /* in it */
    unsigned dropped;  /* of these, how many were not shown */
} LogLimit;

#define LOG_LIMIT_LINES     16
#define LOG_LIMIT_WINDOW_US (10 * G_USEC_PER_SEC)

/* The same, at most LOG_LIMIT_LINES times in a window; the first line of a
 * later one says how many are missing. @limit NULL: no limit. Context: any */
void log_warn_limited(LogLimit *limit, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

#endif
