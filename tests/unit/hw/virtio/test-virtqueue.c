/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both ring formats must do alike, run over every combination of format,
 * event index, indirect descriptors and one or two memory regions, against a
 * driver that knows nothing of the device's code.
 */
#include "virtqueue-rig.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- One chain at a time --- */

static const void *TOKEN = "token";

/* Adds a chain of @n_out and @n_in buffers of @len bytes each. */
static void add(Rig *rig, unsigned n_out, unsigned n_in, size_t len)
{
    struct iovec iov[64];
    VirtioChain chain = {
        .out = iov, .n_out = n_out, .in = iov + n_out, .n_in = n_in,
        .indirect = rig->config.indirect, .token = (void *)TOKEN,
    };

    for (unsigned i = 0; i < n_out + n_in; i++) {
        iov[i] = (struct iovec){ rig->buffers + i * len, len };
    }
    g_assert_true(virtio_ring_add(rig->ring, &chain));
}

static void add_and_publish(Rig *rig)
{
    add(rig, 1, 1, 512);
    virtio_ring_publish(rig->ring);
}

static void pop_push(Rig *rig, uint32_t written)
{
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    virtqueue_push(rig->vq, &rig->elem, written);
}

static void test_roundtrip(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    VirtQueueElement *elem = &rig->elem;
    uint32_t len;

    g_assert_false(virtqueue_has_work(rig->vq));
    g_assert_cmpint(virtqueue_pop(rig->vq, elem), ==, 0);
    add(rig, 2, 3, 100);
    g_assert_false(virtqueue_has_work(rig->vq)); /* not published */
    g_assert_true(virtio_ring_publish(rig->ring));
    g_assert_true(virtqueue_has_work(rig->vq));
    memcpy(rig->buffers, "request", 7);

    g_assert_cmpint(virtqueue_pop(rig->vq, elem), ==, 1);
    g_assert_cmpuint(virtqueue_in_use(rig->vq), ==, 1);
    g_assert_cmpuint(elem->out_num, ==, 2);
    g_assert_cmpuint(elem->in_num, ==, 3);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmpuint(elem->iov[i].iov_len, ==, 100);
        g_assert_cmphex(rig_guest_of_device(rig, elem->iov[i].iov_base), ==,
                        rig_guest(rig, rig->buffers + i * 100));
    }
    g_assert_cmpmem(elem->iov[0].iov_base, 7, "request", 7);
    memcpy(elem->iov[2].iov_base, "answer", 6);
    g_assert_false(virtqueue_has_work(rig->vq));
    g_assert_cmpint(virtqueue_pop(rig->vq, elem), ==, 0);

    g_assert_false(virtqueue_publish(rig->vq)); /* nothing was pushed */
    virtqueue_push(rig->vq, elem, 123);
    g_assert_cmpuint(virtqueue_in_use(rig->vq), ==, 0);
    g_assert_null(virtio_ring_get_used(rig->ring, &len)); /* nor published */
    g_assert_true(virtqueue_publish(rig->vq));
    g_assert_true(virtio_ring_get_used(rig->ring, &len) == TOKEN);
    g_assert_cmpuint(len, ==, 123);
    g_assert_null(virtio_ring_get_used(rig->ring, &len));
    g_assert_cmpmem(rig->buffers + 200, 6, "answer", 6);
    g_assert_cmpstr(rig->log->str, ==, "");
}

/* A buffer over the border of two regions is one descriptor, two pieces. */
static void test_buffer_crosses_regions(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    struct iovec iov = { rig->border - 100, 300 };
    VirtioChain chain = {
        .out = &iov, .n_out = 1, .token = (void *)TOKEN,
        .indirect = rig->config.indirect,
    };

    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    if (rig->config.two_regions) {
        g_assert_cmpuint(rig->elem.out_num, ==, 2);
        g_assert_cmpuint(rig->elem.iov[0].iov_len, ==, 100);
        g_assert_cmpuint(rig->elem.iov[1].iov_len, ==, 200);
    } else {
        g_assert_cmpuint(rig->elem.out_num, ==, 1);
    }
}

