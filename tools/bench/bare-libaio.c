/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libaio as most programs use it: one io_submit a batch, one io_getevents for
 * what is complete.
 */
#include "bare.h"
#include "block/stats.h"

#include <errno.h>
#include <libaio.h>

typedef struct LibaioQueue {
    BareQueue bare;
    io_context_t ctx;
    struct iocb *iocbs;    /* by io */
    struct iocb **pending;
    unsigned n_pending;
    struct io_event *events;
} LibaioQueue;

static bool libaio_init(BareQueue *queue, GError **error)
{
    LibaioQueue *q = (LibaioQueue *)queue;
    unsigned depth = queue->queue.depth;
    int ret;

    q->iocbs = g_new0(struct iocb, depth);
    q->pending = g_new0(struct iocb *, depth);
    q->events = g_new0(struct io_event, depth);
    ret = io_setup(depth, &q->ctx);
    return ret == 0 || bare_fail("io_setup", -ret, error);
}

static void libaio_fini(BareQueue *queue)
{
    LibaioQueue *q = (LibaioQueue *)queue;

    if (q->ctx) {
        io_destroy(q->ctx);
    }
    g_free(q->iocbs);
    g_free(q->pending);
    g_free(q->events);
}

static bool libaio_attach(BenchQueue *queue, GError **error)
{
    return true;
}

static void libaio_add(BenchQueue *queue, BenchIo *io)
{
    LibaioQueue *q = (LibaioQueue *)queue;
    struct iocb *iocb = &q->iocbs[io - q->bare.ios];

    if (io->write) {
        io_prep_pwrite(iocb, q->bare.fd, io->data, io->bytes, io->offset);
    } else {
        io_prep_pread(iocb, q->bare.fd, io->data, io->bytes, io->offset);
    }
    iocb->data = io;
    q->pending[q->n_pending++] = iocb;
}

static bool libaio_submit(BenchQueue *queue, GError **error)
{
    LibaioQueue *q = (LibaioQueue *)queue;
    unsigned done = 0;

    stats_add(&queue->submits, 1);
    while (done < q->n_pending) {
        int ret = io_submit(q->ctx, q->n_pending - done, q->pending + done);

        stats_add(&queue->kicks, 1);
        if (ret < 0 && ret != -EINTR) {
            return bare_fail("io_submit", -ret, error);
        }
        done += MAX(ret, 0);
    }
    q->n_pending = 0;
    return true;
}

static int libaio_reap(BenchQueue *queue, unsigned min, BenchIo **done,
                       unsigned max, int64_t timeout_ns, GError **error)
{
    LibaioQueue *q = (LibaioQueue *)queue;
    struct timespec ts = { .tv_sec = timeout_ns / BENCH_NS,
                           .tv_nsec = timeout_ns % BENCH_NS };
    int n = io_getevents(q->ctx, min, max, q->events, &ts);

    if (n == -EINTR) {
        return 0;
    }
    if (n < 0) {
        bare_fail("io_getevents", -n, error);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        done[i] = q->events[i].data;
        bare_set_result(done[i], (int64_t)q->events[i].res);
    }
    return n;
}

static const BenchQueueOps libaio_ops = {
    .attach = libaio_attach,
    .add = libaio_add,
    .submit = libaio_submit,
    .reap = libaio_reap,
};

const BareEngine bare_libaio = {
    .ops = &libaio_ops,
    .queue_size = sizeof(LibaioQueue),
    .init = libaio_init,
    .fini = libaio_fini,
};
