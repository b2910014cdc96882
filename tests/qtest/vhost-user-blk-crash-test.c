/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kill -9 in the middle of load, again and again: another process goes on
 * where the first one ended. The guest sees no error, every request comes back
 * once, and what was acknowledged is there.
 *
 * Each block has at most one request at a time, so that it is always known
 * what a read must find: what was written last, as the guest was told.
 */
#include "servers.h"

#include "qcow2-image.h"

#include <glib/gstdio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK       4096
#define BLOCKS      64    /* of a queue; that many requests */
#define IMAGE_BYTES (8 << 20)
#define DEPTH       24
#define QUEUES      4
#define KILLS       20
#define SLOW_KILLS  6

typedef struct Block {
    GuestReq *data_req, *zero_req;
    GuestReq *req;    /* the one of these that is or was under way */
    unsigned queue;
    uint32_t acked;   /* number of the write the guest knows to be done */
    uint32_t sent;    /* of the one that is under way */
    bool busy;
} Block;

typedef struct Load {
    Service service;
    GuestBlk *guest;
    GRand *rand;
    Block blocks[QUEUES][BLOCKS];
    unsigned in_flight[QUEUES];
    uint32_t serial;
    uint64_t verified; /* bytes */
    char *blockdev;    /* the server borrows it */
    unsigned requests, completed, resubmitted;
    unsigned zeroes;  /* of a hundred requests */
} Load;

static struct {
    unsigned kills, requests, resubmitted;
    uint64_t verified;
} total;

static uint64_t sector_of(unsigned queue, unsigned i)
{
    return (uint64_t)(queue * BLOCKS + i) * (BLOCK / 512);
}

static void fill(uint8_t *buf, uint32_t serial, uint64_t sector)
{
    uint32_t *words = (uint32_t *)buf;

    for (unsigned i = 0; i < BLOCK / 8; i++) {
        words[2 * i] = serial;
        words[2 * i + 1] = serial ? sector + i : 0;
    }
}

static void expect_block(Load *load, const uint8_t *buf, uint32_t serial,
                         uint64_t sector)
{
    uint8_t expected[BLOCK];

    fill(expected, serial, sector);
    if (memcmp(buf, expected, BLOCK) != 0) {
        g_error("sector %u: write %u is not there, but %u",
                (unsigned)sector, serial, *(const uint32_t *)buf);
    }
    load->verified += BLOCK;
}

/* --- requests --- */

static uint32_t choose_type(Load *load)
{
    unsigned dice = g_rand_int_range(load->rand, 0, 100);

    if (dice < load->zeroes) {
        return VIRTIO_BLK_T_WRITE_ZEROES;
    }
    return dice < 70 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
}

/* The cluster goes, and a later write needs another one. */
static void ask_for_zeroes(Block *block, uint64_t sector)
{
    struct virtio_blk_discard_write_zeroes range = {
        .sector = sector, .num_sectors = BLOCK / 512,
        .flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
    };

    block->req = block->zero_req;
    memcpy(block->req->data, &range, sizeof(range));
    block->sent = 0;
}

static void submit(Load *load, Block *block)
{
    uint32_t type = choose_type(load);
    GuestReq *req = block->req = block->data_req;

    if (type == VIRTIO_BLK_T_WRITE_ZEROES) {
        ask_for_zeroes(block, req->sector);
        req = block->req;
    } else if (type == VIRTIO_BLK_T_IN) {
        memset(req->data, 0xee, BLOCK);
    } else {
        block->sent = ++load->serial;
        fill(req->data, block->sent, req->sector);
    }
    req->type = type;
    req->writes_guest = type == VIRTIO_BLK_T_IN;
    req->done = false;
    req->indirect = g_rand_boolean(load->rand);
    if (!guest_blk_submit(load->guest, block->queue, req)) {
        return;
    }
    block->busy = true;
    load->in_flight[block->queue]++;
    load->requests++;
}

static void finish(Load *load, Block *block)
{
    GuestReq *req = block->req;

    g_assert_cmpuint(req->status, ==, VIRTIO_BLK_S_OK);
    if (req->writes_guest) {
        expect_block(load, req->data, block->acked, req->sector);
    } else {
        block->acked = block->sent;
    }
    block->busy = false;
    load->in_flight[block->queue]--;
    load->completed++;
}

