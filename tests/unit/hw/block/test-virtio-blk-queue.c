/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's queues from ring to node and back: a guest in memory, a disk
 * in memory, one thread. What is asserted is what reached the disk, in which
 * order, and what came back to the guest.
 */
#include "blk-rig.h"
#include "guest-blk.h"
#include "ram-disk.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DISK_BYTES (4 << 20)
#define UNIT 4096
#define UNIT_SECTORS 8

typedef struct Fixture {
    RamDisk *disk;
    BlkRig *rig;
    GuestBlk *guest;
} Fixture;

static void setup_conf(Fixture *f, BlkRigConf *conf, GuestBlkConf *guest_conf)
{
    g_autoptr(GError) error = NULL;

    f->disk = ram_disk_new(DISK_BYTES);
    for (unsigned i = 0; i < DISK_BYTES; i++) {
        ram_disk_data(f->disk)[i] = blk_pattern(i);
    }
    conf->bs = ram_disk_node(f->disk);
    conf->params.poll_max_ns = -1;
    f->rig = blk_rig_new(conf, &error);
    g_assert_no_error(error);
    f->guest = guest_blk_new_direct(blk_rig_device(f->rig),
                                    blk_rig_pump(f->rig), guest_conf);
    guest_blk_start(f->guest);
}

/* Bits of a test's data pointer. */
enum { PACKED = 1, NO_EVENT_IDX = 2, NO_INDIRECT = 4 };

static void setup(Fixture *f, gconstpointer data)
{
    unsigned flags = GPOINTER_TO_UINT(data);
    GuestBlkConf guest_conf = {
        .packed = flags & PACKED,
        .no_event_idx = flags & NO_EVENT_IDX,
        .no_indirect = flags & NO_INDIRECT,
    };

    setup_conf(f, &(BlkRigConf) { .serial = "abc" }, &guest_conf);
}

static void teardown(Fixture *f, gconstpointer data)
{
    guest_blk_free(f->guest);
    blk_rig_free(f->rig);
    ram_disk_free(f->disk);
}

static void restart(Fixture *f, BlkRigConf conf, GuestBlkConf guest_conf)
{
    teardown(f, NULL);
    setup_conf(f, &conf, &guest_conf);
}

static GuestReq *add(Fixture *f, uint32_t type, unsigned unit, unsigned units)
{
    GuestReq *req = guest_req_new(f->guest, type, unit * UNIT_SECTORS,
                                  units * UNIT);

    if (type == VIRTIO_BLK_T_OUT) {
        memset(req->data, 0x40 + unit % 64, req->bytes);
    }
    g_assert_true(guest_blk_submit(f->guest, 0, req));
    return req;
}

