/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program by tests: the n-th of its system calls on files in
 * one folder fails, or all from there on: images, and connections to sockets
 * there. A program that opens and changes images makes the same calls each
 * time, so that each of them can have its turn.
 *
 * An error is one that the call can have: a call that changes nothing does
 * not run out of space, and one that does not wait is not interrupted. Such a
 * call succeeds and the turn is lost.
 */
#include "fault-nth.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FDS 1024
#define MAX_IOV 64
#define SECTOR  512

#define CAN_WAIT  FAULT_NTH_CAN_WAIT
#define CAN_FILL  FAULT_NTH_CAN_FILL
#define CAN_SHORT FAULT_NTH_CAN_SHORT

static FaultNth *control;
static const char *folder;
static bool ours[MAX_FDS];   /* atomic */

/* The real function. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void nth_init(void)
{
    const char *path = getenv("VBLK_FAULT_NTH");
    int fd;
    void *map;

    folder = getenv("VBLK_FAULT_DIR");
    fd = path && folder ? NEXT(open64)(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
               0);
    NEXT(close)(fd);
    control = map == MAP_FAILED ? NULL : map;
}

static bool can_have(unsigned can, uint32_t error)
{
    return error == EINTR ? can & CAN_WAIT
         : error == ENOSPC ? can & CAN_FILL
         : error == FAULT_NTH_SHORT ? can & CAN_SHORT
         : true;
}

/* What happens to a call: 0, an errno or FAULT_NTH_SHORT. */
static uint32_t fate(const char *name, unsigned can)
{
    uint32_t call = __atomic_add_fetch(&control->calls, 1, __ATOMIC_RELAXED);

    if (call <= sizeof(control->can)) {
        control->can[call - 1] = can;
    }
    if (control->nth == 0 || call < control->nth || call > control->last ||
        !can_have(can, control->error)) {
        return 0;
    }
    if (__atomic_fetch_add(&control->struck, 1, __ATOMIC_RELAXED) == 0) {
        memcpy(control->name, name, strlen(name)); /* short ones, all */
    }
    return control->error;
}

static bool is_ours(int fd)
{
    return control && fd >= 0 && fd < MAX_FDS &&
           __atomic_load_n(&ours[fd], __ATOMIC_RELAXED);
}

static void set_ours(int fd, bool on)
{
    if (fd >= 0 && fd < MAX_FDS) {
        __atomic_store_n(&ours[fd], on, __ATOMIC_RELAXED);
    }
}

/* Of calls that transfer nothing. True: it fails, errno says why. */
static bool fails(const char *name, int fd, unsigned can)
{
    uint32_t error = is_ours(fd) ? fate(name, can) : 0;

    if (error) {
        errno = error;
    }
    return error != 0;
}

static bool path_fails(const char *name, const char *path, unsigned can)
{
    uint32_t error = 0;

    if (control && strncmp(path, folder, strlen(folder)) == 0) {
        error = fate(name, can);
    }
    if (error) {
        errno = error;
    }
    return error != 0;
}

/* --- calls with a path --- */

int open64(const char *path, int flags, ...)
{
    bool mine = control && strncmp(path, folder, strlen(folder)) == 0;
    mode_t mode = 0;
    va_list ap;
    int fd;

    if (flags & O_CREAT) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    if (path_fails("open", path,
                   CAN_WAIT | (flags & O_CREAT ? CAN_FILL : 0))) {
        return -1;
    }
    fd = NEXT(open64)(path, flags, mode);
    set_ours(fd, mine);
    return fd;
}

int unlink(const char *path)
{
    return path_fails("unlink", path, 0) ? -1 : NEXT(unlink)(path);
}

int stat64(const char *path, struct stat64 *st)
{
    return path_fails("stat", path, 0) ? -1 : NEXT(stat64)(path, st);
}

/* --- calls on a descriptor --- */

int close(int fd)
{
    set_ours(fd, false);
    return NEXT(close)(fd);
}

int fstat64(int fd, struct stat64 *st)
{
    return fails("fstat", fd, 0) ? -1 : NEXT(fstat64)(fd, st);
}

int statx(int fd, const char *path, int flags, unsigned mask,
          struct statx *st)
{
    return fails("statx", fd, 0) ? -1 : NEXT(statx)(fd, path, flags, mask, st);
}

int fstatfs64(int fd, struct statfs64 *fs)
{
    return fails("fstatfs", fd, 0) ? -1 : NEXT(fstatfs64)(fd, fs);
}

int fcntl64(int fd, int cmd, ...)
{
    unsigned long arg;
    va_list ap;

    va_start(ap, cmd);
    arg = va_arg(ap, unsigned long);
    va_end(ap);
    return fails("fcntl", fd, 0) ? -1 : NEXT(fcntl64)(fd, cmd, arg);
}

int ioctl(int fd, unsigned long cmd, ...)
{
    unsigned long arg;
    va_list ap;

    va_start(ap, cmd);
    arg = va_arg(ap, unsigned long);
    va_end(ap);
    return fails("ioctl", fd, CAN_WAIT) ? -1 : NEXT(ioctl)(fd, cmd, arg);
}

