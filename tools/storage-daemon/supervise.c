/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervising parent: starts the server, passes signals on to it, and
 * looks at how it ends (supervise-judge.c).
 *
 * Each server is executed anew, from the file this process came from: a
 * replaced program is not mixed with the old one, and a guest that makes
 * servers crash does not find the next one's memory where the last one's was.
 * One thread, one poll().
 */
#include "supervise.h"

#include "background.h"
#include "notify.h"
#include "supervise-store.h"
#include "block/log.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Supervisor {
    const Cmdline *cmdline;
    char **argv;
    unsigned max_crashes;
    int signal_fd, cwd_fd;
    sigset_t mask;        /* that we were started with */
    SuperviseStore *store;

    pid_t child;          /* 0: none */
    int sock;             /* to it; -1: closed */
    bool ready, ever_ready, stopping;
    int64_t ready_us, died_us;
    SuperviseCount count;
    char *last;           /* what became of the one before, if it crashed */

    int delay_ms;         /* while there is no child */
    bool over;
    int status;           /* then */
} Supervisor;

/* --- Starting a server --- */

/* Between fork() and exec(), in a process of one thread. */
static void G_GNUC_NORETURN become_server(Supervisor *s, int sock)
{
    char number[16];

    /* An orphan is nobody's: it ends in good order, and whoever starts the
     * next supervisor need not look for it. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    setpgid(0, 0); /* a terminal's SIGINT comes from us, once */
    if (s->cwd_fd >= 0 && fchdir(s->cwd_fd) < 0) {
        log_error("--supervise: cannot go to the folder it was started in: "
                  "%s", g_strerror(errno));
        _exit(EXIT_FAILURE);
    }
    fcntl(sock, F_SETFD, 0);
    g_snprintf(number, sizeof(number), "%d", sock);
    g_setenv(NOTIFY_SUPERVISOR_ENV, number, TRUE);
    sigprocmask(SIG_SETMASK, &s->mask, NULL);
    execv("/proc/self/exe", s->argv);
    log_error("--supervise: cannot execute /proc/self/exe: %s",
              g_strerror(errno));
    _exit(EXIT_FAILURE);
}

static bool start_server(Supervisor *s, GError **error)
{
    int socks[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "--supervise: cannot make a socket: %s",
                    g_strerror(errno));
        return false;
    }
    s->child = fork();
    if (s->child == 0) {
        become_server(s, socks[1]);
    }
    close(socks[1]);
    if (s->child < 0) {
        s->child = 0;
        close(socks[0]);
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "--supervise: cannot fork: %s", g_strerror(errno));
        return false;
    }
    s->sock = socks[0];
    s->ready = false;
    return true;
}

/* The first one to say so says with which status. */
static void end(Supervisor *s, int status)
{
    if (!s->over) {
        s->over = true;
        s->status = status;
    }
}

static void fail(Supervisor *s, GError *error)
{
    log_error("%s", error->message);
    g_error_free(error);
    end(s, EXIT_FAILURE);
    if (s->child) {
        s->stopping = true;
        kill(s->child, SIGTERM);
    }
}

/* --- What a server says --- */

/* The other process's supervisor is about to end, and has the pid file. */
static bool write_pidfile(const char *path, bool taken_over, GError **error)
{
    return !path || (taken_over ? pidfile_replace(path, error)
                                : pidfile_write(path, error));
}

static void first_ready(Supervisor *s, bool taken_over)
{
    GError *error = NULL;

    s->ever_ready = true;
    if (!write_pidfile(s->cmdline->pidfile, taken_over, &error) ||
        !background_leave(&error)) {
        fail(s, error);
        return;
    }
    background_ready();
    notify_ready(taken_over);
}

static void server_ready(Supervisor *s, bool taken_over)
{
    s->ready = true;
    s->ready_us = g_get_monotonic_time();
    if (s->last) {
        log_warn("%s; serving again after %" G_GINT64_FORMAT " ms, as process "
                 "%ld", s->last, (s->ready_us - s->died_us) / 1000,
                 (long)s->child);
        g_clear_pointer(&s->last, g_free);
    }
    if (!s->ever_ready) {
        first_ready(s, taken_over);
    }
}

