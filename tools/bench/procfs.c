/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads /proc. CPU time comes from the process's CPU clock, which counts
 * nanoseconds, where /proc/PID/stat counts ticks of 10 ms.
 */
#include "procfs.h"

#include <errno.h>
#include <gio/gio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

static bool read_cpu_clock(pid_t pid, int64_t *ns)
{
    struct timespec ts;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts)) {
        return false;
    }
    *ns = ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
    return true;
}

/* The number behind "KEY:" at the start of a line, 0 if there is none. */
static uint64_t status_value(const char *text, const char *key)
{
    size_t len = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ':') {
            return strtoull(line + len + 1, NULL, 10);
        }
    }
    return 0;
}

static uint64_t count_switches(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    uint64_t sum = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_strdup_printf("%s/%s/status", path, name);
        g_autofree char *text = NULL;

        if (g_file_get_contents(file, &text, NULL, NULL)) {
            sum += status_value(text, "voluntary_ctxt_switches") +
                   status_value(text, "nonvoluntary_ctxt_switches");
        }
    }
    return sum;
}

static void read_ticks(pid_t pid, ProcessFigures *figures)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) words = NULL;
    const char *after;

    /* The name, in parentheses, may hold anything. Then: state is word 0. */
    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        !(after = strrchr(text, ')')) || after[1] == '\0') {
        return;
    }
    words = g_strsplit(after + 2, " ", 20);
    if (g_strv_length(words) > 17) {
        figures->user_ticks = g_ascii_strtoull(words[11], NULL, 10);
        figures->system_ticks = g_ascii_strtoull(words[12], NULL, 10);
        figures->threads = g_ascii_strtoull(words[17], NULL, 10);
    }
}

bool process_figures_read(pid_t pid, ProcessFigures *figures, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", pid);
    g_autofree char *text = NULL;

    memset(figures, 0, sizeof(*figures));
    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        !read_cpu_clock(pid, &figures->cpu_ns)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "process %d: no such process", pid);
        return false;
    }
    figures->peak_rss = status_value(text, "VmHWM") * 1024;
    figures->private_rss = status_value(text, "RssAnon") * 1024;
    read_ticks(pid, figures);
    figures->switches = count_switches(pid);
    return true;
}

static bool parse_disk_line(const char *line, dev_t dev, DiskFigures *figures)
{
    uint64_t number[16] = { 0 };
    g_auto(GStrv) all = g_strsplit_set(line, " ", -1);
    char *words[20];
    unsigned n = 0;

    for (unsigned i = 0; all[i] && n < G_N_ELEMENTS(words); i++) {
        if (*all[i]) {
            words[n++] = all[i];
        }
    }
    if (n < 14 || g_ascii_strtoull(words[0], NULL, 10) != major(dev) ||
        g_ascii_strtoull(words[1], NULL, 10) != minor(dev)) {
        return false;
    }
    for (unsigned i = 3; i < 14; i++) {
        number[i] = g_ascii_strtoull(words[i], NULL, 10);
    }
    g_strlcpy(figures->name, words[2], sizeof(figures->name));
    figures->reads = number[3];
    figures->reads_merged = number[4];
    figures->read_sectors = number[5];
    figures->writes = number[7];
    figures->writes_merged = number[8];
    figures->write_sectors = number[9];
    figures->busy_ms = number[12];
    return true;
}

bool disk_figures_read(const char *path, DiskFigures *figures)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    struct stat st;
    dev_t dev;

    memset(figures, 0, sizeof(*figures));
    if (stat(path, &st) < 0 ||
        !g_file_get_contents("/proc/diskstats", &text, NULL, NULL)) {
        return false;
    }
    dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        if (parse_disk_line(lines[i], dev, figures)) {
            return true;
        }
    }
    return false;
}
