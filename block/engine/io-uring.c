/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=io_uring: one ring per AioContext, one io_uring_enter() per flush of
 * the submit queue. Made by engine.c in the home thread, which alone submits
 * and reaps, as IORING_SETUP_SINGLE_ISSUER demands.
 *
 * How it works: with DEFER_TASKRUN the kernel finishes requests in our
 * context and only when we enter it to get events; until then it raises
 * IORING_SQ_TASKRUN in shared memory. poll() therefore looks at two words, the
 * completion queue's tail and those flags, and enters the kernel only when
 * they say so.
 *
 * What wakes a sleeping loop is an eventfd registered with the ring, not the
 * ring's own descriptor: deferred work signals the eventfd as it is queued,
 * on every kernel that has DEFER_TASKRUN, while a poll of the ring is woken by
 * posted completions, which deferred work is not yet. While the loop polls, and
 * while we are in the kernel ourselves, IORING_CQ_EVENTFD_DISABLED spares the
 * kernel the signals.
 *
 * Memory that its owner has offered is registered with the ring by the first
 * request there, and used by those in one piece: io-uring-memory.c.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block/stats.h"
#include "io-uring-internal.h"

#define SQ_ENTRIES 128
#define CQ_ENTRIES 1024
#define REAP_CHUNK 64
#define DEFAULT_MAX_WORKERS 64

typedef struct LUring {
    Engine engine;
    struct io_uring ring;
    UringMemory *memory; /* of the context */
    int event_fd;
    AioHandler *handler;
    AioBH *reap_bh;  /* for what completed while we were in the kernel */
    bool polling;    /* the loop polls: signals are off */
} LUring;

typedef struct LUringResult {
    EngineRequest *req;
    int res;
} LUringResult;

/* --- What the kernel says, and whether it shall signal --- */

static inline unsigned luring_flags(const LUring *luring)
{
    return __atomic_load_n(luring->ring.sq.kflags, __ATOMIC_SEQ_CST);
}

static inline unsigned luring_tail(const LUring *luring)
{
    return __atomic_load_n(luring->ring.cq.ktail, __ATOMIC_ACQUIRE);
}

