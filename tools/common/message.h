/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the image tools say on standard error, in QEMU's form: the program's
 * name as it was called, a colon, the message. All: Context: main, but for
 * lines that come through block/log.h.
 *
 * The message of a GError may be followed by lines of advice: these are shown
 * as they are, without the program's name.
 */
#ifndef TOOLS_COMMON_MESSAGE_H
#define TOOLS_COMMON_MESSAGE_H

#include <glib.h>
#include <stdbool.h>

#include "block/error.h" /* error_setg() */

/* Takes the program's name from @argv0 and sends the block layer's log lines
 * the same way. */
void message_init(const char *argv0);

/* "PROGRAM: MESSAGE" */
void error_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* "PROGRAM: warning: MESSAGE" */
void warn_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* The message of @error, which is freed. */
void error_report_err(GError *error);
/* The same behind what @fmt says, with nothing in between. */
void error_reportf_err(GError *error, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);
void warn_report_err(GError *error);
void warn_reportf_err(GError *error, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

#endif
