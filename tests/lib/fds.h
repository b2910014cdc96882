/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors: how many are open, for tests that look for forgotten ones; and
 * sent to another process. */
#ifndef TESTS_LIB_FDS_H
#define TESTS_LIB_FDS_H

#include <sys/socket.h>
#include <sys/types.h>

#define SEND_MAX_FDS 64

/* What it opens to see that is in every count alike. Context: any */
unsigned count_fds(void);

/* One message of @bytes from @buf with @n_fds descriptors, which stay open.
 * Returns what sendmsg() does. Context: any */
ssize_t send_fds(int sock, const void *buf, size_t bytes, const int *fds,
                 unsigned n_fds, int flags);

#endif
