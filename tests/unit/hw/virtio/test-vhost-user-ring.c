/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings: what starts them, what stops and drains them, their descriptors.
 */
#include "vhost-user-front.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PLAIN FRONT_PLAIN_FEATURES
#define PROTOCOL VHOST_USER_F_PROTOCOL_FEATURES_BIT

/* --- Rings --- */

static void test_traffic(gconstpointer opaque)
{
    static const uint64_t features[] = {
        PLAIN,
        PLAIN | 1ull << VIRTIO_RING_F_EVENT_IDX,
        PLAIN | 1ull << VIRTIO_F_RING_PACKED,
        ECHO_FEATURES,
    };

    for (unsigned k = 0; k < G_N_ELEMENTS(features); k++) {
        g_autoptr(Front) f = front_running(opaque != NULL, features[k]);

        front_set_up_ring(f, 1, features[k]);
        front_enable(f, 1, 1);
        for (unsigned i = 0; i < 100; i++) {
            front_roundtrip(f, i % 2, i);
        }
        front_expect_no_log();
    }
}

/* Kicks before the ring is enabled are not lost, nor acted upon. */
static void test_kick_before_enable(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(opaque != NULL);

    front_negotiate(f, PLAIN | PROTOCOL);
    front_set_up_ring(f, 0, PLAIN);
    front_submit(f, 0, 5);
    front_expect_silence(f);
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 0);
    front_enable(f, 0, 1);
    front_expect_answer(f, 0, 5);
}

/* Without VHOST_USER_F_PROTOCOL_FEATURES nothing needs to be enabled. */
static void test_without_protocol_features(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);

    front_negotiate(f, PLAIN);
    front_set_up_ring(f, 0, PLAIN);
    front_roundtrip(f, 0, 9);
}

static void test_disable(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    front_roundtrip(f, 0, 1);
    front_enable(f, 0, 0);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 1);
    front_submit(f, 0, 2);
    front_expect_silence(f);
    g_assert_false(virtio_ring_has_used(f->rings[0]));
    front_enable(f, 0, 1);
    front_expect_answer(f, 0, 2);
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 2),
                     ==, 1);
    front_expect_log("neither 0 nor 1");
}

/* The answer comes after the last request, and says where to go on. */
static void test_base_drains(gconstpointer opaque)
{
    for (int packed = 0; packed < 2; packed++) {
        uint64_t features = PLAIN |
                            (uint64_t)packed << VIRTIO_F_RING_PACKED;
        g_autoptr(Front) f = front_running(opaque != NULL, features);
        VhostUserVringState state = { 0, 0 };

        front_roundtrip(f, 0, 1);
        front_submit_held(f, 0, 2);
        front_roundtrip(f, 0, 3); /* behind the one that is held */
        front_send(f, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
        front_expect_silence(f);
        front_release(f, 0);
        front_get_reply(f, VHOST_USER_GET_VRING_BASE, &state, 8);
        /* packed chains take two slots */
        g_assert_cmphex(state.num, ==, packed ? 0x80068006 : 3);
        g_assert_true(virtio_ring_has_used(f->rings[0]));
        front_expect_answer(f, 0, 2);

        /* stopped: asked again it says the same, and kicks are not heard */
        g_assert_cmphex(front_get_base(f, 0), ==, state.num);
        front_submit(f, 0, 4);
        front_expect_silence(f);
        g_assert_cmpuint(f->echo->queues[0].starts, ==, 1);

        /* a new kick descriptor starts it where it was */
        g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0,
                                            f->kick[0]), ==, 0);
        front_expect_answer(f, 0, 4);
        front_roundtrip(f, 0, 5);
    }
}

static void test_ring_values(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN);
    VhostUserVringAddr addr = front_ring_addr(f, 0, 0);

    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_NUM, 0, 8), ==,
                     1);
    front_expect_log("SET_VRING_NUM refused: queue 0 is running");
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_BASE, 0, 8), ==,
                     1);
    front_expect_log("SET_VRING_BASE refused: queue 0 is running");
    addr.used += 4096;
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==,
                     1);
    front_expect_log("SET_VRING_ADDR refused: queue 0 is running");

    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_NUM, 1, 0), ==,
                     1);
    front_expect_log("queue 1: size 0 is not within");
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_NUM, 1, 1025),
                     ==, 1);
    front_expect_log("size 1025");
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_NUM, 1, 1024),
                     ==, 0);
    addr = front_ring_addr(f, 0, 2);
    addr.index = 1;
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==,
                     1);
    front_expect_log("unknown address flags");
    addr.flags = 0;
    /* 4 + 8 * 1024 do not fit */
    addr.used = FRONT_USER_BASE + FRONT_MEM_BYTES - 8192;
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==,
                     1);
    front_expect_log("8196 bytes of ring at user address");
    addr.used = FRONT_GUEST_BASE; /* guest addresses are another map */
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==,
                     1);
    front_expect_log("are not in the memory table");
    front_roundtrip(f, 0, 1);
}

