/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Included before anything else into code under test: calls a function before
 * each atomic store, which is where a crash makes a difference to whoever
 * shares the memory.
 */
#ifndef TESTS_LIB_STEP_STORES_H
#define TESTS_LIB_STEP_STORES_H

extern void (*step_before_store)(void); /* NULL: none */

/* The name within its own expansion is the compiler's. */
#define __atomic_store_n(ptr, value, order)                     \
    ((void)(step_before_store ? (step_before_store(), 0) : 0), \
     __atomic_store_n(ptr, value, order))

#endif
