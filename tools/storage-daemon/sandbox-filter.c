/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which system calls are left. Everything the program does between its start
 * and its end is on the list; a few calls that libraries try are answered
 * with an error; any other is a trap (sandbox-trap.c).
 *
 * Calls of the data path stand on the list without a look at their arguments:
 * the kernel then remembers that they are allowed and asks no filter
 * (Linux 5.11).
 */
#include "sandbox-private.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALL(name) SCMP_SYS(name)

static const int data_path[] = {
    CALL(read), CALL(write), CALL(readv), CALL(writev),
    CALL(pread64), CALL(pwrite64), CALL(preadv), CALL(pwritev),
    CALL(preadv2), CALL(pwritev2), CALL(fdatasync), CALL(fsync),
    CALL(sync_file_range), CALL(fallocate), CALL(ftruncate), CALL(lseek),
    CALL(fadvise64), CALL(io_setup), CALL(io_submit), CALL(io_getevents),
    CALL(io_pgetevents), CALL(io_cancel), CALL(io_destroy),
    CALL(io_uring_enter), CALL(epoll_wait), CALL(epoll_pwait),
    CALL(epoll_pwait2), CALL(poll), CALL(ppoll), CALL(futex),
    CALL(sched_yield), CALL(clock_gettime), CALL(clock_getres),
    CALL(gettimeofday), CALL(time), CALL(clock_nanosleep), CALL(nanosleep),
    CALL(restart_syscall),
};

static const int memory_and_threads[] = {
    CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), CALL(mincore),
    CALL(membarrier), CALL(set_robust_list), CALL(rseq),
    CALL(exit), CALL(exit_group), CALL(rt_sigaction), CALL(rt_sigprocmask),
    CALL(rt_sigreturn), CALL(sigaltstack), CALL(sched_getaffinity),
    CALL(getrandom), CALL(getpid), CALL(gettid), CALL(getcpu),
    CALL(set_tid_address), CALL(uname), CALL(sysinfo), CALL(getrusage),
    CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid),
    CALL(getcwd),
};

static const int descriptors[] = {
    CALL(close), CALL(fstat), CALL(newfstatat), CALL(lstat), CALL(stat),
    CALL(statx), CALL(fstatfs), CALL(readlink), CALL(readlinkat),
    CALL(eventfd2), CALL(epoll_create1), CALL(epoll_ctl),
    CALL(timerfd_create), CALL(timerfd_settime), CALL(memfd_create),
    CALL(accept4), CALL(recvmsg), CALL(sendmsg), CALL(recvfrom),
    CALL(getsockopt), CALL(setsockopt), CALL(getsockname), CALL(getpeername),
    CALL(shutdown),
};

/* With SANDBOX_FILTER_REMOVE: the folders are Landlock's to choose. */
static const int removing[] = { CALL(unlink), CALL(unlinkat) };

/* With SANDBOX_FILTER_PATHS: the same holds for the paths. */
static const int paths[] = {
    CALL(open), CALL(openat), CALL(openat2), CALL(access), CALL(faccessat),
    CALL(faccessat2), CALL(unlink), CALL(unlinkat), CALL(bind), CALL(listen),
    CALL(connect), CALL(chmod), CALL(fchmod), CALL(fchmodat), CALL(chown),
    CALL(lchown), CALL(fchown), CALL(fchownat), CALL(getdents64),
    CALL(statfs),
};

/* With SANDBOX_FILTER_DEBUG: reports have to find their way out. */
static const int debugging[] = {
    CALL(open), CALL(openat), CALL(getdents64), CALL(pipe2), CALL(pipe),
    CALL(getppid), CALL(prctl), CALL(setrlimit), CALL(prlimit64),
    CALL(personality), CALL(mprotect), CALL(mmap), CALL(clone),
    CALL(sched_setaffinity), CALL(socketpair), CALL(wait4),
};

typedef struct Limited {
    int call;
    unsigned n_args;
    struct scmp_arg_cmp args[2];
} Limited;

#define ARG_IS(call, arg, value) \
    { call, 1, { SCMP_CMP64(arg, SCMP_CMP_EQ, value) } }
