/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long traffic over every kind of ring: random steps of both sides against a
 * model of what each must see and be woken for; and two threads that sleep on
 * event descriptors, where a lost wake-up hangs.
 */
#include "virtqueue-rig.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- Random traffic against a model --- */

typedef struct Request {
    struct iovec iov[6];
    unsigned n_out, n_in;
    bool in_ring;
    bool held;          /* by the device */
    uint32_t written;
    VirtQueueElement elem;
} Request;

typedef struct Traffic {
    Rig *rig;
    GRand *rand;
    Request requests[64];
    GQueue expected;    /* requests in the order they were published */
    GQueue added;       /* not published yet */
    GQueue used;        /* published by the device, not seen by the driver */
    GQueue pushed;
    uint64_t completed;
} Traffic;

static bool chance(Traffic *t, int percent)
{
    return g_rand_int_range(t->rand, 0, 100) < percent;
}

static void traffic_add(Traffic *t)
{
    Rig *rig = t->rig;
    Request *req = &t->requests[g_rand_int_range(t->rand, 0, 64)];
    VirtioChain chain = { .token = req };

    if (req->in_ring) {
        return;
    }
    req->n_out = g_rand_int_range(t->rand, 0, 4);
    req->n_in = g_rand_int_range(t->rand, req->n_out ? 0 : 1, 3);
    for (unsigned i = 0; i < req->n_out + req->n_in; i++) {
        size_t at = g_rand_int_range(t->rand, 0, rig->buffer_bytes - 9000);

        /* often about the border */
        req->iov[i].iov_base = chance(t, 50) ? rig->buffers + at
                                             : rig->border - at % 5000;
        req->iov[i].iov_len = g_rand_int_range(t->rand, 1, 9000);
    }
    chain.out = req->iov;
    chain.n_out = req->n_out;
    chain.in = req->iov + req->n_out;
    chain.n_in = req->n_in;
    chain.indirect = rig->config.indirect && chance(t, 60);
    if (virtio_ring_add(rig->ring, &chain)) {
        req->in_ring = true;
        g_queue_push_tail(&t->added, req);
    }
}

static void move_all(GQueue *to, GQueue *from)
{
    while (!g_queue_is_empty(from)) {
        g_queue_push_tail(to, g_queue_pop_head(from));
    }
}

/* The pieces of @iov together are buffer @want of the driver's. */
static const struct iovec *match_buffer(Traffic *t, const struct iovec *iov,
                                        const struct iovec *want)
{
    uint64_t addr = rig_guest(t->rig, want->iov_base);
    size_t left = want->iov_len;

    while (left) {
        g_assert_cmpuint(iov->iov_len, <=, left);
        g_assert_cmphex(rig_guest_of_device(t->rig, iov->iov_base), ==, addr);
        addr += iov->iov_len;
        left -= iov->iov_len;
        iov++;
    }
    return iov;
}

static void traffic_pop(Traffic *t)
{
    Request *want = g_queue_peek_head(&t->expected);
    VirtQueueElement elem = { 0 };
    const struct iovec *iov;
    int ret = virtqueue_pop(t->rig->vq, &elem);

    g_assert_cmpint(ret, ==, want ? 1 : 0);
    if (!want) {
        return;
    }
    g_queue_pop_head(&t->expected);
    iov = elem.iov;
    for (unsigned i = 0; i < want->n_out; i++) {
        iov = match_buffer(t, iov, &want->iov[i]);
    }
    g_assert_cmpuint(iov - elem.iov, ==, elem.out_num);
    for (unsigned i = 0; i < want->n_in; i++) {
        iov = match_buffer(t, iov, &want->iov[want->n_out + i]);
    }
    g_assert_cmpuint(iov - elem.iov, ==, elem.out_num + elem.in_num);
    want->elem = elem;
    want->held = true;
}

static void traffic_push(Traffic *t)
{
    Request *req = &t->requests[g_rand_int_range(t->rand, 0, 64)];

    if (req->held) {
        req->written = req->n_in ? g_rand_int_range(t->rand, 1, 99999) : 0;
        virtqueue_push(t->rig->vq, &req->elem, req->written);
        virtqueue_element_clear(&req->elem);
        req->held = false;
        g_queue_push_tail(&t->pushed, req);
    }
}