/* Pieces are no descriptors: a chain as long as the ring, each buffer over
 * the border, is no loop (and makes the element grow). */
static void test_full_ring_crossing(gconstpointer opaque)
{
    const RigConfig *config = opaque;
    g_autoptr(Rig) rig = rig_new(config);
    unsigned n = config->indirect ? RIG_INDIRECT_MAX : config->size;
    g_autofree struct iovec *iov = g_new(struct iovec, n);
    VirtioChain chain = {
        .out = iov, .n_out = 1, .in = iov + 1, .n_in = n - 1,
        .indirect = config->indirect, .token = (void *)TOKEN,
    };

    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){ rig->border - 1, 2 };
    }
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num + rig->elem.in_num, ==,
                     config->two_regions ? 2 * n : n);
}

/* Empty buffers vanish; a chain of nothing else is for the device to fail. */
static void test_zero_length(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    struct iovec iov[3] = {
        { rig->buffers, 10 }, { rig->buffers + 10, 0 }, { rig->buffers, 5 },
    };
    VirtioChain chain = {
        .out = iov, .n_out = 2, .in = iov + 2, .n_in = 1,
        .indirect = rig->config.indirect, .token = (void *)TOKEN,
    };

    g_assert_true(virtio_ring_add(rig->ring, &chain));
    iov[0].iov_len = iov[2].iov_len = 0;
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, 1);
    g_assert_cmpuint(rig->elem.in_num, ==, 1);
    virtqueue_push(rig->vq, &rig->elem, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num + rig->elem.in_num, ==, 0);
    virtqueue_push(rig->vq, &rig->elem, 0);
    virtqueue_publish(rig->vq);
    g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
    g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
}

/* --- Notifications --- */

static void test_kick_suppression(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);

    virtqueue_disable_kick(rig->vq);
    for (unsigned i = 0; i < 3 * rig->config.size; i++) {
        add(rig, 1, 1, 512);
        g_assert_false(virtio_ring_publish(rig->ring));
        g_assert_true(virtqueue_has_work(rig->vq));
        pop_push(rig, 0);
        virtqueue_publish(rig->vq);
        g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
    }
    g_assert_false(virtqueue_enable_kick(rig->vq));
    add(rig, 1, 1, 512);
    g_assert_true(virtio_ring_publish(rig->ring));

    /* what came in between is found by the one who enables */
    virtqueue_disable_kick(rig->vq);
    pop_push(rig, 0);
    add_and_publish(rig);
    g_assert_true(virtqueue_enable_kick(rig->vq));
}

/* A device that never quiets its ring: one kick for each burst. */
static void test_kicks_always_on(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);

    g_assert_false(virtqueue_enable_kick(rig->vq));
    for (unsigned i = 0; i < 3 * rig->config.size; i++) {
        add(rig, 1, 1, 512);
        g_assert_true(virtio_ring_publish(rig->ring));
        pop_push(rig, 0);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 0);
        virtqueue_publish(rig->vq);
        g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
    }
}

static void test_call_suppression(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    unsigned n = rig->config.size / 2 - 1;

    /* the first publish is always told with the event index */
    add_and_publish(rig);
    pop_push(rig, 1);
    g_assert_true(virtqueue_publish(rig->vq));
    g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));

    for (unsigned round = 0; round < 20; round++) {
        virtio_ring_disable_call(rig->ring);
        for (unsigned i = 0; i < n; i++) {
            add_and_publish(rig);
            pop_push(rig, 1);
        }
        g_assert_false(virtqueue_publish(rig->vq));
        g_assert_true(virtio_ring_enable_call(rig->ring));
        for (unsigned i = 0; i < n; i++) {
            g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
        }
        g_assert_false(virtio_ring_enable_call(rig->ring));
        for (unsigned i = 0; i < n; i++) {
            add_and_publish(rig);
            pop_push(rig, 1);
        }
        g_assert_true(virtqueue_publish(rig->vq)); /* once for the batch */
        while (virtio_ring_get_used(rig->ring, NULL)) {
        }
    }
}

