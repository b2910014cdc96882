/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts allocations and mutex locks of the whole process, to show that
 * steady-state I/O makes none.
 *
 * A program that uses this replaces malloc() and friends and
 * pthread_mutex_lock() for itself and for every library it loads; sanitizers
 * need these for themselves, so that under them nothing is counted.
 */
#ifndef TESTS_LIB_COUNT_H
#define TESTS_LIB_COUNT_H

#include <stdbool.h>

/* False: this build cannot count. */
bool count_available(void);

/* Since the process started. Context: any */
unsigned count_allocations(void);
unsigned count_mutex_locks(void);

#endif
