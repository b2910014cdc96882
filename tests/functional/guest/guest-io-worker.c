/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads behind io_job_run(): each keeps a fixed number of asynchronous
 * requests under way, submits every burst with one system call and waits for
 * half of what it has outstanding, so that the disk sees bursts and not single
 * requests. Uses the kernel's AIO calls directly: the program is static, runs
 * in a guest of a few MiB and must not depend on a library there.
 */
#include "guest-io-worker.h"
#include "guest-io-pattern.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

typedef struct Outcome {
    atomic_bool failed; /* set by the first thread that fails, read by all */
    pthread_mutex_t lock;
    char *why; /* GUARDED_BY lock */
    size_t why_size;
} Outcome;

typedef struct Slot {
    struct iocb cb;
    struct iovec *iov; /* job->segments of them, with a gap between each two */
    char *buffer;
} Slot;

typedef struct Worker {
    const IoJob *job;
    Outcome *outcome;
    pthread_t thread;
    unsigned index;
    uint64_t first, count; /* the blocks of the range that are this thread's */
    uint64_t next;         /* blocks issued so far */
    uint64_t step;         /* stride of the scattered order; 1 = rising */
    aio_context_t ctx;
    Slot *slots;
    Slot **idle; /* stack of slots with no request under way */
    unsigned idle_count;
    struct iocb **burst;
    struct io_event *events;
} Worker;

static void fail(Worker *w, const char *what, uint64_t offset,
                 const char *cause)
{
    Outcome *out = w->outcome;

    pthread_mutex_lock(&out->lock);
    if (!atomic_load(&out->failed)) {
        snprintf(out->why, out->why_size, "%s at %" PRIu64 ": %s",
                 what, offset, cause);
        atomic_store(&out->failed, true);
    }
    pthread_mutex_unlock(&out->lock);
}

