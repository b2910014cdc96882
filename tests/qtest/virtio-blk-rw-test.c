/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data goes to the image and comes back, on every engine, in every layout.
 */
#include "engines.h"

#include <string.h>

#define IMAGE_BYTES (4 << 20)
#define DEPTH 32
#define AREA_BYTES (IMAGE_BYTES / DEPTH)

static void expect_pattern(const GuestReq *req)
{
    g_assert_cmpuint(req->status, ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(req->used_len, ==, req->bytes + 1);
    for (size_t i = 0; i < req->bytes; i++) {
        g_assert_cmpuint(req->data[i], ==, blk_pattern(req->sector * 512 + i));
    }
}

/* The whole image, in requests of one size, several in flight. */
static void read_all(Disk *disk, size_t bytes, GuestLayout layout,
                     unsigned segments)
{
    GuestReq *reqs[DEPTH];
    uint64_t sector = 0;

    for (unsigned i = 0; i < DEPTH; i++) {
        reqs[i] = guest_req_new(disk->guest, VIRTIO_BLK_T_IN, 0, bytes);
        reqs[i]->layout = layout;
        reqs[i]->n_segments = segments;
        reqs[i]->indirect = true;
    }
    while (sector < IMAGE_BYTES / 512) {
        unsigned n;

        for (n = 0; n < DEPTH && sector < IMAGE_BYTES / 512; n++) {
            reqs[n]->sector = sector;
            sector += bytes / 512;
            g_assert_true(guest_blk_submit(disk->guest, 0, reqs[n]));
        }
        guest_blk_kick(disk->guest, 0);
        guest_blk_wait_all(disk->guest, 0);
        while (n-- > 0) {
            expect_pattern(reqs[n]);
        }
    }
}

static void test_read(const World *world)
{
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    read_all(&disk, 512, GUEST_LAYOUT_STANDARD, 1);
    read_all(&disk, 4096, GUEST_LAYOUT_JOINED, 2);
    read_all(&disk, 65536, GUEST_LAYOUT_STANDARD, 16);
    read_all(&disk, 16384, GUEST_LAYOUT_SPLIT, 5);
    disk_close(&disk);
}

static uint64_t count_fixed(const Disk *disk)
{
    BlockStats stats;

    blk_rig_stats(disk->rig, &stats);
    return stats.engine.fixed;
}

/* register-buffers=on: the kernel takes hold of the guest's memory when it is
 * first used, and lets go of it when the queue stops. */
static void test_registered(const World *world)
{
    BlkRigConf conf = { .no_merging = true, .register_buffers = true };
    bool uring = strcmp(world->engine, "io_uring") == 0;
    uint64_t before, expected = IMAGE_BYTES / 4096;
    uint32_t base;
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, &conf, NULL)) {
        return;
    }
    read_all(&disk, 4096, GUEST_LAYOUT_STANDARD, 1);
    before = count_fixed(&disk);
    read_all(&disk, 4096, GUEST_LAYOUT_STANDARD, 1);
    g_assert_cmpuint(count_fixed(&disk) - before, ==, uring ? expected : 0);

    base = guest_blk_stop_queue(disk.guest, 0);
    guest_blk_resume_queue(disk.guest, 0, base);
    read_all(&disk, 4096, GUEST_LAYOUT_STANDARD, 1);
    before = count_fixed(&disk);
    read_all(&disk, 4096, GUEST_LAYOUT_STANDARD, 1);
    g_assert_cmpuint(count_fixed(&disk) - before, ==, uring ? expected : 0);
    disk_close(&disk);
}

