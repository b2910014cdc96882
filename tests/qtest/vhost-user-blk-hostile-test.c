/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Front ends that send what none should: the server refuses or hangs up, and
 * the next front end finds it as if nothing had been.
 */
#include "servers.h"
#include "block/log.h"
#include "guest/vhost-user-client.h"

#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define IMAGE_BYTES (1 << 20)
#define BASE UINT64_C(0x10000000)

/* A connection on which REPLY_ACK is negotiated. */
static int connect_raw(Service *service)
{
    int sock = vu_connect(blk_server_path(service->server));

    vu_get_u64(sock, VU_GET_FEATURES);
    vu_set_u64(sock, VU_SET_FEATURES, UINT64_C(1) << VU_F_PROTOCOL_FEATURES);
    vu_set_u64(sock, VU_SET_PROTOCOL_FEATURES,
               vu_get_u64(sock, VU_GET_PROTOCOL_FEATURES) &
               (VU_PROTOCOL_MQ | VU_PROTOCOL_REPLY_ACK | VU_PROTOCOL_CONFIG |
                VU_PROTOCOL_CONFIGURE_MEM_SLOTS));
    return sock;
}

/* Sends @msg and takes no for an answer: a reply other than 0, or the end of
 * the connection. */
static void expect_refused(Service *service, VuMessage *msg, const int *fds,
                           unsigned n_fds)
{
    int sock = connect_raw(service);

    msg->header.flags |= VU_VERSION | VU_NEED_REPLY;
    g_assert_true(vu_send(sock, msg, fds, n_fds));
    if (vu_recv(sock, msg)) {
        g_assert_cmpuint(msg->header.size, ==, 8);
        g_assert_cmpuint(msg->payload.u64, !=, 0);
    }
    close(sock);
    expect_service_works(service);
}

/* --- framing --- */

static void send_bytes(Service *service, const void *buf, size_t bytes)
{
    int sock = connect_raw(service);
    ssize_t sent = send(sock, buf, bytes, MSG_NOSIGNAL);

    /* More than the socket holds it need not take to the end: it hangs up. */
    if (bytes > 4096) {
        g_assert_cmpint(sent, >, 0);
    } else {
        g_assert_cmpint(sent, ==, bytes);
    }
    shutdown(sock, SHUT_WR);
    while (recv(sock, (char[64]) { 0 }, 64, 0) > 0) {
    }
    close(sock);
    expect_service_works(service);
}

static void test_framing(const ServerKind *kind)
{
    VuMessage msg = { .header = { VU_SET_FEATURES, VU_VERSION, 8 } };
    g_autofree uint8_t *noise = g_malloc(65536);
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    send_bytes(&service, &msg, 5);                       /* half a header */
    send_bytes(&service, &msg, sizeof(msg.header));      /* no body */
    send_bytes(&service, &msg, sizeof(msg.header) + 3);  /* half a body */
    msg.header.size = UINT32_MAX;
    send_bytes(&service, &msg, sizeof(msg));
    msg.header.size = 0x7fffffff;
    send_bytes(&service, &msg, sizeof(msg));
    msg.header = (VuHeader) { VU_SET_FEATURES, 0x3, 8 }; /* version 3 */
    send_bytes(&service, &msg, sizeof(msg.header) + 8);
    for (unsigned i = 0; i < 65536; i++) {
        noise[i] = g_test_rand_int();
    }
    send_bytes(&service, noise, 65536);
    service_stop(&service);
}

/* One byte at a time is slow, but no crime. */
static void test_dribble(const ServerKind *kind)
{
    VuMessage msg = { .header = { VU_GET_FEATURES, VU_VERSION, 0 } };
    Service service;
    int sock;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    sock = vu_connect(blk_server_path(service.server));
    for (unsigned i = 0; i < sizeof(msg.header); i++) {
        g_assert_cmpint(send(sock, (char *)&msg + i, 1, 0), ==, 1);
    }
    g_assert_true(vu_recv(sock, &msg));
    g_assert_cmphex(msg.payload.u64, !=, 0);
    close(sock);
    service_stop(&service);
}