/* The kernel holds completions that it posts when it is entered for them. */
static inline bool luring_must_enter(const LUring *luring)
{
    return luring_flags(luring) &
           (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/*
 * Pairs with the kernel, which publishes a completion or IORING_SQ_TASKRUN and
 * then reads this word: whoever switches signals on looks at both afterwards,
 * and thus after this sequentially consistent store, before the loop sleeps.
 */
static void luring_set_signals(LUring *luring, unsigned cq_flags)
{
    if (luring->ring.cq.kflags) {
        __atomic_store_n(luring->ring.cq.kflags, cq_flags, __ATOMIC_SEQ_CST);
    }
}

static inline bool luring_has_work(const LUring *luring)
{
    return *luring->ring.cq.khead != luring_tail(luring) ||
           luring_must_enter(luring);
}

/*
 * Around our own time in the kernel: what completes in it we see when we are
 * back, without an eventfd written and a wake-up that finds nothing.
 */
static void luring_silence(LUring *luring)
{
    luring_set_signals(luring, IORING_CQ_EVENTFD_DISABLED);
}

static void luring_unsilence(LUring *luring)
{
    if (!luring->polling) {
        luring_set_signals(luring, 0);
    }
}

/* --- Submission --- */

static void luring_prepare_rw(LUring *luring, struct io_uring_sqe *sqe,
                              EngineRequest *req, bool write)
{
    unsigned niov;
    const struct iovec *iov = engine_request_iov(req, &niov);
    int64_t offset = engine_request_offset(req);
    int slot = niov == 1 ? uring_memory_find(luring->memory, iov) : -1;

    if (slot >= 0) {
        io_uring_prep_rw(write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED,
                         sqe, req->fd, iov->iov_base, iov->iov_len, offset);
        sqe->buf_index = slot;
        stats_add(&req->stats->fixed, 1);
    } else if (niov == 1) {
        io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe,
                         req->fd, iov->iov_base, iov->iov_len, offset);
    } else {
        io_uring_prep_rw(write ? IORING_OP_WRITEV : IORING_OP_READV, sqe,
                         req->fd, iov, niov, offset);
    }
    sqe->rw_flags = engine_request_dsync(req) ? RWF_DSYNC : 0;
}

static void luring_prepare(LUring *luring, struct io_uring_sqe *sqe,
                           EngineRequest *req)
{
    EngineStep step = engine_request_step(req);

    if (step == ENGINE_STEP_SYNC) {
        io_uring_prep_fsync(sqe, req->fd, IORING_FSYNC_DATASYNC);
    } else {
        luring_prepare_rw(luring, sqe, req, step == ENGINE_STEP_WRITE);
    }
    io_uring_sqe_set_data(sqe, req);
}

/*
 * Takes entries that the kernel did not consume back out of the ring, so that
 * a request is in the ring only while it is in flight and a queued one can be
 * failed or moved. The kernel looks at the ring in io_uring_enter() alone:
 * there is no SQPOLL thread.
 */
static void luring_rewind(struct io_uring_sq *sq)
{
    unsigned head = *sq->khead;

    sq->sqe_head = sq->sqe_tail = head;
    __atomic_store_n(sq->ktail, head, __ATOMIC_RELEASE);
}

static int luring_hand_over(SubmitQueue *queue, unsigned max)
{
    LUring *luring = container_of(queue, LUring, engine.queue);
    EngineRequest *req = queue->head;
    struct io_uring_sqe *sqe;
    unsigned n = 0;
    int ret;

    while (n < max && (sqe = io_uring_get_sqe(&luring->ring))) {
        luring_prepare(luring, sqe, req);
        req = req->next;
        n++;
    }
    luring_silence(luring);
    ret = engine_syscalls->uring_submit(&luring->ring);
    luring_unsilence(luring);
    if (!luring->polling && luring_has_work(luring)) {
        aio_bh_schedule(luring->reap_bh);
    }
    if (ret < (int)n) {
        luring_rewind(&luring->ring.sq);
    }
    return ret;
}

/* What is in memory and has no way to say "would block", as tmpfs and zram,
 * goes from the ring to a worker of the kernel, one by one. */
static void luring_submit(Engine *engine, EngineRequest *req)
{
    if (!threads_try_in_memory(engine->queue.ctx, req)) {
        submit_queue_add(&engine->queue, req);
    }
}

static const SubmitQueueOps luring_queue_ops = {
    .hand_over = luring_hand_over,
    .one_call = true,
    .engine = ENGINE_IO_URING,
};

/* --- Completion --- */

/*
 * Takes a chunk off the ring before any callback runs, so that callbacks that
 * submit find its slots free.
 */
static unsigned luring_take(LUring *luring, unsigned tail,
                            LUringResult *results)
{
    struct io_uring_cq *cq = &luring->ring.cq;
    unsigned head = *cq->khead;
    unsigned n = 0;

    while (head != tail && n < REAP_CHUNK) {
        const struct io_uring_cqe *cqe = &cq->cqes[head++ & cq->ring_mask];

        results[n++] = (LUringResult) {
            .req = io_uring_cqe_get_data(cqe),
            .res = cqe->res,
        };
    }
    io_uring_cq_advance(&luring->ring, n);
    return n;
}

/* Has the kernel post what it holds. What it comes to hold while signals are
 * off, and after it has posted, is asked for again with signals on. */
static void luring_get_events(LUring *luring)
{
    if (!luring_must_enter(luring)) {
        return;
    }
    luring_silence(luring);
    io_uring_get_events(&luring->ring);
    luring_unsilence(luring);
    if (luring_must_enter(luring)) {
        io_uring_get_events(&luring->ring);
    }
}

/* What is complete now; what completes meanwhile is for the next round. */
static bool luring_reap(LUring *luring)
{
    LUringResult results[REAP_CHUNK];
    unsigned tail, n;
    bool any = false;

    luring_get_events(luring);
    tail = luring_tail(luring);
    blk_io_plug(luring->engine.queue.ctx);
    while ((n = luring_take(luring, tail, results))) {
        any = true;
        for (unsigned i = 0; i < n; i++) {
            engine_request_came_back(&luring->engine.queue, results[i].req,
                                     results[i].res);
        }
    }
    blk_io_unplug(luring->engine.queue.ctx);
    return any;
}

static void luring_ready(void *opaque)
{
    luring_reap(opaque);
}

static bool luring_poll(void *opaque)
{
    LUring *luring = opaque;

    return luring_has_work(luring) && luring_reap(luring);
}

static void luring_poll_begin(void *opaque)
{
    LUring *luring = opaque;

    luring->polling = true;
    luring_silence(luring);
}

static void luring_poll_end(void *opaque)
{
    LUring *luring = opaque;

    luring->polling = false;
    luring_unsilence(luring);
}

static const AioHandlerOps luring_handler_ops = {
    .ready = luring_ready,
    .edge = true, /* what completes after the reap began writes again */
    .poll = luring_poll,
    .poll_begin = luring_poll_begin,
    .poll_end = luring_poll_end,
};

/* --- Set-up --- */

/* Best first; a kernel that does not know a flag says -EINVAL. */
static const unsigned setup_flags[] = {
    /* Linux 6.1 */
    IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
    /* Linux 5.19 */
    IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_R_DISABLED,
    /* Linux 5.6 */
    IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
};

/* Returns the entries of the completion queue, or negative errno. */
static int luring_setup(struct io_uring *ring)
{
    int err = -EINVAL;

    for (unsigned i = 0; i < G_N_ELEMENTS(setup_flags) && err == -EINVAL;
         i++) {
        struct io_uring_params params = {
            .flags = setup_flags[i],
            .cq_entries = CQ_ENTRIES,
        };

        err = engine_syscalls->uring_init(SQ_ENTRIES, ring, &params);
        if (!err) {
            return params.cq_entries;
        }
    }
    return err;
}

/* Buffered writes and what else would block run on kernel threads: as many at
 * most as our own pool would have. Refused before Linux 5.15, harmlessly. */
static void luring_limit_workers(struct io_uring *ring, AioContext *ctx)
{
    unsigned max = aio_context_params(ctx)->thread_pool_max;
    unsigned workers[2] = { max ? max : DEFAULT_MAX_WORKERS, 0 };

    io_uring_register_iowq_max_workers(ring, workers);
}

/*
 * A ring is a way around a seccomp filter: whoever can write to its memory
 * could have it open files and sockets. It is born asleep, told what it may
 * do for the rest of its life, and woken. Kernels that do not know how to be
 * asleep (before Linux 5.10) run it as it is.
 */
static int luring_restrict(struct io_uring *ring)
{
    static const uint8_t ops[] = {
        IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV, IORING_OP_WRITEV,
        IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,
    };
    struct io_uring_restriction allowed[G_N_ELEMENTS(ops) + 2] = {
        { .opcode = IORING_RESTRICTION_REGISTER_OP,
          .register_op = IORING_REGISTER_BUFFERS2 },
        { .opcode = IORING_RESTRICTION_REGISTER_OP,
          .register_op = IORING_REGISTER_BUFFERS_UPDATE },
    };
    int err;

    if (!(ring->flags & IORING_SETUP_R_DISABLED)) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        allowed[2 + i].opcode = IORING_RESTRICTION_SQE_OP;
        allowed[2 + i].sqe_op = ops[i];
    }
    err = engine_syscalls->uring_register(ring, IORING_REGISTER_RESTRICTIONS,
                                          allowed, G_N_ELEMENTS(allowed));
    return err ? err
               : engine_syscalls->uring_register(
                     ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static const char *luring_advice(int err)
{
    switch (err) {
    case -ENOSYS:
        return " (the kernel lacks io_uring, or a seccomp profile hides it)";
    case -EPERM:
    case -EACCES:
        return " (forbidden by a seccomp profile or by the sysctl "
               "kernel.io_uring_disabled)";
    case -ENOMEM:
        return " (raise the locked memory limit, ulimit -l)";
    case -EMFILE:
    case -ENFILE:
        return " (raise the open files limit, ulimit -n)";
    default:
        return "";
    }
}

/* A filter may know one of the calls and not the other. */
static int luring_try_enter(int ring_fd)
{
    return syscall(SYS_io_uring_enter, ring_fd, 0, 0, 0, NULL, 0) < 0 ? -errno
                                                                      : 0;
}

/* Makes a ring and enters it. Returns 0 or negative errno and the call. */
static int luring_try(const char **call)
{
    struct io_uring_params params = { 0 };
    int fd, err;

    *call = "io_uring_setup";
    fd = syscall(SYS_io_uring_setup, 1, &params);
    if (fd < 0) {
        return -errno;
    }
    *call = "io_uring_enter";
    err = luring_try_enter(fd);
    close(fd);
    return err;
}

/*
 * Asked of the kernel itself and not of engine_syscalls: there tests refuse
 * what a context asks for later, when it is too late to say no to the user.
 */
bool luring_is_permitted(GError **error)
{
    static const char *call; /* NULL: not tried yet */
    static int err;

    if (!call) {
        err = luring_try(&call);
    }
    if (err != -EPERM && err != -EACCES && err != -ENOSYS) {
        return true;
    }
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-err),
                "%s: %s%s", call, g_strerror(-err), luring_advice(err));
    return false;
}

