/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SIGSYS: the filter refused a call that nothing in the program makes. The
 * process ends, and says which call it was: either somebody has taken it over,
 * or the list in sandbox-filter.c has a gap that the line helps to close.
 */
#include "sandbox-private.h"

#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_CALLS 512

/* si_code of a seccomp trap; glibc has no name for it */
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

/* Looked up beforehand: a signal handler cannot. */
static char *names[MAX_CALLS];

static void put(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        return; /* and nobody else to tell */
    }
}

static void put_number(unsigned number)
{
    char digits[16];
    char *at = digits + sizeof(digits) - 1;

    *at = 0;
    do {
        *--at = '0' + number % 10;
        number /= 10;
    } while (number);
    put(at);
}

static void tell(unsigned number)
{
    put("vblk-storage-daemon: error: the sandbox refused system call ");
    put_number(number);
    if (number < MAX_CALLS && names[number]) {
        put(" (");
        put(names[number]);
        put(")");
    }
    put("; see --sandbox\n");
}

static void sigsys_handler(int sig, siginfo_t *info, void *context)
{
    if (info->si_code == SI_TKILL) {
        sandbox_thread_asked();
        return;
    }
    if (info->si_code == SYS_SECCOMP) {
        tell(info->si_syscall);
    }
    signal(SIGSYS, SIG_DFL);
    raise(SIGSYS);
}

void sandbox_trap_install(void)
{
    struct sigaction action = {
        .sa_sigaction = sigsys_handler,
        .sa_flags = SA_SIGINFO | SA_RESTART,
    };

    for (int i = 0; i < MAX_CALLS; i++) {
        g_clear_pointer(&names[i], free);
        names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
    }
    sigemptyset(&action.sa_mask);
    sigaction(SIGSYS, &action, NULL);
}
