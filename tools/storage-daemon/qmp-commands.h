/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's QMP commands, a table for each kind of object. All functions:
 * Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_QMP_COMMANDS_H
#define TOOLS_STORAGE_DAEMON_QMP_COMMANDS_H

#include "block/aio.h"
#include "monitor/qmp.h"

/* Makes all of them known. @quit is called, with @opaque, by "quit".
 * @main_ctx is where exports' sockets are watched. */
void qmp_commands_init(AioContext *main_ctx, AioFn *quit, void *opaque);

extern const QmpCommand qmp_node_commands[];
extern const QmpCommand qmp_export_commands[];
extern const QmpCommand qmp_object_commands[];

/* qmp-resize.c */
void qmp_block_resize(QmpCall *call, Options *args);

/* What qom-set has done in a process before this one; @args are taken from. */
bool qmp_set_limits_again(const char *id, Options *args, GError **error);

void qmp_exports_init(AioContext *main_ctx);

/* An owned copy of what is left of @args, for whoever consumes options. */
Options *qmp_args_copy(Options *args);

#endif
