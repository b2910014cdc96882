/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that runs one AioContext.
 *
 * Made and freed by the main thread for --object iothread. The rule to know:
 * the context is freed in its own thread, but not before everybody else has
 * left aio_notify(), which may still be at work when the loop has already
 * done what it was notified of. Main has when it posts "released"; other
 * IOThreads have when they have come round to their next bottom half.
 */
#include "block/iothread.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>

#include "aio-private.h"

struct IOThread {
    char *id;
    AioContext *ctx;
    pthread_t thread;
    sem_t running;  /* posted by the thread when it serves its context */
    sem_t released; /* posted by main: nobody else uses the context */
    bool stop;      /* atomic; set by main */
};

enum { THREAD_NAME_MAX = 15 };

static GSList *iothreads; /* main thread; those that run */

static void *iothread_run(void *opaque)
{
    IOThread *iothread = opaque;
    AioContext *ctx = iothread->ctx;
    char name[THREAD_NAME_MAX + 1];

    g_strlcpy(name, iothread->id, sizeof(name));
    pthread_setname_np(pthread_self(), name);
    /* Timers of throttling are asked for in us; the default slack is 50. */
    prctl(PR_SET_TIMERSLACK, 1UL);

    aio_context_adopt(ctx);
    sem_post(&iothread->running);
    while (!__atomic_load_n(&iothread->stop, __ATOMIC_SEQ_CST) ||
           aio_bh_pending(ctx)) {
        aio_poll(ctx, !__atomic_load_n(&iothread->stop, __ATOMIC_SEQ_CST));
    }
    while (sem_wait(&iothread->released) < 0) {
        g_assert(errno == EINTR);
    }
    aio_context_free(ctx);
    return NULL;
}

/*
 * Signals are for the main thread: the new one is born with all blocked, but
 * for its own faults. A blocked SIGBUS would kill the process without asking
 * the handler that survives guest memory being taken away; a blocked SIGSYS
 * would end it without a word about the system call that was refused.
 */
static int start_thread(IOThread *iothread)
{
    sigset_t blocked, old;
    int ret;

    sigfillset(&blocked);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGSYS);
    pthread_sigmask(SIG_SETMASK, &blocked, &old);
    ret = pthread_create(&iothread->thread, NULL, iothread_run, iothread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ret;
}

static void iothread_destroy(IOThread *iothread)
{
    sem_destroy(&iothread->running);
    sem_destroy(&iothread->released);
    g_free(iothread->id);
    g_free(iothread);
}

IOThread *iothread_new(const char *id, const AioParams *params,
                       GError **error)
{
    IOThread *iothread = g_new0(IOThread, 1);
    int ret;

    iothread->id = g_strdup(id);
    sem_init(&iothread->running, 0, 0);
    sem_init(&iothread->released, 0, 0);
    iothread->ctx = aio_context_new(params, error);
    if (!iothread->ctx) {
        g_prefix_error(error, "iothread '%s': ", id);
        iothread_destroy(iothread);
        return NULL;
    }
    ret = start_thread(iothread);
    if (ret != 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(ret),
                    "iothread '%s': cannot start a thread: %s", id,
                    g_strerror(ret));
        aio_context_discard(iothread->ctx);
        iothread_destroy(iothread);
        return NULL;
    }
    while (sem_wait(&iothread->running) < 0) {
        g_assert(errno == EINTR);
    }
    iothreads = g_slist_prepend(iothreads, iothread);
    return iothread;
}

static void nothing_bh(void *opaque)
{
}

void iothread_free(IOThread *iothread)
{
    if (!iothread) {
        return;
    }
    iothreads = g_slist_remove(iothreads, iothread);
    __atomic_store_n(&iothread->stop, true, __ATOMIC_SEQ_CST);
    aio_notify(iothread->ctx);
    for (GSList *l = iothreads; l; l = l->next) {
        IOThread *other = l->data;

        aio_bh_run_sync(other->ctx, nothing_bh, NULL);
    }
    sem_post(&iothread->released);
    pthread_join(iothread->thread, NULL);
    iothread_destroy(iothread);
}

const char *iothread_id(const IOThread *iothread)
{
    return iothread->id;
}

AioContext *iothread_context(const IOThread *iothread)
{
    return iothread->ctx;
}
