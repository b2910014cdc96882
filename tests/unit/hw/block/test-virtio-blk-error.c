/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rerror= and werror=: what the guest sees of errors, and what is held, tried
 * again and given up. A guest in memory on a disk that fails on demand.
 */
#include "blk-rig.h"
#include "guest-blk.h"
#include "ram-disk.h"
#include "hw/block/virtio-blk-error.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define DISK_BYTES (4 << 20)
#define UNIT 4096
#define UNIT_SECTORS 8

typedef struct Fixture {
    RamDisk *disk;
    BlkRig *rig;
    GuestBlk *guest;
    unsigned errors, resumed;
    VirtIOBlockError last;
} Fixture;

static void io_error(void *opaque, const VirtIOBlockError *error)
{
    Fixture *f = opaque;

    f->errors++;
    f->last = *error;
}

static void resumed(void *opaque)
{
    Fixture *f = opaque;

    f->resumed++;
}

static void start(Fixture *f, BlkRigConf conf, GuestBlkConf guest_conf)
{
    g_autoptr(GError) error = NULL;

    f->disk = ram_disk_new(DISK_BYTES);
    conf.bs = ram_disk_node(f->disk);
    conf.params.poll_max_ns = -1;
    conf.io_error = io_error;
    conf.resumed = resumed;
    conf.error_opaque = f;
    f->rig = blk_rig_new(&conf, &error);
    g_assert_no_error(error);
    f->guest = guest_blk_new_direct(blk_rig_device(f->rig),
                                    blk_rig_pump(f->rig), &guest_conf);
    guest_blk_start(f->guest);
}

static void setup(Fixture *f, gconstpointer data)
{
    start(f, (BlkRigConf){ .werror = GPOINTER_TO_UINT(data) },
          (GuestBlkConf){ 0 });
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
    start(f, conf, guest_conf);
}

static GuestReq *add_to(Fixture *f, unsigned queue, uint32_t type,
                        unsigned unit)
{
    GuestReq *req = guest_req_new(f->guest, type, unit * UNIT_SECTORS,
                                  type == VIRTIO_BLK_T_FLUSH ? 0 : UNIT);

    if (type == VIRTIO_BLK_T_OUT) {
        memset(req->data, 1 + unit % 250, req->bytes);
    }
    g_assert_true(guest_blk_submit(f->guest, queue, req));
    return req;
}

static GuestReq *add(Fixture *f, uint32_t type, unsigned unit)
{
    return add_to(f, 0, type, unit);
}

/* Until nothing happens any more. */
static void settle(Fixture *f)
{
    for (unsigned idle = 0; idle < 5; idle++) {
        if (aio_poll(blk_rig_main_context(f->rig), false)) {
            idle = 0;
        }
    }
    guest_blk_reap(f->guest, 0);
}

static void kick(Fixture *f)
{
    guest_blk_kick(f->guest, 0);
    settle(f);
}

static VirtIOBlockHold hold_of(Fixture *f)
{
    return virtio_blk_get_hold(blk_rig_block(f->rig));
}

static void expect_hold(Fixture *f, BlockDeviceIoStatus status, unsigned n)
{
    VirtIOBlockHold hold = hold_of(f);

    g_assert_cmpint(hold.io_status, ==, status);
    g_assert_cmpuint(hold.n_held, ==, n);
}

static void expect_done(GuestReq *req, uint8_t status)
{
    g_assert_true(req->done);
    g_assert_cmpuint(req->status, ==, status);
    req->done = false; /* again would be once too often */
}

static void resume(Fixture *f)
{
    virtio_blk_resume(blk_rig_block(f->rig));
    settle(f);
}

static BlockStats stats_of(Fixture *f)
{
    BlockStats stats;

    blk_rig_stats(f->rig, &stats);
    return stats;
}

/* --- policies --- */

static void test_report(Fixture *f, gconstpointer data)
{
    GuestReq *req = add(f, VIRTIO_BLK_T_OUT, 1);

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -ENOSPC);
    kick(f);
    expect_done(req, VIRTIO_BLK_S_IOERR);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
    g_assert_cmpuint(f->errors, ==, 1);
    g_assert_cmpint(f->last.action, ==, BLOCK_ERROR_ACTION_REPORT);
    g_assert_cmpint(f->last.error, ==, ENOSPC);
    g_assert_true(f->last.nospace);
}

