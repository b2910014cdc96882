/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What requests do to memory, log, config space and device, most of them
 * while a ring runs.
 */
#include "vhost-user-front.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLAIN FRONT_PLAIN_FEATURES
#define PROTOCOL VHOST_USER_F_PROTOCOL_FEATURES_BIT

/* --- Memory --- */

/* Drains, finds the ring in the new table, goes on where it was. */
static void test_mem_table_drains(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    VhostUserMemTable table = {
        .n_regions = 2,
        .regions = {
            { FRONT_GUEST_BASE + 65536, FRONT_MEM_BYTES - 65536,
              FRONT_USER_BASE + 65536, 65536 },
            { FRONT_GUEST_BASE, 65536, FRONT_USER_BASE, 0 },
        },
    };
    int fds[2] = { f->mem_fd, f->mem_fd };
    uint64_t value;

    front_roundtrip(f, 0, 1);
    front_submit_held(f, 0, 2);
    front_roundtrip(f, 0, 3);
    front_send(f, VHOST_USER_SET_MEM_TABLE, VHOST_USER_NEED_REPLY, &table,
               8 + 64, fds, 2);
    front_expect_silence(f);
    front_release(f, 0);
    front_get_reply(f, VHOST_USER_SET_MEM_TABLE, &value, 8);
    g_assert_cmpuint(value, ==, 0);
    front_expect_answer(f, 0, 2);
    for (unsigned i = 0; i < 50; i++) {
        front_roundtrip(f, 0, i);
    }
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 2);
}

/* A table that is refused leaves the old one in use. */
static void test_mem_table_refused(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN);
    VhostUserMemTable table = {
        .n_regions = 1,
        .regions = {
            { FRONT_GUEST_BASE, FRONT_MEM_BYTES + 1, FRONT_USER_BASE, 0 },
        },
    };

    g_assert_cmpuint(front_call_fds(f, VHOST_USER_SET_MEM_TABLE, &table, 40,
                                    &f->mem_fd, 1), ==, 1);
    front_expect_log("SET_MEM_TABLE refused: memory region "
                     "0x40000000+0x100001: ends at 0x100001, behind the end "
                     "of the file");
    front_roundtrip(f, 0, 1);
}

static void test_mem_slots(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    VhostUserMemReg all = {
        .region = { FRONT_GUEST_BASE, FRONT_MEM_BYTES, FRONT_USER_BASE, 0 },
    };
    VhostUserMemReg more = {
        .region = { FRONT_GUEST_BASE + FRONT_MEM_BYTES, 4096,
                    FRONT_USER_BASE + FRONT_MEM_BYTES, 0 },
    };

    g_assert_cmpuint(front_call_fds(f, VHOST_USER_ADD_MEM_REG, &more, 40,
                                    &f->mem_fd, 1), ==, 0);
    g_assert_cmpuint(front_call_fds(f, VHOST_USER_ADD_MEM_REG, &more, 40,
                                    &f->mem_fd, 1), ==, 1);
    front_expect_log("ADD_MEM_REG refused: memory region 0x40100000+0x1000 "
               "overlaps");
    front_roundtrip(f, 0, 1);

    /* the ring's own memory goes and comes back, as when regions merge */
    g_assert_cmpuint(front_call_fds(f, VHOST_USER_REM_MEM_REG, &all, 40,
                                    &f->mem_fd, 1), ==, 0);
    front_expect_log("not started: queue 0: 256 bytes of ring at user address "
               "0x7f0000000000 are not in the memory table");
    front_submit(f, 0, 2);
    g_assert_cmpuint(front_call(f, VHOST_USER_REM_MEM_REG, &all, 40), ==, 1);
    front_expect_log("REM_MEM_REG refused: no memory region");
    g_assert_cmpuint(front_call_fds(f, VHOST_USER_ADD_MEM_REG, &all, 40,
                                    &f->mem_fd, 1), ==, 0);
    front_expect_answer(f, 0, 2);
    g_assert_cmpuint(front_call(f, VHOST_USER_REM_MEM_REG, &more, 40), ==, 0);
    front_roundtrip(f, 0, 3);
    front_expect_no_log();
}

