/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stock QEMU with a vhost-user-blk-pci device on the server. The processor
 * halts; the test is the guest's driver, through the PCI registers.
 */
#include "servers.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "qemu.h"

#define IMAGE_BYTES (4 << 20)
#define QUEUES 2

typedef struct Machine {
    Service service;
    GuestBlk *guest;
} Machine;

/* False: skipped. */
static bool machine_start(Machine *machine, const ServerKind *kind,
                          bool packed)
{
    BlkServerConf conf = { .num_queues = QUEUES, .serial = "qemu-sees-this" };
    GuestBlkConf guest_conf = { .num_queues = QUEUES, .packed = packed };

    if (!qemu_available()) {
        g_test_skip("qemu-system-x86_64 is not installed");
        return false;
    }
    service_start(&machine->service, kind, IMAGE_BYTES, &conf);
    machine->guest = guest_blk_new_qemu(
        blk_server_path(machine->service.server), &guest_conf);
    guest_blk_start(machine->guest);
    return true;
}

static void machine_stop(Machine *machine)
{
    guest_blk_free(machine->guest);
    service_stop(&machine->service);
}

static void write_and_read(Machine *machine)
{
    GuestBlk *guest = machine->guest;
    uint8_t buf[8192];

    for (unsigned i = 0; i < 8; i++) {
        GuestReq *out = guest_req_new(guest, VIRTIO_BLK_T_OUT, i * 48, 8192);
        GuestReq *in = guest_req_new(guest, VIRTIO_BLK_T_IN, i * 48, 8192);

        out->layout = in->layout = i % GUEST_LAYOUT__COUNT;
        out->indirect = in->indirect = i % 2;
        out->n_segments = in->n_segments = 1 + i;
        test_pattern(out->data, 8192, i);
        g_assert_cmpuint(guest_blk_run(guest, i % QUEUES, out), ==,
                         VIRTIO_BLK_S_OK);
        g_assert_cmpuint(guest_blk_run(guest, (i + 1) % QUEUES, in), ==,
                         VIRTIO_BLK_S_OK);
        g_assert_cmpmem(in->data, 8192, out->data, 8192);
        test_image_read(machine->service.image, i * 48 * 512, buf, 8192);
        g_assert_cmpmem(buf, 8192, out->data, 8192);
    }
}

static void test_rw(const ServerKind *kind)
{
    Machine machine;

    if (machine_start(&machine, kind, false)) {
        expect_guest_works(machine.guest, 0);
        write_and_read(&machine);
        machine_stop(&machine);
    }
}

static void test_rw_packed(const ServerKind *kind)
{
    Machine machine;

    if (machine_start(&machine, kind, true)) {
        g_assert_true(guest_blk_has(machine.guest, VIRTIO_F_RING_PACKED));
        expect_guest_works(machine.guest, 0);
        write_and_read(&machine);
        machine_stop(&machine);
    }
}

/* What got through QEMU's own list of features and its copy of config. */
static void test_config(const ServerKind *kind)
{
    static const unsigned bits[] = {
        VIRTIO_F_VERSION_1, VIRTIO_RING_F_INDIRECT_DESC,
        VIRTIO_RING_F_EVENT_IDX, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE,
        VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE,
        VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES,
    };
    uint32_t wce = G_STRUCT_OFFSET(struct virtio_blk_config, wce);
    struct virtio_blk_config config = { 0 };
    uint8_t value = 0;
    Machine machine;

    if (!machine_start(&machine, kind, false)) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        g_assert_true(guest_blk_has(machine.guest, bits[i]));
    }
    g_assert_false(guest_blk_has(machine.guest, VIRTIO_BLK_F_RO));
    g_assert_false(guest_blk_has(machine.guest, VIRTIO_BLK_F_SIZE_MAX));
    guest_blk_get_config(machine.guest, 0, &config, 60);
    g_assert_cmpuint(le64toh(config.capacity), ==, IMAGE_BYTES / 512);
    g_assert_cmpuint(le32toh(config.seg_max), ==, 126);
    g_assert_cmpuint(le32toh(config.blk_size), ==, 512);
    g_assert_cmpuint(config.wce, ==, 1);
    g_assert_cmpuint(le16toh(config.num_queues), ==, QUEUES);
    g_assert_cmpuint(le32toh(config.max_discard_seg), ==, 32);
    g_assert_true(guest_blk_set_config(machine.guest, wce, &value, 1));
    guest_blk_get_config(machine.guest, wce, &value, 1);
    g_assert_cmpuint(value, ==, 0);
    expect_guest_works(machine.guest, 1);
    machine_stop(&machine);
}