static void traffic_get_used(Traffic *t)
{
    Request *want = g_queue_pop_head(&t->used);
    uint32_t len;
    Request *req = virtio_ring_get_used(t->rig->ring, &len);

    g_assert_true(req == want);
    if (req) {
        g_assert_cmpuint(len, ==, req->written);
        req->in_ring = false;
        t->completed++;
    }
}

/* Kicks and calls: who was told to wait must be woken. */
static void traffic_driver_publish(Traffic *t, bool *kick_armed)
{
    bool kick = virtio_ring_publish(t->rig->ring);

    if (!g_queue_is_empty(&t->added)) {
        g_assert_true(kick || !*kick_armed);
        *kick_armed = false;
    } else {
        g_assert_false(kick);
    }
    move_all(&t->expected, &t->added);
}

static void traffic_device_publish(Traffic *t, bool *call_armed)
{
    bool call = virtqueue_publish(t->rig->vq);

    if (!g_queue_is_empty(&t->pushed)) {
        g_assert_true(call || !*call_armed);
        *call_armed = false;
    } else {
        g_assert_false(call);
    }
    move_all(&t->used, &t->pushed);
}

static void traffic_step(Traffic *t, bool *kick_armed, bool *call_armed)
{
    switch (g_rand_int_range(t->rand, 0, 9)) {
    case 0:
    case 1:
        traffic_add(t);
        break;
    case 2:
        traffic_driver_publish(t, kick_armed);
        break;
    case 3:
        traffic_pop(t);
        break;
    case 4:
    case 5:
        traffic_push(t);
        break;
    case 6:
        traffic_device_publish(t, call_armed);
        break;
    case 7:
        traffic_get_used(t);
        break;
    case 8:
        if (chance(t, 50)) {
            if (chance(t, 50)) {
                virtqueue_disable_kick(t->rig->vq);
                *kick_armed = false;
            } else {
                *kick_armed = !virtqueue_enable_kick(t->rig->vq);
                g_assert_cmpint(*kick_armed, ==,
                                g_queue_is_empty(&t->expected));
            }
        } else if (chance(t, 50)) {
            virtio_ring_disable_call(t->rig->ring);
            *call_armed = false;
        } else {
            *call_armed = !virtio_ring_enable_call(t->rig->ring);
            g_assert_cmpint(*call_armed, ==, g_queue_is_empty(&t->used));
        }
        break;
    }
}

/* Brings everything home. */
static void traffic_drain(Traffic *t)
{
    bool unused = false;

    traffic_driver_publish(t, &unused);
    while (!g_queue_is_empty(&t->expected)) {
        traffic_pop(t);
    }
    while (virtqueue_in_use(t->rig->vq)) {
        traffic_push(t);
    }
    traffic_device_publish(t, &unused);
    while (!g_queue_is_empty(&t->used)) {
        traffic_get_used(t);
    }
    g_assert_cmpuint(virtio_ring_in_flight(t->rig->ring), ==, 0);
    g_assert_cmpuint(virtio_ring_free_descs(t->rig->ring), ==,
                     t->rig->config.size);
}

static void test_random(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    g_autofree Traffic *t = g_new0(Traffic, 1);
    unsigned steps = g_test_quick() ? 400000 : 4000000;
    bool kick_armed = false, call_armed = false;
    guint32 seed = g_test_rand_int();

    t->rig = rig;
    t->rand = g_rand_new_with_seed(seed);
    for (unsigned i = 0; i < steps; i++) {
        traffic_step(t, &kick_armed, &call_armed);
        if (i % 50000 == 49999) {
            /* a new device goes on where the old one stopped */
            traffic_drain(t);
            rig_restart_device(rig);
            kick_armed = call_armed = false;
        }
    }
    traffic_drain(t);
    g_assert_cmpuint(t->completed, >, steps / 50);
    g_assert_cmpstr(rig->log->str, ==, "");
    g_rand_free(t->rand);
}

/* --- Two threads, sleeping on event fds: a lost wake-up hangs --- */

#define STRESS_REQUESTS 20000

