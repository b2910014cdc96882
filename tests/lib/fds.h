/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many files this process has open: for tests that look for descriptors
 * that were forgotten.
 */
#ifndef TESTS_LIB_FDS_H
#define TESTS_LIB_FDS_H

/* What it opens to see that is in every count alike. Context: any */
unsigned count_fds(void);

#endif