static void test_requests(const ServerKind *kind)
{
    static const struct {
        uint32_t request, size;
        uint64_t value;
    } cases[] = {
        { 0, 8, 0 },
        { 999, 8, 0 },
        { UINT32_MAX, 8, 0 },
        { 20, 8, 0 },                         /* SET_MTU: not a network */
        { VU_SET_FEATURES, 8, UINT64_MAX },   /* more than was offered */
        { VU_SET_FEATURES, 4, 0 },
        { VU_SET_PROTOCOL_FEATURES, 8, UINT64_MAX },
        { VU_SET_VRING_NUM, 8, 7 },           /* no such queue */
        { VU_SET_VRING_NUM, 8, UINT64_C(2048) << 32 }, /* too large */
        { VU_SET_VRING_NUM, 8, 0 },
        { VU_SET_VRING_NUM, 12, 0 },
        { VU_SET_VRING_BASE, 8, 200 },
        { VU_SET_VRING_ENABLE, 8, 200 },
        { VU_SET_VRING_KICK, 8, 200 },
        { VU_SET_VRING_KICK, 8, 0 },          /* promises a descriptor */
        { VU_SET_VRING_CALL, 8, 0 },
        { VU_SET_CONFIG, 8, 0 },
        { VU_SET_CONFIG, 0, 0 },
        { VU_ADD_MEM_REG, 8, 0 },
        { VU_REM_MEM_REG, 40, 0 },
    };
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        VuMessage msg = {
            .header = { .request = cases[i].request, .size = cases[i].size },
            .payload.u64 = cases[i].value,
        };

        expect_refused(&service, &msg, NULL, 0);
    }
    service_stop(&service);
}

/* --- memory --- */

static VuMessage memory_table(unsigned n)
{
    VuMessage msg = {
        .header = { .request = VU_SET_MEM_TABLE, .size = 8 + 32 * n },
        .payload.memory.n_regions = n,
    };

    for (unsigned i = 0; i < n; i++) {
        msg.payload.memory.regions[i].guest_addr = BASE + i * 0x10000;
        msg.payload.memory.regions[i].user_addr = 2 * BASE + i * 0x10000;
        msg.payload.memory.regions[i].size = 0x10000;
        msg.payload.memory.regions[i].mmap_offset = i * 0x10000;
    }
    return msg;
}

static int new_memory(size_t bytes)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC);

    g_assert_cmpint(ftruncate(fd, bytes), ==, 0);
    return fd;
}

static void test_memory(const ServerKind *kind)
{
    int fd = new_memory(0x20000);
    int fds[VU_MAX_FDS] = { fd, fd, fd, fd, fd, fd, fd, fd };
    VuMessage msg;
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    msg = memory_table(2);
    expect_refused(&service, &msg, fds, 1);      /* a descriptor is missing */
    msg = memory_table(1);
    expect_refused(&service, &msg, fds, 2);      /* one too many */
    msg = memory_table(2);
    msg.payload.memory.regions[1].guest_addr = BASE + 0x8000; /* overlap */
    expect_refused(&service, &msg, fds, 2);
    msg = memory_table(1);
    msg.payload.memory.regions[0].size = 0x30000;   /* behind the file */
    expect_refused(&service, &msg, fds, 1);
    msg = memory_table(1);
    msg.payload.memory.regions[0].size = 0;
    expect_refused(&service, &msg, fds, 1);
    msg = memory_table(1);
    msg.payload.memory.regions[0].guest_addr = UINT64_MAX - 0xfff;
    expect_refused(&service, &msg, fds, 1);
    msg = memory_table(1);
    msg.payload.memory.regions[0].mmap_offset = UINT64_MAX - 0xfff;
    expect_refused(&service, &msg, fds, 1);
    msg = memory_table(1);
    msg.payload.memory.n_regions = 500;
    expect_refused(&service, &msg, fds, 1);
    msg = memory_table(1);
    fds[0] = open("/dev/null", O_RDWR);
    expect_refused(&service, &msg, fds, 1);
    close(fds[0]);
    close(fd);
    service_stop(&service);
}

