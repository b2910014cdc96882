/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One perf event for each thread there is; inherited by those they start.
 */
#include "syscalls.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

struct SyscallCounter {
    GArray *fds;
};

static bool tracepoint_id(uint64_t *id)
{
    static const char *const places[] = {
        "/sys/kernel/tracing", "/sys/kernel/debug/tracing"
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_strdup_printf(
            "%s/events/raw_syscalls/sys_enter/id", places[i]);
        g_autofree char *text = NULL;

        if (g_file_get_contents(path, &text, NULL, NULL)) {
            *id = g_ascii_strtoull(text, NULL, 10);
            return *id > 0;
        }
    }
    return false;
}

static int open_event(pid_t tid, uint64_t id)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof(attr),
        .config = id,
        .inherit = 1,
    };

    return syscall(SYS_perf_event_open, &attr, tid, -1, -1,
                   PERF_FLAG_FD_CLOEXEC);
}

SyscallCounter *syscall_counter_new(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    SyscallCounter *counter;
    const char *name;
    uint64_t id;

    if (!dir || !tracepoint_id(&id)) {
        return NULL;
    }
    counter = g_new0(SyscallCounter, 1);
    counter->fds = g_array_new(FALSE, FALSE, sizeof(int));
    while ((name = g_dir_read_name(dir))) {
        int fd = open_event(g_ascii_strtoll(name, NULL, 10), id);

        if (fd >= 0) { /* a thread may have ended meanwhile */
            g_array_append_val(counter->fds, fd);
        }
    }
    if (counter->fds->len == 0) {
        g_clear_pointer(&counter, syscall_counter_free);
    }
    return counter;
}

uint64_t syscall_counter_read(const SyscallCounter *counter)
{
    uint64_t sum = 0, value;

    for (unsigned i = 0; i < counter->fds->len; i++) {
        int fd = g_array_index(counter->fds, int, i);

        if (read(fd, &value, sizeof(value)) == sizeof(value)) {
            sum += value;
        }
    }
    return sum;
}

void syscall_counter_free(SyscallCounter *counter)
{
    if (counter) {
        for (unsigned i = 0; i < counter->fds->len; i++) {
            close(g_array_index(counter->fds, int, i));
        }
        g_array_free(counter->fds, TRUE);
        g_free(counter);
    }
}