/* What a random request in its own area of the disk shall do. */
static void randomize(GuestReq *req, unsigned area)
{
    unsigned sectors = g_test_rand_int_range(1, AREA_BYTES / 512 / 2);
    unsigned start = g_test_rand_int_range(0, AREA_BYTES / 512 - sectors);

    req->type = g_test_rand_bit() ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
    req->writes_guest = req->type == VIRTIO_BLK_T_IN;
    req->sector = area * (AREA_BYTES / 512) + start;
    req->bytes = sectors * 512;
    req->layout = g_test_rand_int_range(0, GUEST_LAYOUT__COUNT);
    req->n_segments = g_test_rand_int_range(1, 20);
    req->indirect = true;
    memset(req->data, g_test_rand_int(), req->bytes);
}

static void run_batch(Disk *disk, GuestReq *reqs[DEPTH], uint8_t *model)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        randomize(reqs[i], i);
        g_assert_true(guest_blk_submit(disk->guest, 0, reqs[i]));
    }
    guest_blk_kick(disk->guest, 0);
    guest_blk_wait_all(disk->guest, 0);
    for (unsigned i = 0; i < DEPTH; i++) {
        uint8_t *where = model + reqs[i]->sector * 512;

        g_assert_cmpuint(reqs[i]->status, ==, VIRTIO_BLK_S_OK);
        if (reqs[i]->type == VIRTIO_BLK_T_OUT) {
            memcpy(where, reqs[i]->data, reqs[i]->bytes);
        }
        g_assert_cmpmem(reqs[i]->data, reqs[i]->bytes, where, reqs[i]->bytes);
    }
}

static void test_random(const World *world)
{
    g_autofree uint8_t *model = g_malloc(IMAGE_BYTES);
    g_autofree uint8_t *final = g_malloc(IMAGE_BYTES);
    GuestReq *reqs[DEPTH];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    test_image_read(disk.image, 0, model, IMAGE_BYTES);
    for (unsigned i = 0; i < DEPTH; i++) {
        reqs[i] = guest_req_new(disk.guest, VIRTIO_BLK_T_IN, 0, AREA_BYTES);
    }
    for (unsigned i = 0; i < 20; i++) {
        run_batch(&disk, reqs, model);
    }
    test_image_read(disk.image, 0, final, IMAGE_BYTES);
    g_assert_cmpmem(final, IMAGE_BYTES, model, IMAGE_BYTES);
    disk_close(&disk);
}

static void test_block_size(const World *world)
{
    BlkRigConf conf = { .block_size = 4096 };
    uint8_t buf[8192];
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, &conf, NULL)) {
        return;
    }
    memset(buf, 0x5a, sizeof(buf));
    g_assert_cmpuint(guest_blk_write(disk.guest, 8, buf, 4096), ==,
                     VIRTIO_BLK_S_OK);
    g_assert_cmpuint(guest_blk_write(disk.guest, 1, buf, 4096), ==,
                     VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint(guest_blk_write(disk.guest, 8, buf, 512), ==,
                     VIRTIO_BLK_S_IOERR);
    test_image_read(disk.image, 0, buf, 8192);
    g_assert_cmpuint(buf[4095], ==, blk_pattern(4095));
    g_assert_cmpuint(buf[4096], ==, 0x5a);
    disk_close(&disk);
}

/* Nothing that a read-only export is asked reaches the image. */
static void test_read_only(const World *world)
{
    BlkRigConf conf = { .read_only = true };
    uint8_t buf[512] = { 1 };
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, ",read-only=on", &conf, NULL)) {
        return;
    }
    g_assert_cmpuint(guest_blk_write(disk.guest, 0, buf, 512), ==,
                     VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint(guest_blk_read(disk.guest, 0, buf, 512), ==,
                     VIRTIO_BLK_S_OK);
    g_assert_cmpuint(buf[0], ==, blk_pattern(0));
    disk_close(&disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    worlds_add("virtio-blk", "read", test_read);
    worlds_add("virtio-blk", "registered", test_registered);
    worlds_add("virtio-blk", "random", test_random);
    worlds_add("virtio-blk", "block-size", test_block_size);
    worlds_add("virtio-blk", "read-only", test_read_only);
    return g_test_run();
}