/* What only shows when the ring starts: said once, mended by new values. */
static void test_start_fails(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserVringAddr addr;

    front_negotiate(f, PLAIN | PROTOCOL);
    front_make_ring(f, 0, PLAIN);
    addr = front_ring_addr(f, 0, 0);
    addr.used += 2;
    front_call_state(f, VHOST_USER_SET_VRING_NUM, 0, FRONT_RING_SIZE);
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==,
                     0);
    front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, f->kick[0]);
    front_call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0, f->call[0]);
    front_expect_no_log();
    front_enable(f, 0, 1);
    front_expect_log("not started: export 'e0' queue 0: device area is "
                     "missing or not aligned");
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==,
                     ECHO_QUEUES);
    front_expect_no_log();
    addr.used -= 2;
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==,
                     0);
    front_roundtrip(f, 0, 1);
}

static void test_kick_descriptors(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fresh = eventfd(0, EFD_CLOEXEC); /* blocking: we have it otherwise */
    int pipe_fds[2];

    g_assert_cmpint(pipe(pipe_fds), ==, 0);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, file),
                     ==, 1);
    front_expect_log("SET_VRING_KICK refused: queue 0 was sent a file "
                     "descriptor that is no eventfd");
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0, null),
                     ==, 1);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_ERR, 0,
                                        pipe_fds[1]), ==, 1);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, -1),
                     ==, 1);
    front_expect_log("polling without one is not supported");
    front_roundtrip(f, 0, 1); /* as it was */

    /* another one while the ring runs */
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0,
                                        fresh), ==, 0);
    g_assert_cmpint(fcntl(fresh, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
    close(f->kick[0]);
    f->kick[0] = fresh;
    front_roundtrip(f, 0, 2);
    for (unsigned i = 0; i < 3; i++) { /* spurious */
        eventfd_write(fresh, 1);
        front_run_main();
    }
    front_roundtrip(f, 0, 3);
    close(file);
    close(null);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_call_descriptor(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    int old = f->call[0];
    eventfd_t count;

    front_roundtrip(f, 0, 1);
    f->call[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0,
                                        f->call[0]), ==, 0);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 0); /* no need to */
    /* signalled, in case the old one was while this was under way */
    g_assert_cmpint(eventfd_read(f->call[0], &count), ==, 0);
    g_assert_cmpuint(count, ==, 1);
    while (eventfd_read(old, &count) == 0) {
    }
    front_roundtrip(f, 0, 2);
    g_assert_cmpint(eventfd_read(old, &count), <, 0);
    close(old);

    /* none: the front end polls */
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0, -1),
                     ==, 0);
    front_submit(f, 0, 3);
    while (!virtio_ring_has_used(f->rings[0])) {
        aio_poll(front_main_ctx, false);
    }
    front_expect_answer(f, 0, 3);
}

/* A guest breaks its ring: the error descriptor says so, the device lives,
 * and the ring comes back only with a new kick descriptor. */
static void test_broken_ring(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    int err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint16_t *avail = virtio_ring_avail(f->rings[0]);

    front_set_up_ring(f, 1, PLAIN);
    front_enable(f, 1, 1);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_ERR, 0, err),
                     ==, 0);
    avail[1] = 999;
    eventfd_write(f->kick[0], 1);
    front_wait_readable(err);
    front_expect_log("export 'e0' queue 0: broken until reset: available "
                     "index jumps");
    front_roundtrip(f, 1, 1);

    avail[1] = 0;
    g_assert_cmpuint(front_set_mem_table(f), ==, 0); /* restarts the others */
    front_roundtrip(f, 1, 2);
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 1);
    front_expect_no_log();
    g_assert_cmpuint(front_get_base(f, 0), ==, 0);
    front_set_up_ring(f, 0, PLAIN);
    front_roundtrip(f, 0, 3);
    close(err);
}

static const FrontCase cases[] = {
    { "traffic", test_traffic, true },
    { "kick-before-enable", test_kick_before_enable, true },
    { "without-protocol-features", test_without_protocol_features },
    { "disable", test_disable, true },
    { "base-drains", test_base_drains, true },
    { "ring-values", test_ring_values },
    { "start-fails", test_start_fails },
    { "kick-descriptors", test_kick_descriptors, true },
    { "call-descriptor", test_call_descriptor, true },
    { "broken-ring", test_broken_ring, true },
};

int main(int argc, char **argv)
{
    return front_main(argc, argv, "vhost-user-ring", cases,
                      G_N_ELEMENTS(cases));
}
