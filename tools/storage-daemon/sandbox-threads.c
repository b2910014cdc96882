/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Has every thread of the process do something to itself: capabilities and
 * Landlock are properties of a thread, and only it can give them up.
 *
 * How it works: SIGSYS, which no thread of ours blocks, is sent to one thread
 * after the other; its handler does the work and posts a semaphore. Threads
 * may come and go meanwhile: the list is read again until all that are on it
 * have been asked, and a new one has inherited what its maker had. The caller
 * comes last, since it could not read the list any more.
 */
#include "sandbox-private.h"

#include <dirent.h>
#include <errno.h>
#include <gio/gio.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long a thread that is alive may take to answer. */
#define ANSWER_SECONDS 10

/* One call at a time; the handler of another thread works with it. */
static struct {
    SandboxThreadFn *fn;
    void *opaque;
    int err;      /* written by the thread that was asked, before it posts */
    sem_t answer;
} call;

void sandbox_thread_asked(void)
{
    int saved_errno = errno;

    call.err = call.fn(call.opaque);
    sem_post(&call.answer);
    errno = saved_errno;
}

/* io_uring has threads of the kernel work for us: no signal reaches them.
 * They have no code to run but the kernel's. */
static bool is_kernels(pid_t tid)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/comm", tid);
    g_autofree char *name = NULL;

    return !g_file_get_contents(path, &name, NULL, NULL) ||
           g_str_has_prefix(name, "iou-");
}

static bool is_alive(pid_t tid)
{
    return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

/* False when the thread lives and does not answer. */
static bool wait_for_answer(pid_t tid)
{
    struct timespec until;
    time_t start = time(NULL);

    for (;;) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        if (sem_timedwait(&call.answer, &until) == 0) {
            return true;
        }
        if (errno != EINTR && !is_alive(tid)) {
            call.err = 0; /* it is gone */
            return true;
        }
        if (time(NULL) - start > ANSWER_SECONDS) {
            return false;
        }
    }
}

static bool fail_thread(pid_t tid, int err, GError **error)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "--sandbox: cannot confine thread %d: %s", tid,
                g_strerror(err));
    return false;
}

static bool ask(pid_t tid, GError **error)
{
    call.err = 0;
    if (syscall(SYS_tgkill, getpid(), tid, SIGSYS) < 0) {
        return true; /* it is gone */
    }
    if (!wait_for_answer(tid)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                    "--sandbox: thread %d does not answer", tid);
        return false;
    }
    return call.err == 0 || fail_thread(tid, call.err, error);
}

/* Asks those that were not asked. Returns how many, or -1 with @error. */
static int ask_new_ones(GHashTable *asked, GError **error)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, error);
    const char *name;
    int n = 0;

    if (!dir) {
        g_prefix_error(error, "--sandbox: ");
        return -1;
    }
    while ((name = g_dir_read_name(dir))) {
        guint64 tid;

        if (!g_ascii_string_to_unsigned(name, 10, 1, G_MAXINT, &tid, NULL) ||
            !g_hash_table_add(asked, GINT_TO_POINTER((int)tid)) ||
            is_kernels(tid)) {
            continue;
        }
        if (!ask(tid, error)) {
            return -1;
        }
        n++;
    }
    return n;
}

bool sandbox_in_all_threads(SandboxThreadFn *fn, void *opaque, GError **error)
{
    g_autoptr(GHashTable) asked = g_hash_table_new(NULL, NULL);
    int n, err;

    g_hash_table_add(asked, GINT_TO_POINTER((int)gettid()));
    call.fn = fn;
    call.opaque = opaque;
    sem_init(&call.answer, 0, 0);
    do {
        n = ask_new_ones(asked, error);
    } while (n > 0);
    sem_destroy(&call.answer);
    if (n < 0) {
        return false;
    }
    err = fn(opaque);
    return err == 0 || fail_thread(gettid(), err, error);
}
