/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that lies: in its requests, in its descriptors, in its rings, and
 * while the device is looking. Whatever it does, the disk keeps what it had,
 * the second queue goes on, and a reset brings the first one back.
 */
#include "blk-rig.h"
#include "block/log.h"
#include "guest-blk.h"
#include "ram-disk.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DISK_BYTES (1 << 20)
#define QUEUE_SIZE 64

typedef struct Fixture {
    RamDisk *disk;
    BlkRig *rig;
    GuestBlk *guest;
} Fixture;

static unsigned broken_lines;

static void count_lines(LogLevel level, const char *line, void *opaque)
{
    if (strstr(line, "broken until reset")) {
        broken_lines++;
    }
}

static void setup(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    BlkRigConf conf = { .num_queues = 2, .params.poll_max_ns = -1 };
    GuestBlkConf guest_conf = { .num_queues = 2, .queue_size = QUEUE_SIZE };

    f->disk = ram_disk_new(DISK_BYTES);
    memset(ram_disk_data(f->disk), 0xd1, DISK_BYTES);
    conf.bs = ram_disk_node(f->disk);
    f->rig = blk_rig_new(&conf, &error);
    g_assert_no_error(error);
    f->guest = guest_blk_new_direct(blk_rig_device(f->rig),
                                    blk_rig_pump(f->rig), &guest_conf);
    guest_blk_start(f->guest);
    broken_lines = 0;
    log_set_sink(count_lines, NULL);
}

static void expect_disk_untouched(Fixture *f)
{
    const uint8_t *data = ram_disk_data(f->disk);

    for (unsigned i = 0; i < DISK_BYTES; i++) {
        g_assert_cmpuint(data[i], ==, 0xd1);
    }
}

static void teardown(Fixture *f, gconstpointer data)
{
    guest_blk_free(f->guest);
    blk_rig_free(f->rig);
    ram_disk_free(f->disk);
    log_set_sink(NULL, NULL);
}

static void expect_queue_works(Fixture *f, unsigned queue)
{
    GuestReq *req = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 0, 512);

    g_assert_cmpuint(guest_blk_run(f->guest, queue, req), ==,
                     VIRTIO_BLK_S_OK);
    g_assert_cmpuint(req->data[511], ==, 0xd1);
}

/* Lets the device see what is in queue 0's ring. */
static void kick_and_run(Fixture *f)
{
    guest_blk_kick_only(f->guest, 0);
    while (aio_poll(blk_rig_pump(f->rig), false)) {
    }
}

static void expect_broken(Fixture *f)
{
    kick_and_run(f);
    g_assert_true(virtqueue_is_broken(guest_blk_virtqueue(f->guest, 0)));
    kick_and_run(f);
    g_assert_cmpuint(broken_lines, ==, 1);
    expect_queue_works(f, 1);
    guest_blk_reset(f->guest);
    guest_blk_start(f->guest);
    expect_queue_works(f, 0);
    expect_disk_untouched(f);
}

/* --- requests --- */

static void test_requests(Fixture *f, gconstpointer data)
{
    static const struct {
        uint32_t type;
        uint64_t sector;
        size_t bytes;
        uint8_t status;
    } cases[] = {
        { VIRTIO_BLK_T_OUT, DISK_BYTES / 512, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, DISK_BYTES / 512 - 1, 1024, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, UINT64_MAX, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, UINT64_C(1) << 55, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, 0, 511, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, 0, 700, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, DISK_BYTES / 512, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, 0, 15, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, 0, 16 * 33, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_SECURE_ERASE, 0, 16, VIRTIO_BLK_S_UNSUPP },
        { 77, 0, 512, VIRTIO_BLK_S_UNSUPP },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GuestReq *req = guest_req_new(f->guest, cases[i].type,
                                      cases[i].sector, cases[i].bytes);

        g_assert_cmpuint(guest_blk_run(f->guest, 0, req), ==,
                         cases[i].status);
        g_assert_cmpuint(req->used_len, ==, 1);
    }
    g_assert_cmpuint(ram_disk_log_length(f->disk), ==, 0);
    g_assert_cmpuint(broken_lines, ==, 0);
    expect_queue_works(f, 0);
    expect_disk_untouched(f);
}

/* --- descriptors of a split ring, written by hand --- */

static struct vring_desc *desc_table(Fixture *f)
{
    return virtio_ring_desc(guest_blk_ring(f->guest, 0));
}

static void make_available(Fixture *f, uint16_t head)
{
    uint16_t *avail = virtio_ring_avail(guest_blk_ring(f->guest, 0));

    avail[2 + avail[1] % QUEUE_SIZE] = head;
    __atomic_store_n(&avail[1], avail[1] + 1, __ATOMIC_RELEASE);
}

