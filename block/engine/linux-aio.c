/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=native: Linux AIO. One kernel context per AioContext, one io_submit()
 * per flush of the submit queue, completions read from the kernel's ring in
 * user space. Made by engine.c; hands flushes it cannot do to threads.c.
 *
 * How it works: every iocb carries an eventfd (IOCB_FLAG_RESFD) that wakes
 * the loop; a loop that polls looks at the ring's tail instead. The eventfd is
 * never read: the loop is woken by writes (edge-triggered), and a completion
 * that comes after the ring was looked at writes again. What poll() reaped
 * leaves one wake-up behind that finds nothing.
 *
 * io_submit() itself does not wait: requests carry RWF_NOWAIT where the file
 * knows it, and what the kernel hands back goes to linux-aio-detour.c. Only of a
 * frozen file system (fsfreeze, an LVM snapshot) the kernel waits all the same,
 * for a write, before it looks at the flag: nothing here can help that.
 *
 * The ring's layout is the kernel's, and not in a header: fs/aio.c promises it
 * by magic and incompat_features. Where they differ, as under emulated
 * kernels, io_getevents() is used.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/stats.h"
#include "engine-internal.h"
#include "linux-aio-detour.h"
#include "syscalls.h"

#define MAX_EVENTS 1024
#define MIN_EVENTS 128
#define REAP_CHUNK 64

/* Fewer do not use up the tags of a disk that anybody would wait for. */
#define MANY_IN_FLIGHT 64

#define AIO_RING_MAGIC 0xa10a10a1

typedef struct AioRing {
    uint32_t id;
    uint32_t nr;   /* of events[] */
    uint32_t head; /* we write it: first event not reaped */
    uint32_t tail; /* the kernel writes it */
    uint32_t magic;
    uint32_t compat_features;
    uint32_t incompat_features;
    uint32_t header_length;
    struct io_event events[];
} AioRing;

typedef struct LinuxAio {
    Engine engine;
    io_context_t id;
    AioRing *ring;    /* NULL: not readable, use io_getevents() */
    int event_fd;
    AioHandler *handler;
    bool no_fdsync;   /* IOCB_CMD_FDSYNC was refused */
    unsigned last_batch; /* requests in the last io_submit() */
    struct iocb *batch[MAX_EVENTS];
} LinuxAio;

/* --- Submission --- */

static void laio_prepare_rw(EngineRequest *req, EngineStep step)
{
    bool write = step == ENGINE_STEP_WRITE;
    struct iocb *iocb = &req->iocb;
    unsigned niov;
    const struct iovec *iov = engine_request_iov(req, &niov);
    int64_t offset = engine_request_offset(req);

    if (niov == 1 && write) {
        io_prep_pwrite(iocb, req->fd, iov->iov_base, iov->iov_len, offset);
    } else if (niov == 1) {
        io_prep_pread(iocb, req->fd, iov->iov_base, iov->iov_len, offset);
    } else if (write) {
        io_prep_pwritev(iocb, req->fd, iov, niov, offset);
    } else {
        io_prep_preadv(iocb, req->fd, iov, niov, offset);
    }
    iocb->aio_rw_flags = (engine_request_dsync(req) ? RWF_DSYNC : 0) |
                         (req->nowait ? RWF_NOWAIT : 0);
}

/* Whether the kernel can do the next step of @req asynchronously. */
static bool laio_prepare(LinuxAio *laio, EngineRequest *req)
{
    EngineStep step = engine_request_step(req);

    if (step != ENGINE_STEP_SYNC) {
        laio_prepare_rw(req, step);
    } else if (!laio->no_fdsync) {
        io_prep_fdsync(&req->iocb, req->fd);
    } else {
        return false;
    }
    io_set_eventfd(&req->iocb, laio->event_fd);
    return true;
}

static int laio_hand_over(SubmitQueue *queue, unsigned max)
{
    LinuxAio *laio = container_of(queue, LinuxAio, engine.queue);
    EngineRequest *req = queue->head;
    unsigned n = 0;

    while (n < max && laio_prepare(laio, req)) {
        laio->batch[n++] = &req->iocb;
        req = req->next;
    }
    if (!n) {
        return -EINVAL;
    }
    laio->last_batch = n;
    return engine_syscalls->io_submit(laio->id, n, laio->batch);
}

static bool laio_refused(SubmitQueue *queue, EngineRequest *req, int err)
{
    LinuxAio *laio = container_of(queue, LinuxAio, engine.queue);

    if (engine_request_step(req) == ENGINE_STEP_SYNC && err == -EINVAL) {
        /* Linux before 4.18, or a file that has no fsync: then the worker
         * finds out, and later flushes lose nothing but a system call. */
        laio->no_fdsync = true;
        engine_request_forward(engine_get(queue->ctx, ENGINE_THREADS), req);
        return true;
    }
    if (req->nowait && (err == -EINVAL || err == -EOPNOTSUPP)) {
        /* not this file after all, or one of the flags: one at a time */
        req->nowait = NULL;
        submit_queue_add(queue, req);
        return true;
    }
    if (engine_request_dsync(req) && (err == -EINVAL || err == -EOPNOTSUPP)) {
        /* io_submit() itself looks at nothing but the request's form. */
        req->sync_after = true;
        submit_queue_add(queue, req);
        return true;
    }
    return false;
}