/* A guest may make as many as it likes; nobody has to hear of each. */
static void test_reports_are_few(Fixture *f, gconstpointer data)
{
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    for (unsigned i = 0; i < 100; i++) {
        GuestReq *req = add(f, VIRTIO_BLK_T_OUT, 1);

        kick(f);
        expect_done(req, VIRTIO_BLK_S_IOERR);
    }
    g_assert_cmpuint(f->errors, >=, 1);
    g_assert_cmpuint(f->errors, <, 100);
    g_assert_cmpuint(stats_of(f).errors, ==, 100);
}

static void test_ignore(Fixture *f, gconstpointer data)
{
    GuestReq *out, *in;

    restart(f, (BlkRigConf){ .werror = BLOCKDEV_ON_ERROR_IGNORE,
                             .rerror = BLOCKDEV_ON_ERROR_IGNORE },
            (GuestBlkConf){ 0 });
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    out = add(f, VIRTIO_BLK_T_OUT, 1);
    kick(f);
    expect_done(out, VIRTIO_BLK_S_OK);
    ram_disk_fail(f->disk, BLOCK_READ, -1, -EIO);
    in = add(f, VIRTIO_BLK_T_IN, 1);
    kick(f);
    expect_done(in, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(in->used_len, ==, UNIT + 1);
    g_assert_cmpint(f->last.action, ==, BLOCK_ERROR_ACTION_IGNORE);
    g_assert_cmpuint(stats_of(f).errors, ==, 2);
}

/* What the guest got wrong is told, whatever the policy. */
static void test_invalid(Fixture *f, gconstpointer data)
{
    GuestReq *req = add(f, VIRTIO_BLK_T_OUT, DISK_BYTES / UNIT);

    kick(f);
    expect_done(req, VIRTIO_BLK_S_IOERR);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
    g_assert_cmpuint(f->errors, ==, 0);
}

static void test_enospc_only(Fixture *f, gconstpointer data)
{
    GuestReq *out = add(f, VIRTIO_BLK_T_OUT, 1), *in;

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    kick(f);
    expect_done(out, VIRTIO_BLK_S_IOERR);
    g_assert_false(f->last.nospace);
    ram_disk_fail(f->disk, BLOCK_READ, -1, -EIO);
    in = add(f, VIRTIO_BLK_T_IN, 1);
    kick(f);
    expect_done(in, VIRTIO_BLK_S_IOERR);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
}

/* What the host cannot do at all it will not be able to do later. */
static void test_unsupported(Fixture *f, gconstpointer data)
{
    GuestReq *req = guest_req_new(f->guest, VIRTIO_BLK_T_DISCARD, 0, 16);
    struct virtio_blk_discard_write_zeroes *range = (void *)req->data;

    range->num_sectors = htole32(UNIT_SECTORS);
    g_assert_true(guest_blk_submit(f->guest, 0, req));
    ram_disk_fail(f->disk, BLOCK_DISCARD, -1, -ENOTSUP);
    kick(f);
    expect_done(req, VIRTIO_BLK_S_UNSUPP);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
}

/* --- holding and going on --- */

static void test_stop(Fixture *f, gconstpointer data)
{
    GuestReq *out = add(f, VIRTIO_BLK_T_OUT, 1), *in;

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    kick(f);
    g_assert_false(out->done);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_FAILED, 1);
    g_assert_cmpuint(f->errors, ==, 1);
    g_assert_cmpint(f->last.action, ==, BLOCK_ERROR_ACTION_STOP);
    g_assert_cmpuint(stats_of(f).errors, ==, 0);
    g_assert_cmpuint(stats_of(f).requests[BLOCK_WRITE], ==, 0);

    /* the device rests: a read is not even taken */
    in = add(f, VIRTIO_BLK_T_IN, 2);
    kick(f);
    g_assert_false(in->done);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 1);

    /* no better: held again, and who asked is told */
    resume(f);
    g_assert_false(out->done);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 3);
    expect_done(in, VIRTIO_BLK_S_OK);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_FAILED, 1);
    g_assert_cmpuint(f->errors, ==, 2);
    g_assert_cmpuint(f->resumed, ==, 0);

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    resume(f);
    expect_done(out, VIRTIO_BLK_S_OK);
    g_assert_cmpmem(ram_disk_data(f->disk) + UNIT, UNIT, out->data, UNIT);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
    g_assert_cmpuint(f->resumed, ==, 1);
    g_assert_cmpuint(stats_of(f).requests[BLOCK_WRITE], ==, 1);
    g_assert_cmpuint(stats_of(f).bytes[BLOCK_WRITE], ==, UNIT);
    g_assert_cmpuint(stats_of(f).errors, ==, 0);
}

