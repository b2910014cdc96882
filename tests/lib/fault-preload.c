/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into the storage daemon by tests: calls of the control path fail
 * by chance, as they do on a host that is short of memory or descriptors.
 * Everything else goes where it was going.
 */
#include "fault-preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static PreloadFaults *faults;

/* The real function. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const int errors[PRELOAD__COUNT] = {
#define PRELOAD_ERROR(name, err) err,
    PRELOAD_CALLS(PRELOAD_ERROR)
#undef PRELOAD_ERROR
};

__attribute__((constructor)) static void preload_init(void)
{
    const char *path = getenv("VBLK_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map;

    if (fd < 0) {
        return;
    }
    map = NEXT(mmap64)(NULL, sizeof(*faults), PROT_READ | PROT_WRITE,
                       MAP_SHARED, fd, 0);
    close(fd);
    faults = map == MAP_FAILED ? NULL : map;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

/* Whether the call fails; then errno says how. */
static bool fails(PreloadCall call)
{
    uint64_t i;

    if (!faults || !__atomic_load_n(&faults->odds, __ATOMIC_RELAXED)) {
        return false;
    }
    i = __atomic_fetch_add(&faults->draws, 1, __ATOMIC_RELAXED);
    if (mix(((uint64_t)faults->seed << 32) + i) % 1000 >= faults->odds) {
        return false;
    }
    __atomic_fetch_add(&faults->injected[call], 1, __ATOMIC_RELAXED);
    errno = errors[call];
    return true;
}

/* Of files only: the C library's own memory is not at stake here. */
void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    return fd >= 0 && fails(PRELOAD_mmap64)
               ? MAP_FAILED
               : NEXT(mmap64)(addr, len, prot, flags, fd, offset);
}

int eventfd(unsigned initval, int flags)
{
    return fails(PRELOAD_eventfd) ? -1 : NEXT(eventfd)(initval, flags);
}

int memfd_create(const char *name, unsigned flags)
{
    return fails(PRELOAD_memfd_create) ? -1 : NEXT(memfd_create)(name, flags);
}

/* Nothing but memory can be lacking, and not to take something out. */
int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    return op == EPOLL_CTL_ADD && fails(PRELOAD_epoll_ctl)
               ? -1
               : NEXT(epoll_ctl)(epfd, op, fd, event);
}

int epoll_create1(int flags)
{
    return fails(PRELOAD_epoll_create1) ? -1 : NEXT(epoll_create1)(flags);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    return fails(PRELOAD_accept4) ? -1 : NEXT(accept4)(fd, addr, len, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    return fails(PRELOAD_recvmsg) ? -1 : NEXT(recvmsg)(fd, msg, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return fails(PRELOAD_sendmsg) ? -1 : NEXT(sendmsg)(fd, msg, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*fn)(void *), void *opaque)
{
    return fails(PRELOAD_pthread_create)
               ? EAGAIN
               : NEXT(pthread_create)(thread, attr, fn, opaque);
}
