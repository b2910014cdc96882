/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every request type over a socket, and what a front end reads of the device.
 */
#include "servers.h"
#include "guest/vhost-user-client.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define IMAGE_BYTES (4 << 20)

static void write_and_read(Service *service, const GuestBlkConf *conf)
{
    GuestBlk *guest = service_connect(service, conf);
    uint8_t out[8192], in[8192];

    for (unsigned i = 0; i < 16; i++) {
        test_pattern(out, sizeof(out), i + conf->packed * 100);
        g_assert_cmpuint(guest_blk_write(guest, i * 16, out, sizeof(out)), ==,
                         VIRTIO_BLK_S_OK);
        g_assert_cmpuint(guest_blk_read(guest, i * 16, in, sizeof(in)), ==,
                         VIRTIO_BLK_S_OK);
        g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
        test_image_read(service->image, i * 8192, in, sizeof(in));
        g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    }
    guest_blk_free(guest);
}

static void test_rw(const ServerKind *kind)
{
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    write_and_read(&service, &(GuestBlkConf) { .packed = false });
    write_and_read(&service, &(GuestBlkConf) { .packed = true });
    write_and_read(&service, &(GuestBlkConf) { .no_event_idx = true });
    write_and_read(&service, &(GuestBlkConf) { .no_indirect = true,
                                               .queue_size = 16 });
    service_stop(&service);
}

/* Bursts, in both rings, all layouts. */
static void test_depth(const ServerKind *kind)
{
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    for (unsigned round = 0; round < 2 * GUEST_LAYOUT__COUNT; round++) {
        GuestBlkConf conf = { .packed = round % 2 };
        GuestBlk *guest = service_connect(&service, &conf);
        GuestReq *reqs[64];

        for (unsigned i = 0; i < 64; i++) {
            reqs[i] = guest_req_new(guest, VIRTIO_BLK_T_IN, i * 24, 8192);
            reqs[i]->layout = round / 2;
            reqs[i]->n_segments = 1 + i % 7;
            reqs[i]->indirect = true;
            g_assert_true(guest_blk_submit(guest, 0, reqs[i]));
        }
        guest_blk_kick(guest, 0);
        guest_blk_wait_all(guest, 0);
        for (unsigned i = 0; i < 64; i++) {
            g_assert_cmpuint(reqs[i]->status, ==, VIRTIO_BLK_S_OK);
            for (unsigned b = 0; b < 8192; b += 511) {
                g_assert_cmpuint(reqs[i]->data[b], ==,
                                 blk_pattern(i * 24 * 512 + b));
            }
        }
        guest_blk_free(guest);
    }
    service_stop(&service);
}

static void test_other_types(const ServerKind *kind)
{
    BlkServerConf conf = { .serial = "over-a-socket" };
    struct virtio_blk_discard_write_zeroes *seg;
    GuestReq *req;
    GuestBlk *guest;
    Service service;
    uint8_t buf[4096];

    service_start(&service, kind, IMAGE_BYTES, &conf);
    guest = service_connect(&service, NULL);
    req = guest_req_new(guest, VIRTIO_BLK_T_FLUSH, 0, 0);
    g_assert_cmpuint(guest_blk_run(guest, 0, req), ==, VIRTIO_BLK_S_OK);
    req = guest_req_new(guest, VIRTIO_BLK_T_GET_ID, 0, 20);
    g_assert_cmpuint(guest_blk_run(guest, 0, req), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpmem(req->data, 14, "over-a-socket", 14);
    req = guest_req_new(guest, 1234, 0, 512);
    g_assert_cmpuint(guest_blk_run(guest, 0, req), ==, VIRTIO_BLK_S_UNSUPP);
    req = guest_req_new(guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16);
    seg = (void *)req->data;
    seg->sector = htole64(8);
    seg->num_sectors = htole32(8);
    g_assert_cmpuint(guest_blk_run(guest, 0, req), ==, VIRTIO_BLK_S_OK);
    test_image_read(service.image, 4096, buf, 4096);
    for (unsigned i = 0; i < 4096; i++) {
        g_assert_cmpuint(buf[i], ==, 0);
    }
    req->type = VIRTIO_BLK_T_DISCARD;
    g_assert_cmpuint(guest_blk_run(guest, 0, req), ==, VIRTIO_BLK_S_OK);
    guest_blk_free(guest);
    service_stop(&service);
}

static void test_config(const ServerKind *kind)
{
    uint32_t wce = G_STRUCT_OFFSET(struct virtio_blk_config, wce);
    struct virtio_blk_config config;
    GuestBlk *guest;
    Service service;
    uint8_t value = 0;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    guest = service_connect(&service, NULL);
    guest_blk_read_config(guest, &config);
    g_assert_cmpuint(le64toh(config.capacity), ==, IMAGE_BYTES / 512);
    g_assert_cmpuint(config.wce, ==, 1);
    g_assert_true(guest_blk_set_config(guest, wce, &value, 1));
    guest_blk_read_config(guest, &config);
    g_assert_cmpuint(config.wce, ==, 0);
    g_assert_false(guest_blk_set_config(guest, 0, &value, 1));
    guest_blk_reset(guest);
    guest_blk_read_config(guest, &config);
    g_assert_cmpuint(config.wce, ==, 1);
    guest_blk_start(guest);
    expect_guest_works(guest, 0);
    guest_blk_free(guest);
    service_stop(&service);
}

static void test_read_only(const ServerKind *kind)
{
    BlkServerConf conf = { .read_only = true };
    GuestBlk *guest;
    Service service;
    uint8_t buf[512] = { 0 };

    service_start(&service, kind, IMAGE_BYTES, &conf);
    guest = service_connect(&service, NULL);
    g_assert_true(guest_blk_has(guest, VIRTIO_BLK_F_RO));
    g_assert_cmpuint(guest_blk_write(guest, 0, buf, 512), ==,
                     VIRTIO_BLK_S_IOERR);
    expect_guest_works(guest, 0);
    test_image_read(service.image, 0, buf, 512);
    g_assert_cmpuint(buf[1], ==, blk_pattern(1));
    guest_blk_free(guest);
    service_stop(&service);
}

/* A driver is loaded again with other features, on the same connection. */
static void test_renegotiate(const ServerKind *kind)
{
    GuestBlk *guest;
    Service service;

    service_start(&service, kind, IMAGE_BYTES, NULL);
    guest = service_connect(&service, NULL);
    expect_guest_works(guest, 0);
    guest_blk_stop_queue(guest, 0);
    guest_blk_set_features(guest, guest_blk_features(guest) &
                           ~(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX));
    guest_blk_start_queue(guest, 0);
    expect_guest_works(guest, 0);
    expect_guest_works(guest, 0);
    guest_blk_free(guest);
    service_stop(&service);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    servers_add("vhost-user-blk", "rw", test_rw);
    servers_add("vhost-user-blk", "depth", test_depth);
    servers_add("vhost-user-blk", "other-types", test_other_types);
    servers_add("vhost-user-blk", "config", test_config);
    servers_add("vhost-user-blk", "read-only", test_read_only);
    servers_add("vhost-user-blk", "renegotiate", test_renegotiate);
    return g_test_run();
}