static const char *kind_name(const IoJob *job)
{
    return job->kind == IO_WRITE ? "write" : "read";
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A stride near the golden section of @count that visits every block once. */
static uint64_t scatter_step(uint64_t count)
{
    uint64_t step = count * 618 / 1000 + 1;

    while (greatest_common_divisor(step, count) != 1) {
        step++;
    }
    return step;
}

static uint64_t next_offset(Worker *w)
{
    uint64_t block = w->first + (w->next * w->step) % w->count;

    w->next++;
    return w->job->offset + block * w->job->block;
}

/* Cuts @slot's buffer into the job's segments, with one unit between them. */
static void cut_segments(const IoJob *job, Slot *slot)
{
    uint64_t units = job->block / job->align, used = 0;
    char *at = slot->buffer;

    for (unsigned i = 0; i < job->segments; i++) {
        uint64_t end = units * (i + 1) / job->segments;

        slot->iov[i].iov_base = at;
        slot->iov[i].iov_len = (end - used) * job->align;
        at += slot->iov[i].iov_len + job->align;
        used = end;
    }
}

static bool slot_init(Worker *w, Slot *slot)
{
    const IoJob *job = w->job;
    size_t bytes = job->block + (size_t)job->segments * job->align;
    void *buffer = NULL;

    slot->iov = calloc(job->segments, sizeof(*slot->iov));
    if (slot->iov == NULL || posix_memalign(&buffer, 4096, bytes) != 0) {
        return false;
    }
    slot->buffer = buffer;
    cut_segments(job, slot);
    return true;
}

static void slot_prepare(Worker *w, Slot *slot)
{
    const IoJob *job = w->job;
    uint64_t offset = next_offset(w), at = offset;
    bool is_write = job->kind == IO_WRITE;
    uint16_t opcode = is_write ? IOCB_CMD_PWRITEV : IOCB_CMD_PREADV;

    for (unsigned i = 0; is_write && i < job->segments; i++) {
        const struct iovec *iov = &slot->iov[i];

        pattern_fill(iov->iov_base, at, iov->iov_len, job->seed);
        at += iov->iov_len;
    }
    slot->cb = (struct iocb) {
        .aio_data = (uintptr_t)slot,
        .aio_fildes = (unsigned)job->fd,
        .aio_lio_opcode = opcode,
        .aio_buf = (uintptr_t)slot->iov,
        .aio_nbytes = job->segments,
        .aio_offset = (int64_t)offset,
    };
}

static bool submit_all(Worker *w, unsigned count)
{
    unsigned done = 0;

    while (done < count) {
        long taken = syscall(SYS_io_submit, w->ctx, (long)(count - done),
                             w->burst + done);

        if (taken < 0 && errno == EINTR) {
            continue;
        }
        if (taken <= 0) {
            fail(w, "io_submit", (uint64_t)w->burst[done]->aio_offset,
                 taken < 0 ? strerror(errno) : "took nothing");
            return false;
        }
        done += (unsigned)taken;
    }
    return true;
}

/* Gives every idle slot a block while blocks are left; one system call. */
static bool submit_burst(Worker *w)
{
    unsigned count = 0;

    while (w->idle_count > 0 && w->next < w->count) {
        Slot *slot = w->idle[--w->idle_count];

        slot_prepare(w, slot);
        w->burst[count++] = &slot->cb;
    }
    return count == 0 || submit_all(w, count);
}

static bool check_content(Worker *w, const Slot *slot)
{
    const IoJob *job = w->job;
    uint64_t at = (uint64_t)slot->cb.aio_offset;
    char why[160];

    for (unsigned i = 0; i < job->segments && job->kind != IO_WRITE; i++) {
        const struct iovec *iov = &slot->iov[i];
        size_t good = job->kind == IO_ZEROS
            ? pattern_check_zero(iov->iov_base, iov->iov_len, why, sizeof(why))
            : pattern_check(iov->iov_base, at, iov->iov_len, job->seed,
                            why, sizeof(why));

        if (good != iov->iov_len) {
            fail(w, "verify", at + good, why);
            return false;
        }
        at += iov->iov_len;
    }
    return true;
}

static bool complete(Worker *w, const struct io_event *event)
{
    Slot *slot = (Slot *)(uintptr_t)event->data;
    uint64_t offset = (uint64_t)slot->cb.aio_offset;
    char cause[64];

    w->idle[w->idle_count++] = slot;
    if (event->res < 0) {
        fail(w, kind_name(w->job), offset, strerror((int)-event->res));
        return false;
    }
    if ((uint64_t)event->res != w->job->block) {
        snprintf(cause, sizeof(cause), "only %" PRId64 " of %" PRIu64 " bytes",
                 (int64_t)event->res, w->job->block);
        fail(w, kind_name(w->job), offset, cause);
        return false;
    }
    return check_content(w, slot);
}

/* Waits for half of what is under way. */
static bool reap(Worker *w)
{
    long busy = (long)(w->job->depth - w->idle_count);
    long least = busy > 1 ? busy / 2 : 1;
    long count = syscall(SYS_io_getevents, w->ctx, least, busy, w->events,
                         NULL);
    bool ok = true;

    if (count < 0) {
        if (errno == EINTR) {
            return true;
        }
        fail(w, "io_getevents", 0, strerror(errno));
        return false;
    }
    for (long i = 0; i < count; i++) {
        ok = complete(w, &w->events[i]) && ok;
    }
    return ok;
}

static void pin_to_cpu(unsigned index)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(index % (unsigned)(cpus > 0 ? cpus : 1), &set);
    /* Only spreads the load over the queues: where it is refused, go on. */
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static bool worker_init(Worker *w)
{
    unsigned depth = w->job->depth;

    w->slots = calloc(depth, sizeof(*w->slots));
    w->idle = calloc(depth, sizeof(*w->idle));
    w->burst = calloc(depth, sizeof(*w->burst));
    w->events = calloc(depth, sizeof(*w->events));
    if (!w->slots || !w->idle || !w->burst || !w->events) {
        fail(w, "memory", 0, strerror(ENOMEM));
        return false;
    }
    for (unsigned i = 0; i < depth; i++) {
        if (!slot_init(w, &w->slots[i])) {
            fail(w, "memory", 0, strerror(ENOMEM));
            return false;
        }
        w->idle[w->idle_count++] = &w->slots[i];
    }
    if (syscall(SYS_io_setup, depth, &w->ctx) != 0) {
        fail(w, "io_setup", 0, strerror(errno));
        return false;
    }
    return true;
}

/* io_destroy waits for what is under way, so the buffers go after it. */
static void worker_clear(Worker *w)
{
    if (w->ctx != 0) {
        syscall(SYS_io_destroy, w->ctx);
    }
    for (unsigned i = 0; w->slots != NULL && i < w->job->depth; i++) {
        free(w->slots[i].iov);
        free(w->slots[i].buffer);
    }
    free(w->slots);
    free(w->idle);
    free(w->burst);
    free(w->events);
}

static void *worker_main(void *opaque)
{
    Worker *w = opaque;
    bool ok = worker_init(w);

    pin_to_cpu(w->index);
    while (ok && !atomic_load(&w->outcome->failed)) {
        ok = submit_burst(w);
        if (ok && w->idle_count == w->job->depth) {
            break;
        }
        ok = ok && reap(w);
    }
    worker_clear(w);
    return NULL;
}

static void worker_assign(Worker *w, const IoJob *job, Outcome *out,
                          unsigned index)
{
    uint64_t blocks = job->bytes / job->block;

    *w = (Worker) { .job = job, .outcome = out, .index = index };
    w->first = blocks * index / job->threads;
    w->count = blocks * (index + 1) / job->threads - w->first;
    w->step = job->random && w->count > 1 ? scatter_step(w->count) : 1;
}

bool io_job_run(const IoJob *job, char *why, size_t why_size)
{
    Outcome out = { .lock = PTHREAD_MUTEX_INITIALIZER,
                    .why = why, .why_size = why_size };
    Worker *workers = calloc(job->threads, sizeof(*workers));
    unsigned started = 0;

    if (workers == NULL) {
        snprintf(why, why_size, "%s", strerror(ENOMEM));
        return false;
    }
    for (; started < job->threads; started++) {
        Worker *w = &workers[started];

        worker_assign(w, job, &out, started);
        int ret = pthread_create(&w->thread, NULL, worker_main, w);
        if (ret != 0) {
            fail(w, "pthread_create", 0, strerror(ret));
            break;
        }
    }
    while (started > 0) {
        pthread_join(workers[--started].thread, NULL);
    }
    free(workers);
    return !atomic_load(&out.failed);
}