static void reap(Load *load, unsigned queue)
{
    guest_blk_reap(load->guest, queue);
    for (unsigned i = 0; i < BLOCKS; i++) {
        Block *block = &load->blocks[queue][i];

        if (block->busy && block->req->done) {
            finish(load, block);
        }
    }
}

static void step(Load *load)
{
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        unsigned n = g_rand_int_range(load->rand, 1, DEPTH);

        for (unsigned k = 0; k < n && load->in_flight[queue] < DEPTH; k++) {
            Block *block = &load->blocks[queue][g_rand_int_range(load->rand, 0,
                                                                 BLOCKS)];

            if (!block->busy) {
                submit(load, block);
            }
        }
        guest_blk_kick(load->guest, queue);
        reap(load, queue);
    }
}

static void wait_for_all(Load *load)
{
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        guest_blk_wait_all(load->guest, queue);
        reap(load, queue);
        g_assert_cmpuint(load->in_flight[queue], ==, 0);
    }
}

/* --- the test --- */

typedef struct CrashCase {
    const char *name;
    const char *engine;
    bool packed;
    bool slow;         /* 150 writes a second: they complete out of order */
    bool qcow2;
    bool supervise;
} CrashCase;

/* From the top down: throttle, format, file. */
static char *blockdev_of(const CrashCase *test, const TestImage *image)
{
    g_autoptr(GString) text = g_string_new("node-name=n0");
    g_autoptr(GString) prefix = g_string_new(NULL);

    if (test->slow) {
        g_string_append(text, ",driver=throttle,throttle-group=slow");
        g_string_append(prefix, "file.");
    }
    if (test->qcow2) {
        g_string_append_printf(text, ",%sdriver=qcow2,%sdiscard=unmap",
                               prefix->str, prefix->str);
        g_string_append(prefix, "file.");
    }
    g_string_append_printf(
        text, ",%sdriver=file,%sfilename=%s,%saio=%s,%sdiscard=unmap,"
        "%scache.direct=%s", prefix->str, prefix->str, test_image_path(image),
        prefix->str, test->engine, prefix->str, prefix->str,
        strcmp(test->engine, "threads") != 0 ? "on" : "off");
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void make_block(Load *load, unsigned queue, unsigned i)
{
    load->blocks[queue][i] = (Block) {
        .data_req = guest_req_new(load->guest, VIRTIO_BLK_T_OUT,
                                  sector_of(queue, i), BLOCK),
        .zero_req = guest_req_new(
            load->guest, VIRTIO_BLK_T_WRITE_ZEROES, 0,
            sizeof(struct virtio_blk_discard_write_zeroes)),
        .queue = queue,
    };
}

static void load_start(Load *load, const CrashCase *test)
{
    GuestBlkConf guest_conf = {
        .num_queues = QUEUES, .queue_size = 128, .packed = test->packed,
    };
    BlkServerConf conf = { .num_queues = QUEUES, .n_iothreads = QUEUES,
                           .program = true, .supervise = test->supervise };

    memset(load, 0, sizeof(*load));
    load->rand = g_rand_new_with_seed(g_str_hash(test->name));
    load->service.image = test->qcow2
                              ? qcow2_image_new("cluster_size=4096", "8M")
                              : test_image_new(IMAGE_BYTES);
    load->zeroes = test->qcow2 ? 15 : 0;
    load->blockdev = blockdev_of(test, load->service.image);
    conf.blockdev = load->blockdev;
    conf.object = test->slow ? "throttle-group,id=slow,limits.iops-write=150"
                             : NULL;
    load->service.server = blk_server_new(&conf);
    load->guest = guest_blk_new_socket(
        blk_server_path(load->service.server), &guest_conf);
    guest_blk_keep_inflight(load->guest);
    guest_blk_start(load->guest);
    for (unsigned q = 0; q < QUEUES; q++) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            make_block(load, q, i);
        }
    }
}

/* Clusters that nobody uses may be left behind; more would be damage. */
static void unpack_qcow2(const TestImage *image)
{
    const char *path = test_image_path(image);
    g_autofree char *raw = g_strconcat(path, ".raw", NULL);

    g_free(qcow2_image_run(image, "check", "-q", "-r", "leaks", "@", NULL));
    g_free(qcow2_image_run(image, "convert", "-f", "qcow2", "-O", "raw", "@",
                           raw, NULL));
    g_assert_cmpint(g_rename(raw, path), ==, 0);
}

