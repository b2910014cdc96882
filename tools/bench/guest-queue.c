/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Adds, publishes and takes back requests. While completions are polled for,
 * interrupts are off; else they are on only while it sleeps, as in Linux.
 */
#include "guest-queue.h"
#include "block/stats.h"

#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <unistd.h>

#define SPINS 128 /* about 2 us */

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool guest_attach(BenchQueue *queue, GError **error)
{
    GuestQueue *q = (GuestQueue *)queue;

    if (q->poll) {
        virtio_ring_disable_call(q->ring);
    }
    return true;
}

static void guest_add(BenchQueue *queue, BenchIo *io)
{
    GuestQueue *q = (GuestQueue *)queue;
    GuestIo *gio = (GuestIo *)io;
    unsigned n_out = io->write ? 1 + q->n_segments : 1;
    VirtioChain chain = {
        .out = gio->iov,
        .n_out = n_out,
        .in = gio->iov + n_out,
        .n_in = q->n_segments + 2 - n_out,
        .indirect = q->indirect,
        .token = gio,
    };
    bool added;

    gio->header->type = io->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
    gio->header->sector = io->offset / 512;
    *gio->status = 0xff;
    added = virtio_ring_add(q->ring, &chain);
    g_assert(added); /* the ring was chosen large enough for all */
}

static bool guest_submit(BenchQueue *queue, GError **error)
{
    GuestQueue *q = (GuestQueue *)queue;
    uint64_t one = 1;

    stats_add(&queue->submits, 1);
    if (virtio_ring_publish(q->ring)) {
        stats_add(&queue->kicks, 1);
        if (write(q->kick_fd, &one, sizeof(one)) < 0 && errno != EAGAIN) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                        "cannot notify the server: %s", g_strerror(errno));
            return false;
        }
    }
    return true;
}

static bool poll_used(GuestQueue *q, int64_t timeout_ns)
{
    int64_t give_up = 0;

    if (timeout_ns == 0) {
        return virtio_ring_has_used(q->ring);
    }
    for (;;) {
        for (unsigned i = 0; i < SPINS; i++) {
            if (virtio_ring_has_used(q->ring)) {
                return true;
            }
            cpu_relax();
        }
        if (give_up == 0) {
            give_up = bench_now_ns() + timeout_ns;
        } else if (bench_now_ns() > give_up) {
            return false;
        }
    }
}

static bool sleep_for_used(GuestQueue *q, int64_t timeout_ns)
{
    struct timespec ts = { .tv_sec = timeout_ns / BENCH_NS,
                           .tv_nsec = timeout_ns % BENCH_NS };
    struct pollfd pfd = { .fd = q->call_fd, .events = POLLIN };
    uint64_t count;

    if (!virtio_ring_has_used(q->ring) && !virtio_ring_enable_call(q->ring) &&
        ppoll(&pfd, 1, &ts, NULL) == 1 &&
        read(q->call_fd, &count, sizeof(count)) == sizeof(count)) {
        stats_add(&q->queue.interrupts, count);
    }
    virtio_ring_disable_call(q->ring);
    return virtio_ring_has_used(q->ring);
}

static int status_to_error(const GuestIo *gio, uint32_t used_len)
{
    switch (*gio->status) {
    case VIRTIO_BLK_S_OK:
        break;
    case VIRTIO_BLK_S_UNSUPP:
        return -EOPNOTSUPP;
    case 0xff:
        return BENCH_ERROR_NO_STATUS;
    default:
        return -EIO;
    }
    /* A device may report less than it wrote, never more than there was. */
    return used_len > (gio->io.write ? 0 : gio->io.bytes) + 1
               ? BENCH_ERROR_USED_LEN
               : 0;
}

static int guest_reap(BenchQueue *queue, unsigned min, BenchIo **done,
                      unsigned max, int64_t timeout_ns, GError **error)
{
    GuestQueue *q = (GuestQueue *)queue;
    unsigned n = 0;
    uint32_t len;
    GuestIo *gio;

    if (q->poll ? !poll_used(q, timeout_ns) : !sleep_for_used(q, timeout_ns)) {
        return 0;
    }
    while (n < max && (gio = virtio_ring_get_used(q->ring, &len))) {
        gio->io.error = status_to_error(gio, len);
        done[n++] = &gio->io;
    }
    if (n == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "the server %s",
                    virtio_ring_error(q->ring));
        return -1;
    }
    return n;
}

const BenchQueueOps guest_queue_ops = {
    .attach = guest_attach,
    .add = guest_add,
    .submit = guest_submit,
    .reap = guest_reap,
};
