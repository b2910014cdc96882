/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel tells of a process and of a disk. Each figure is taken
 * before and after, and the difference divided by the requests.
 */
#ifndef TOOLS_BENCH_PROCFS_H
#define TOOLS_BENCH_PROCFS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct ProcessFigures {
    int64_t cpu_ns;        /* of all threads, those that ended included */
    uint64_t user_ticks, system_ticks;
    uint64_t switches;     /* context switches of the threads there are */
    uint64_t peak_rss;     /* bytes; VmHWM */
    uint64_t private_rss;  /* bytes; RssAnon: without the guest's memory */
    unsigned threads;
} ProcessFigures;

/* Context: any, all of these. */
bool process_figures_read(pid_t pid, ProcessFigures *figures, GError **error);

typedef struct DiskFigures {
    char name[32];
    uint64_t reads, read_sectors, reads_merged;
    uint64_t writes, write_sectors, writes_merged;
    uint64_t busy_ms;
} DiskFigures;

/* Of the disk below @path: the block device itself, or the one its file
 * system is on. False: there is none (tmpfs), or no figures. */
bool disk_figures_read(const char *path, DiskFigures *figures);

#endif
