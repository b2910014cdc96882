/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a process before this one has left. Private to monitor/. Context: main
 */
#ifndef MONITOR_MONITOR_HANDOVER_H
#define MONITOR_MONITOR_HANDOVER_H

#include <stdbool.h>

/* Of the chardev @id; the caller's, or -1: there is none. */
int monitor_inherited_listener(const char *id);
int monitor_inherited_client(const char *id, bool *negotiated);

/* @listen_fd is to be there for the next process. */
void monitor_keep_listener(const char *id, int listen_fd);
/* None of that chardev is kept. */
void monitor_forget_listener(const char *id);

#endif
