/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of CPUs: "0", "0-1,3". */
#ifndef TOOLS_BENCH_CPUS_H
#define TOOLS_BENCH_CPUS_H

#include <glib.h>
#include <sched.h>
#include <stdbool.h>

/* Context: any */
bool bench_cpus_parse(const char *list, cpu_set_t *set, GError **error);

/* Moves the calling thread, and those it will start. Context: any */
bool bench_cpus_apply(const char *list, GError **error);

#endif