static void test_resume_nothing(Fixture *f, gconstpointer data)
{
    GuestReq *req;

    resume(f);
    g_assert_cmpuint(f->resumed, ==, 0);
    req = add(f, VIRTIO_BLK_T_OUT, 1);
    kick(f);
    expect_done(req, VIRTIO_BLK_S_OK);
}

/* In the order in which the guest sent them, whichever failed first. */
static void test_order(Fixture *f, gconstpointer data)
{
    static const unsigned units[] = { 50, 10, 30, 20, 40 };
    GuestReq *reqs[G_N_ELEMENTS(units)];

    restart(f, (BlkRigConf){ .werror = BLOCKDEV_ON_ERROR_STOP },
            (GuestBlkConf){ .packed = GPOINTER_TO_UINT(data) & 0x100 });
    ram_disk_hold(f->disk);
    for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
        reqs[i] = add(f, VIRTIO_BLK_T_OUT, units[i]);
    }
    kick(f);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    if (GPOINTER_TO_UINT(data) & 0x200) {
        ram_disk_release_backwards(f->disk);
    } else {
        ram_disk_release(f->disk);
    }
    settle(f);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_FAILED, G_N_ELEMENTS(units));
    g_assert_cmpuint(f->errors, ==, 1);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    ram_disk_log_clear(f->disk);
    resume(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
        g_assert_cmpint(ram_disk_log(f->disk, i)->offset, ==,
                        units[i] * UNIT);
        expect_done(reqs[i], VIRTIO_BLK_S_OK);
    }
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, G_N_ELEMENTS(units));
}

/* Of a merged request only what is bad is held. */
static void test_merged(Fixture *f, gconstpointer data)
{
    GuestReq *reqs[8];

    ram_disk_fail(f->disk, BLOCK_WRITE, 13 * UNIT, -EIO);
    for (unsigned i = 0; i < 8; i++) {
        reqs[i] = add(f, VIRTIO_BLK_T_OUT, 10 + i);
    }
    kick(f);
    for (unsigned i = 0; i < 8; i++) {
        if (i != 3) {
            expect_done(reqs[i], VIRTIO_BLK_S_OK);
        }
    }
    g_assert_false(reqs[3]->done);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_FAILED, 1);
    ram_disk_fail(f->disk, BLOCK_WRITE, 0, 0);
    resume(f);
    expect_done(reqs[3], VIRTIO_BLK_S_OK);
    g_assert_cmpuint(stats_of(f).requests[BLOCK_WRITE], ==, 8);
    g_assert_cmpuint(stats_of(f).bytes[BLOCK_WRITE], ==, 8 * UNIT);
    g_assert_cmpuint(stats_of(f).errors, ==, 0);
}

static void test_flush(Fixture *f, gconstpointer data)
{
    GuestReq *req = add(f, VIRTIO_BLK_T_FLUSH, 0);

    ram_disk_fail(f->disk, BLOCK_FLUSH, -1, -EIO);
    kick(f);
    g_assert_false(req->done);
    ram_disk_fail(f->disk, BLOCK_FLUSH, -1, 0);
    resume(f);
    expect_done(req, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(stats_of(f).requests[BLOCK_FLUSH], ==, 1);
}

/* A request of several ranges goes on with the one that failed. */
static void test_segments(Fixture *f, gconstpointer data)
{
    GuestReq *req = guest_req_new(f->guest, VIRTIO_BLK_T_WRITE_ZEROES, 0,
                                  4 * 16);
    struct virtio_blk_discard_write_zeroes *ranges = (void *)req->data;

    for (unsigned i = 0; i < 4; i++) {
        ranges[i].sector = htole64(i * 80);
        ranges[i].num_sectors = htole32(i == 2 ? 0 : UNIT_SECTORS);
    }
    g_assert_true(guest_blk_submit(f->guest, 0, req));
    ram_disk_fail(f->disk, BLOCK_WRITE_ZEROES, 3 * 40960, -EIO);
    kick(f);
    g_assert_false(req->done);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 3);
    ram_disk_fail(f->disk, BLOCK_WRITE_ZEROES, 0, 0);
    ram_disk_log_clear(f->disk);
    resume(f);
    expect_done(req, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 1);
    g_assert_cmpint(ram_disk_log(f->disk, 0)->offset, ==, 3 * 40960);
    g_assert_cmpuint(stats_of(f).requests[BLOCK_WRITE_ZEROES], ==, 1);
    g_assert_cmpuint(stats_of(f).bytes[BLOCK_WRITE_ZEROES], ==, 3 * UNIT);
}

