/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --drive: one line for what is otherwise a --blockdev and an --export. */
#ifndef TOOLS_STORAGE_DAEMON_DRIVE_H
#define TOOLS_STORAGE_DAEMON_DRIVE_H

#include "block/aio.h"

/* @text is the option's value. Context: main */
bool drive_add(const char *text, AioContext *main_ctx, GError **error);
/* The next one without id= is "drive0" again. Context: main */
void drive_reset(void);

#endif
