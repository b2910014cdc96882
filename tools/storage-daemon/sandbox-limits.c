/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits and descriptors that the process was started with.
 *
 * The size of core dumps is left to the administrator: the guest's memory is
 * kept out of them where it is mapped (MADV_DONTDUMP).
 */
#include "sandbox.h"
#include "sandbox-private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void raise_limit(int resource)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(resource, &limit);
    }
}

/* A queue has four descriptors, a front end's memory hundreds; rings of
 * io_uring are locked memory on some kernels. Best effort. */
void sandbox_raise_limits(void)
{
    raise_limit(RLIMIT_NOFILE);
    raise_limit(RLIMIT_MEMLOCK);
}

static void close_if_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    if (fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC)) {
        close(fd);
    }
}

void sandbox_close_inherited(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    if (!dir) {
        return;
    }
    while ((entry = readdir(dir))) {
        guint64 fd;

        if (g_ascii_string_to_unsigned(entry->d_name, 10, 0, G_MAXINT, &fd,
                                       NULL)) {
            close_if_inherited(fd);
        }
    }
    closedir(dir);
}
