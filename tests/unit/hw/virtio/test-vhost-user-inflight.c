/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The messages around the in-flight area, and a front end that comes back
 * after a crash with the memory as the crash left it.
 */
#include "vhost-user-front.h"

#include "hw/virtio/inflight.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PLAIN FRONT_PLAIN_FEATURES
#define PACKED (PLAIN | UINT64_C(1) << VIRTIO_F_RING_PACKED)

/* Asks for an area for all queues; its descriptor. */
static int get_area(Front *f, VhostUserInflight *area)
{
    int fd;

    *area = (VhostUserInflight){ .num_queues = ECHO_QUEUES,
                                 .queue_size = FRONT_RING_SIZE };
    front_send(f, VHOST_USER_GET_INFLIGHT_FD, 0, area, sizeof(*area), NULL, 0);
    g_assert_cmpuint(front_get_reply_fd(f, VHOST_USER_GET_INFLIGHT_FD, area,
                                        sizeof(*area), &fd), ==,
                     sizeof(*area));
    g_assert_cmpuint(area->mmap_size, ==,
                     inflight_bytes(ECHO_QUEUES, FRONT_RING_SIZE));
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static uint64_t set_area(Front *f, const VhostUserInflight *area, int fd)
{
    return front_call_fds(f, VHOST_USER_SET_INFLIGHT_FD, area, sizeof(*area),
                          &fd, 1);
}

/* What a front end sends of a ring that it had before. */
static void resume_ring(Front *f, uint32_t base)
{
    VhostUserVringAddr addr = front_ring_addr(f, 0, 0);

    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_NUM, 0,
                                      FRONT_RING_SIZE), ==, 0);
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_BASE, 0, base),
                     ==, 0);
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr,
                                sizeof(addr)), ==, 0);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0,
                                        f->call[0]), ==, 0);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0,
                                        f->kick[0]), ==, 0);
    front_enable(f, 0, 1);
}

typedef enum Interruption {
    INTERRUPTED_NEVER,
    INTERRUPTED_BEFORE_START,
    INTERRUPTED_BEFORE_LOOK,
} Interruption;

/* A front end that could not start all rings takes all back. */
static void interrupt(Front *f, const VhostUserInflight *area, int fd,
                      Interruption when)
{
    uint32_t base = virtio_ring_initial_base(f->rings[0]);

    f->echo->idle = true; /* as a device whose medium is not there yet */
    if (when == INTERRUPTED_BEFORE_LOOK) {
        resume_ring(f, base);
    }
    if (when != INTERRUPTED_NEVER) {
        front_get_base(f, 0);
        g_assert_cmpuint(set_area(f, area, fd), ==, 0);
    }
    f->echo->idle = false;
}

/* A back end cannot crash within its test: the memory is put back to what it
 * was when the request was in flight, and somebody else takes over. */
static void crash_with(bool iothread, uint64_t features, Interruption when)
{
    g_autoptr(Front) f = front_running(iothread, features);
    VhostUserInflight area;
    int fd = get_area(f, &area);
    uint8_t *shared = mmap(NULL, area.mmap_size, PROT_READ | PROT_WRITE,
                           MAP_SHARED, fd, 0);
    g_autofree uint8_t *mem = g_malloc(FRONT_MEM_BYTES);
    g_autofree uint8_t *held = g_malloc(area.mmap_size);

    g_assert_cmpuint(set_area(f, &area, fd), ==, 0);
    front_roundtrip(f, 0, 1);
    front_submit_held(f, 0, 7);
    memcpy(mem, f->mem, FRONT_MEM_BYTES);
    memcpy(held, shared, area.mmap_size);
    front_release(f, 0);
    close(f->sock);
    front_wait_disconnected(f);

    memcpy(f->mem, mem, FRONT_MEM_BYTES);
    memcpy(shared, held, area.mmap_size);
    front_connect(f);
    front_negotiate(f, features | VHOST_USER_F_PROTOCOL_FEATURES_BIT);
    g_assert_cmpuint(set_area(f, &area, fd), ==, 0);
    interrupt(f, &area, fd, when);
    resume_ring(f, virtio_ring_initial_base(f->rings[0]));
    front_expect_answer(f, 0, 7);
    for (unsigned i = 0; i < 3 * FRONT_RING_SIZE; i++) {
        front_roundtrip(f, 0, i);
    }
    munmap(shared, area.mmap_size);
    close(fd);
}

static void test_crash_split(gconstpointer opaque)
{
    crash_with(opaque != NULL, PLAIN, INTERRUPTED_NEVER);
}

static void test_crash_packed(gconstpointer opaque)
{
    crash_with(opaque != NULL, PACKED, INTERRUPTED_NEVER);
}

