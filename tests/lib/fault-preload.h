/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a test and tests/lib/fault-preload.c share: a file that both have
 * mapped. The test names it in VBLK_FAULTS, preloads the library into the
 * daemon, and turns faults on and off while that runs.
 */
#ifndef TESTS_LIB_FAULT_PRELOAD_H
#define TESTS_LIB_FAULT_PRELOAD_H

#include <stdint.h>

/* Calls that are refused: the name, and with what. */
#define PRELOAD_CALLS(x) \
    x(mmap64, ENOMEM) x(eventfd, EMFILE) x(memfd_create, ENFILE) \
    x(epoll_ctl, ENOMEM) x(epoll_create1, EMFILE) x(accept4, EMFILE) \
    x(recvmsg, EINTR) x(sendmsg, EINTR) x(pthread_create, EAGAIN)

typedef enum PreloadCall {
#define PRELOAD_ENUM(name, err) PRELOAD_##name,
    PRELOAD_CALLS(PRELOAD_ENUM)
#undef PRELOAD_ENUM
    PRELOAD__COUNT
} PreloadCall;

typedef struct PreloadFaults {
    uint32_t odds;                     /* in 1000; written by the test */
    uint32_t seed;
    uint64_t draws;                    /* written by the daemon */
    uint64_t injected[PRELOAD__COUNT]; /* likewise */
} PreloadFaults;

#endif
