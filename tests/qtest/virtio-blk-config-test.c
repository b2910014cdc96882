/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Feature bits and config space, and what the device is made from.
 */
#include "blk-rig.h"
#include "guest-blk.h"
#include "ram-disk.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DISK_BYTES (8 << 20)
#define BIT(n) (UINT64_C(1) << (n))

typedef struct Device {
    RamDisk *disk;
    BlkRig *rig;
    GuestBlk *guest;
} Device;

static void device_new(Device *d, BlkRigConf conf)
{
    g_autoptr(GError) error = NULL;

    d->disk = ram_disk_new(DISK_BYTES);
    conf.bs = ram_disk_node(d->disk);
    d->rig = blk_rig_new(&conf, &error);
    g_assert_no_error(error);
    d->guest = guest_blk_new_direct(blk_rig_device(d->rig),
                                    blk_rig_pump(d->rig),
                                    &(GuestBlkConf) { 0 });
}

static void device_free(Device *d)
{
    guest_blk_free(d->guest);
    blk_rig_free(d->rig);
    ram_disk_free(d->disk);
}

static void test_features(void)
{
    uint64_t always = BIT(VIRTIO_F_VERSION_1) |
                      BIT(VIRTIO_RING_F_INDIRECT_DESC) |
                      BIT(VIRTIO_RING_F_EVENT_IDX) |
                      BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_BLK_F_SEG_MAX) |
                      BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
                      BIT(VIRTIO_BLK_F_FLUSH);
    uint64_t writable = BIT(VIRTIO_BLK_F_DISCARD) |
                        BIT(VIRTIO_BLK_F_WRITE_ZEROES);
    Device d;

    device_new(&d, (BlkRigConf) { 0 });
    g_assert_cmphex(guest_blk_offered(d.guest), ==,
                    always | writable | BIT(VIRTIO_BLK_F_CONFIG_WCE));
    device_free(&d);
    device_new(&d, (BlkRigConf) { .read_only = true, .no_config_wce = true });
    g_assert_cmphex(guest_blk_offered(d.guest), ==,
                    always | BIT(VIRTIO_BLK_F_RO));
    device_free(&d);
    device_new(&d, (BlkRigConf) { .num_queues = 2 });
    g_assert_cmphex(guest_blk_offered(d.guest) & BIT(VIRTIO_BLK_F_MQ), !=, 0);
    device_free(&d);
}

static void test_fields(void)
{
    struct virtio_blk_config config;
    Device d;

    device_new(&d, (BlkRigConf) { .num_queues = 3 });
    guest_blk_read_config(d.guest, &config);
    g_assert_cmpuint(le64toh(config.capacity), ==, DISK_BYTES / 512);
    g_assert_cmpuint(le32toh(config.size_max), ==, 0);
    g_assert_cmpuint(le32toh(config.seg_max), ==, 126);
    g_assert_cmpuint(le32toh(config.blk_size), ==, 512);
    g_assert_cmpuint(config.physical_block_exp, ==, 3);
    g_assert_cmpuint(config.alignment_offset, ==, 0);
    g_assert_cmpuint(le32toh(config.opt_io_size), ==, 65536 / 512);
    g_assert_cmpuint(config.wce, ==, 1);
    g_assert_cmpuint(le16toh(config.num_queues), ==, 3);
    g_assert_cmpuint(le32toh(config.max_discard_sectors), ==, 1 << 21);
    g_assert_cmpuint(le32toh(config.max_discard_seg), ==, 32);
    g_assert_cmpuint(le32toh(config.discard_sector_alignment), ==, 8);
    g_assert_cmpuint(le32toh(config.max_write_zeroes_sectors), ==, 1 << 21);
    g_assert_cmpuint(le32toh(config.max_write_zeroes_seg), ==, 32);
    g_assert_cmpuint(config.write_zeroes_may_unmap, ==, 1);
    g_assert_cmpuint(config.unused, ==, 0);
    device_free(&d);

    device_new(&d, (BlkRigConf) { .block_size = 4096 });
    guest_blk_read_config(d.guest, &config);
    g_assert_cmpuint(le64toh(config.capacity), ==, DISK_BYTES / 512);
    g_assert_cmpuint(le32toh(config.blk_size), ==, 4096);
    g_assert_cmpuint(config.physical_block_exp, ==, 0);
    g_assert_cmpuint(le32toh(config.opt_io_size), ==, 16);
    device_free(&d);
}