static void test_other_types(const ServerKind *kind)
{
    struct virtio_blk_discard_write_zeroes *seg;
    Machine machine;
    GuestReq *req;
    uint8_t buf[4096];

    if (!machine_start(&machine, kind, false)) {
        return;
    }
    req = guest_req_new(machine.guest, VIRTIO_BLK_T_FLUSH, 0, 0);
    g_assert_cmpuint(guest_blk_run(machine.guest, 0, req), ==,
                     VIRTIO_BLK_S_OK);
    req = guest_req_new(machine.guest, VIRTIO_BLK_T_GET_ID, 0, 20);
    g_assert_cmpuint(guest_blk_run(machine.guest, 1, req), ==,
                     VIRTIO_BLK_S_OK);
    g_assert_cmpmem(req->data, 15, "qemu-sees-this", 15);
    req = guest_req_new(machine.guest, 77, 0, 512);
    g_assert_cmpuint(guest_blk_run(machine.guest, 0, req), ==,
                     VIRTIO_BLK_S_UNSUPP);
    req = guest_req_new(machine.guest, VIRTIO_BLK_T_IN, IMAGE_BYTES / 512,
                        512);
    g_assert_cmpuint(guest_blk_run(machine.guest, 0, req), ==,
                     VIRTIO_BLK_S_IOERR);
    req = guest_req_new(machine.guest, VIRTIO_BLK_T_DISCARD, 0, 16);
    seg = (void *)req->data;
    seg->sector = htole64(64);
    seg->num_sectors = htole32(8);
    g_assert_cmpuint(guest_blk_run(machine.guest, 0, req), ==,
                     VIRTIO_BLK_S_OK);
    test_image_read(machine.service.image, 64 * 512, buf, 4096);
    g_assert_cmpuint(buf[5], ==, 0);
    test_image_read(machine.service.image, 72 * 512, buf, 4096);
    g_assert_cmpuint(buf[5], ==, blk_pattern(72 * 512 + 5));
    machine_stop(&machine);
}

/* The driver is unloaded and loaded again, also in the middle of things. */
static void test_reset(const ServerKind *kind)
{
    Machine machine;

    if (!machine_start(&machine, kind, false)) {
        return;
    }
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 16; i++) {
            GuestReq *req = guest_req_new(machine.guest, VIRTIO_BLK_T_IN,
                                          i * 100, 4096);

            g_assert_true(guest_blk_submit(machine.guest, round % 2, req));
        }
        guest_blk_kick(machine.guest, round % 2);
        guest_blk_reset(machine.guest);
        guest_blk_start(machine.guest);
        expect_guest_works(machine.guest, 0);
        expect_guest_works(machine.guest, 1);
    }
    machine_stop(&machine);
}

/* A second machine on the same socket, after the first is gone. */
static void test_reconnect(const ServerKind *kind)
{
    GuestBlkConf guest_conf = { .num_queues = QUEUES };
    Machine machine;

    if (!machine_start(&machine, kind, false)) {
        return;
    }
    expect_guest_works(machine.guest, 0);
    guest_blk_free(machine.guest);
    machine.guest = guest_blk_new_qemu(
        blk_server_path(machine.service.server), &guest_conf);
    guest_blk_start(machine.guest);
    expect_guest_works(machine.guest, 1);
    machine_stop(&machine);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    servers_add("vhost-user-blk-qemu", "rw", test_rw);
    servers_add("vhost-user-blk-qemu", "rw-packed", test_rw_packed);
    servers_add("vhost-user-blk-qemu", "config", test_config);
    servers_add("vhost-user-blk-qemu", "other-types", test_other_types);
    servers_add("vhost-user-blk-qemu", "reset", test_reset);
    servers_add("vhost-user-blk-qemu", "reconnect", test_reconnect);
    return g_test_run();
}
