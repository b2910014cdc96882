/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several queues of one device, over several threads of the server.
 */
#include "servers.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <string.h>

#define IMAGE_BYTES (4 << 20)
#define QUEUES 4

static void test_all_queues(const ServerKind *kind)
{
    BlkServerConf conf = { .num_queues = QUEUES };
    GuestBlkConf guest_conf = { .num_queues = QUEUES };
    struct virtio_blk_config config;
    GuestBlk *guest;
    Service service;

    service_start(&service, kind, IMAGE_BYTES, &conf);
    guest = service_connect(&service, &guest_conf);
    g_assert_cmpuint(guest_blk_max_queues(guest), ==, QUEUES);
    g_assert_true(guest_blk_has(guest, VIRTIO_BLK_F_MQ));
    guest_blk_read_config(guest, &config);
    g_assert_cmpuint(le16toh(config.num_queues), ==, QUEUES);
    for (unsigned i = 0; i < 200; i++) {
        expect_guest_works(guest, i % QUEUES);
    }
    guest_blk_free(guest);
    service_stop(&service);
}

/* All queues have work at once; each writes a quarter of the disk. */
static void test_concurrent(const ServerKind *kind)
{
    BlkServerConf conf = { .num_queues = QUEUES };
    GuestBlkConf guest_conf = { .num_queues = QUEUES };
    g_autofree uint8_t *disk = g_malloc(IMAGE_BYTES);
    GuestBlk *guest;
    Service service;

    service_start(&service, kind, IMAGE_BYTES, &conf);
    guest = service_connect(&service, &guest_conf);
    for (unsigned i = 0; i < 32; i++) {
        for (unsigned q = 0; q < QUEUES; q++) {
            uint64_t sector = (q * 32 + i) * 64;
            GuestReq *req = guest_req_new(guest, VIRTIO_BLK_T_OUT, sector,
                                          32768);

            memset(req->data, 1 + q, req->bytes);
            g_assert_true(guest_blk_submit(guest, q, req));
            guest_blk_kick(guest, q);
        }
    }
    for (unsigned q = 0; q < QUEUES; q++) {
        guest_blk_wait_all(guest, q);
    }
    test_image_read(service.image, 0, disk, IMAGE_BYTES);
    for (unsigned i = 0; i < IMAGE_BYTES; i += 512) {
        g_assert_cmpuint(disk[i], ==, 1 + i / (IMAGE_BYTES / QUEUES));
        g_assert_cmpuint(disk[i + 511], ==, disk[i]);
    }
    guest_blk_free(guest);
    service_stop(&service);
}

/* Fewer than there are, started and stopped one by one. */
static void test_some_queues(const ServerKind *kind)
{
    BlkServerConf conf = { .num_queues = QUEUES };
    GuestBlkConf guest_conf = { .num_queues = QUEUES };
    GuestBlk *guest;
    Service service;

    service_start(&service, kind, IMAGE_BYTES, &conf);
    guest = guest_blk_new_socket(blk_server_path(service.server),
                                 &guest_conf);
    guest_blk_start_queue(guest, 2);
    expect_guest_works(guest, 2);
    guest_blk_start_queue(guest, 0);
    expect_guest_works(guest, 0);
    guest_blk_stop_queue(guest, 2);
    expect_guest_works(guest, 0);
    guest_blk_start_queue(guest, 2);
    expect_guest_works(guest, 2);
    guest_blk_free(guest);
    service_stop(&service);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    servers_add("vhost-user-blk-multiqueue", "all", test_all_queues);
    servers_add("vhost-user-blk-multiqueue", "concurrent", test_concurrent);
    servers_add("vhost-user-blk-multiqueue", "some", test_some_queues);
    return g_test_run();
}