/* A front end may know more fields than we do, and read anywhere. */
static void test_read_bounds(void)
{
    uint8_t buf[256], whole[256];
    Device d;

    device_new(&d, (BlkRigConf) { 0 });
    memset(whole, 0xff, sizeof(whole));
    guest_blk_get_config(d.guest, 0, whole, sizeof(whole));
    for (unsigned i = sizeof(struct virtio_blk_config); i < 256; i++) {
        g_assert_cmpuint(whole[i], ==, 0);
    }
    guest_blk_get_config(d.guest, 7, buf, 100);
    g_assert_cmpmem(buf, 100, whole + 7, 100);
    guest_blk_get_config(d.guest, 250, buf, 200);
    g_assert_cmpuint(buf[0], ==, 0);
    guest_blk_get_config(d.guest, UINT32_MAX, buf, 200);
    g_assert_cmpuint(buf[199], ==, 0);
    device_free(&d);
}

static bool set(Device *d, uint32_t offset, uint8_t value, uint32_t bytes)
{
    uint8_t buf[8] = { value };

    return guest_blk_set_config(d->guest, offset, buf, bytes);
}

static void test_write(void)
{
    uint32_t wce = G_STRUCT_OFFSET(struct virtio_blk_config, wce);
    struct virtio_blk_config before, after;
    Device d;

    device_new(&d, (BlkRigConf) { 0 });
    guest_blk_read_config(d.guest, &before);
    g_assert_false(set(&d, 0, 1, 8));
    g_assert_false(set(&d, wce, 2, 1));
    g_assert_false(set(&d, wce, 1, 2));
    g_assert_false(set(&d, wce, 1, 0));
    g_assert_false(set(&d, wce + 1, 1, 1));
    g_assert_false(set(&d, UINT32_MAX, 1, 1));
    guest_blk_read_config(d.guest, &after);
    g_assert_cmpmem(&after, sizeof(after), &before, sizeof(before));
    g_assert_true(set(&d, wce, 0, 1));
    guest_blk_read_config(d.guest, &after);
    g_assert_cmpuint(after.wce, ==, 0);
    guest_blk_reset(d.guest);
    guest_blk_read_config(d.guest, &after);
    g_assert_cmpuint(after.wce, ==, 1);
    device_free(&d);

    device_new(&d, (BlkRigConf) { .no_config_wce = true });
    g_assert_false(set(&d, wce, 0, 1));
    device_free(&d);
}

/* 5.2.5.2: CONFIG_WCE without FLUSH begins with write-through. */
static void keep(Device *d, uint64_t *word)
{
    VirtIODevice *dev = blk_rig_device(d->rig);

    dev->ops->keep_state(dev, word);
}

/* What a guest told the process before this one counts. */
static void test_wce_is_kept(void)
{
    uint32_t wce = G_STRUCT_OFFSET(struct virtio_blk_config, wce);
    struct virtio_blk_config config;
    uint64_t word = 0;
    Device d;

    device_new(&d, (BlkRigConf) { 0 });
    keep(&d, &word);
    g_assert_cmpuint(word, !=, 0);
    g_assert_true(set(&d, wce, 0, 1));
    device_free(&d);

    device_new(&d, (BlkRigConf) { 0 });
    keep(&d, &word);
    guest_blk_read_config(d.guest, &config);
    g_assert_cmpuint(config.wce, ==, 0);
    g_assert_true(set(&d, wce, 1, 1));
    keep(&d, NULL);
    g_assert_true(set(&d, wce, 0, 1)); /* nobody writes to the word now */
    device_free(&d);

    device_new(&d, (BlkRigConf) { 0 });
    keep(&d, &word);
    guest_blk_read_config(d.guest, &config);
    g_assert_cmpuint(config.wce, ==, 1);
    keep(&d, NULL);
    device_free(&d);
}