/* One of two is well again: it goes, the other is held anew. */
static void test_partly(Fixture *f, gconstpointer data)
{
    GuestReq *a = add(f, VIRTIO_BLK_T_OUT, 1);
    GuestReq *b = add(f, VIRTIO_BLK_T_OUT, 9);

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    kick(f);
    ram_disk_fail(f->disk, BLOCK_WRITE, 9 * UNIT, -EIO);
    resume(f);
    expect_done(a, VIRTIO_BLK_S_OK);
    g_assert_false(b->done);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_FAILED, 1);
    g_assert_cmpuint(f->resumed, ==, 1);
    g_assert_cmpuint(f->errors, ==, 2); /* it went on, and stopped again */
    ram_disk_fail(f->disk, BLOCK_WRITE, 0, 0);
    resume(f);
    expect_done(b, VIRTIO_BLK_S_OK);
}

/* Space comes back: nobody has to say so. Nor is anybody told of attempts. */
static void test_space_comes_back(Fixture *f, gconstpointer data)
{
    GuestReq *req = add(f, VIRTIO_BLK_T_OUT, 1);

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -ENOSPC);
    kick(f);
    g_assert_false(req->done);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_NOSPACE, 1);
    while (ram_disk_log_length(f->disk) < 4) {
        aio_poll(blk_rig_main_context(f->rig), true);
    }
    settle(f);
    g_assert_cmpuint(f->errors, ==, 1);
    g_assert_true(f->last.nospace);
    g_assert_false(req->done);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    g_assert_cmpuint(guest_blk_wait(f->guest, 0, req), ==, VIRTIO_BLK_S_OK);
    settle(f);
    g_assert_cmpuint(f->resumed, ==, 1);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
}

/* --- the ring is taken away --- */

/* One more attempt, then the truth; and the disk is not left at rest. */
static void test_stop_queue(Fixture *f, gconstpointer data)
{
    bool better = GPOINTER_TO_UINT(data) & 0x100;
    GuestReq *a, *b;
    uint32_t base;

    restart(f, (BlkRigConf){ .werror = BLOCKDEV_ON_ERROR_STOP },
            (GuestBlkConf){ .packed = GPOINTER_TO_UINT(data) & 0x200 });
    a = add(f, VIRTIO_BLK_T_OUT, 1);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    kick(f);
    g_assert_false(a->done);
    if (better) {
        ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    }
    base = guest_blk_stop_queue(f->guest, 0);
    expect_done(a, better ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
    settle(f);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
    g_assert_cmpuint(f->resumed, ==, 1);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    guest_blk_resume_queue(f->guest, 0, base);
    b = add(f, VIRTIO_BLK_T_OUT, 2);
    kick(f);
    expect_done(b, VIRTIO_BLK_S_OK);
}

static void test_reset(Fixture *f, gconstpointer data)
{
    GuestReq *a = add(f, VIRTIO_BLK_T_OUT, 1), *b;

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    kick(f);
    g_assert_false(a->done);
    guest_blk_reset(f->guest);
    settle(f);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
    g_assert_cmpuint(stats_of(f).errors, ==, 1);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    guest_blk_start(f->guest);
    b = add(f, VIRTIO_BLK_T_OUT, 1);
    kick(f);
    expect_done(b, VIRTIO_BLK_S_OK);
}

/* What fails while the ring is being stopped is not held any more. */
static void test_fails_while_stopping(Fixture *f, gconstpointer data)
{
    GuestReq *req = add(f, VIRTIO_BLK_T_OUT, 1);

    ram_disk_hold(f->disk);
    kick(f);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    aio_bh_once(blk_rig_main_context(f->rig), ram_disk_release, f->disk);
    guest_blk_stop_queue(f->guest, 0);
    expect_done(req, VIRTIO_BLK_S_IOERR);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
}

/* A broken ring rests; what the device holds of it comes back all the same. */
static void test_broken(Fixture *f, gconstpointer data)
{
    GuestReq *req = add(f, VIRTIO_BLK_T_OUT, 1);

    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    kick(f);
    virtqueue_set_broken(guest_blk_virtqueue(f->guest, 0), "a test");
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    resume(f);
    expect_done(req, VIRTIO_BLK_S_OK);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_OK, 0);
}

/* --- several queues --- */