/* The front end takes the memory away under a running ring: no SIGBUS. */
static void test_memory_vanishes(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    g_autoptr(Front) other = front_running(opaque != NULL, PLAIN);
    int err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_ERR, 0, err),
                     ==, 0);
    front_roundtrip(f, 0, 1);
    g_assert_cmpint(ftruncate(f->mem_fd, 0), ==, 0);
    eventfd_write(f->kick[0], 1);
    front_wait_readable(err);
    front_expect_log("export 'e0' queue 0: broken until reset");
    front_roundtrip(other, 0, 1);
    g_assert_cmpint(ftruncate(f->mem_fd, FRONT_MEM_BYTES), ==, 0);
    close(err);
}

/* --- Dirty log --- */

static bool bit_is_set(const uint8_t *bits, uint64_t guest)
{
    return bits[guest / 4096 / 8] >> (guest / 4096 % 8) & 1;
}

/* Switched on and off under a running ring. */
static void test_dirty_log(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    size_t bytes = (FRONT_GUEST_BASE + FRONT_MEM_BYTES) / 4096 / 8;
    VhostUserLog area = { bytes, 0 };
    int fd = memfd_create("log", MFD_CLOEXEC);
    uint64_t buffer = FRONT_GUEST_BASE + 32768;
    VhostUserVringAddr addr = front_ring_addr(f, 0, VHOST_USER_VRING_F_LOG);
    uint8_t *bits;

    g_assert_cmpint(ftruncate(fd, bytes), ==, 0);
    bits = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    front_send(f, VHOST_USER_SET_LOG_BASE, 0, &area, 16, &fd, 1);
    g_assert_cmpuint(front_get_reply(f, VHOST_USER_SET_LOG_BASE, &area, 8), ==,
                     8);
    front_roundtrip(f, 0, 1);
    g_assert_false(bit_is_set(bits, buffer));

    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_FEATURES, PLAIN |
                              PROTOCOL | VHOST_F_LOG_ALL_BIT), ==, 0);
    front_roundtrip(f, 0, 2);
    g_assert_true(bit_is_set(bits, buffer));
    g_assert_false(bit_is_set(bits, addr.log));
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==,
                     0);
    front_roundtrip(f, 0, 3);
    g_assert_true(bit_is_set(bits, addr.log));

    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_FEATURES,
                                    PLAIN | PROTOCOL), ==, 0);
    memset(bits, 0, bytes);
    front_roundtrip(f, 0, 4);
    g_assert_false(bit_is_set(bits, buffer));
    g_assert_false(bit_is_set(bits, addr.log));
    /* all of it without a stop, and without the device hearing of it */
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 0);
    g_assert_cmpuint(f->echo->set_features_calls, ==, 1);

    area = (VhostUserLog){ bytes + 1, 0 };
    front_send(f, VHOST_USER_SET_LOG_BASE, VHOST_USER_NEED_REPLY, &area, 16,
               &fd, 1);
    g_assert_cmpuint(front_get_reply(f, VHOST_USER_SET_LOG_BASE, &area, 8), ==,
                     8);
    g_assert_cmpuint(area.mmap_size, ==, 1);
    front_expect_silence(f);
    front_expect_log("SET_LOG_BASE refused: dirty log: ends at");
    g_assert_cmpuint(front_call_fds(f, VHOST_USER_SET_LOG_FD, NULL, 0, &fd, 1),
                     ==, 0);
    munmap(bits, bytes);
    close(fd);
}

/* --- Config, status, reset --- */

static void test_config(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserConfig config = { 0, 0, 0, { 0 } };

    front_negotiate(f, PLAIN | PROTOCOL);
    config.size = 8;
    config.offset = 56;
    front_send(f, VHOST_USER_GET_CONFIG, 0, &config, 12 + 8, NULL, 0);
    memset(&config, 0xee, sizeof(config));
    g_assert_cmpuint(front_get_reply(f, VHOST_USER_GET_CONFIG, &config,
                                     sizeof(config)), ==, 20);
    g_assert_cmpuint(config.offset, ==, 56);
    g_assert_cmpuint(config.size, ==, 8);
    /* four bytes of config space, then zeros */
    g_assert_cmpmem(config.data, 8, "\x39\x3a\x3b\x3c\0\0\0\0", 8);

    config = (VhostUserConfig){ .offset = 0, .size = 256 };
    front_send(f, VHOST_USER_GET_CONFIG, 0, &config, 12 + 256, NULL, 0);
    g_assert_cmpuint(front_get_reply(f, VHOST_USER_GET_CONFIG, &config,
                                     sizeof(config)), ==, 12 + 256);
    config = (VhostUserConfig){ .offset = 1, .size = 256 };
    front_send(f, VHOST_USER_GET_CONFIG, 0, &config, 12 + 256, NULL, 0);
    g_assert_cmpuint(front_get_reply(f, VHOST_USER_GET_CONFIG, &config,
                                     sizeof(config)), ==, 0);
    front_expect_log("GET_CONFIG refused: bytes 1 to 257 of config space");

    config = (VhostUserConfig){ .offset = 32, .size = 1, .data = { 0 } };
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_CONFIG, &config, 13), ==, 0);
    g_assert_cmpuint(f->echo->config[32], ==, 0);
    config.offset = 31;
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_CONFIG, &config, 13), ==, 1);
    front_expect_log("SET_CONFIG refused: 1 bytes at 31 of config space");
    config.flags = VHOST_USER_CONFIG_LIVE_MIGRATION;
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_CONFIG, &config, 13), ==, 0);
    front_expect_no_log();
}