static const SubmitQueueOps laio_queue_ops = {
    .hand_over = laio_hand_over,
    .refused = laio_refused,
    .one_call = true,
    .engine = ENGINE_NATIVE,
};

/* To a worker, who may wait. */
static void laio_detour(LinuxAio *laio, EngineRequest *req)
{
    LaioDetour **detour = nowait_map_detour(req->nowait);

    if (!*detour) {
        *detour = laio_detour_new(&laio->engine.queue, laio->id);
    }
    stats_add(&req->stats->detours, 1);
    laio_prepare(laio, req);
    req->iocb.aio_rw_flags &= ~RWF_NOWAIT;
    laio_detour_submit(*detour, req);
}

/* A worker makes the whole transfer: io_submit() would make it as well. */
static void laio_to_threads(LinuxAio *laio, EngineRequest *req)
{
    stats_add(&req->stats->detours, 1);
    engine_request_forward(engine_get(laio->engine.queue.ctx, ENGINE_THREADS),
                           req);
}

/* Writes of which is known that io_submit() would wait for them. */
static bool laio_avoid_wait(LinuxAio *laio, EngineRequest *req)
{
    if (nowait_map_refuses_writes(req->nowait)) {
        laio_to_threads(laio, req);
    } else if (nowait_map_expects_wait(req->nowait, req->offset)) {
        laio_detour(laio, req);
    } else {
        return false;
    }
    return true;
}

/*
 * Where requests come one by one, io_submit() and its event cost more than a
 * copy. A burst shares one io_submit(), which copies as well as we do.
 */
static void laio_submit(Engine *engine, EngineRequest *req)
{
    LinuxAio *laio = container_of(engine, LinuxAio, engine);
    SubmitQueue *queue = &engine->queue;
    bool alone = laio->last_batch <= 1 && !queue->queued && !queue->in_flight;

    if ((req->flags & ENGINE_IN_MEMORY) && alone &&
        !threads_has_finished_inline(queue->ctx) &&
        threads_try_in_memory(queue->ctx, req)) {
        return;
    }
    if (req->nowait && req->op == ENGINE_WRITE &&
        laio_avoid_wait(laio, req)) {
        return;
    }
    submit_queue_add(queue, req);
}

/* --- Completion --- */

/*
 * The kernel would have had to wait. For what, it does not say: with many
 * requests on their way it may be a free tag of the device, which the next
 * completion brings; a worker would wait for the same, and block one thread
 * more. Otherwise, and the second time, it is the file: a hole, an extent that
 * was never written, its end.
 */
static void laio_would_block(LinuxAio *laio, EngineRequest *req)
{
    SubmitQueue *queue = &laio->engine.queue;

    stats_add(&req->stats->would_block, 1);
    submit_queue_completed(queue);
    if (queue->in_flight >= MANY_IN_FLIGHT && !req->retried) {
        req->retried = true;
        submit_queue_add_later(queue, req);
        return;
    }
    if (req->op == ENGINE_WRITE) {
        nowait_map_learn(req->nowait, req->offset);
    }
    laio_detour(laio, req);
}

/*
 * RWF_NOWAIT is refused when the transfer is made, as io_submit() has said
 * yes to the file: what was to be direct would go through the page cache. Or
 * it was RWF_DSYNC: then the worker finds that out.
 */
static void laio_no_nowait(LinuxAio *laio, EngineRequest *req)
{
    submit_queue_completed(&laio->engine.queue);
    if (req->op == ENGINE_WRITE && !engine_request_dsync(req)) {
        nowait_map_refuse_writes(req->nowait);
    }
    laio_to_threads(laio, req);
}

/* res is a signed number in an unsigned field; res2 says nothing for files. */
static void laio_complete(LinuxAio *laio, const struct io_event *event)
{
    EngineRequest *req = container_of(event->obj, EngineRequest, iocb);
    ssize_t res = (long)event->res;

    if (req->nowait && event->obj->aio_rw_flags & RWF_NOWAIT) {
        if (G_UNLIKELY(res == -EAGAIN)) {
            laio_would_block(laio, req);
            return;
        }
        if (G_UNLIKELY(res == -EOPNOTSUPP)) {
            laio_no_nowait(laio, req);
            return;
        }
        if (req->op == ENGINE_WRITE) {
            nowait_map_forget(req->nowait, req->offset);
        }
    } else if (req->nowait &&
               laio_detour_holds(*nowait_map_detour(req->nowait), req, res)) {
        return;
    }
    engine_request_came_back(&laio->engine.queue, req, res);
}

static void laio_complete_all(LinuxAio *laio, const struct io_event *events,
                              unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        laio_complete(laio, &events[i]);
    }
}

