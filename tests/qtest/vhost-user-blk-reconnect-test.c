/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One front end after the other: tidy ones, ones that die, ones that never
 * say anything sensible. Nothing is lost and nothing is left behind.
 */
#include "servers.h"
#include "guest/vhost-user-client.h"

#include <string.h>
#include <unistd.h>

#define IMAGE_BYTES (4 << 20)
#define ROUNDS 25

static void test_tidy(const ServerKind *kind)
{
    Service service;
    unsigned fds;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    expect_service_works(&service);
    fds = service_n_fds(&service);
    for (unsigned i = 0; i < ROUNDS; i++) {
        expect_service_works(&service);
    }
    g_assert_cmpuint(service_n_fds(&service), ==, fds);
    service_stop(&service);
}

/* Writes are under way when the connection breaks. Those that the device took
 * may or may not have been done; all others are untouched. */
static void test_killed(const ServerKind *kind)
{
    Service service;
    uint8_t buf[4096];
    unsigned fds;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    expect_service_works(&service);
    fds = service_n_fds(&service);
    for (unsigned round = 0; round < ROUNDS; round++) {
        GuestBlk *guest = service_connect(&service, NULL);

        for (unsigned i = 0; i < 32; i++) {
            GuestReq *req = guest_req_new(guest, VIRTIO_BLK_T_OUT,
                                          1024 + i * 16, 4096);

            memset(req->data, 0xab, 4096);
            req->indirect = true;
            g_assert_true(guest_blk_submit(guest, 0, req));
        }
        guest_blk_kick(guest, 0);
        guest_blk_kill(guest);
        expect_service_works(&service);
    }
    g_assert_cmpuint(service_n_fds(&service), ==, fds);
    for (unsigned i = 0; i < 32; i++) {
        test_image_read(service.image, (1024 + i * 16) * 512, buf, 4096);
        g_assert_true(buf[0] == 0xab ||
                      buf[0] == blk_pattern((1024 + i * 16) * 512));
        test_image_read(service.image, (1024 + i * 16 + 8) * 512, buf, 4096);
        g_assert_cmpuint(buf[0], ==, blk_pattern((1024 + i * 16 + 8) * 512));
    }
    service_stop(&service);
}

/* The handshake ends after each of its steps. */
static void test_half_way(const ServerKind *kind)
{
    Service service;
    unsigned fds;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    expect_service_works(&service);
    fds = service_n_fds(&service);
    for (unsigned step = 0; step < 4; step++) {
        int sock = vu_connect(blk_server_path(service.server));

        if (step > 0) {
            vu_get_u64(sock, VU_GET_FEATURES);
        }
        if (step > 1) {
            vu_get_u64(sock, VU_GET_PROTOCOL_FEATURES);
            vu_set_u64(sock, VU_SET_PROTOCOL_FEATURES, VU_PROTOCOL_CONFIG);
        }
        if (step > 2) {
            vu_set_state(sock, VU_SET_VRING_NUM, 0, 128);
        }
        close(sock);
        expect_service_works(&service);
    }
    g_assert_cmpuint(service_n_fds(&service), ==, fds);
    service_stop(&service);
}

/* Two at a time: the second is served when the first has gone. */
static void test_second_waits(const ServerKind *kind)
{
    GuestBlk *first;
    Service service;
    int sock;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    first = service_connect(&service, NULL);
    sock = vu_connect(blk_server_path(service.server));
    expect_guest_works(first, 0);
    guest_blk_free(first);
    g_assert_cmphex(vu_get_u64(sock, VU_GET_FEATURES), !=, 0);
    close(sock);
    expect_service_works(&service);
    service_stop(&service);
}

/* The server is told to end while a guest is there. */
static void test_stopped_under_guest(const ServerKind *kind)
{
    GuestBlk *guest;
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    guest = service_connect(&service, NULL);
    expect_guest_works(guest, 0);
    service_stop(&service);
    guest_blk_kill(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    servers_add("vhost-user-blk-reconnect", "tidy", test_tidy);
    servers_add("vhost-user-blk-reconnect", "killed", test_killed);
    servers_add("vhost-user-blk-reconnect", "half-way", test_half_way);
    servers_add("vhost-user-blk-reconnect", "second-waits",
                test_second_waits);
    servers_add("vhost-user-blk-reconnect", "stopped-under-guest",
                test_stopped_under_guest);
    return g_test_run();
}