static void test_config_changed(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserHeader header;
    unsigned told = 0;
    int sv[2];

    front_negotiate(f, PLAIN | PROTOCOL);
    g_assert_nonnull(f->echo->dev.config_changed);
    /* nobody asked to be told */
    f->echo->dev.config_changed(&f->echo->dev,
                                f->echo->dev.config_changed_opaque);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    g_assert_cmpuint(front_call_fds(f, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0,
                                    &sv[1], 1), ==, 0);
    close(sv[1]);
    f->echo->dev.config_changed(&f->echo->dev,
                                f->echo->dev.config_changed_opaque);
    g_assert_cmpint(recv(sv[0], &header, 12, 0), ==, 12);
    g_assert_cmpuint(header.request, ==, 2);
    g_assert_cmphex(header.flags, ==, 1);
    g_assert_cmpuint(header.size, ==, 0);

    /* full: it is given up, and nobody waits */
    while (front_log_is_empty() && told < 1000000) {
        f->echo->dev.config_changed(&f->echo->dev,
                                    f->echo->dev.config_changed_opaque);
        told++;
    }
    front_expect_log("the front end is not told of the new configuration");
    close(sv[0]);
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==,
                     ECHO_QUEUES);
}

/* A guest's reset, and other features afterwards, on one connection. */
static void test_reset_and_renegotiate(gconstpointer opaque)
{
    uint64_t packed = PLAIN | 1ull << VIRTIO_F_RING_PACKED |
                      1ull << VIRTIO_RING_F_EVENT_IDX;
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    front_roundtrip(f, 0, 1);
    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_STATUS, 0x0f), ==, 0);
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_STATUS), ==, 0x0f);
    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_STATUS, 256), ==, 1);
    front_expect_log("status is a byte");

    /* What is in flight is waited for */
    front_submit_held(f, 0, 2);
    front_release(f, 0);
    g_assert_cmpuint(front_call(f, VHOST_USER_RESET_DEVICE, NULL, 0), ==, 0);
    g_assert_cmpuint(f->echo->resets, ==, 1);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 1);
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_STATUS), ==, 0);

    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_FEATURES,
                                    packed | PROTOCOL), ==, 0);
    g_assert_cmphex(f->echo->features, ==, packed);
    front_set_up_ring(f, 0, packed);
    front_enable(f, 0, 1);
    front_roundtrip(f, 0, 3);

    /* features that change under a running ring stop it first */
    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_FEATURES,
                                    (packed | PROTOCOL) &
                              ~(1ull << VIRTIO_RING_F_EVENT_IDX)), ==, 0);
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 3);
    front_roundtrip(f, 0, 4);

    /* status 0 stops, and leaves the device's own state alone */
    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_STATUS, 0), ==, 0);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 3);
    g_assert_cmpuint(f->echo->resets, ==, 1);
    g_assert_cmpuint(front_call(f, VHOST_USER_RESET_OWNER, NULL, 0), ==, 0);
}

static const FrontCase cases[] = {
    { "mem-table-drains", test_mem_table_drains, true },
    { "mem-table-refused", test_mem_table_refused },
    { "mem-slots", test_mem_slots, true },
    { "memory-vanishes", test_memory_vanishes, true },
    { "dirty-log", test_dirty_log, true },
    { "config", test_config },
    { "config-changed", test_config_changed },
    { "reset-and-renegotiate", test_reset_and_renegotiate, true },
};

int main(int argc, char **argv)
{
    return front_main(argc, argv, "vhost-user-requests", cases,
                      G_N_ELEMENTS(cases));
}
