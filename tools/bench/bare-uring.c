/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring at its best: one issuer, task work deferred until it is asked for,
 * a registered file and, with fixedbufs, registered buffers; submitting and
 * waiting in one call where nothing is complete yet.
 *
 * A ring made for one issuer belongs to the thread that enables it: it is
 * made disabled, and enabled by its worker.
 */
#include "bare.h"
#include "block/stats.h"

#include <errno.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct UringQueue {
    BareQueue bare;
    struct io_uring ring;
    bool open;
    bool disabled;
    struct io_uring_cqe **cqes;
} UringQueue;

static bool uring_open(UringQueue *q, unsigned depth, GError **error)
{
    struct io_uring_params best = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_R_DISABLED,
    };
    struct io_uring_params plain = { 0 };
    int ret = io_uring_queue_init_params(depth, &q->ring, &best);

    q->disabled = ret == 0;
    if (ret == -EINVAL) {
        ret = io_uring_queue_init_params(depth, &q->ring, &plain);
    }
    q->open = ret == 0;
    return ret == 0 || bare_fail("io_uring", -ret, error);
}

static bool uring_init(BareQueue *queue, GError **error)
{
    UringQueue *q = (UringQueue *)queue;
    struct iovec iov = { queue->data, queue->data_bytes };
    int ret;

    q->cqes = g_new0(struct io_uring_cqe *, queue->queue.depth);
    if (!uring_open(q, queue->queue.depth, error)) {
        return false;
    }
    ret = io_uring_register_files(&q->ring, &queue->fd, 1);
    if (ret < 0) {
        return bare_fail("io_uring: registering the file", -ret, error);
    }
    ret = queue->fixedbufs ? io_uring_register_buffers(&q->ring, &iov, 1) : 0;
    return ret == 0 ||
           bare_fail("io_uring: registering the buffers", -ret, error);
}

static void uring_fini(BareQueue *queue)
{
    UringQueue *q = (UringQueue *)queue;

    if (q->open) {
        io_uring_queue_exit(&q->ring);
    }
    g_free(q->cqes);
}

static bool uring_attach(BenchQueue *queue, GError **error)
{
    UringQueue *q = (UringQueue *)queue;

    /* io_uring_enable_rings() is missing in the liburing 2.3 that Debian has */
    if (q->disabled &&
        syscall(SYS_io_uring_register, q->ring.ring_fd,
                IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0) {
        return bare_fail("io_uring: enabling the ring", errno, error);
    }
    return true;
}

static void uring_add(BenchQueue *queue, BenchIo *io)
{
    UringQueue *q = (UringQueue *)queue;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

    g_assert(sqe); /* the ring has room for all */
    if (q->bare.fixedbufs && io->write) {
        io_uring_prep_write_fixed(sqe, 0, io->data, io->bytes, io->offset, 0);
    } else if (q->bare.fixedbufs) {
        io_uring_prep_read_fixed(sqe, 0, io->data, io->bytes, io->offset, 0);
    } else if (io->write) {
        io_uring_prep_write(sqe, 0, io->data, io->bytes, io->offset);
    } else {
        io_uring_prep_read(sqe, 0, io->data, io->bytes, io->offset);
    }
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(sqe, io);
}

static bool uring_submit(BenchQueue *queue, GError **error)
{
    UringQueue *q = (UringQueue *)queue;

    stats_add(&queue->submits, 1);
    while (io_uring_sq_ready(&q->ring) > 0) {
        int ret = io_uring_submit(&q->ring);

        stats_add(&queue->kicks, 1);
        if (ret < 0 && ret != -EINTR) {
            return bare_fail("io_uring_enter", -ret, error);
        }
    }
    return true;
}

static int uring_reap(BenchQueue *queue, unsigned min, BenchIo **done,
                      unsigned max, int64_t timeout_ns, GError **error)
{
    UringQueue *q = (UringQueue *)queue;
    struct __kernel_timespec ts = { .tv_sec = timeout_ns / BENCH_NS,
                                    .tv_nsec = timeout_ns % BENCH_NS };
    struct io_uring_cqe *first;
    int ret = io_uring_wait_cqes(&q->ring, &first, min, &ts, NULL);
    unsigned n;

    if (ret < 0 && ret != -ETIME && ret != -EINTR && ret != -EAGAIN) {
        bare_fail("io_uring_enter", -ret, error);
        return -1;
    }
    n = io_uring_peek_batch_cqe(&q->ring, q->cqes, max);
    for (unsigned i = 0; i < n; i++) {
        done[i] = io_uring_cqe_get_data(q->cqes[i]);
        bare_set_result(done[i], q->cqes[i]->res);
    }
    io_uring_cq_advance(&q->ring, n);
    return n;
}

static const BenchQueueOps uring_ops = {
    .attach = uring_attach,
    .add = uring_add,
    .submit = uring_submit,
    .reap = uring_reap,
};

const BareEngine bare_io_uring = {
    .ops = &uring_ops,
    .queue_size = sizeof(UringQueue),
    .init = uring_init,
    .fini = uring_fini,
};