/* The file behind the guest's memory shrinks while the device uses it: the
 * device breaks, the process lives. */
static void test_memory_shrinks(const ServerKind *kind)
{
    Service service;
    GuestBlk *guest;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    for (unsigned i = 0; i < 5; i++) {
        GuestReq *reqs[8];

        guest = service_connect(&service, NULL);
        expect_guest_works(guest, 0);
        for (unsigned n = 0; n < 8; n++) {
            reqs[n] = guest_req_new(guest, VIRTIO_BLK_T_IN, n * 16, 4096);
            g_assert_true(guest_blk_submit(guest, 0, reqs[n]));
        }
        guest_blk_kick(guest, 0);
        g_assert_cmpint(ftruncate(guest_blk_memfd(guest), i * 4096), ==, 0);
        guest_blk_kick_only(guest, 0);
        vu_get_base(guest_blk_socket(guest), 0);
        guest_blk_kill(guest);
        expect_service_works(&service);
    }
    service_stop(&service);
}

/* --- rings --- */

static void test_rings(const ServerKind *kind)
{
    Service service;
    int fd = new_memory(0x20000);

    service_start(&service, kind, IMAGE_BYTES, NULL);
    for (unsigned i = 0; i < 5; i++) {
        VuMessage memory = memory_table(1);
        VuMessage msg = {
            .header = { VU_SET_VRING_ADDR, VU_VERSION | VU_NEED_REPLY,
                        sizeof(msg.payload.addr) },
            .payload.addr = {
                .desc = 2 * BASE, .avail = 2 * BASE + 0x4000,
                .used = 2 * BASE + 0x8000,
            },
        };
        int sock = connect_raw(&service);

        memory.header.flags = VU_VERSION;
        g_assert_true(vu_send(sock, &memory, &fd, 1));
        vu_set_state(sock, VU_SET_VRING_NUM, 0, 256);
        switch (i) {
        case 0:
            msg.payload.addr.desc = BASE;  /* a guest physical address */
            break;
        case 1:
            msg.payload.addr.avail = 2 * BASE + 0x10000 - 16; /* end */
            break;
        case 2:
            msg.payload.addr.used = UINT64_MAX - 7;
            break;
        case 3:
            msg.payload.addr.desc = 0;
            break;
        case 4:
            msg.payload.addr.index = 77;
            break;
        }
        g_assert_true(vu_send(sock, &msg, NULL, 0));
        if (vu_recv(sock, &msg)) {
            g_assert_cmpuint(msg.payload.u64, !=, 0);
        }
        close(sock);
        expect_service_works(&service);
    }
    close(fd);
    service_stop(&service);
}

/* What is passed as an eventfd is none. */
static void test_descriptors(const ServerKind *kind)
{
    static const uint32_t requests[] = {
        VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR,
    };
    int fds[4], pipes[2];
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    g_assert_cmpint(pipe(pipes), ==, 0);
    fds[0] = open(test_image_path(service.image), O_RDWR);
    fds[1] = open("/dev/null", O_RDWR);
    fds[2] = pipes[0];
    fds[3] = open("/", O_RDONLY | O_DIRECTORY);
    for (unsigned r = 0; r < G_N_ELEMENTS(requests); r++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
            VuMessage msg = { .header = { .request = requests[r], .size = 8 } };

            expect_refused(&service, &msg, &fds[i], 1);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        close(fds[i]);
    }
    close(pipes[1]);
    service_stop(&service);
}

