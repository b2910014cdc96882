/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DISCARD and WRITE_ZEROES down to the blocks of a real file.
 */
#include "engines.h"

#include <endian.h>

#define IMAGE_BYTES (4 << 20)

static GuestReq *new_segment(Disk *disk, uint32_t type, uint64_t sector,
                             uint32_t sectors, uint32_t flags)
{
    GuestReq *req = guest_req_new(disk->guest, type, 0, 16);
    struct virtio_blk_discard_write_zeroes *seg = (void *)req->data;

    seg->sector = htole64(sector);
    seg->num_sectors = htole32(sectors);
    seg->flags = htole32(flags);
    return req;
}

static void expect_bytes(Disk *disk, int64_t offset, size_t bytes, bool zero)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    test_image_read(disk->image, offset, buf, bytes);
    for (size_t i = 0; i < bytes; i++) {
        g_assert_cmpuint(buf[i], ==, zero ? 0 : blk_pattern(offset + i));
    }
}

static void test_discard(const World *world)
{
    GuestReq *req;
    int64_t before;
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, ",discard=unmap", NULL, NULL)) {
        return;
    }
    g_assert_true(guest_blk_has(disk.guest, VIRTIO_BLK_F_DISCARD));
    before = test_image_allocated(disk.image);
    req = new_segment(&disk, VIRTIO_BLK_T_DISCARD, 2048, 2048, 0);
    g_assert_cmpuint(guest_blk_run(disk.guest, 0, req), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(req->used_len, ==, 1);
    g_assert_cmpint(test_image_allocated(disk.image), ==, before - (1 << 20));
    expect_bytes(&disk, 0, 1 << 20, false);
    expect_bytes(&disk, 2 << 20, 2 << 20, false);
    disk_close(&disk);
}

static void test_discard_ignored(const World *world)
{
    GuestReq *req;
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, ",discard=ignore", NULL,
                   NULL)) {
        return;
    }
    g_assert_false(guest_blk_has(disk.guest, VIRTIO_BLK_F_DISCARD));
    req = new_segment(&disk, VIRTIO_BLK_T_DISCARD, 0, 2048, 0);
    g_assert_cmpuint(guest_blk_run(disk.guest, 0, req), ==,
                     VIRTIO_BLK_S_UNSUPP);
    expect_bytes(&disk, 0, IMAGE_BYTES, false);
    disk_close(&disk);
}

static void test_write_zeroes(const World *world)
{
    GuestReq *req;
    int64_t before;
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, ",discard=unmap", NULL, NULL)) {
        return;
    }
    g_assert_true(guest_blk_has(disk.guest, VIRTIO_BLK_F_WRITE_ZEROES));
    before = test_image_allocated(disk.image);
    req = new_segment(&disk, VIRTIO_BLK_T_WRITE_ZEROES, 2048, 2048, 1);
    g_assert_cmpuint(guest_blk_run(disk.guest, 0, req), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpint(test_image_allocated(disk.image), <, before);
    expect_bytes(&disk, 1 << 20, 1 << 20, true);
    /* an odd range, which no block of the file system matches */
    req = new_segment(&disk, VIRTIO_BLK_T_WRITE_ZEROES, 4097, 3, 0);
    g_assert_cmpuint(guest_blk_run(disk.guest, 0, req), ==, VIRTIO_BLK_S_OK);
    expect_bytes(&disk, 4097 * 512, 3 * 512, true);
    expect_bytes(&disk, 4096 * 512, 512, false);
    expect_bytes(&disk, 4100 * 512, 65536, false);
    disk_close(&disk);
}

/* One segment of several is wrong: none is done. */
static void test_all_or_nothing(const World *world)
{
    struct virtio_blk_discard_write_zeroes *segs;
    GuestReq *req;
    Disk disk;

    if (!disk_open(&disk, world, IMAGE_BYTES, ",discard=unmap", NULL, NULL)) {
        return;
    }
    req = guest_req_new(disk.guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32);
    segs = (void *)req->data;
    segs[0].num_sectors = htole32(8);
    segs[1].sector = htole64(IMAGE_BYTES / 512);
    segs[1].num_sectors = htole32(1);
    g_assert_cmpuint(guest_blk_run(disk.guest, 0, req), ==,
                     VIRTIO_BLK_S_IOERR);
    expect_bytes(&disk, 0, IMAGE_BYTES, false);
    disk_close(&disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    worlds_add("virtio-blk-discard", "discard", test_discard);
    worlds_add("virtio-blk-discard", "ignored", test_discard_ignored);
    worlds_add("virtio-blk-discard", "write-zeroes", test_write_zeroes);
    worlds_add("virtio-blk-discard", "all-or-nothing", test_all_or_nothing);
    return g_test_run();
}