static void luring_close(LUring *luring)
{
    io_uring_queue_exit(&luring->ring);
    close(luring->event_fd);
}

static void luring_free(Engine *engine)
{
    LUring *luring = container_of(engine, LUring, engine);

    submit_queue_destroy(&engine->queue);
    aio_bh_free(luring->reap_bh);
    aio_handler_remove(luring->handler);
    uring_memory_set_ring(luring->memory, NULL);
    luring_close(luring);
    g_free(luring);
}

static const EngineOps luring_ops = {
    .type = ENGINE_IO_URING,
    .submit = luring_submit,
    .free = luring_free,
};

/* Returns the entries of the completion queue, or negative errno with @call
 * saying what failed. */
static int luring_open(LUring *luring, AioContext *ctx, const char **call)
{
    int entries, err;

    *call = "eventfd";
    luring->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (luring->event_fd < 0) {
        return -errno;
    }
    *call = "io_uring_setup";
    entries = luring_setup(&luring->ring);
    if (entries < 0) {
        close(luring->event_fd);
        return entries;
    }
    *call = "io_uring_register";
    luring_limit_workers(&luring->ring, ctx);
    err = io_uring_register_eventfd(&luring->ring, luring->event_fd);
    if (!err) {
        err = luring_restrict(&luring->ring);
    }
    if (!err) {
        *call = "io_uring_enter";
        err = luring_try_enter(luring->ring.ring_fd);
    }
    if (err) {
        luring_close(luring);
        return err;
    }
    *call = "epoll_ctl";
    luring->handler = aio_handler_add(ctx, luring->event_fd,
                                      &luring_handler_ops, luring);
    if (!luring->handler) {
        err = -errno;
        luring_close(luring);
        return err;
    }
    return entries;
}

Engine *luring_new(AioContext *ctx, GError **error)
{
    g_autofree LUring *luring = g_new0(LUring, 1);
    const char *call;
    int entries = luring_open(luring, ctx, &call);

    if (entries < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-entries),
                    "%s: %s%s", call, g_strerror(-entries),
                    luring_advice(entries));
        return NULL;
    }
    luring->engine.ops = &luring_ops;
    submit_queue_init(&luring->engine.queue, ctx, &luring_queue_ops, entries);
    luring->reap_bh = aio_bh_new(ctx, luring_ready, luring);
    luring->memory = uring_memory_get(ctx);
    uring_memory_set_ring(luring->memory, &luring->ring);
    return &g_steal_pointer(&luring)->engine;
}