/* Descriptors with messages that take none are closed, not kept. */
static void test_extra_descriptors(const ServerKind *kind)
{
    int fd = new_memory(4096);
    int fds[VU_MAX_FDS] = { fd, fd, fd, fd, fd, fd, fd, fd };
    Service service;
    unsigned before;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    expect_service_works(&service);
    before = service_n_fds(&service);
    for (unsigned i = 0; i < 20; i++) {
        VuMessage msg = { .header = { VU_GET_FEATURES, VU_VERSION, 0 } };
        int sock = vu_connect(blk_server_path(service.server));

        g_assert_true(vu_send(sock, &msg, fds, VU_MAX_FDS));
        vu_recv(sock, &msg);
        close(sock);
    }
    g_assert_cmpuint(service_n_fds(&service), ==, before);
    close(fd);
    service_stop(&service);
}

/* A guest that breaks its ring harms neither its other queue nor the next
 * guest. */
static void test_broken_ring(const ServerKind *kind)
{
    BlkServerConf conf = { .num_queues = 2 };
    GuestBlkConf guest_conf = { .num_queues = 2 };
    GuestBlk *guest;
    Service service;
    uint16_t *avail;

    service_start(&service, kind, IMAGE_BYTES, &conf);
    guest = service_connect(&service, &guest_conf);
    expect_guest_works(guest, 0);
    avail = virtio_ring_avail(guest_blk_ring(guest, 0));
    __atomic_store_n(&avail[1], 0x8000, __ATOMIC_SEQ_CST);
    guest_blk_kick_only(guest, 0);
    expect_guest_works(guest, 1);
    guest_blk_reset(guest);
    guest_blk_start(guest);
    expect_guest_works(guest, 0);
    expect_guest_works(guest, 1);
    guest_blk_free(guest);
    expect_service_works(&service);
    service_stop(&service);
}

static void test_image_untouched(const ServerKind *kind)
{
    VuMessage msg = memory_table(1);
    g_autofree uint8_t *buf = g_malloc(IMAGE_BYTES);
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    for (unsigned i = 0; i < 300; i++) {
        int sock = connect_raw(&service);

        for (unsigned n = 0; n < 10; n++) {
            msg.header.request = g_test_rand_int_range(0, 42);
            msg.header.size = g_test_rand_int_range(0, 60);
            msg.header.flags = VU_VERSION;
            for (unsigned b = 0; b < 60; b++) {
                msg.payload.raw[b] = g_test_rand_int_range(0, 4);
            }
            if (!vu_send(sock, &msg, NULL, 0)) {
                break;
            }
        }
        close(sock);
    }
    expect_service_works(&service);
    test_image_read(service.image, 0, buf, IMAGE_BYTES);
    for (unsigned i = 0; i < IMAGE_BYTES; i++) {
        g_assert_cmpuint(buf[i], ==, blk_pattern(i));
    }
    service_stop(&service);
}

/* Hundreds of refusals, each of them asked for. */
static void drop_line(LogLevel level, const char *line, void *opaque)
{
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_sink(drop_line, NULL);
    servers_add("vhost-user-blk-hostile", "framing", test_framing);
    servers_add("vhost-user-blk-hostile", "dribble", test_dribble);
    servers_add("vhost-user-blk-hostile", "requests", test_requests);
    servers_add("vhost-user-blk-hostile", "memory", test_memory);
    servers_add("vhost-user-blk-hostile", "memory-shrinks",
                test_memory_shrinks);
    servers_add("vhost-user-blk-hostile", "rings", test_rings);
    servers_add("vhost-user-blk-hostile", "descriptors", test_descriptors);
    servers_add("vhost-user-blk-hostile", "extra-descriptors",
                test_extra_descriptors);
    servers_add("vhost-user-blk-hostile", "broken-ring", test_broken_ring);
    servers_add("vhost-user-blk-hostile", "random-messages",
                test_image_untouched);
    return g_test_run();
}
