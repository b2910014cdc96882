/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts open files, and sends them. */
#include "tests/lib/fds.h"

#include <dirent.h>
#include <glib.h>
#include <string.h>

unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

ssize_t send_fds(int sock, const void *buf, size_t bytes, const int *fds,
                 unsigned n_fds, int flags)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(SEND_MAX_FDS * sizeof(int))];
    } control = { 0 };
    struct iovec iov = { (void *)buf, bytes };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    g_assert_cmpuint(n_fds, <=, SEND_MAX_FDS);
    if (n_fds) {
        struct cmsghdr *c;

        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    return sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
}