static void expect_read(const GuestReq *req)
{
    int64_t offset = req->sector * 512;

    g_assert_true(req->done);
    g_assert_cmpuint(req->status, ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(req->used_len, ==, req->bytes + 1);
    for (size_t i = 0; i < req->bytes; i++) {
        g_assert_cmpuint(req->data[i], ==, blk_pattern(offset + i));
    }
}

static void expect_log(const Fixture *f, unsigned i, BlockOp op,
                       int64_t offset, int64_t bytes)
{
    const RamDiskEntry *entry = ram_disk_log(f->disk, i);

    g_assert_cmpint(entry->op, ==, op);
    g_assert_cmpint(entry->offset, ==, offset);
    g_assert_cmpint(entry->bytes, ==, bytes);
}

static BlockStats stats_of(Fixture *f)
{
    BlockStats stats;

    blk_rig_stats(f->rig, &stats);
    return stats;
}

static void test_layouts(Fixture *f, gconstpointer data)
{
    bool indirect = !(GPOINTER_TO_UINT(data) & NO_INDIRECT);

    for (unsigned i = 0; i < GUEST_LAYOUT__COUNT * 2; i++) {
        GuestReq *out = guest_req_new(f->guest, VIRTIO_BLK_T_OUT, i * 100,
                                      3 * 512);
        GuestReq *in = guest_req_new(f->guest, VIRTIO_BLK_T_IN, i * 100,
                                     3 * 512);

        out->layout = in->layout = i / 2;
        out->indirect = in->indirect = indirect && i % 2;
        out->n_segments = in->n_segments = 1 + i;
        memset(out->data, 0x70 + i, out->bytes);
        g_assert_cmpuint(guest_blk_run(f->guest, 0, out), ==, 0);
        g_assert_cmpuint(out->used_len, ==, 1);
        g_assert_cmpuint(guest_blk_run(f->guest, 0, in), ==, 0);
        g_assert_cmpuint(in->used_len, ==, in->bytes + 1);
        g_assert_cmpmem(in->data, in->bytes, out->data, out->bytes);
        g_assert_cmpmem(ram_disk_data(f->disk) + i * 51200, out->bytes,
                        out->data, out->bytes);
    }
}

static void test_burst_merges(Fixture *f, gconstpointer data)
{
    GuestReq *reqs[32];
    BlockStats stats;

    for (unsigned i = 0; i < 32; i++) {
        reqs[i] = add(f, VIRTIO_BLK_T_IN, i, 1);
    }
    guest_blk_take_calls(f->guest, 0);
    guest_blk_kick(f->guest, 0);
    guest_blk_wait_all(f->guest, 0);
    for (unsigned i = 0; i < 32; i++) {
        expect_read(reqs[i]);
    }
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 1);
    expect_log(f, 0, BLOCK_READ, 0, 32 * UNIT);
    g_assert_cmpuint(guest_blk_take_calls(f->guest, 0), ==, 1);
    stats = stats_of(f);
    g_assert_cmpuint(stats.requests[BLOCK_READ], ==, 32);
    g_assert_cmpuint(stats.bytes[BLOCK_READ], ==, 32 * UNIT);
    g_assert_cmpuint(stats.merged, ==, 31);
    g_assert_cmpuint(stats.errors, ==, 0);
    g_assert_cmpuint(stats.notifications, ==, 1);
    g_assert_cmpuint(stats.kicks, ==, 1);
}

static void test_merging_off(Fixture *f, gconstpointer data)
{
    restart(f, (BlkRigConf) { .no_merging = true }, (GuestBlkConf) { 0 });
    for (unsigned i = 0; i < 8; i++) {
        add(f, VIRTIO_BLK_T_IN, i, 1);
    }
    guest_blk_kick(f->guest, 0);
    guest_blk_wait_all(f->guest, 0);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 8);
    g_assert_cmpuint(stats_of(f).merged, ==, 0);
}

static void test_one_bad_sector(Fixture *f, gconstpointer data)
{
    BlockOp op = GPOINTER_TO_UINT(data);
    uint32_t type = op == BLOCK_READ ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
    GuestReq *reqs[8];
    BlockStats stats;

    restart(f, (BlkRigConf) { 0 }, (GuestBlkConf) { 0 });
    ram_disk_fail(f->disk, op, 13 * UNIT, -EIO);
    for (unsigned i = 0; i < 8; i++) {
        reqs[i] = add(f, type, 10 + i, 1);
    }
    guest_blk_kick(f->guest, 0);
    guest_blk_wait_all(f->guest, 0);
    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmpuint(reqs[i]->status, ==,
                         i == 3 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
        if (op == BLOCK_WRITE && i != 3) {
            g_assert_cmpmem(ram_disk_data(f->disk) + (10 + i) * UNIT, UNIT,
                            reqs[i]->data, UNIT);
        }
    }
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 1 + 8);
    stats = stats_of(f);
    g_assert_cmpuint(stats.requests[op], ==, 8);
    g_assert_cmpuint(stats.bytes[op], ==, 8 * UNIT);
    g_assert_cmpuint(stats.errors, ==, 1);
    g_assert_cmpuint(stats.merged, ==, 0);
}

