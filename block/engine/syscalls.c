/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The production table of the system calls that engines make.
 */
#include "syscalls.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static int futex_wake(uint32_t *word, int n)
{
    return syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* The library of Debian 12 lacks most of what there is to register. */
static int uring_register(struct io_uring *ring, unsigned op, void *arg,
                          unsigned n)
{
    long ret = syscall(SYS_io_uring_register, ring->ring_fd, op, arg, n);

    return ret < 0 ? -errno : ret;
}

const EngineSyscalls engine_syscalls_linux = {
    .io_setup = io_setup,
    .io_submit = io_submit,
    .uring_init = io_uring_queue_init_params,
    .uring_submit = io_uring_submit,
    .uring_register = uring_register,
    .preadv2 = preadv2,
    .pwritev2 = pwritev2,
    .fdatasync = fdatasync,
    .thread_create = pthread_create,
    .futex_wake = futex_wake,
    .clock_ns = aio_clock_ns,
};

const EngineSyscalls *engine_syscalls = &engine_syscalls_linux;
