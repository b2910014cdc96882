/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What somebody would try who has taken over the process: one system call
 * each, and how it has to end. For test-sandbox.c.
 */
#include "sandbox-attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failed(long ret)
{
    return ret < 0 ? errno : 0;
}

static int try_open(void)
{
    return failed(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int try_open_self(void)
{
    return failed(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
}

static int try_openat2(void)
{
    uint64_t how[3] = { O_RDONLY };

    return failed(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how,
                          sizeof(how)));
}

static int try_unlink(void)
{
    return failed(unlink("/etc/passwd.not-there"));
}

static int try_socket(void)
{
    return failed(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_inet(void)
{
    return failed(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_ring(void)
{
    struct io_uring_params params = { 0 };

    return failed(syscall(SYS_io_uring_setup, 8, &params));
}

static int try_clone3(void)
{
    uint64_t args[8] = { 0 };

    return failed(syscall(SYS_clone3, args, sizeof(args)));
}

static int try_exec(void)
{
    char *const argv[] = { (char *)"true", NULL };

    return failed(execve("/bin/true", argv, NULL));
}

static int try_fork(void)
{
    return failed(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int try_ptrace(void)
{
    return failed(ptrace(PTRACE_ATTACH, 1, 0, 0));
}

static int try_vm_read(void)
{
    return failed(syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0));
}

static int try_kill(void)
{
    return failed(syscall(SYS_kill, 1, 0));
}

static int try_tgkill(void)
{
    return failed(syscall(SYS_tgkill, 1, 1, 0));
}

static int try_mount(void)
{
    return failed(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int try_chroot(void)
{
    return failed(chroot("/"));
}

static int try_unshare(void)
{
    return failed(unshare(CLONE_NEWUSER));
}

static int try_setuid(void)
{
    return failed(syscall(SYS_setuid, 0));
}

static int try_capset(void)
{
    return failed(syscall(SYS_capset, NULL, NULL));
}

static int try_handle(void)
{
    return failed(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
}

static int try_rename(void)
{
    return failed(syscall(SYS_rename, "/a", "/b"));
}

static int try_bpf(void)
{
    return failed(syscall(SYS_bpf, 0, NULL, 0));
}

static int try_perf(void)
{
    return failed(syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
}

static int try_userfaultfd(void)
{
    return failed(syscall(SYS_userfaultfd, 0));
}

static int try_module(void)
{
    return failed(syscall(SYS_init_module, NULL, 0, ""));
}

static int try_reboot(void)
{
    return failed(syscall(SYS_reboot, 0, 0, 0, NULL));
}

static int try_keyctl(void)
{
    return failed(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}

static int try_push_to_terminal(void)
{
    char letter = 'x';

    return failed(ioctl(0, TIOCSTI, &letter));
}

static int try_signal_by_fd(void)
{
    return failed(fcntl(0, F_SETOWN, 1));
}

static int try_written_code(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? errno : 0;
}

static int try_make_code(void)
{
    static uint8_t page[8192];
    uintptr_t at = ((uintptr_t)page + 4095) & ~(uintptr_t)4095;

    return failed(mprotect((void *)at, 4096, PROT_READ | PROT_EXEC));
}

static int try_dumpable(void)
{
    return failed(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_raise_limit(void)
{
    uint64_t limit[2] = { 1, 1 };

    return failed(syscall(SYS_prlimit64, 0, 7, limit, NULL));
}

const SandboxAttempt sandbox_attempts[] = {
    { "open", try_open, EACCES },
    { "open-self", try_open_self, EACCES },
    { "openat2", try_openat2, EACCES },
    { "unlink", try_unlink, EACCES },
    { "socket", try_socket, EACCES },
    { "inet", try_inet, EACCES },
    { "io_uring_setup", try_ring, EPERM },
    { "clone3", try_clone3, ENOSYS },
    { "execve", try_exec, 0 },
    { "clone", try_fork, 0, true },
    { "ptrace", try_ptrace, 0 },
    { "process_vm_readv", try_vm_read, 0 },
    { "kill", try_kill, 0 },
    { "tgkill", try_tgkill, 0 },
    { "mount", try_mount, 0 },
    { "chroot", try_chroot, 0 },
    { "unshare", try_unshare, 0 },
    { "setuid", try_setuid, 0 },
    { "capset", try_capset, 0 },
    { "open_by_handle_at", try_handle, 0 },
    { "rename", try_rename, 0 },
    { "bpf", try_bpf, 0 },
    { "perf_event_open", try_perf, 0 },
    { "userfaultfd", try_userfaultfd, 0 },
    { "init_module", try_module, 0 },
    { "reboot", try_reboot, 0 },
    { "keyctl", try_keyctl, 0 },
    { "ioctl", try_push_to_terminal, 0 },
    { "fcntl", try_signal_by_fd, 0 },
    { "mmap", try_written_code, 0, true },
    { "mprotect", try_make_code, 0, true },
    { "prctl", try_dumpable, 0, true },
    { "prlimit64", try_raise_limit, 0, true },
    { NULL }
};

const SandboxAttempt *sandbox_attempt(const char *name)
{
    const SandboxAttempt *attempt = sandbox_attempts;

    while (strcmp(attempt->name, name) != 0) {
        attempt++;
    }
    return attempt;
}
