/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What remains of work that is interrupted: nothing. Each case runs
 * bench_supervise() in a process of its own, since it ends it.
 */
#include "tools/bench/supervise.h"

#include <glib.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Case {
    int pipe[2];  /* 'w': work runs, with its pid; 't': tidied */
    int status;   /* what work returns; -1: it waits for ever */
    int signo;    /* what work kills itself with */
} Case;

typedef struct Note {
    char what;
    pid_t pid;
} Note;

static void say(Case *c, char what)
{
    Note note = { .what = what, .pid = getpid() };

    g_assert_cmpint(write(c->pipe[1], &note, sizeof(note)), ==, sizeof(note));
}

static int work(void *opaque)
{
    Case *c = opaque;

    say(c, 'w');
    if (c->signo) {
        raise(c->signo);
    }
    while (c->status < 0) {
        pause();
    }
    return c->status;
}

static void tidy(void *opaque)
{
    say(opaque, 't');
}

/* Ends it by @signo once it works, if not 0. Returns its wait status; *tidied
 * whether it tidied up, after which the worker was gone. */
static int run(Case *c, int signo, bool *tidied)
{
    int status;
    Note note, more = { 0 };
    pid_t pid;

    g_assert_cmpint(pipe(c->pipe), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(c->pipe[0]);
        _exit(bench_supervise(work, tidy, c));
    }
    close(c->pipe[1]);
    g_assert_cmpint(read(c->pipe[0], &note, sizeof(note)), ==, sizeof(note));
    g_assert_cmpint(note.what, ==, 'w');
    g_assert_cmpint(note.pid, !=, pid);
    if (signo) {
        g_assert_cmpint(kill(pid, signo), ==, 0);
    }
    *tidied = read(c->pipe[0], &more, sizeof(more)) == sizeof(more);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(kill(note.pid, 0), ==, -1);
    close(c->pipe[0]);
    return status;
}

static void test_ends(void)
{
    for (int wanted = 0; wanted < 3; wanted++) {
        Case c = { .status = wanted };
        bool tidied;
        int status = run(&c, 0, &tidied);

        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, wanted);
        g_assert_false(tidied);
    }
}

static void test_interrupted(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        Case c = { .status = -1 };
        bool tidied;
        int status = run(&c, signals[i], &tidied);

        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(WTERMSIG(status), ==, signals[i]);
        g_assert_true(tidied);
    }
}

static void test_worker_killed(void)
{
    Case c = { .signo = SIGKILL };
    bool tidied;
    int status = run(&c, 0, &tidied);

    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
    g_assert_true(tidied);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/supervise/ends", test_ends);
    g_test_add_func("/supervise/interrupted", test_interrupted);
    g_test_add_func("/supervise/worker-killed", test_worker_killed);
    return g_test_run();
}
