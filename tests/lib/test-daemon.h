/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The storage daemon with any command line, for tests that need more of it
 * than one export. VBLK_STORAGE_DAEMON says where it is. Failures assert.
 */
#ifndef TESTS_LIB_TEST_DAEMON_H
#define TESTS_LIB_TEST_DAEMON_H

#include <glib.h>

typedef struct TestDaemon TestDaemon;

TestDaemon *test_daemon_new(void);

/* A word of the command line; before the start. */
void test_daemon_add(TestDaemon *daemon, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/* For the daemon alone; before the start. */
void test_daemon_set_env(TestDaemon *daemon, const char *name,
                         const char *value);

/* The path of a socket in the daemon's own directory. Borrowed. */
const char *test_daemon_socket(TestDaemon *daemon, unsigned i);

/* Returns when the last of @n_sockets is served. */
void test_daemon_start(TestDaemon *daemon, unsigned n_sockets);

/* Asks it to stop, waits until it has, asserts that it ended well. */
void test_daemon_free(TestDaemon *daemon);

/* How many descriptors it may have open from now on. */
void test_daemon_limit_fds(const TestDaemon *daemon, unsigned n);

/* What it holds. */
unsigned test_daemon_fds(const TestDaemon *daemon);
/* Memory of its own in KiB, guests' not among it. */
unsigned test_daemon_kib(const TestDaemon *daemon);

#endif