static void expect_rest(Fixture *f, unsigned n)
{
    while (hold_of(f).n_held < n) {
        aio_poll(blk_rig_main_context(f->rig), false);
    }
}

/* One queue's error stops them all, one word lets them all go on; each has a
 * thread of its own. */
static void test_queues(Fixture *f, gconstpointer data)
{
    GuestReq *reqs[4], *later[4];

    restart(f, (BlkRigConf){ .werror = BLOCKDEV_ON_ERROR_STOP,
                             .num_queues = 4 },
            (GuestBlkConf){ .num_queues = 4 });
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    ram_disk_hold(f->disk);
    for (unsigned q = 0; q < 4; q++) {
        reqs[q] = add_to(f, q, VIRTIO_BLK_T_OUT, 10 * q);
        guest_blk_kick(f->guest, q);
    }
    settle(f);
    ram_disk_release(f->disk);
    expect_rest(f, 4);
    for (unsigned q = 0; q < 4; q++) {
        later[q] = add_to(f, q, VIRTIO_BLK_T_IN, 10 * q);
        guest_blk_kick(f->guest, q);
    }
    settle(f);
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 4);
    g_assert_cmpuint(f->errors, ==, 1);
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, 0);
    virtio_blk_resume(blk_rig_block(f->rig));
    for (unsigned q = 0; q < 4; q++) {
        guest_blk_wait_all(f->guest, q);
        expect_done(reqs[q], VIRTIO_BLK_S_OK);
        expect_done(later[q], VIRTIO_BLK_S_OK);
    }
}

/* Two queues at rest, one is stopped: the other still waits. When that one is
 * stopped, too, the first may go on. */
static void test_queues_stop_in_turn(Fixture *f, gconstpointer data)
{
    GuestReq *a, *b, *later;
    uint32_t base;

    restart(f, (BlkRigConf){ .werror = BLOCKDEV_ON_ERROR_STOP,
                             .num_queues = 2 },
            (GuestBlkConf){ .num_queues = 2 });
    ram_disk_fail(f->disk, BLOCK_WRITE, -1, -EIO);
    ram_disk_hold(f->disk);
    a = add_to(f, 0, VIRTIO_BLK_T_OUT, 1);
    b = add_to(f, 1, VIRTIO_BLK_T_OUT, 2);
    guest_blk_kick(f->guest, 0);
    guest_blk_kick(f->guest, 1);
    settle(f);
    ram_disk_release(f->disk);
    expect_rest(f, 2);
    base = guest_blk_stop_queue(f->guest, 0);
    expect_done(a, VIRTIO_BLK_S_IOERR);
    guest_blk_resume_queue(f->guest, 0, base);
    later = add_to(f, 0, VIRTIO_BLK_T_IN, 1);
    kick(f);
    g_assert_false(later->done);
    expect_hold(f, BLOCK_DEVICE_IO_STATUS_FAILED, 1);
    guest_blk_stop_queue(f->guest, 1);
    expect_done(b, VIRTIO_BLK_S_IOERR);
    guest_blk_wait(f->guest, 0, later);
    g_assert_cmpuint(later->status, ==, VIRTIO_BLK_S_OK);
}

/* Threads that fail, a main thread that resumes, as fast as they can: every
 * request comes back once, and is done. */
static void test_storm(Fixture *f, gconstpointer data)
{
    GuestReq *reqs[64];
    GRand *rand = g_rand_new_with_seed(7);
    unsigned rests = 0;

    restart(f, (BlkRigConf){ .werror = BLOCKDEV_ON_ERROR_STOP,
                             .num_queues = 1, .n_iothreads = 1 },
            (GuestBlkConf){ .queue_size = 256 });
    ram_disk_log_stop(f->disk);
    for (unsigned i = 0; i < 64; i++) {
        reqs[i] = guest_req_new(f->guest, VIRTIO_BLK_T_OUT,
                                2 * i * UNIT_SECTORS, UNIT);
    }
    for (unsigned round = 0; round < 300; round++) {
        unsigned n = g_rand_int_range(rand, 1, 64), back = 0;

        ram_disk_fail(f->disk, BLOCK_WRITE,
                      2 * UNIT * g_rand_int_range(rand, 0, n), -EIO);
        for (unsigned i = 0; i < n; i++) {
            reqs[i]->done = false;
            g_assert_true(guest_blk_submit(f->guest, 0, reqs[i]));
        }
        guest_blk_kick(f->guest, 0);
        expect_rest(f, 1);
        rests++;
        if (round % 3) {
            virtio_blk_resume(blk_rig_block(f->rig)); /* in vain */
            aio_poll(blk_rig_main_context(f->rig), false);
        }
        expect_rest(f, 1);
        ram_disk_fail(f->disk, BLOCK_WRITE, 0, 0);
        while (back < n) {
            virtio_blk_resume(blk_rig_block(f->rig));
            aio_poll(blk_rig_main_context(f->rig), false);
            back += guest_blk_reap(f->guest, 0);
        }
        g_assert_cmpuint(back, ==, n);
        for (unsigned i = 0; i < n; i++) {
            expect_done(reqs[i], VIRTIO_BLK_S_OK);
        }
        while (hold_of(f).io_status != BLOCK_DEVICE_IO_STATUS_OK) {
            aio_poll(blk_rig_main_context(f->rig), false);
        }
    }
    g_test_message("%u rests, %u told", rests, f->errors);
    g_rand_free(rand);
}

