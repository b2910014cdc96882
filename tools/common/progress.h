/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far a long job is: "    (12.34/100%)" on a terminal with -p, and on
 * SIGUSR1 without. One job at a time. Context: whoever does the job, one
 * thread at a time.
 */
#ifndef TOOLS_COMMON_PROGRESS_H
#define TOOLS_COMMON_PROGRESS_H

#include <stdbool.h>

/* @percent: how much more there has to be for another line. Before any thread
 * is made: takes over SIGUSR1. */
void progress_init(bool shown, double percent);

/* From 0 to 100. */
void progress_set(double percent);

/* Ends the line. */
void progress_end(void);

#endif