/* A flush carries what is buffered in front of it, and does not wait. */
static void test_flush_order(Fixture *f, gconstpointer data)
{
    GuestReq *flush;

    add(f, VIRTIO_BLK_T_OUT, 1, 1);
    add(f, VIRTIO_BLK_T_OUT, 2, 1);
    flush = guest_req_new(f->guest, VIRTIO_BLK_T_FLUSH, 0, 0);
    g_assert_true(guest_blk_submit(f->guest, 0, flush));
    add(f, VIRTIO_BLK_T_OUT, 3, 1);
    guest_blk_kick(f->guest, 0);
    guest_blk_wait_all(f->guest, 0);
    g_assert_cmpuint(flush->status, ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(flush->used_len, ==, 1);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 3);
    expect_log(f, 0, BLOCK_WRITE, UNIT, 2 * UNIT);
    g_assert_cmpint(ram_disk_log(f->disk, 1)->op, ==, BLOCK_FLUSH);
    expect_log(f, 2, BLOCK_WRITE, 3 * UNIT, UNIT);
}

static void set_wce(Fixture *f, uint8_t value)
{
    g_assert_true(guest_blk_set_config(
        f->guest, G_STRUCT_OFFSET(struct virtio_blk_config, wce), &value, 1));
}

static bool write_is_fua(Fixture *f)
{
    ram_disk_log_clear(f->disk);
    add(f, VIRTIO_BLK_T_OUT, 5, 1);
    guest_blk_kick(f->guest, 0);
    guest_blk_wait_all(f->guest, 0);
    return ram_disk_log(f->disk, 0)->flags & BLOCK_REQ_FUA;
}

static void test_write_cache(Fixture *f, gconstpointer data)
{
    uint64_t all = guest_blk_features(f->guest);
    uint64_t flush = UINT64_C(1) << VIRTIO_BLK_F_FLUSH;
    uint64_t wce = UINT64_C(1) << VIRTIO_BLK_F_CONFIG_WCE;
    struct virtio_blk_config config;

    g_assert_false(write_is_fua(f));
    set_wce(f, 0);
    g_assert_true(write_is_fua(f));
    set_wce(f, 1);
    g_assert_false(write_is_fua(f));
    set_wce(f, 0);
    guest_blk_reset(f->guest);
    guest_blk_start(f->guest);
    g_assert_true(write_is_fua(f));
    guest_blk_read_config(f->guest, &config); /* now it counts */
    g_assert_false(write_is_fua(f));

    guest_blk_set_features(f->guest, all & ~wce);
    g_assert_false(write_is_fua(f));
    guest_blk_set_features(f->guest, all & ~wce & ~flush);
    g_assert_true(write_is_fua(f));
    guest_blk_set_features(f->guest, all & ~flush);
    g_assert_true(write_is_fua(f));
}

static void test_writethrough(Fixture *f, gconstpointer data)
{
    struct virtio_blk_config config;

    restart(f, (BlkRigConf) { .writethrough = true }, (GuestBlkConf) { 0 });
    guest_blk_read_config(f->guest, &config);
    g_assert_cmpuint(config.wce, ==, 0);
    g_assert_true(write_is_fua(f));
    set_wce(f, 1);
    g_assert_true(write_is_fua(f));
}

static GuestReq *new_segments(Fixture *f, uint32_t type, unsigned n)
{
    GuestReq *req = guest_req_new(f->guest, type, 0, n * 16);
    struct virtio_blk_discard_write_zeroes *segs = (void *)req->data;

    for (unsigned i = 0; i < n; i++) {
        segs[i].sector = htole64(i * 2 * UNIT_SECTORS);
        segs[i].num_sectors = htole32(UNIT_SECTORS);
    }
    return req;
}

static void test_segments(Fixture *f, gconstpointer data)
{
    GuestReq *req = new_segments(f, VIRTIO_BLK_T_WRITE_ZEROES, 3);
    BlockStats stats;

    ram_disk_data(f->disk)[UNIT] = 1;
    g_assert_cmpuint(guest_blk_run(f->guest, 0, req), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(req->used_len, ==, 1);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        expect_log(f, i, BLOCK_WRITE_ZEROES, i * 2 * UNIT, UNIT);
        g_assert_cmpuint(ram_disk_data(f->disk)[i * 2 * UNIT + 99], ==, 0);
    }
    g_assert_cmpuint(ram_disk_data(f->disk)[UNIT], ==, 1);
    stats = stats_of(f);
    g_assert_cmpuint(stats.requests[BLOCK_WRITE_ZEROES], ==, 1);
    g_assert_cmpuint(stats.bytes[BLOCK_WRITE_ZEROES], ==, 3 * UNIT);
}

