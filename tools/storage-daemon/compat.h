/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --chardev and --monitor: checked and remembered so that command lines
 * written for qemu-storage-daemon start; there is no QMP server yet.
 */
#ifndef TOOLS_STORAGE_DAEMON_COMPAT_H
#define TOOLS_STORAGE_DAEMON_COMPAT_H

#include <glib.h>
#include <stdbool.h>

bool compat_chardev(const char *text, GError **error); /* Context: main */
bool compat_monitor(const char *text, GError **error); /* Context: main */

#endif