off64_t lseek64(int fd, off64_t offset, int whence)
{
    return fails("lseek", fd, 0) ? -1 : NEXT(lseek64)(fd, offset, whence);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t bytes)
{
    return fails("fallocate", fd, CAN_WAIT | CAN_FILL)
               ? -1
               : NEXT(fallocate64)(fd, mode, offset, bytes);
}

int posix_fallocate64(int fd, off64_t offset, off64_t bytes)
{
    return fails("posix_fallocate", fd, CAN_WAIT | CAN_FILL)
               ? errno
               : NEXT(posix_fallocate64)(fd, offset, bytes);
}

int ftruncate64(int fd, off64_t bytes)
{
    return fails("ftruncate", fd, CAN_WAIT | CAN_FILL)
               ? -1
               : NEXT(ftruncate64)(fd, bytes);
}

int fdatasync(int fd)
{
    return fails("fdatasync", fd, CAN_WAIT | CAN_FILL) ? -1
                                                       : NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
    return fails("fsync", fd, CAN_WAIT | CAN_FILL) ? -1 : NEXT(fsync)(fd);
}

/* --- transfers --- */

/* Half of the bytes of @iov, in whole sectors if there are any, in @part.
 * Returns the number of pieces. */
static int halve(struct iovec *part, const struct iovec *iov, int n)
{
    size_t keep = 0;
    int used = 0;

    for (int i = 0; i < n; i++) {
        keep += iov[i].iov_len;
    }
    keep = keep < 2 ? keep : keep / 2;
    for (keep = keep < SECTOR ? keep : keep / SECTOR * SECTOR; keep; used++) {
        part[used] = iov[used];
        if (part[used].iov_len > keep) {
            part[used].iov_len = keep;
        }
        keep -= part[used].iov_len;
    }
    return used;
}

/* The pieces that a transfer shall have, or -1 and errno. */
static int transfer(const char *name, int fd, unsigned can,
                    const struct iovec **iov, int n, struct iovec *part)
{
    uint32_t error = is_ours(fd) ? fate(name, can) : 0;

    if (error == 0 || (error == FAULT_NTH_SHORT && n > MAX_IOV)) {
        return n;
    }
    if (error != FAULT_NTH_SHORT) {
        errno = error;
        return -1;
    }
    n = halve(part, *iov, n);
    *iov = part;
    return n;
}

#define READS  (CAN_WAIT | CAN_SHORT)
#define WRITES (CAN_WAIT | CAN_SHORT | CAN_FILL)

ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off64_t offset,
                   int flags)
{
    struct iovec part[MAX_IOV];

    n = transfer("preadv2", fd, READS, &iov, n, part);
    return n < 0 ? -1 : NEXT(preadv64v2)(fd, iov, n, offset, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off64_t offset,
                    int flags)
{
    struct iovec part[MAX_IOV];

    n = transfer("pwritev2", fd, WRITES, &iov, n, part);
    return n < 0 ? -1 : NEXT(pwritev64v2)(fd, iov, n, offset, flags);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    struct iovec part[MAX_IOV];

    n = transfer("pwritev", fd, WRITES, &iov, n, part);
    return n < 0 ? -1 : NEXT(pwritev64)(fd, iov, n, offset);
}

ssize_t pread64(int fd, void *buf, size_t bytes, off64_t offset)
{
    struct iovec whole = { buf, bytes }, part;
    const struct iovec *iov = &whole;

    return transfer("pread", fd, READS, &iov, 1, &part) < 0
               ? -1
               : NEXT(pread64)(fd, buf, iov->iov_len, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t bytes, off64_t offset)
{
    struct iovec whole = { (void *)buf, bytes }, part;
    const struct iovec *iov = &whole;

    return transfer("pwrite", fd, WRITES, &iov, 1, &part) < 0
               ? -1
               : NEXT(pwrite64)(fd, buf, iov->iov_len, offset);
}

/* --- connections --- */

/* These do not block, so that nothing interrupts them. */
int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    const struct sockaddr_un *un = (const void *)addr;
    bool mine = control && addr->sa_family == AF_UNIX &&
                strncmp(un->sun_path, folder, strlen(folder)) == 0;
    int ret;

    if (mine && path_fails("connect", un->sun_path, 0)) {
        return -1;
    }
    ret = NEXT(connect)(fd, addr, len);
    set_ours(fd, mine);
    return ret;
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    return fails("getsockopt", fd, 0)
               ? -1
               : NEXT(getsockopt)(fd, level, option, value, len);
}

int epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    return op != EPOLL_CTL_DEL && fails("epoll_ctl", fd, CAN_FILL)
               ? -1
               : NEXT(epoll_ctl)(epoll_fd, op, fd, event);
}

ssize_t recv(int fd, void *buf, size_t bytes, int flags)
{
    struct iovec whole = { buf, bytes }, part;
    const struct iovec *iov = &whole;

    return transfer("recv", fd, CAN_SHORT, &iov, 1, &part) < 0
               ? -1
               : NEXT(recv)(fd, buf, iov->iov_len, flags);
}

ssize_t send(int fd, const void *buf, size_t bytes, int flags)
{
    struct iovec whole = { (void *)buf, bytes }, part;
    const struct iovec *iov = &whole;

    return transfer("send", fd, CAN_SHORT, &iov, 1, &part) < 0
               ? -1
               : NEXT(send)(fd, buf, iov->iov_len, flags);
}