static void test_segment_fails(Fixture *f, gconstpointer data)
{
    GuestReq *req = new_segments(f, VIRTIO_BLK_T_DISCARD, 4);

    ram_disk_fail(f->disk, BLOCK_DISCARD, 2 * UNIT, -EIO);
    g_assert_cmpuint(guest_blk_run(f->guest, 0, req), ==,
                     VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 2);
}

/* More chains than one pass takes. */
static void test_budget(Fixture *f, gconstpointer data)
{
    GuestReq *reqs[700];

    restart(f, (BlkRigConf) { 0 }, (GuestBlkConf) { .queue_size = 1024 });
    for (unsigned i = 0; i < 700; i++) {
        reqs[i] = guest_req_new(f->guest, VIRTIO_BLK_T_IN, i * 3, 512);
        reqs[i]->indirect = true;
        g_assert_true(guest_blk_submit(f->guest, 0, reqs[i]));
    }
    guest_blk_kick(f->guest, 0);
    guest_blk_wait_all(f->guest, 0);
    for (unsigned i = 0; i < 700; i++) {
        expect_read(reqs[i]);
    }
}

/* Between its two halves, a queue that floods leaves room for another. */
static void test_budget_is_fair(Fixture *f, gconstpointer data)
{
    GuestReq *last = NULL, *other;

    restart(f, (BlkRigConf) { .num_queues = 2, .no_merging = true },
            (GuestBlkConf) { .num_queues = 2, .queue_size = 1024 });
    for (unsigned i = 0; i < 1000; i++) {
        last = guest_req_new(f->guest, VIRTIO_BLK_T_IN, i, 512);
        last->indirect = true;
        g_assert_true(guest_blk_submit(f->guest, 0, last));
    }
    other = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 5000, 512);
    g_assert_true(guest_blk_submit(f->guest, 1, other));
    guest_blk_kick(f->guest, 0);
    guest_blk_kick(f->guest, 1);
    while (ram_disk_log_length(f->disk) < 1001) {
        aio_poll(blk_rig_pump(f->rig), true);
    }
    for (unsigned i = 0; i < 1001; i++) {
        if (ram_disk_log(f->disk, i)->offset == 5000 * 512) {
            g_assert_cmpuint(i, <=, 512);
        }
    }
    guest_blk_wait_all(f->guest, 0);
    guest_blk_wait_all(f->guest, 1);
    expect_read(other);
}

/* Stopping waits for what the disk still holds, and the guest gets it. */
static void test_stop_drains(Fixture *f, gconstpointer data)
{
    GuestReq *req;

    ram_disk_hold(f->disk);
    req = add(f, VIRTIO_BLK_T_IN, 3, 1);
    guest_blk_kick(f->guest, 0);
    while (ram_disk_held(f->disk) == 0) {
        aio_poll(blk_rig_pump(f->rig), true);
    }
    aio_bh_once(blk_rig_pump(f->rig), ram_disk_release, f->disk);
    guest_blk_stop_queue(f->guest, 0);
    expect_read(req);
}

/* The same while a merged request has to be taken apart, or a discard has
 * more segments to go. */
static void test_stop_drains_retries(Fixture *f, gconstpointer data)
{
    GuestReq *reqs[4], *segments = new_segments(f, VIRTIO_BLK_T_DISCARD, 8);

    ram_disk_hold(f->disk);
    ram_disk_fail(f->disk, BLOCK_WRITE, 21 * UNIT, -ENOSPC);
    for (unsigned i = 0; i < 4; i++) {
        reqs[i] = add(f, VIRTIO_BLK_T_OUT, 20 + i, 1);
    }
    g_assert_true(guest_blk_submit(f->guest, 0, segments));
    guest_blk_kick(f->guest, 0);
    while (ram_disk_held(f->disk) < 2) {
        aio_poll(blk_rig_pump(f->rig), true);
    }
    aio_bh_once(blk_rig_pump(f->rig), ram_disk_release, f->disk);
    guest_blk_stop_queue(f->guest, 0);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_true(reqs[i]->done);
        g_assert_cmpuint(reqs[i]->status, ==,
                         i == 1 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
    }
    g_assert_true(segments->done);
    g_assert_cmpuint(segments->status, ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 2 + 4 + 7);
}