#define ARG_LACKS(call, arg, bits) \
    { call, 1, { SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, bits, 0) } }

/* The kernel looks at 32 bits of what these are asked for. */
#define LOW32 UINT64_C(0xffffffff)
#define WORD_IS(call, arg, value) \
    { call, 1, { SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, LOW32, (value)) } }

/* Of these calls some, by their arguments. */
static const Limited limited[] = {
    /* no memory that can be written and run */
    ARG_LACKS(CALL(mmap), 2, PROT_EXEC),
    ARG_LACKS(CALL(mprotect), 2, PROT_EXEC),
    /* threads, not processes */
    { CALL(clone), 1, { SCMP_A0_64(SCMP_CMP_MASKED_EQ,
                                   CLONE_THREAD | CLONE_VM | CLONE_NEWUSER |
                                   CLONE_NEWNS,
                                   CLONE_THREAD | CLONE_VM) } },
    WORD_IS(CALL(fcntl), 1, F_GETFL),
    WORD_IS(CALL(fcntl), 1, F_SETFL),
    WORD_IS(CALL(fcntl), 1, F_GETFD),
    WORD_IS(CALL(fcntl), 1, F_SETFD),
    WORD_IS(CALL(fcntl), 1, F_DUPFD_CLOEXEC),
    WORD_IS(CALL(fcntl), 1, F_OFD_SETLK),
    WORD_IS(CALL(fcntl), 1, F_OFD_GETLK),
    WORD_IS(CALL(fcntl), 1, F_GET_SEALS),
    WORD_IS(CALL(ioctl), 1, BLKDISCARD),
    WORD_IS(CALL(ioctl), 1, BLKZEROOUT),
    WORD_IS(CALL(ioctl), 1, BLKGETSIZE64),
    WORD_IS(CALL(ioctl), 1, BLKSSZGET),
    WORD_IS(CALL(ioctl), 1, BLKPBSZGET),
    WORD_IS(CALL(ioctl), 1, BLKIOMIN),
    WORD_IS(CALL(ioctl), 1, BLKIOOPT),
    WORD_IS(CALL(ioctl), 1, TCGETS), /* isatty() */
    WORD_IS(CALL(ioctl), 1, FIONREAD),
    WORD_IS(CALL(prctl), 0, PR_SET_NAME),
    WORD_IS(CALL(prctl), 0, PR_SET_TIMERSLACK),
    WORD_IS(CALL(prctl), 0, PR_SET_VMA),
    /* memory of ours for a ring that is there */
    WORD_IS(CALL(io_uring_register), 1, IORING_REGISTER_BUFFERS2),
    WORD_IS(CALL(io_uring_register), 1, IORING_REGISTER_BUFFERS_UPDATE),
    /* to whom it is connected */
    ARG_IS(CALL(sendto), 4, 0),
    /* what is it, not make it another */
    ARG_IS(CALL(prlimit64), 2, 0),
};

typedef struct Refused {
    int call;
    int err;
} Refused;

/*
 * What libraries and late commands of the monitor come to: an error, and all
 * goes on. A process would not know of clone3() what kind of thing it makes:
 * the C library takes clone() then.
 */
static const Refused refused[] = {
    { CALL(clone3), ENOSYS },
    { CALL(open), EACCES },
    { CALL(openat), EACCES },
    { CALL(openat2), EACCES },
    { CALL(access), EACCES },
    { CALL(faccessat), EACCES },
    { CALL(faccessat2), EACCES },
    { CALL(statfs), EACCES },
    { CALL(socket), EACCES },
    { CALL(unlink), EACCES },
    { CALL(unlinkat), EACCES },
    { CALL(io_uring_setup), EPERM },
    { CALL(mlock), EPERM },
    { CALL(sched_setaffinity), EPERM },
};

static int allow_list(scmp_filter_ctx ctx, const int *calls, size_t n)
{
    int ret = 0;

    for (size_t i = 0; i < n && ret == 0; i++) {
        ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
    }
    return ret;
}

#define ALLOW_LIST(ctx, list) allow_list(ctx, list, G_N_ELEMENTS(list))