/* What the guest was told is on the disk. */
static void check_image(Load *load)
{
    uint8_t buf[BLOCK];

    for (unsigned q = 0; q < QUEUES; q++) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            test_image_read(load->service.image, sector_of(q, i) * 512, buf,
                            BLOCK);
            expect_block(load, buf, load->blocks[q][i].acked,
                         sector_of(q, i));
        }
    }
}

static void load_stop(Load *load, const CrashCase *test)
{
    wait_for_all(load);
    guest_blk_free(load->guest);
    blk_server_free(load->service.server);
    if (test->qcow2) {
        unpack_qcow2(load->service.image);
    }
    check_image(load);
    test_image_free(load->service.image);
    g_free(load->blockdev);
    g_rand_free(load->rand);
}

/* The moment is the seed's; how far the server has come by then is not. */
static void kill_and_go_on(Load *load)
{
    blk_server_kill(load->service.server);
    for (unsigned q = 0; q < QUEUES; q++) {
        reap(load, q); /* the last it gave back */
        load->resubmitted += load->in_flight[q];
    }
    blk_server_restart(load->service.server);
    guest_blk_reconnect(load->guest, blk_server_path(load->service.server));
}

static void test_crash(gconstpointer opaque)
{
    const CrashCase *test = opaque;
    unsigned kills = test->slow ? SLOW_KILLS : KILLS;
    Load load;

    if (!blk_server_have_program()) {
        g_test_skip("VBLK_STORAGE_DAEMON is not set");
        return;
    }
    if (test->qcow2 && !test_program_present("qemu-img")) {
        g_test_skip("qemu-img is not installed");
        return;
    }
    load_start(&load, test);
    for (unsigned i = 0; i < kills; i++) {
        unsigned end = load.completed +
                       g_rand_int_range(load.rand, 0, test->slow ? 60 : 600);

        do {
            step(&load);
            sched_yield();
        } while (load.completed < end);
        kill_and_go_on(&load);
    }
    load_stop(&load, test);
    total.kills += kills;
    total.requests += load.requests;
    total.resubmitted += load.resubmitted;
    total.verified += load.verified;
    g_test_message("%s: %u kills, %u requests, of these %u in flight at a "
                   "kill, %u KiB verified", test->name, kills, load.requests,
                   load.resubmitted, (unsigned)(load.verified / 1024));
    g_assert_cmpuint(load.resubmitted, >, kills);
}

static const CrashCase cases[] = {
    { "threads-split", "threads", false },
    { "threads-packed", "threads", true },
    { "native-split", "native", false },
    { "native-packed", "native", true },
    { "io_uring-split", "io_uring", false },
    { "io_uring-packed", "io_uring", true },
    { "slow-writes-split", "threads", false, .slow = true },
    { "slow-writes-packed", "threads", true, .slow = true },
    { "qcow2-threads-split", "threads", false, .qcow2 = true },
    { "qcow2-threads-packed", "threads", true, .qcow2 = true },
    { "qcow2-native-split", "native", false, .qcow2 = true },
    { "qcow2-native-packed", "native", true, .qcow2 = true },
    { "qcow2-io_uring-split", "io_uring", false, .qcow2 = true },
    { "qcow2-io_uring-packed", "io_uring", true, .qcow2 = true },
    { "qcow2-slow-writes", "native", false, .slow = true, .qcow2 = true },
    { "supervised-threads", "threads", true, .supervise = true },
    { "supervised-native", "native", false, .supervise = true },
    { "supervised-io_uring", "io_uring", true, .supervise = true },
    { "supervised-qcow2", "io_uring", false, .qcow2 = true,
      .supervise = true },
    { "supervised-slow-writes", "io_uring", false, .slow = true,
      .supervise = true },
};

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/vhost-user-blk-crash/%s",
                                                cases[i].name);

        g_test_add_data_func(path, &cases[i], test_crash);
    }
    ret = g_test_run();
    printf("# in all: %u kills, %u requests, of these %u in flight at a kill, "
           "%u MiB verified\n", total.kills, total.requests,
           total.resubmitted, (unsigned)(total.verified >> 20));
    return ret;
}