/* What was made available while the queue stood still is seen at its start. */
static void test_stop_and_resume(Fixture *f, gconstpointer data)
{
    GuestReq *req;
    uint32_t base;

    for (unsigned i = 0; i < 5; i++) {
        req = add(f, VIRTIO_BLK_T_IN, i, 1);
        guest_blk_kick(f->guest, 0);
        guest_blk_wait(f->guest, 0, req);
        base = guest_blk_stop_queue(f->guest, 0);
        req = add(f, VIRTIO_BLK_T_IN, 100 + i, 1);
        virtio_ring_publish(guest_blk_ring(f->guest, 0));
        guest_blk_resume_queue(f->guest, 0, base);
        guest_blk_wait(f->guest, 0, req);
        expect_read(req);
    }
}

static void test_no_status(Fixture *f, gconstpointer data)
{
    GuestReq *req = guest_req_new(f->guest, VIRTIO_BLK_T_OUT, 0, 512);
    GuestReq *next = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 0, 512);
    struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_OUT };
    struct iovec out = { .iov_base = req->frame, .iov_len = 16 + 512 };
    VirtioChain chain = { .out = &out, .n_out = 1 };

    memcpy(req->frame, &header, sizeof(header));
    g_assert_true(guest_blk_submit_chain(f->guest, 0, req, &chain));
    guest_blk_kick(f->guest, 0);
    guest_blk_wait(f->guest, 0, req);
    g_assert_cmpuint(req->used_len, ==, 0);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 0);
    guest_blk_run(f->guest, 0, next);
    expect_read(next);
}

/* A broken ring stops its queue, and no other; a reset mends it. */
static void test_broken_queue(Fixture *f, gconstpointer data)
{
    static const struct iovec outside = {
        .iov_base = (void *)0x1000, .iov_len = 16,
    };
    VirtioChain chain = { .out = &outside, .n_out = 1 };
    GuestReq *bad, *good;

    restart(f, (BlkRigConf) { .num_queues = 2 },
            (GuestBlkConf) { .num_queues = 2 });
    bad = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 0, 512);
    good = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 0, 512);
    g_assert_true(guest_blk_submit_chain(f->guest, 0, bad, &chain));
    guest_blk_kick(f->guest, 0);
    while (!virtqueue_is_broken(guest_blk_virtqueue(f->guest, 0))) {
        aio_poll(blk_rig_pump(f->rig), true);
    }
    g_assert_true(guest_blk_submit(f->guest, 1, good));
    guest_blk_kick(f->guest, 1);
    guest_blk_wait(f->guest, 1, good);
    expect_read(good);
    guest_blk_kick_only(f->guest, 0);
    guest_blk_reset(f->guest);
    g_assert_false(bad->done);
    guest_blk_start(f->guest);
    g_assert_cmpuint(guest_blk_run(f->guest, 0, good), ==, VIRTIO_BLK_S_OK);
}