static void test_wce_without_flush(void)
{
    struct virtio_blk_config config;
    Device d;

    device_new(&d, (BlkRigConf) { 0 });
    guest_blk_set_features(d.guest, guest_blk_offered(d.guest) &
                                    ~BIT(VIRTIO_BLK_F_FLUSH));
    guest_blk_read_config(d.guest, &config);
    g_assert_cmpuint(config.wce, ==, 0);
    device_free(&d);
}

/* Whether a write reaches the disk as one that is stable at once. */
static bool write_is_fua(Device *d)
{
    uint8_t buf[512] = { 0 };

    ram_disk_log_clear(d->disk);
    guest_blk_start(d->guest);
    g_assert_cmpuint(guest_blk_write(d->guest, 0, buf, sizeof(buf)), ==,
                     VIRTIO_BLK_S_OK);
    guest_blk_stop_queue(d->guest, 0);
    g_assert_cmpuint(ram_disk_log_length(d->disk), ==, 1);
    return ram_disk_log(d->disk, 0)->flags & BLOCK_REQ_FUA;
}

/*
 * A front end may show its guest the copy of config space it made before the
 * reset: the cache stays off until somebody has read that it is on again.
 */
static void test_reset_of_stale_copy(void)
{
    uint32_t wce = G_STRUCT_OFFSET(struct virtio_blk_config, wce);
    struct virtio_blk_config config;
    Device d;

    device_new(&d, (BlkRigConf) { 0 });
    g_assert_false(write_is_fua(&d));
    g_assert_true(set(&d, wce, 0, 1));
    g_assert_true(write_is_fua(&d));
    guest_blk_reset(d.guest);
    g_assert_true(write_is_fua(&d));
    guest_blk_reset(d.guest);
    guest_blk_get_config(d.guest, 0, &config, wce);
    g_assert_true(write_is_fua(&d)); /* read, but not that byte */
    guest_blk_read_config(d.guest, &config);
    g_assert_cmpuint(config.wce, ==, 1);
    g_assert_false(write_is_fua(&d));
    device_free(&d);
}

static void expect_refused(const VirtIOBlockConf *change, const char *word)
{
    g_autoptr(GError) error = NULL;
    RamDisk *disk = ram_disk_new(DISK_BYTES);
    BlockBackendOptions options = { .writable = true, .block_size = 512 };
    BlockBackend *blk = blk_new(ram_disk_node(disk), &options, &error);
    AioContext *ctx = aio_context_current();

    g_assert_no_error(error);
    g_assert_null(virtio_blk_new(blk, &(VirtIOBlockConf) {
        .name = "export 'e0'",
        .num_queues = change->num_queues,
        .logical_block_size = change->logical_block_size,
        .serial = change->serial,
        .contexts = &ctx,
        .n_contexts = 1,
    }, &error));
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, "export 'e0'"));
    g_assert_nonnull(strstr(error->message, word));
    blk_free(blk);
    ram_disk_free(disk);
}

static void test_bad_conf(void)
{
    VirtIOBlockConf conf = { .num_queues = 0, .logical_block_size = 512 };

    expect_refused(&conf, "num-queues");
    conf.num_queues = VIRTIO_BLK_MAX_QUEUES + 1;
    expect_refused(&conf, "num-queues");
    conf.num_queues = 1;
    conf.logical_block_size = 256;
    expect_refused(&conf, "logical-block-size");
    conf.logical_block_size = 513;
    expect_refused(&conf, "logical-block-size");
    conf.logical_block_size = 131072;
    expect_refused(&conf, "logical-block-size");
    conf.logical_block_size = 512;
    conf.serial = "123456789012345678901";
    expect_refused(&conf, "serial");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-blk-config/features", test_features);
    g_test_add_func("/virtio-blk-config/fields", test_fields);
    g_test_add_func("/virtio-blk-config/read-bounds", test_read_bounds);
    g_test_add_func("/virtio-blk-config/write", test_write);
    g_test_add_func("/virtio-blk-config/wce-is-kept", test_wce_is_kept);
    g_test_add_func("/virtio-blk-config/wce-without-flush",
                    test_wce_without_flush);
    g_test_add_func("/virtio-blk-config/reset-of-stale-copy",
                    test_reset_of_stale_copy);
    g_test_add_func("/virtio-blk-config/bad-conf", test_bad_conf);
    return g_test_run();
}