typedef struct Stress {
    Rig *rig;
    int kick, call;
    unsigned kicks, calls;
} Stress;

static void wait_fd(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    uint64_t value;

    while (read(fd, &value, sizeof(value)) < 0) {
        poll(&pfd, 1, -1);
    }
}

static void *stress_device(void *opaque)
{
    Stress *s = opaque;
    VirtQueue *vq = s->rig->vq;
    VirtQueueElement *elem = &s->rig->elem;
    unsigned done = 0;

    virtqueue_set_call_fd(vq, s->call);
    while (done < STRESS_REQUESTS) {
        unsigned n = 0;

        virtqueue_disable_kick(vq);
        while (virtqueue_pop(vq, elem) == 1) {
            const char *out = elem->iov[0].iov_base;
            char *in = elem->iov[elem->out_num].iov_base;

            *in = *out + 1;
            virtqueue_push(vq, elem, 1);
            if (++n % 3 == 0 && virtqueue_publish(vq)) {
                virtqueue_notify(vq);
                s->calls++;
            }
        }
        if (virtqueue_publish(vq)) {
            virtqueue_notify(vq);
            s->calls++;
        }
        done += n;
        if (!virtqueue_enable_kick(vq) && done < STRESS_REQUESTS) {
            wait_fd(s->kick);
        }
    }
    return NULL;
}

typedef struct StressSlot {
    char *buf; /* [0] out, [1] in */
    bool busy;
} StressSlot;

static unsigned stress_fill(Stress *s, StressSlot *slots, unsigned n_slots,
                            unsigned sent)
{
    Rig *rig = s->rig;
    unsigned n = 0;

    for (unsigned i = 0; i < n_slots && sent + n < STRESS_REQUESTS; i++) {
        struct iovec out = { slots[i].buf, 1 }, in = { slots[i].buf + 1, 1 };
        VirtioChain chain = {
            .out = &out, .n_out = 1, .in = &in, .n_in = 1,
            .indirect = rig->config.indirect, .token = &slots[i],
        };

        if (slots[i].busy) {
            continue;
        }
        slots[i].buf[0] = (sent + n) % 100;
        if (!virtio_ring_add(rig->ring, &chain)) {
            break;
        }
        slots[i].busy = true;
        n++;
        if (n % 2 && virtio_ring_publish(rig->ring)) {
            eventfd_write(s->kick, 1);
            s->kicks++;
        }
    }
    if (virtio_ring_publish(rig->ring)) {
        eventfd_write(s->kick, 1);
        s->kicks++;
    }
    return n;
}

static void test_two_threads(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    Stress s = {
        .rig = rig,
        .kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
        .call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
    };
    StressSlot slots[7];
    unsigned sent = 0, received = 0;
    GThread *thread;

    for (unsigned i = 0; i < G_N_ELEMENTS(slots); i++) {
        slots[i] = (StressSlot){ (char *)rig->buffers + 64 * i, false };
    }
    thread = g_thread_new("device", stress_device, &s);
    while (received < STRESS_REQUESTS) {
        StressSlot *slot;

        virtio_ring_disable_call(rig->ring);
        sent += stress_fill(&s, slots, G_N_ELEMENTS(slots), sent);
        while ((slot = virtio_ring_get_used(rig->ring, NULL))) {
            g_assert_cmpint(slot->buf[1], ==, slot->buf[0] + 1);
            slot->busy = false;
            received++;
        }
        if (sent - received == G_N_ELEMENTS(slots) ||
            sent == STRESS_REQUESTS) {
            if (received < STRESS_REQUESTS &&
                !virtio_ring_enable_call(rig->ring)) {
                wait_fd(s.call);
            }
        }
    }
    g_thread_join(thread);
    g_assert_cmpuint(s.kicks, <=, STRESS_REQUESTS);
    g_assert_cmpuint(s.calls, <=, STRESS_REQUESTS);
    close(s.kick);
    close(s.call);
}

int main(int argc, char **argv)
{
    static const RigTest tests[] = {
        { "random", test_random },
        { "two-threads", test_two_threads },
    };

    g_test_init(&argc, &argv, NULL);
    rig_add_tests("virtqueue-traffic", tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
