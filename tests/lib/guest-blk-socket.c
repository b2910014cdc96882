/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest behind a vhost-user front end: the same driver, its memory and
 * eventfds passed to a server over a socket.
 */
#include "guest-blk-transport.h"
#include "guest/vhost-user-client.h"

#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WANTED_PROTOCOL_FEATURES \
    (VU_PROTOCOL_MQ | VU_PROTOCOL_REPLY_ACK | VU_PROTOCOL_CONFIG | \
     VU_PROTOCOL_INFLIGHT_SHMFD | VU_PROTOCOL_RESET_DEVICE | \
     VU_PROTOCOL_STATUS | VU_PROTOCOL_LOG_SHMFD)

static uint64_t to_user(const GuestBlk *guest, const void *ptr)
{
    return GUEST_BLK_USER_BASE + ((const uint8_t *)ptr - guest->mem);
}

static uint64_t socket_get_features(GuestBlk *guest)
{
    /* not for a driver to accept */
    uint64_t transport = UINT64_C(1) << VU_F_PROTOCOL_FEATURES |
                         UINT64_C(1) << VU_F_LOG_ALL;

    return vu_get_u64(guest->sock, VU_GET_FEATURES) & ~transport;
}

static void socket_set_features(GuestBlk *guest, uint64_t features)
{
    vu_set_u64(guest->sock, VU_SET_FEATURES,
               features | UINT64_C(1) << VU_F_PROTOCOL_FEATURES |
               (uint64_t)guest->logging << VU_F_LOG_ALL);
}

static void socket_get_config(GuestBlk *guest, uint32_t offset, void *buf,
                              uint32_t bytes)
{
    VuMessage msg = {
        .payload.config = { .offset = offset, .size = bytes },
    };

    g_assert_cmpuint(bytes, <=, sizeof(msg.payload.config.bytes));
    vu_call(guest->sock, VU_GET_CONFIG, &msg, 12 + bytes);
    g_assert_cmpuint(msg.header.size, ==, 12 + bytes);
    memcpy(buf, msg.payload.config.bytes, bytes);
}

/* Asks for an answer, to know. */
static bool socket_set_config(GuestBlk *guest, uint32_t offset,
                              const void *buf, uint32_t bytes)
{
    VuMessage msg = {
        .header = { VU_SET_CONFIG, VU_VERSION | VU_NEED_REPLY, 12 + bytes },
        .payload.config = { .offset = offset, .size = bytes },
    };

    memcpy(msg.payload.config.bytes, buf, bytes);
    g_assert_true(vu_send(guest->sock, &msg, NULL, 0));
    g_assert_true(vu_recv(guest->sock, &msg));
    return msg.payload.u64 == 0;
}

static void send_memory_table(GuestBlk *guest, unsigned n_regions)
{
    VuMessage msg = {
        .header = { VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY,
                    8 + n_regions * 32 },
        .payload.memory = {
            .n_regions = n_regions,
            .regions[0] = {
                .guest_addr = GUEST_BLK_BASE,
                .user_addr = GUEST_BLK_USER_BASE,
                .size = guest->conf.memory_bytes,
            },
        },
    };

    g_assert_cmphex(guest->protocol_features & VU_PROTOCOL_REPLY_ACK, !=, 0);
    g_assert_true(vu_send(guest->sock, &msg, &guest->memfd, n_regions));
    g_assert_true(vu_recv(guest->sock, &msg));
    g_assert_cmpuint(msg.payload.u64, ==, 0);
}

void guest_blk_send_memory(GuestBlk *guest)
{
    send_memory_table(guest, 1);
}

void guest_blk_drop_memory(GuestBlk *guest)
{
    send_memory_table(guest, 0);
}

/* With the log flag, or without. */
static void send_ring_address(GuestBlk *guest, unsigned index)
{
    const GuestQueue *queue = &guest->queues[index];
    VuMessage msg = {
        .header = { VU_SET_VRING_ADDR, VU_VERSION, sizeof(msg.payload.addr) },
        .payload.addr = {
            .index = index,
            .flags = guest->logging ? VU_VRING_LOG : 0,
            .log = guest_blk_addr(guest, virtio_ring_used(queue->ring)),
            .desc = to_user(guest, virtio_ring_desc(queue->ring)),
            .avail = to_user(guest, virtio_ring_avail(queue->ring)),
            .used = to_user(guest, virtio_ring_used(queue->ring)),
        },
    };

    g_assert_true(vu_send(guest->sock, &msg, NULL, 0));
}

static void socket_start_queue(GuestBlk *guest, unsigned index, uint32_t base)
{
    GuestQueue *queue = &guest->queues[index];

    vu_set_state(guest->sock, VU_SET_VRING_NUM, index, guest->conf.queue_size);
    vu_set_state(guest->sock, VU_SET_VRING_BASE, index, base);
    send_ring_address(guest, index);
    vu_set_fd(guest->sock, VU_SET_VRING_CALL, index, queue->call_fd);
    vu_set_fd(guest->sock, VU_SET_VRING_KICK, index, queue->kick_fd);
    vu_set_state(guest->sock, VU_SET_VRING_ENABLE, index, 1);
}

static uint32_t socket_stop_queue(GuestBlk *guest, unsigned index)
{
    return vu_get_base(guest->sock, index);
}