/* Who listens after us shall not hear what was meant for us. */
static void test_stop_clears_kick(Fixture *f, gconstpointer data)
{
    int fd = eventfd(0, EFD_NONBLOCK);
    eventfd_t count;

    guest_blk_stop_queue(f->guest, 0);
    guest_blk_start_queue_on(f->guest, 0, fd);
    eventfd_write(fd, 3);
    aio_poll(blk_rig_pump(f->rig), false);
    guest_blk_stop_queue(f->guest, 0);
    g_assert_cmpint(eventfd_read(fd, &count), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
    close(fd);
}

/* The front end hands over something that is no eventfd: one that says it is
 * readable for ever, which wakes once, and one that cannot be watched. */
static void test_bad_kick_fd(Fixture *f, gconstpointer data)
{
    int fds[2];
    uint64_t wakes;

    g_assert_cmpint(pipe(fds), ==, 0);
    close(fds[1]);
    guest_blk_stop_queue(f->guest, 0);
    wakes = stats_of(f).kicks;
    guest_blk_start_queue_on(f->guest, 0, fds[0]);
    for (unsigned i = 0; i < 10; i++) {
        aio_poll(blk_rig_pump(f->rig), false);
    }
    g_assert_cmpuint(stats_of(f).kicks, <=, wakes + 1);
    guest_blk_stop_queue(f->guest, 0);
    close(fds[0]);

    fds[0] = open("/dev/null", O_RDWR);
    guest_blk_start_queue_on(f->guest, 0, fds[0]);
    g_assert_true(virtqueue_is_broken(guest_blk_virtqueue(f->guest, 0)));
    close(fds[0]);
}

static void test_read_only(Fixture *f, gconstpointer data)
{
    GuestReq *req;

    restart(f, (BlkRigConf) { .read_only = true }, (GuestBlkConf) { 0 });
    g_assert_true(guest_blk_has(f->guest, VIRTIO_BLK_F_RO));
    g_assert_false(guest_blk_has(f->guest, VIRTIO_BLK_F_DISCARD));
    req = add(f, VIRTIO_BLK_T_OUT, 0, 1);
    guest_blk_kick(f->guest, 0);
    g_assert_cmpuint(guest_blk_wait(f->guest, 0, req), ==,
                     VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 0);
    g_assert_cmpuint(stats_of(f).invalid, ==, 1);
}

/* Nothing is lost when the loop polls the ring in place of waiting. */
static void test_polling(Fixture *f, gconstpointer data)
{
    GuestReq *req = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 8, 512);

    restart(f, (BlkRigConf) { .n_iothreads = 1,
                              .params.poll_max_ns = 1000000 },
            (GuestBlkConf) { .packed = GPOINTER_TO_UINT(data) & PACKED });
    req = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 8, 512);
    for (unsigned i = 0; i < 2000; i++) {
        g_assert_cmpuint(guest_blk_run(f->guest, 0, req), ==, 0);
    }
    expect_read(req);
}

#define ADD_DATA(path, name, data) \
    g_test_add("/virtio-blk/queue/" path, Fixture, GUINT_TO_POINTER(data), \
               setup, test_##name, teardown)
#define ADD(name) ADD_DATA(#name, name, 0)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD_DATA("layouts/split", layouts, 0);
    ADD_DATA("layouts/packed", layouts, PACKED);
    ADD_DATA("layouts/no-event-idx", layouts, NO_EVENT_IDX);
    ADD_DATA("layouts/no-indirect", layouts, NO_INDIRECT | PACKED);
    ADD_DATA("burst/split", burst_merges, 0);
    ADD_DATA("burst/packed", burst_merges, PACKED);
    ADD_DATA("burst/no-event-idx", burst_merges, NO_EVENT_IDX);
    ADD(merging_off);
    ADD_DATA("one_bad_sector/read", one_bad_sector, BLOCK_READ);
    ADD_DATA("one_bad_sector/write", one_bad_sector, BLOCK_WRITE);
    ADD(flush_order);
    ADD(write_cache);
    ADD(writethrough);
    ADD(segments);
    ADD(segment_fails);
    ADD(budget);
    ADD(budget_is_fair);
    ADD(stop_drains);
    ADD_DATA("stop_drains/packed", stop_drains, PACKED);
    ADD(stop_drains_retries);
    ADD(stop_and_resume);
    ADD_DATA("stop_and_resume/packed", stop_and_resume, PACKED);
    ADD(no_status);
    ADD(broken_queue);
    ADD(stop_clears_kick);
    ADD(bad_kick_fd);
    ADD(read_only);
    ADD(polling);
    ADD_DATA("polling/packed", polling, PACKED);
    return g_test_run();
}
