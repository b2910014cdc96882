/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest behind a vhost-user front end: the same driver, its memory and
 * eventfds passed to a server over a socket.
 */
#include "guest-blk-transport.h"
#include "guest/vhost-user-client.h"

#include <linux/virtio_config.h>
#include <string.h>
#include <unistd.h>

#define WANTED_PROTOCOL_FEATURES \
    (VU_PROTOCOL_MQ | VU_PROTOCOL_REPLY_ACK | VU_PROTOCOL_CONFIG | \
     VU_PROTOCOL_RESET_DEVICE | VU_PROTOCOL_STATUS)

static uint64_t to_user(const GuestBlk *guest, const void *ptr)
{
    return GUEST_BLK_USER_BASE + ((const uint8_t *)ptr - guest->mem);
}

static uint64_t socket_get_features(GuestBlk *guest)
{
    return vu_get_u64(guest->sock, VU_GET_FEATURES) &
           ~(UINT64_C(1) << VU_F_PROTOCOL_FEATURES);
}

static void socket_set_features(GuestBlk *guest, uint64_t features)
{
    vu_set_u64(guest->sock, VU_SET_FEATURES,
               features | UINT64_C(1) << VU_F_PROTOCOL_FEATURES);
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

void guest_blk_send_memory(GuestBlk *guest)
{
    VuMessage msg = {
        .header = { VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY, 8 + 32 },
        .payload.memory = {
            .n_regions = 1,
            .regions[0] = {
                .guest_addr = GUEST_BLK_BASE,
                .user_addr = GUEST_BLK_USER_BASE,
                .size = guest->conf.memory_bytes,
            },
        },
    };

    g_assert_cmphex(guest->protocol_features & VU_PROTOCOL_REPLY_ACK, !=, 0);
    g_assert_true(vu_send(guest->sock, &msg, &guest->memfd, 1));
    g_assert_true(vu_recv(guest->sock, &msg));
    g_assert_cmpuint(msg.payload.u64, ==, 0);
}

static void socket_start_queue(GuestBlk *guest, unsigned index, uint32_t base)
{
    GuestQueue *queue = &guest->queues[index];
    VuMessage msg = {
        .header = { VU_SET_VRING_ADDR, VU_VERSION, sizeof(msg.payload.addr) },
        .payload.addr = {
            .index = index,
            .desc = to_user(guest, virtio_ring_desc(queue->ring)),
            .avail = to_user(guest, virtio_ring_avail(queue->ring)),
            .used = to_user(guest, virtio_ring_used(queue->ring)),
        },
    };

    vu_set_state(guest->sock, VU_SET_VRING_NUM, index, guest->conf.queue_size);
    vu_set_state(guest->sock, VU_SET_VRING_BASE, index, base);
    g_assert_true(vu_send(guest->sock, &msg, NULL, 0));
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

GuestBlk *guest_blk_new_socket(const char *path, const GuestBlkConf *conf)
{
    VuMessage owner = { .header = { VU_SET_OWNER, VU_VERSION, 0 } };
    GuestBlk *guest = guest_blk_new(&socket_transport, conf,
                                    GUEST_BLK_BASE, 0);

    guest->sock = vu_connect(path);
    g_assert_true(vu_send(guest->sock, &owner, NULL, 0));
    vu_get_u64(guest->sock, VU_GET_FEATURES);
    guest->protocol_features =
        vu_get_u64(guest->sock, VU_GET_PROTOCOL_FEATURES) &
        WANTED_PROTOCOL_FEATURES;
    vu_set_u64(guest->sock, VU_SET_PROTOCOL_FEATURES,
               guest->protocol_features);
    guest->max_queues = vu_get_u64(guest->sock, VU_GET_QUEUE_NUM);
    guest_blk_negotiate(guest);
    guest_blk_send_memory(guest);
    return guest;
}