/*
 * Takes a chunk off the ring before any callback runs, so that callbacks that
 * submit find its slots free. Pairs with the kernel's write barrier between
 * an event and the tail; the release of head lets the kernel reuse the slots.
 */
static unsigned laio_take_events(AioRing *ring, uint32_t tail,
                                 struct io_event *events)
{
    uint32_t head = ring->head;
    unsigned n = 0;

    while (head != tail && n < REAP_CHUNK) {
        events[n++] = ring->events[head];
        head = head + 1 == ring->nr ? 0 : head + 1;
    }
    __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
    return n;
}

static inline uint32_t laio_ring_tail(AioRing *ring)
{
    return __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
}

/* What is complete now; what completes meanwhile is for the next round, so
 * that a fast disk does not keep the thread from its other duties. */
static void laio_reap_ring(LinuxAio *laio)
{
    struct io_event events[REAP_CHUNK];
    uint32_t tail = laio_ring_tail(laio->ring);
    unsigned n;

    while ((n = laio_take_events(laio->ring, tail, events))) {
        laio_complete_all(laio, events, n);
    }
}

static void laio_reap_by_call(LinuxAio *laio)
{
    struct timespec now = { 0 };
    struct io_event events[REAP_CHUNK];
    int n;

    do {
        n = io_getevents(laio->id, 0, REAP_CHUNK, events, &now);
        laio_complete_all(laio, events, MAX(n, 0));
    } while (n == REAP_CHUNK || n == -EINTR);
}

static void laio_ready(void *opaque)
{
    LinuxAio *laio = opaque;

    blk_io_plug(laio->engine.queue.ctx);
    if (laio->ring) {
        laio_reap_ring(laio);
    } else {
        laio_reap_by_call(laio);
    }
    blk_io_unplug(laio->engine.queue.ctx);
}

static bool laio_poll(void *opaque)
{
    LinuxAio *laio = opaque;

    if (laio->ring->head == laio_ring_tail(laio->ring)) {
        return false;
    }
    blk_io_plug(laio->engine.queue.ctx);
    laio_reap_ring(laio);
    blk_io_unplug(laio->engine.queue.ctx);
    return true;
}

static const AioHandlerOps laio_handler_ops = {
    .ready = laio_ready,
    .edge = true,
    .poll = laio_poll,
};

static const AioHandlerOps laio_handler_ops_no_ring = {
    .ready = laio_ready,
    .edge = true,
};

/* --- Set-up --- */

static AioRing *laio_map_ring(io_context_t id)
{
    AioRing *ring = (AioRing *)id;

    if (ring->magic != AIO_RING_MAGIC || ring->incompat_features ||
        ring->header_length != sizeof(*ring)) {
        return NULL;
    }
    return ring;
}

/* fs.aio-max-nr is shared by the whole host: make do with less before giving
 * up. Returns the number of events, or negative errno. */
static int laio_setup(io_context_t *id)
{
    int err = -EAGAIN;

    for (int n = MAX_EVENTS; n >= MIN_EVENTS && err == -EAGAIN; n /= 2) {
        *id = NULL;
        err = engine_syscalls->io_setup(n, id);
        if (!err) {
            return n;
        }
    }
    return err;
}

static void laio_close(LinuxAio *laio)
{
    io_destroy(laio->id);
    close(laio->event_fd);
}

static void laio_free(Engine *engine)
{
    LinuxAio *laio = container_of(engine, LinuxAio, engine);

    submit_queue_destroy(&engine->queue);
    aio_handler_remove(laio->handler);
    laio_close(laio);
    g_free(laio);
}

static const EngineOps laio_ops = {
    .type = ENGINE_NATIVE,
    .submit = laio_submit,
    .free = laio_free,
};

Engine *laio_new(AioContext *ctx, GError **error)
{
    g_autofree LinuxAio *laio = g_new0(LinuxAio, 1);
    int events;

    laio->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (laio->event_fd < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "eventfd: %s", g_strerror(errno));
        return NULL;
    }
    events = laio_setup(&laio->id);
    if (events < 0) {
        close(laio->event_fd);
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-events),
                    "io_setup: %s%s", g_strerror(-events),
                    events != -EAGAIN ? "" :
                    " (the host's limit fs.aio-max-nr is used up: raise it, "
                    "for example sysctl fs.aio-max-nr=1048576)");
        return NULL;
    }
    laio->engine.ops = &laio_ops;
    laio->ring = laio_map_ring(laio->id);
    laio->handler = aio_handler_add(ctx, laio->event_fd,
                                    laio->ring ? &laio_handler_ops
                                               : &laio_handler_ops_no_ring,
                                    laio);
    if (!laio->handler) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "epoll_ctl: %s", g_strerror(errno));
        laio_close(laio);
        return NULL;
    }
    submit_queue_init(&laio->engine.queue, ctx, &laio_queue_ops, events);
    return &g_steal_pointer(&laio)->engine;
}
