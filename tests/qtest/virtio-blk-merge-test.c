/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many host requests and submit calls a burst costs, and that the right
 * bytes come back from a merged one.
 */
#include "engines.h"

#include <string.h>

#define IMAGE_BYTES (4 << 20)
#define UNIT 4096
#define DEPTH 32

/* One burst of 4 KiB requests at @units, in @order; then checks each. */
static void burst(Disk *disk, uint32_t type, const unsigned *units)
{
    GuestReq *reqs[DEPTH];

    for (unsigned i = 0; i < DEPTH; i++) {
        reqs[i] = guest_req_new(disk->guest, type, units[i] * 8, UNIT);
        if (type == VIRTIO_BLK_T_OUT) {
            memset(reqs[i]->data, units[i], UNIT);
        }
        g_assert_true(guest_blk_submit(disk->guest, 0, reqs[i]));
    }
    guest_blk_kick(disk->guest, 0);
    guest_blk_wait_all(disk->guest, 0);
    for (unsigned i = 0; i < DEPTH; i++) {
        g_assert_cmpuint(reqs[i]->status, ==, VIRTIO_BLK_S_OK);
        for (unsigned b = 0; b < UNIT; b += 256) {
            g_assert_cmpuint(reqs[i]->data[b], ==,
                             type == VIRTIO_BLK_T_OUT
                             ? units[i] : blk_pattern(units[i] * UNIT + b));
        }
    }
}

static void expect_cost(Disk *disk, const World *world, unsigned host_requests,
                        unsigned merged)
{
    BlockStats stats;

    blk_rig_stats(disk->rig, &stats);
    g_assert_cmpuint(stats.requests[BLOCK_READ] +
                     stats.requests[BLOCK_WRITE], ==, DEPTH);
    g_assert_cmpuint(stats.merged, ==, merged);
    g_assert_cmpuint(stats.engine.host_requests, ==, host_requests);
    g_assert_cmpuint(stats.engine.bursts, ==, 1);
    if (strcmp(world->engine, "threads") != 0) {
        /* one at once, then in batches that double */
        g_assert_cmpuint(stats.engine.submit_calls, ==,
                         g_bit_storage(host_requests));
    }
}

static void sequential(unsigned *units)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        units[i] = 100 + i;
    }
}

static void test_sequential_read(const World *world)
{
    unsigned units[DEPTH];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    sequential(units);
    burst(&disk, VIRTIO_BLK_T_IN, units);
    expect_cost(&disk, world, 1, DEPTH - 1);
    disk_close(&disk);
}

static void test_sequential_write(const World *world)
{
    uint8_t buf[UNIT];
    unsigned units[DEPTH];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    sequential(units);
    burst(&disk, VIRTIO_BLK_T_OUT, units);
    expect_cost(&disk, world, 1, DEPTH - 1);
    for (unsigned i = 0; i < DEPTH; i++) {
        test_image_read(disk.image, units[i] * UNIT, buf, UNIT);
        g_assert_cmpuint(buf[0], ==, units[i]);
        g_assert_cmpuint(buf[UNIT - 1], ==, units[i]);
    }
    disk_close(&disk);
}

static void test_streams(const World *world)
{
    unsigned units[DEPTH];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        units[i] = i % 4 * 200 + i / 4;
    }
    burst(&disk, VIRTIO_BLK_T_IN, units);
    expect_cost(&disk, world, 4, DEPTH - 4);
    disk_close(&disk);
}

/* No neighbours: one submit call all the same. */
static void test_random(const World *world)
{
    unsigned units[DEPTH];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        units[i] = i * 37 % 101 * 3;
    }
    burst(&disk, VIRTIO_BLK_T_IN, units);
    expect_cost(&disk, world, DEPTH, 0);
    disk_close(&disk);
}

static void test_off(const World *world)
{
    BlkRigConf conf = { .no_merging = true };
    unsigned units[DEPTH];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, &conf, NULL)) {
        return;
    }
    sequential(units);
    burst(&disk, VIRTIO_BLK_T_IN, units);
    expect_cost(&disk, world, DEPTH, 0);
    disk_close(&disk);
}

int main(int argc, char **argv)
{
    if (!test_need_disk()) {
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    worlds_add("virtio-blk-merge", "sequential-read", test_sequential_read);
    worlds_add("virtio-blk-merge", "sequential-write", test_sequential_write);
    worlds_add("virtio-blk-merge", "streams", test_streams);
    worlds_add("virtio-blk-merge", "random", test_random);
    worlds_add("virtio-blk-merge", "off", test_off);
    return g_test_run();
}