/* The front end's view of a guest's reset: status 0, or RESET_DEVICE. */
static void socket_reset(GuestBlk *guest)
{
    VuMessage msg = { .header = { VU_RESET_DEVICE, VU_VERSION, 0 } };

    if (guest->protocol_features & VU_PROTOCOL_RESET_DEVICE) {
        g_assert_true(vu_send(guest->sock, &msg, NULL, 0));
    } else if (guest->protocol_features & VU_PROTOCOL_STATUS) {
        vu_set_u64(guest->sock, VU_SET_STATUS, 0);
    }
}

static void socket_close(GuestBlk *guest)
{
    close(guest->sock);
    if (guest->inflight_fd >= 0) {
        close(guest->inflight_fd);
    }
    if (guest->log) {
        munmap(guest->log, guest->log_bytes);
    }
}

static const GuestTransport socket_transport = {
    .get_features = socket_get_features,
    .set_features = socket_set_features,
    .get_config = socket_get_config,
    .set_config = socket_set_config,
    .reset = socket_reset,
    .start_queue = socket_start_queue,
    .stop_queue = socket_stop_queue,
    .close = socket_close,
};

static void switch_logging(GuestBlk *guest, bool on)
{
    guest->logging = on;
    socket_set_features(guest, guest->features);
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        if (guest->queues[i].running) {
            send_ring_address(guest, i);
        }
    }
    vu_get_u64(guest->sock, VU_GET_FEATURES); /* it has come to this */
}

uint8_t *guest_blk_start_logging(GuestBlk *guest, size_t *bytes)
{
    size_t pages = (GUEST_BLK_BASE + guest->conf.memory_bytes) / 4096;
    VuMessage msg = {
        .header = { VU_SET_LOG_BASE, VU_VERSION, 16 },
        .payload.inflight = { .mmap_size = pages / 8 },
    };
    int fd = memfd_create("log", MFD_CLOEXEC);

    g_assert_cmphex(guest->protocol_features & VU_PROTOCOL_LOG_SHMFD, !=, 0);
    g_assert_null(guest->log);
    *bytes = guest->log_bytes = pages / 8;
    g_assert_cmpint(ftruncate(fd, guest->log_bytes), ==, 0);
    guest->log = mmap(NULL, guest->log_bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd, 0);
    g_assert_true(guest->log != MAP_FAILED);
    g_assert_true(vu_send(guest->sock, &msg, &fd, 1));
    g_assert_true(vu_recv(guest->sock, &msg));
    g_assert_cmpuint(msg.payload.u64, ==, 0);
    close(fd);
    switch_logging(guest, true);
    return guest->log;
}

void guest_blk_stop_logging(GuestBlk *guest)
{
    switch_logging(guest, false);
}

static void describe_inflight(const GuestBlk *guest, VuMessage *msg,
                              uint32_t request)
{
    msg->header = (VuHeader) { request, VU_VERSION,
                               sizeof(msg->payload.inflight) };
    memset(&msg->payload, 0, sizeof(msg->payload.inflight));
    msg->payload.inflight.num_queues = guest->conf.num_queues;
    msg->payload.inflight.queue_size = guest->conf.queue_size;
    msg->payload.inflight.mmap_size = guest->inflight_bytes;
}

static void send_inflight(GuestBlk *guest)
{
    VuMessage msg;

    describe_inflight(guest, &msg, VU_SET_INFLIGHT_FD);
    g_assert_true(vu_send(guest->sock, &msg, &guest->inflight_fd, 1));
}

void guest_blk_keep_inflight(GuestBlk *guest)
{
    VuMessage msg;

    g_assert_cmphex(guest->protocol_features & VU_PROTOCOL_INFLIGHT_SHMFD, !=,
                    0);
    describe_inflight(guest, &msg, VU_GET_INFLIGHT_FD);
    g_assert_true(vu_send(guest->sock, &msg, NULL, 0));
    g_assert_cmpint(vu_read_fd(guest->sock, &msg, GUEST_BLK_PATIENCE_MS,
                               &guest->inflight_fd), ==, 0);
    g_assert_cmpint(guest->inflight_fd, >=, 0);
    guest->inflight_bytes = msg.payload.inflight.mmap_size;
    send_inflight(guest);
}

static void say_hello(GuestBlk *guest, const char *path)
{
    VuMessage owner = { .header = { VU_SET_OWNER, VU_VERSION, 0 } };

    guest->sock = vu_connect(path);
    g_assert_true(vu_send(guest->sock, &owner, NULL, 0));
    vu_get_u64(guest->sock, VU_GET_FEATURES);
    guest->protocol_features =
        vu_get_u64(guest->sock, VU_GET_PROTOCOL_FEATURES) &
        WANTED_PROTOCOL_FEATURES;
    vu_set_u64(guest->sock, VU_SET_PROTOCOL_FEATURES,
               guest->protocol_features);
}

/* A ring's position is what a front end cannot know. */
void guest_blk_reconnect(GuestBlk *guest, const char *path)
{
    close(guest->sock);
    say_hello(guest, path);
    socket_set_features(guest, guest->features);
    guest_blk_send_memory(guest);
    send_inflight(guest);
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        GuestQueue *queue = &guest->queues[i];

        socket_start_queue(guest, i, virtio_ring_initial_base(queue->ring));
    }
}

GuestBlk *guest_blk_new_socket(const char *path, const GuestBlkConf *conf)
{
    GuestBlk *guest = guest_blk_new(&socket_transport, conf,
                                    GUEST_BLK_BASE, 0);

    guest->inflight_fd = -1;
    say_hello(guest, path);
    guest->max_queues = vu_get_u64(guest->sock, VU_GET_QUEUE_NUM);
    guest_blk_negotiate(guest);
    guest_blk_send_memory(guest);
    return guest;
}
