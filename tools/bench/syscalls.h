/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts the system calls of a process, where the kernel lets us: with perf
 * events on the tracepoint that every system call passes. Counting slows the
 * calls down, so it has a time of its own after what is measured.
 */
#ifndef TOOLS_BENCH_SYSCALLS_H
#define TOOLS_BENCH_SYSCALLS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct SyscallCounter SyscallCounter;

/* Starts to count, in all threads and those they start. NULL: not permitted,
 * or no tracefs. Context: main, all of these. */
SyscallCounter *syscall_counter_new(pid_t pid);
uint64_t syscall_counter_read(const SyscallCounter *counter);
void syscall_counter_free(SyscallCounter *counter);

#endif