/* "After the third one": exactly the publish that contains it is told. */
static void test_call_after(gconstpointer opaque)
{
    const RigConfig *config = opaque;
    g_autoptr(Rig) rig = rig_new(config);

    if (!config->event_idx || (config->packed && !config->indirect)) {
        g_test_skip("needs the event index and chains of one slot");
        return;
    }
    add_and_publish(rig);
    pop_push(rig, 1);
    virtqueue_publish(rig->vq);
    virtio_ring_get_used(rig->ring, NULL);
    for (unsigned round = 0; round < 100; round++) {
        virtio_ring_enable_call_after(rig->ring, 3);
        for (unsigned i = 0; i < 5; i++) {
            add_and_publish(rig);
            pop_push(rig, 1);
            g_assert_cmpint(virtqueue_publish(rig->vq), ==, i == 2);
        }
        for (unsigned i = 0; i < 5; i++) {
            g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
        }
    }
}

static void test_notify_fd(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t full = UINT64_MAX - 1, got;

    virtqueue_notify(rig->vq); /* none: no effect */
    virtqueue_set_call_fd(rig->vq, fd);
    virtqueue_notify(rig->vq);
    g_assert_cmpint(read(fd, &got, 8), ==, 8);
    g_assert_cmpuint(got, ==, 1);
    g_assert_cmpint(write(fd, &full, 8), ==, 8);
    virtqueue_notify(rig->vq); /* does not block */
    virtqueue_set_error_fd(rig->vq, fd);
    g_assert_cmpint(read(fd, &got, 8), ==, 8);
    virtqueue_set_broken(rig->vq, "for a test");
    virtqueue_set_broken(rig->vq, "twice");
    g_assert_cmpint(read(fd, &got, 8), ==, 8);
    g_assert_cmpuint(got, ==, 1);
    close(fd);
}

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

/* --- Setting up --- */

static void test_config(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    bool packed = rig->config.packed;
    VirtQueueConfig good, bad;
    GError *error = NULL;
    VirtQueue *vq;

    rig_fill_config(rig, &good);
    vq = virtqueue_new(&good, NULL);
    g_assert_nonnull(vq);
    g_assert_cmpuint(virtqueue_size(vq), ==, good.size);
    g_assert_cmpstr(virtqueue_name(vq), ==, "test queue");
    g_assert_cmpint(virtqueue_kick_fd(vq), ==, -1);
    g_assert_cmphex(virtqueue_base(vq), ==, packed ? 0x80008000 : 0);
    virtqueue_free(vq);

#define REFUSED(field, value)                            \
    do {                                                 \
        bad = good;                                      \
        bad.field = value;                               \
        g_assert_null(virtqueue_new(&bad, &error));      \
        g_assert_nonnull(error);                         \
        g_clear_error(&error);                           \
    } while (0)

    REFUSED(size, 0);
    REFUSED(size, VIRTQUEUE_MAX_SIZE + 1);
    REFUSED(desc, NULL);
    REFUSED(avail, NULL);
    REFUSED(used, NULL);
    REFUSED(desc, (char *)good.desc + 8);
    REFUSED(avail, (char *)good.avail + (packed ? 2 : 1));
    REFUSED(used, (char *)good.used + 2);
    if (packed) {
        REFUSED(base, 0x80008000 | good.size);
        REFUSED(base, 0x80008000 | good.size << 16);
    } else {
        REFUSED(size, 24);
    }
#undef REFUSED
}

/* --- Live migration --- */

#define LOG_BYTES 4096

static bool log_bit(const uint8_t *bits, uint64_t guest)
{
    return bits[guest / 4096 / 8] >> (guest / 4096 % 8) & 1;
}

