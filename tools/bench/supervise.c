/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that waits for another one and tidies up after it. Called by
 * compare.c, whose work sets up devices and starts servers, and may be in any
 * of its threads when a signal comes: the one rule is that tidying is done by
 * a process that does nothing else. Servers die with whoever started them.
 */
#include "supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void fill_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGCHLD);
}

static void end_by(int signo)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    signal(signo, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(signo);
}

/* Returns the signal that was the end of it, else 0 and *status. */
static int wait_for(pid_t child, const sigset_t *set, int *status)
{
    int signo;

    do {
        while (sigwait(set, &signo) == EINTR) {
        }
        if (signo != SIGCHLD) {
            kill(child, SIGKILL);
            waitpid(child, status, 0);
            return signo;
        }
    } while (waitpid(child, status, WNOHANG) != child);
    return WIFSIGNALED(*status) ? WTERMSIG(*status) : 0;
}

int bench_supervise(int (*work)(void *), void (*tidy)(void *), void *opaque)
{
    sigset_t set, before;
    int status, signo;
    pid_t child;

    fill_set(&set);
    sigprocmask(SIG_BLOCK, &set, &before);
    child = fork();
    if (child < 0) {
        fprintf(stderr, "vblk-bench: error: fork: %s\n", strerror(errno));
        return 1;
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        exit(work(opaque));
    }
    signo = wait_for(child, &set, &status);
    if (signo) {
        tidy(opaque);
        end_by(signo);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return signo ? 1 : WEXITSTATUS(status);
}