static int allow_limited(scmp_filter_ctx ctx)
{
    int ret = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(limited) && ret == 0; i++) {
        const Limited *rule = &limited[i];

        ret = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rule->call,
                                     rule->n_args, rule->args);
    }
    return ret;
}

/* Signals to ourselves only: abort(), raise(). */
static int allow_own_signals(scmp_filter_ctx ctx)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, CALL(tgkill), 1,
                            SCMP_A0_64(SCMP_CMP_MASKED_EQ, LOW32,
                                       (uint64_t)getpid()));
}

/* A path leads to a socket as it does to an image. */
static int allow_paths(scmp_filter_ctx ctx)
{
    int ret = ALLOW_LIST(ctx, paths);

    return ret ? ret : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, CALL(socket), 1,
                                        SCMP_A0_64(SCMP_CMP_EQ, AF_UNIX));
}

static bool is_in(const int *calls, size_t n, int call)
{
    for (size_t i = 0; i < n; i++) {
        if (calls[i] == call) {
            return true;
        }
    }
    return false;
}

static bool is_allowed(unsigned flags, int call)
{
    return ((flags & SANDBOX_FILTER_PATHS) &&
            is_in(paths, G_N_ELEMENTS(paths), call)) ||
           ((flags & SANDBOX_FILTER_REMOVE) &&
            is_in(removing, G_N_ELEMENTS(removing), call)) ||
           ((flags & SANDBOX_FILTER_DEBUG) &&
            is_in(debugging, G_N_ELEMENTS(debugging), call));
}

/* socket() may be allowed for one family: libseccomp wants the rest as the
 * opposite condition. */
static int refuse_socket(scmp_filter_ctx ctx, unsigned flags)
{
    if (!(flags & SANDBOX_FILTER_PATHS)) {
        return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), CALL(socket), 0);
    }
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), CALL(socket), 1,
                            SCMP_A0_64(SCMP_CMP_NE, AF_UNIX));
}

static int refuse(scmp_filter_ctx ctx, unsigned flags)
{
    int ret = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(refused) && ret == 0; i++) {
        const Refused *rule = &refused[i];

        if (rule->call == CALL(socket)) {
            ret = refuse_socket(ctx, flags);
        } else if (!is_allowed(flags, rule->call)) {
            ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(rule->err), rule->call,
                                   0);
        }
    }
    return ret;
}

/*
 * All threads at once. The switch against speculative store bypass that older
 * kernels turn on with a filter is for programs that run foreign code.
 */
static int set_attributes(scmp_filter_ctx ctx)
{
    int ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);

    if (ret == 0) {
        ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 1);
    }
    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    return ret;
}

static int fill(scmp_filter_ctx ctx, unsigned flags)
{
    int ret = set_attributes(ctx);

    ret = ret ? ret : ALLOW_LIST(ctx, data_path);
    ret = ret ? ret : ALLOW_LIST(ctx, memory_and_threads);
    ret = ret ? ret : ALLOW_LIST(ctx, descriptors);
    ret = ret ? ret : allow_limited(ctx);
    ret = ret ? ret : allow_own_signals(ctx);
    if (ret == 0 && (flags & SANDBOX_FILTER_REMOVE)) {
        ret = ALLOW_LIST(ctx, removing);
    }
    if (ret == 0 && (flags & SANDBOX_FILTER_PATHS)) {
        ret = allow_paths(ctx);
    }
    if (ret == 0 && (flags & SANDBOX_FILTER_DEBUG)) {
        ret = ALLOW_LIST(ctx, debugging);
    }
    return ret ? ret : refuse(ctx, flags);
}

bool sandbox_filter_install(unsigned flags, GError **error)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
    int ret = ctx ? fill(ctx, flags) : -ENOMEM;

    if (ret == 0) {
        ret = seccomp_load(ctx);
    }
    if (ctx) {
        seccomp_release(ctx);
    }
    if (ret != 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-ret),
                    "--sandbox: seccomp: cannot install the filter: %s",
                    g_strerror(-ret));
    }
    return ret == 0;
}