static void test_dirty_log(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    int fd = memfd_create("log", MFD_CLOEXEC);
    uint64_t ring = rig_guest(rig, virtio_ring_used(rig->ring));
    struct iovec iov[] = {
        { rig->buffers, 4096 },
        { rig->border - 4096, 8192 },
        { rig->border + 9 * 4096 + 4000, 200 },
    };
    VirtioChain chain = {
        .out = iov, .n_out = 1, .in = iov + 1, .n_in = 2,
        .indirect = rig->config.indirect, .token = (void *)TOKEN,
    };
    DirtyLog *log;
    uint8_t *bits;

    g_assert_cmpint(ftruncate(fd, LOG_BYTES), ==, 0);
    bits = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(bits != MAP_FAILED);
    log = dirty_log_new(fd, 0, LOG_BYTES, NULL);

    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    /* switched on while the request is in flight: still in time. The used
     * ring is logged at the address given, which need not be its own. */
    virtqueue_set_log(rig->vq, log, true, 0x300000);
    virtqueue_push(rig->vq, &rig->elem, 1);
    virtqueue_publish(rig->vq);

    g_assert_false(log_bit(bits, rig_guest(rig, rig->buffers))); /* only read */
    for (unsigned i = 1; i < 3; i++) {
        uint64_t guest = rig_guest(rig, iov[i].iov_base);

        g_assert_true(log_bit(bits, guest));
        g_assert_true(log_bit(bits, guest + iov[i].iov_len - 1));
    }
    if (rig->config.packed) {
        g_assert_true(log_bit(bits, rig_guest(rig,
                                              virtio_ring_desc(rig->ring))));
        g_assert_false(log_bit(bits, 0x300000));
        virtqueue_disable_kick(rig->vq); /* writes the device area */
    }
    g_assert_true(log_bit(bits, 0x300000));

    /* buffers only; then nothing at all */
    memset(bits, 0, LOG_BYTES);
    virtqueue_set_log(rig->vq, log, false, ring);
    dirty_log_unref(log);
    g_assert_true(virtio_ring_get_used(rig->ring, NULL) == TOKEN);
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    pop_push(rig, 1);
    virtqueue_publish(rig->vq);
    g_assert_true(log_bit(bits, rig_guest(rig, rig->border)));
    g_assert_false(log_bit(bits, ring));

    memset(bits, 0, LOG_BYTES);
    virtqueue_set_log(rig->vq, NULL, false, 0);
    g_assert_true(virtio_ring_get_used(rig->ring, NULL) == TOKEN);
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    pop_push(rig, 1);
    virtqueue_publish(rig->vq);
    for (unsigned i = 0; i < LOG_BYTES; i++) {
        g_assert_cmphex(bits[i], ==, 0);
    }
    munmap(bits, LOG_BYTES);
    close(fd);
}

static void add_tests(const RigConfig *config)
{
    static const struct {
        const char *name;
        GTestDataFunc fn;
    } tests[] = {
        { "roundtrip", test_roundtrip },
        { "buffer-crosses-regions", test_buffer_crosses_regions },
        { "full-ring-crossing", test_full_ring_crossing },
        { "zero-length", test_zero_length },
        { "kick-suppression", test_kick_suppression },
        { "kicks-always-on", test_kicks_always_on },
        { "call-suppression", test_call_suppression },
        { "call-after", test_call_after },
        { "notify-fd", test_notify_fd },
        { "random", test_random },
        { "two-threads", test_two_threads },
        { "config", test_config },
        { "dirty-log", test_dirty_log },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf(
            "/virtqueue/%s%s%s%s/%s", config->packed ? "packed" : "split",
            config->event_idx ? "-event" : "",
            config->indirect ? "-indirect" : "",
            config->two_regions ? "-two" : "", tests[i].name);

        g_test_add_data_func(path, config, tests[i].fn);
    }
}

int main(int argc, char **argv)
{
    static RigConfig configs[16];

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < 16; i++) {
        configs[i] = (RigConfig){
            .size = 16,
            .packed = i & 1,
            .event_idx = i & 2,
            .indirect = i & 4,
            .two_regions = i & 8,
        };
        add_tests(&configs[i]);
    }
    return g_test_run();
}
