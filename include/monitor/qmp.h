/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP, QEMU's machine protocol (its docs/interop/qmp-spec): what a program
 * provides for it. Commands are functions over block/options.h; monitors are
 * made with monitor/monitor.h. All functions: Context: main.
 */
#ifndef MONITOR_QMP_H
#define MONITOR_QMP_H

#include "block/options.h"

/* Classes of errors that clients tell apart; any other GError is a
 * GenericError. */
#define QMP_ERROR qmp_error_quark()
GQuark qmp_error_quark(void);

typedef enum QmpErrorClass {
    QMP_ERROR_COMMAND_NOT_FOUND,
    QMP_ERROR_DEVICE_NOT_FOUND,
} QmpErrorClass;

/* A command that has not been answered. */
typedef struct QmpCall QmpCall;

/*
 * Does the command and answers @call with exactly one of the two functions
 * below, now or later; until then no other command of that client is read.
 * @args are borrowed for the call, may be taken from, and name nothing in
 * front of their errors.
 */
typedef void QmpFn(QmpCall *call, Options *args);

/* @value is taken; NULL: {}. The client may be gone; the call is. */
void qmp_return(QmpCall *call, JsonNode *value);
void qmp_return_array(QmpCall *call, JsonArray *array); /* taken */
/* @error is taken. */
void qmp_fail(QmpCall *call, GError *error);
/* What most commands end with: {} or @error, which is taken, if not NULL. */
void qmp_finish(QmpCall *call, GError *error);

typedef struct QmpCommand {
    const char *name;
    QmpFn *fn;
} QmpCommand;

/* @commands ends with name NULL and is borrowed for good. */
void qmp_register(const QmpCommand *commands);

/* What query-version tells of us besides the interface; borrowed for good. */
void qmp_set_package(const char *name);

/* To every client that has negotiated. @data is taken; NULL: none. */
void qmp_event(const char *name, JsonObject *data);

/* --- Arguments, with QEMU's words --- */

/* A mandatory string; and an error when something is left. */
bool qmp_need_str(Options *args, const char *key, char **value,
                  GError **error);
bool qmp_args_done(Options *args, GError **error);
/* For commands without any: false when there are some, and @call has failed. */
bool qmp_no_args(QmpCall *call, Options *args);

#endif
