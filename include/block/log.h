/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line for the administrator. Libraries report errors to their callers;
 * this is for what has no caller: a guest that broke its ring, an engine that
 * fell back. Thread-safe. The program decides where lines go.
 */
#ifndef BLOCK_LOG_H
#define BLOCK_LOG_H

#include <glib.h>

typedef enum LogLevel { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO } LogLevel;

typedef void LogSink(LogLevel level, const char *line, void *opaque);

/* NULL restores the default: "PROGRAM: warning: LINE" on stderr. Context: main */
void log_set_sink(LogSink *sink, void *opaque);

/* @fmt has no newline. Context: any */
void log_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_warn(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_info(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

#endif