static void count_wake(void *opaque)
{
    unsigned *woken = opaque;

    (*woken)++;
}

/* One queue holds a request and gets rid of it before the main thread looks.
 * Another one may have dropped a kick meanwhile, and has to look again. */
static void test_short_rest(Fixture *f, gconstpointer data)
{
    VirtIOBlockConf conf = { .name = "x", .werror = BLOCKDEV_ON_ERROR_STOP };
    VirtIOBlockError failed = {
        .op = BLOCK_WRITE, .error = EIO,
        .action = BLOCK_ERROR_ACTION_STOP,
    };
    AioContext *ctx = blk_rig_main_context(f->rig);
    unsigned woken = 0;
    VirtIOBlockErrors *errors = virtio_blk_errors_new(&conf, count_wake,
                                                      &woken);

    for (unsigned i = 1; i <= 3; i++) {
        virtio_blk_errors_hold(errors, &failed);
        g_assert_true(virtio_blk_errors_halted(errors));
        virtio_blk_errors_unhold(errors, true);
        g_assert_false(virtio_blk_errors_halted(errors));
        while (aio_poll(ctx, false)) {
        }
        g_assert_cmpuint(woken, ==, i);
    }
    virtio_blk_errors_hold(errors, &failed); /* and of a longer one, once */
    while (aio_poll(ctx, false)) {
    }
    g_assert_cmpuint(woken, ==, 3);
    virtio_blk_errors_unhold(errors, false);
    while (aio_poll(ctx, false)) {
    }
    g_assert_cmpuint(woken, ==, 4);
    virtio_blk_errors_free(errors);
}

#define ADD(path, fn, policy, flags) \
    g_test_add("/virtio-blk/error/" path, Fixture, \
               GUINT_TO_POINTER(BLOCKDEV_ON_ERROR_##policy | (flags)), \
               setup, fn, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("report", test_report, REPORT, 0);
    ADD("reports-are-few", test_reports_are_few, REPORT, 0);
    ADD("ignore", test_ignore, IGNORE, 0);
    ADD("invalid", test_invalid, STOP, 0);
    ADD("enospc-only", test_enospc_only, ENOSPC, 0);
    ADD("unsupported", test_unsupported, STOP, 0);
    ADD("stop", test_stop, STOP, 0);
    ADD("resume-nothing", test_resume_nothing, STOP, 0);
    ADD("order/split", test_order, STOP, 0);
    ADD("order/split-backwards", test_order, STOP, 0x200);
    ADD("order/packed", test_order, STOP, 0x100);
    ADD("order/packed-backwards", test_order, STOP, 0x300);
    ADD("merged", test_merged, STOP, 0);
    ADD("flush", test_flush, STOP, 0);
    ADD("segments", test_segments, STOP, 0);
    ADD("partly", test_partly, STOP, 0);
    ADD("space-comes-back", test_space_comes_back, ENOSPC, 0);
    ADD("stop-queue/fails", test_stop_queue, STOP, 0);
    ADD("stop-queue/better", test_stop_queue, STOP, 0x100);
    ADD("stop-queue/packed", test_stop_queue, STOP, 0x200);
    ADD("reset", test_reset, STOP, 0);
    ADD("fails-while-stopping", test_fails_while_stopping, STOP, 0);
    ADD("broken", test_broken, STOP, 0);
    ADD("queues", test_queues, STOP, 0);
    ADD("queues-stop-in-turn", test_queues_stop_in_turn, STOP, 0);
    ADD("storm", test_storm, STOP, 0);
    ADD("short-rest", test_short_rest, STOP, 0);
    return g_test_run();
}
