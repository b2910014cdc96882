/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flushes and the write cache over real files.
 */
#include "engines.h"

#include <string.h>

#define IMAGE_BYTES (1 << 20)

static uint64_t flushes(Disk *disk)
{
    BlockStats stats;

    blk_rig_stats(disk->rig, &stats);
    return stats.requests[BLOCK_FLUSH];
}

static uint8_t flush(Disk *disk)
{
    GuestReq *req = guest_req_new(disk->guest, VIRTIO_BLK_T_FLUSH, 0, 0);

    return guest_blk_run(disk->guest, 0, req);
}

static void test_flush(const World *world)
{
    uint8_t buf[512] = { 42 };
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    g_assert_cmpuint(guest_blk_write(disk.guest, 9, buf, 512), ==, 0);
    g_assert_cmpuint(flush(&disk), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(flushes(&disk), ==, 1);
    disk_close(&disk);
}

/* Reads, writes and flushes in one burst: all end, each as it should. */
static void test_mixed_burst(const World *world)
{
    GuestReq *reqs[30];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    for (unsigned i = 0; i < 30; i++) {
        uint32_t type = i % 3 == 0 ? VIRTIO_BLK_T_FLUSH :
                        i % 3 == 1 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;

        reqs[i] = guest_req_new(disk.guest, type, i % 3 ? i * 8 : 0,
                                i % 3 ? 512 : 0);
        g_assert_true(guest_blk_submit(disk.guest, 0, reqs[i]));
    }
    guest_blk_kick(disk.guest, 0);
    guest_blk_wait_all(disk.guest, 0);
    for (unsigned i = 0; i < 30; i++) {
        g_assert_cmpuint(reqs[i]->status, ==, VIRTIO_BLK_S_OK);
    }
    g_assert_cmpuint(flushes(&disk), ==, 10);
    disk_close(&disk);
}

static void test_cache_off(const World *world)
{
    uint8_t off = 0, buf[512] = { 43 };
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    g_assert_true(guest_blk_set_config(
        disk.guest, G_STRUCT_OFFSET(struct virtio_blk_config, wce), &off, 1));
    g_assert_cmpuint(guest_blk_write(disk.guest, 9, buf, 512), ==, 0);
    g_assert_cmpuint(flush(&disk), ==, VIRTIO_BLK_S_OK);
    test_image_read(disk.image, 9 * 512, buf, 512);
    g_assert_cmpuint(buf[0], ==, 43);
    disk_close(&disk);
}

static void test_no_flush(const World *world)
{
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, ",cache.no-flush=on", NULL,
                   NULL)) {
        return;
    }
    g_assert_cmpuint(flush(&disk), ==, VIRTIO_BLK_S_OK);
    disk_close(&disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    worlds_add("virtio-blk-flush", "flush", test_flush);
    worlds_add("virtio-blk-flush", "mixed-burst", test_mixed_burst);
    worlds_add("virtio-blk-flush", "cache-off", test_cache_off);
    worlds_add("virtio-blk-flush", "no-flush", test_no_flush);
    return g_test_run();
}
