/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long a random test goes on, and from which seed: a short while in CI,
 * "--seeds N" and "--first SEED" by hand.
 */
#ifndef TESTS_LIB_SEEDS_H
#define TESTS_LIB_SEEDS_H

#include <glib.h>

/* After g_test_init(). @def is what CI does. Bad options end the program. */
void seeds_parse(int argc, char **argv, unsigned def);

unsigned seeds_count(void);
unsigned seeds_first(void);

#endif