static uint64_t buffer(Fixture *f)
{
    return guest_blk_addr(f->guest, guest_blk_alloc(f->guest, 4096, 4096));
}

static void set_desc(Fixture *f, unsigned i, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next)
{
    desc_table(f)[i] = (struct vring_desc) { addr, len, flags, next };
}

static void test_index_jumps(Fixture *f, gconstpointer data)
{
    uint16_t *avail = virtio_ring_avail(guest_blk_ring(f->guest, 0));

    __atomic_store_n(&avail[1], QUEUE_SIZE + 1, __ATOMIC_RELEASE);
    expect_broken(f);
}

static void test_head_out_of_range(Fixture *f, gconstpointer data)
{
    make_available(f, QUEUE_SIZE);
    expect_broken(f);
}

static void test_loop(Fixture *f, gconstpointer data)
{
    uint64_t addr = buffer(f);

    set_desc(f, 0, addr, 16, VRING_DESC_F_NEXT, 1);
    set_desc(f, 1, addr, 16, VRING_DESC_F_NEXT, 0);
    make_available(f, 0);
    expect_broken(f);
}

static void test_next_out_of_range(Fixture *f, gconstpointer data)
{
    set_desc(f, 0, buffer(f), 16, VRING_DESC_F_NEXT, QUEUE_SIZE);
    make_available(f, 0);
    expect_broken(f);
}

static void test_address_wraps(Fixture *f, gconstpointer data)
{
    set_desc(f, 0, UINT64_MAX - 7, 16, 0, 0);
    make_available(f, 0);
    expect_broken(f);
}

static void test_huge_length(Fixture *f, gconstpointer data)
{
    set_desc(f, 0, buffer(f), UINT32_MAX, 0, 0);
    make_available(f, 0);
    expect_broken(f);
}

static void test_readable_after_writable(Fixture *f, gconstpointer data)
{
    uint64_t addr = buffer(f);

    set_desc(f, 0, addr, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    set_desc(f, 1, addr, 16, 0, 0);
    make_available(f, 0);
    expect_broken(f);
}

static void test_indirect_nested(Fixture *f, gconstpointer data)
{
    struct vring_desc *table = guest_blk_alloc(f->guest, 4096, 4096);
    uint64_t addr = guest_blk_addr(f->guest, table);

    table[0] = (struct vring_desc) { addr, 16, VRING_DESC_F_INDIRECT, 0 };
    set_desc(f, 0, addr, 16, VRING_DESC_F_INDIRECT, 0);
    make_available(f, 0);
    expect_broken(f);
}

/* The same head twice, while the disk still works on it. */
static void test_head_in_flight(Fixture *f, gconstpointer data)
{
    GuestReq *req = guest_req_new(f->guest, VIRTIO_BLK_T_IN, 0, 512);

    ram_disk_hold(f->disk);
    g_assert_true(guest_blk_submit(f->guest, 0, req));
    virtio_ring_publish(guest_blk_ring(f->guest, 0));
    kick_and_run(f);
    g_assert_cmpuint(ram_disk_held(f->disk), ==, 1);
    make_available(f, ((uint16_t *)virtio_ring_avail(
                       guest_blk_ring(f->guest, 0)))[2]);
    kick_and_run(f);
    g_assert_true(virtqueue_is_broken(guest_blk_virtqueue(f->guest, 0)));
    ram_disk_release(f->disk);
    expect_broken(f);
}

/* Nothing but empty buffers: the request fails, the device goes on. */
static void test_zero_length(Fixture *f, gconstpointer data)
{
    uint64_t addr = buffer(f);

    set_desc(f, 0, addr, 0, VRING_DESC_F_NEXT, 1);
    set_desc(f, 1, addr, 0, VRING_DESC_F_WRITE, 0);
    make_available(f, 0);
    kick_and_run(f);
    g_assert_false(virtqueue_is_broken(guest_blk_virtqueue(f->guest, 0)));
    g_assert_cmpuint(((uint16_t *)virtio_ring_used(
                     guest_blk_ring(f->guest, 0)))[1], ==, 1);
    expect_disk_untouched(f);
    guest_blk_reset(f->guest);
    guest_blk_start(f->guest);
    expect_queue_works(f, 0);
}

/* Header, data and status in one place: the status overwrites the header,
 * the data overwrites the ring. The guest harms itself only. */
static void test_self_overwriting(Fixture *f, gconstpointer data)
{
    struct virtio_blk_outhdr *header = guest_blk_alloc(f->guest, 16, 16);
    uint64_t addr = guest_blk_addr(f->guest, header);
    uint64_t ring = guest_blk_addr(
        f->guest, virtio_ring_avail(guest_blk_ring(f->guest, 0)));

    set_desc(f, 0, addr, 16, VRING_DESC_F_NEXT, 1);
    set_desc(f, 1, ring & ~UINT64_C(511), 512,
             VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
    set_desc(f, 2, addr, 1, VRING_DESC_F_WRITE, 0);
    make_available(f, 0);
    kick_and_run(f); /* the read; what it did to the ring shows afterwards */
    expect_broken(f);
}

/* --- nonsense of every kind --- */

static void scribble(Fixture *f)
{
    struct vring_desc *table = desc_table(f);
    uint64_t base = buffer(f);

    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        unsigned kind = g_test_rand_int_range(0, 8);

        table[i].addr = kind == 0 ? (uint64_t)g_test_rand_int() << 32
                                  : base + g_test_rand_int_range(0, 4096);
        table[i].len = kind == 1 ? (uint32_t)g_test_rand_int()
                                 : (uint32_t)g_test_rand_int_range(0, 600);
        table[i].flags = kind == 2 ? g_test_rand_int()
                                   : g_test_rand_int_range(0, 4);
        table[i].next = g_test_rand_int_range(0, QUEUE_SIZE + (kind == 3));
    }
}

/* Types are drawn from those that change nothing: what a wild write may do
 * to the disk is the guest's own affair, and would hide a stray one. */
static void fill_headers(Fixture *f)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_IN, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, 99,
    };
    const struct vring_desc *table = desc_table(f);
    uint8_t *mem = guest_blk_alloc(f->guest, 1, 1);
    uint64_t top = guest_blk_addr(f->guest, mem);

    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        uint64_t addr = table[i].addr;
        struct virtio_blk_outhdr header = {
            .type = htole32(types[g_test_rand_int_range(0, 4)]),
            .sector = htole64(g_test_rand_int_range(0, 3000)),
        };

        if (addr + sizeof(header) <= top && addr >= top - 8192) {
            memcpy(mem - (top - addr), &header, sizeof(header));
        }
    }
}

