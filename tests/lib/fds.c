/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts open files. */
#include "tests/lib/fds.h"

#include <dirent.h>
#include <glib.h>

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