static void read_message(Supervisor *s)
{
    switch (supervise_store_message(s->store, s->sock)) {
    case SUPERVISE_READY:
        server_ready(s, false);
        break;
    case SUPERVISE_TAKEN_OVER:
        server_ready(s, true);
        break;
    case SUPERVISE_GONE:
        close(s->sock);
        s->sock = -1;
        break;
    case SUPERVISE_STOPPING:
    case SUPERVISE_NOTHING:
        break;
    }
}

/* --- How it ends --- */

static int exit_status(int status, bool stopping)
{
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    /* before it could arrange for a better end */
    return stopping && WTERMSIG(status) != SIGKILL ? EXIT_SUCCESS
                                                   : EXIT_FAILURE;
}

static void server_died(Supervisor *s, int status)
{
    int64_t now = g_get_monotonic_time();
    SuperviseLife life = {
        .status = status, .ready = s->ready, .first = !s->ever_ready,
        .stopping = s->stopping, .served_us = now - s->ready_us,
    };
    g_autofree char *cause = supervise_cause(status);
    pid_t pid = s->child;

    s->child = 0;
    if (!supervise_again(&life, s->max_crashes, &s->count, &s->delay_ms)) {
        if (s->count.crashes > s->max_crashes && s->max_crashes) {
            log_error("process %ld %s; giving up after %u crashes in a row",
                      (long)pid, cause, s->count.crashes);
        }
        end(s, exit_status(status, s->stopping));
        return;
    }
    if (!s->last) {
        s->died_us = now;
        s->last = g_strdup_printf("process %ld %s", (long)pid, cause);
    }
}

static void reap(Supervisor *s)
{
    int status;
    pid_t pid;

    while (s->child && (pid = waitpid(s->child, &status, WNOHANG)) != 0) {
        if (pid < 0) {
            status = 0; /* somebody has set SIGCHLD to be ignored */
        }
        while (s->sock >= 0) { /* its last words */
            struct pollfd pfd = { s->sock, POLLIN, 0 };

            if (poll(&pfd, 1, 0) <= 0) {
                close(s->sock);
                s->sock = -1;
            } else {
                read_message(s);
            }
        }
        server_died(s, status);
    }
}

/* --- Signals --- */

static void stop(Supervisor *s, int number)
{
    s->stopping = true;
    notify_stopping();
    if (s->child) {
        kill(s->child, number);
    } else {
        end(s, EXIT_SUCCESS);
    }
}

static void read_signals(Supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            reap(s);
        } else if (info.ssi_signo != SIGUSR1) {
            stop(s, info.ssi_signo);
        } else if (s->child && s->ready) {
            kill(s->child, SIGUSR1);
        }
    }
}

static bool watch_signals(Supervisor *s, GError **error)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD };
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&set);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        sigaddset(&set, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &set, &s->mask);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "--supervise: cannot watch for signals: %s",
                    g_strerror(errno));
        return false;
    }
    return true;
}

/* --- Life --- */

static void wait_for_events(Supervisor *s)
{
    struct pollfd fds[] = {
        { s->signal_fd, POLLIN, 0 }, { s->sock, POLLIN, 0 },
    };
    GError *error = NULL;

    if (poll(fds, 2, s->child ? -1 : s->delay_ms) < 0) {
        return; /* EINTR: a debugger */
    }
    if (s->sock >= 0 && fds[1].revents) {
        read_message(s);
    }
    if (fds[0].revents) {
        read_signals(s);
    } else if (!s->child && !s->over && !start_server(s, &error)) {
        fail(s, error);
    }
}

static bool prepare(Supervisor *s, GError **error)
{
    if (!supervise_parse(s->cmdline->supervise, &s->max_crashes, error) ||
        (s->cmdline->daemonize && !background_start(error))) {
        return false;
    }
    s->cwd_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return watch_signals(s, error) && start_server(s, error);
}

int supervise(const Cmdline *cmdline, char **argv)
{
    Supervisor s = {
        .cmdline = cmdline, .argv = argv, .signal_fd = -1, .cwd_fd = -1,
        .sock = -1, .store = supervise_store_new(),
    };
    GError *error = NULL;

    notify_open();
    if (!prepare(&s, &error)) {
        fail(&s, error);
    }
    while (!s.over || s.child) {
        wait_for_events(&s);
    }
    pidfile_remove();
    notify_close();
    supervise_store_free(s.store);
    g_free(s.last);
    return s.status;
}