static void test_nonsense(Fixture *f, gconstpointer data)
{
    unsigned broken = 0;

    for (unsigned i = 0; i < 1500; i++) {
        scribble(f);
        fill_headers(f);
        for (unsigned n = g_test_rand_int_range(1, 8); n > 0; n--) {
            make_available(f, g_test_rand_int_range(0, QUEUE_SIZE + 1));
        }
        kick_and_run(f);
        if (virtqueue_is_broken(guest_blk_virtqueue(f->guest, 0))) {
            broken++;
        }
        guest_blk_stop_queue_quietly(f->guest, 0);
        guest_blk_start_queue(f->guest, 0);
    }
    g_assert_cmpuint(broken, >, 100);
    g_assert_cmpuint(broken, <, 1500);
    expect_queue_works(f, 0);
    expect_queue_works(f, 1);
    expect_disk_untouched(f);
}

/* The header is rewritten by another processor while the device reads it:
 * what was checked is what is done, so nothing ever lands outside. */
typedef struct Flipper {
    struct virtio_blk_outhdr *header;
    bool stop;
} Flipper;

static gpointer flip(gpointer opaque)
{
    Flipper *flipper = opaque;
    uint64_t sector = 0;

    while (!__atomic_load_n(&flipper->stop, __ATOMIC_RELAXED)) {
        sector = sector ? 0 : htole64(UINT64_MAX / 512 - 1);
        __atomic_store_n(&flipper->header->sector, sector, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_header_changes(Fixture *f, gconstpointer data)
{
#ifdef __SANITIZE_THREAD__
    g_test_skip("a race on purpose, in memory that the guest owns");
    return;
#endif
    GuestReq *req = guest_req_new(f->guest, VIRTIO_BLK_T_OUT, 0, 512);
    Flipper flipper = { .header = (void *)req->frame };
    GThread *thread = g_thread_new("flip", flip, &flipper);

    memset(req->data, 0xd1, 512);
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t status = guest_blk_run(f->guest, 0, req);

        g_assert_true(status == VIRTIO_BLK_S_OK ||
                      status == VIRTIO_BLK_S_IOERR);
    }
    __atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
    g_thread_join(thread);
    for (unsigned i = 0; i < ram_disk_log_length(f->disk); i++) {
        g_assert_cmpint(ram_disk_log(f->disk, i)->offset, ==, 0);
    }
    expect_disk_untouched(f);
}

#define ADD(name) \
    g_test_add("/virtio-blk-hostile/" #name, Fixture, NULL, setup, \
               test_##name, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(requests);
    ADD(index_jumps);
    ADD(head_out_of_range);
    ADD(loop);
    ADD(next_out_of_range);
    ADD(address_wraps);
    ADD(huge_length);
    ADD(readable_after_writable);
    ADD(indirect_nested);
    ADD(head_in_flight);
    ADD(zero_length);
    ADD(self_overwriting);
    ADD(nonsense);
    ADD(header_changes);
    return g_test_run();
}
