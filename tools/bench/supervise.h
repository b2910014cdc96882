/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work that leaves nothing behind when it is interrupted.
 */
#ifndef TOOLS_BENCH_SUPERVISE_H
#define TOOLS_BENCH_SUPERVISE_H

/*
 * Runs work(opaque) in a process of its own and returns its exit status. When
 * that process is killed, or this one is interrupted (SIGINT, SIGTERM, SIGHUP)
 * and kills it, calls tidy(opaque) here once it is gone, and then ends by the
 * same signal. Only while the process has one thread. Context: main
 */
int bench_supervise(int (*work)(void *), void (*tidy)(void *), void *opaque);

#endif