/* A ring that is taken back before it ran has still in flight what it had. */
static void test_crash_given_up(gconstpointer opaque)
{
    crash_with(opaque != NULL, PLAIN, INTERRUPTED_BEFORE_START);
    crash_with(opaque != NULL, PACKED, INTERRUPTED_BEFORE_START);
}

/* The same of one that ran, but whose device had not come to it. */
static void test_crash_not_begun(gconstpointer opaque)
{
    crash_with(opaque != NULL, PLAIN, INTERRUPTED_BEFORE_LOOK);
    crash_with(opaque != NULL, PACKED, INTERRUPTED_BEFORE_LOOK);
}

/* A ring that was given back starts where the front end says: a guest that
 * was reset begins anew, whatever the area remembers. */
static void given_back_with(uint64_t features, uint32_t request)
{
    g_autoptr(Front) f = front_running(false, features);
    VhostUserInflight area;
    int fd = get_area(f, &area);

    g_assert_cmpuint(set_area(f, &area, fd), ==, 0);
    for (unsigned i = 0; i < 5; i++) {
        front_roundtrip(f, 0, i);
    }
    if (request == VHOST_USER_GET_VRING_BASE) {
        front_get_base(f, 0);
    } else if (request == VHOST_USER_SET_STATUS) {
        g_assert_cmpuint(front_call_u64(f, request, 0), ==, 0);
    } else {
        g_assert_cmpuint(front_call(f, request, NULL, 0), ==, 0);
    }
    front_set_up_ring(f, 0, features);
    front_enable(f, 0, 1);
    front_roundtrip(f, 0, 9);
    close(fd);
}

static void test_given_back(gconstpointer opaque)
{
    static const uint32_t requests[] = {
        VHOST_USER_GET_VRING_BASE, VHOST_USER_RESET_OWNER,
        VHOST_USER_SET_STATUS,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
        given_back_with(PLAIN, requests[i]);
        given_back_with(PACKED, requests[i]);
    }
}

static void test_refused(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN);
    VhostUserInflight area, bad;
    int fd = get_area(f, &area);
    int small = memfd_create("small", MFD_CLOEXEC);

    bad = area;
    bad.mmap_size++;
    g_assert_cmpuint(set_area(f, &bad, fd), ==, 1);
    front_expect_log("is not one of ours");
    bad = area;
    bad.mmap_offset = 4; /* its counters would be misaligned */
    g_assert_cmpuint(set_area(f, &bad, fd), ==, 1);
    front_expect_log("is not one of ours");
    bad = area;
    bad.num_queues = 0;
    g_assert_cmpuint(set_area(f, &bad, fd), ==, 1);
    front_expect_log("is not one of ours");
    g_assert_cmpuint(set_area(f, &area, small), ==, 1);
    front_expect_log("in-flight area: ");
    front_roundtrip(f, 0, 1);

    /* too many queues to answer with an area: nothing but a close tells */
    bad = (VhostUserInflight){ .num_queues = ECHO_QUEUES + 1,
                               .queue_size = 1 };
    front_send(f, VHOST_USER_GET_INFLIGHT_FD, 0, &bad, sizeof(bad), NULL, 0);
    front_expect_closed(f);
    front_wait_disconnected(f);
    front_expect_log("number or size of queues is out of range");
    close(small);
    close(fd);
}

/* It is the ring that says no, and the connection that goes on. */
static void test_overwritten(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PACKED);
    VhostUserInflight area;
    int fd = get_area(f, &area);
    uint8_t *shared = mmap(NULL, area.mmap_size, PROT_READ | PROT_WRITE,
                           MAP_SHARED, fd, 0);

    memset(shared, 0x55, area.mmap_size);
    g_assert_cmpuint(set_area(f, &area, fd), ==, 0);
    front_expect_log("not started: export 'e0' queue 0: in-flight region: ");
    memset(shared, 0, area.mmap_size);
    g_assert_cmpuint(set_area(f, &area, fd), ==, 0);
    front_roundtrip(f, 0, 3);
    munmap(shared, area.mmap_size);
    close(fd);
}

static const FrontCase cases[] = {
    { "crash-split", test_crash_split, true },
    { "crash-packed", test_crash_packed, true },
    { "crash-given-up", test_crash_given_up, true },
    { "crash-not-begun", test_crash_not_begun, true },
    { "given-back", test_given_back },
    { "refused", test_refused },
    { "overwritten", test_overwritten },
};

int main(int argc, char **argv)
{
    return front_main(argc, argv, "vhost-user-inflight", cases,
                      G_N_ELEMENTS(cases));
}
