/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU lists as cpus_allowed has them in fio. */
#include "cpus.h"

#include <errno.h>
#include <gio/gio.h>

static bool parse_number(const char **pos, unsigned *number)
{
    char *end;
    guint64 value = g_ascii_strtoull(*pos, &end, 10);

    if (!g_ascii_isdigit(**pos) || value >= CPU_SETSIZE) {
        return false;
    }
    *pos = end;
    *number = value;
    return true;
}

static bool parse_range(const char **pos, cpu_set_t *set)
{
    unsigned first, last;

    if (!parse_number(pos, &first)) {
        return false;
    }
    last = first;
    if (**pos == '-') {
        ++*pos;
        if (!parse_number(pos, &last) || last < first) {
            return false;
        }
    }
    for (unsigned i = first; i <= last; i++) {
        CPU_SET(i, set);
    }
    return true;
}

bool bench_cpus_parse(const char *list, cpu_set_t *set, GError **error)
{
    const char *pos = list;

    CPU_ZERO(set);
    while (parse_range(&pos, set)) {
        if (*pos == '\0') {
            return true;
        }
        if (*pos++ != ',') {
            break;
        }
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "'%s' is not a list of CPUs such as 0-1,3", list);
    return false;
}

bool bench_cpus_apply(const char *list, GError **error)
{
    cpu_set_t set;

    if (!bench_cpus_parse(list, &set, error)) {
        return false;
    }
    if (sched_setaffinity(0, sizeof(set), &set) < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot run on CPUs %s: %s", list, g_strerror(errno));
        return false;
    }
    return true;
}
