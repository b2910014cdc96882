/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The system calls engines make, behind one table of pointers.
 *
 * The kernel refuses, truncates and interrupts I/O seldom and never on
 * demand, and what an engine does then is most of its code. tests/lib/faults.c
 * replaces the table to make it happen. Nothing else ever writes it, so that
 * the price in production is an indirect call beside a system call.
 */
#ifndef BLOCK_ENGINE_SYSCALLS_H
#define BLOCK_ENGINE_SYSCALLS_H

#include <libaio.h>
#include <liburing.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/engine.h"

/* Same contracts as the functions they are named for: the io_ and uring_ ones
 * return negative errno, the others set errno. */
typedef struct EngineSyscalls {
    int (*io_setup)(int events, io_context_t *id);
    int (*io_submit)(io_context_t id, long n, struct iocb **iocbs);
    int (*uring_init)(unsigned entries, struct io_uring *ring,
                      struct io_uring_params *params);
    int (*uring_submit)(struct io_uring *ring);
    /* io_uring_register(): what the kernel returns, or negative errno. */
    int (*uring_register)(struct io_uring *ring, unsigned op, void *arg,
                          unsigned n);
    ssize_t (*preadv2)(int fd, const struct iovec *iov, int niov, off_t offset,
                       int flags);
    ssize_t (*pwritev2)(int fd, const struct iovec *iov, int niov,
                        off_t offset, int flags);
    int (*fdatasync)(int fd);
    int (*thread_create)(pthread_t *thread, const pthread_attr_t *attr,
                         void *(*fn)(void *), void *opaque);
    int (*futex_wake)(uint32_t *word, int n);
    int64_t (*clock_ns)(void); /* how long did a copy take? */
    /*
     * What an attempt at @req came to, as bytes or negative errno. NULL in
     * production: tests alter it here, alike for every engine.
     */
    ssize_t (*result)(const EngineRequest *req, ssize_t res);
} EngineSyscalls;

/* The real thing, for tests to build upon. */
extern const EngineSyscalls engine_syscalls_linux;

/* What engines use. A test writes it before the first engine is made. */
extern const EngineSyscalls *engine_syscalls;

#endif
