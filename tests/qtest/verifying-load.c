/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Used by the crash and takeover tests. Blocks of a queue are that queue's
 * alone; requests are of one block, 24 at a time in each queue.
 */
#include "verifying-load.h"

#include "qcow2-image.h"

#include <glib/gstdio.h>
#include <string.h>

#define BLOCK       4096
#define IMAGE_BYTES (8 << 20)
#define DEPTH       24
#define SLOW_DEPTH  18 /* of writes */

static uint64_t sector_of(unsigned queue, unsigned i)
{
    return (uint64_t)(queue * LOAD_BLOCKS + i) * (BLOCK / 512);
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

static uint32_t choose_type(Load *load, unsigned queue)
{
    unsigned dice = g_rand_int_range(load->rand, 0, 100);

    if (load->writes[queue] == load->max_writes) {
        return VIRTIO_BLK_T_IN;
    }
    if (dice < load->zeroes) {
        return VIRTIO_BLK_T_WRITE_ZEROES;
    }
    return dice < 70 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
}

/* The cluster goes, and a later write needs another one. */
static void ask_for_zeroes(LoadBlock *block, uint64_t sector)
{
    struct virtio_blk_discard_write_zeroes range = {
        .sector = sector, .num_sectors = BLOCK / 512,
        .flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
    };

    block->req = block->zero_req;
    memcpy(block->req->data, &range, sizeof(range));
    block->sent = 0;
}

static void submit(Load *load, LoadBlock *block)
{
    uint32_t type = choose_type(load, block->queue);
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
    load->writes[block->queue] += !req->writes_guest;
    load->requests++;
}

static void note_read(Load *load)
{
    int64_t now_us = g_get_monotonic_time();

    load->gap_us = MAX(load->gap_us, now_us - load->read_us);
    load->read_us = now_us;
}

static void finish(Load *load, LoadBlock *block)
{
    GuestReq *req = block->req;

    g_assert_cmpuint(req->status, ==, VIRTIO_BLK_S_OK);
    if (req->writes_guest) {
        expect_block(load, req->data, block->acked, req->sector);
        note_read(load);
    } else {
        block->acked = block->sent;
        load->writes[block->queue]--;
        load->written++;
    }
    block->busy = false;
    load->in_flight[block->queue]--;
    load->completed++;
}

void load_reap(Load *load, unsigned queue)
{
    guest_blk_reap(load->guest, queue);
    for (unsigned i = 0; i < LOAD_BLOCKS; i++) {
        LoadBlock *block = &load->blocks[queue][i];

        if (block->busy && block->req->done) {
            finish(load, block);
        }
    }
}

void load_step(Load *load)
{
    for (unsigned queue = 0; queue < LOAD_QUEUES; queue++) {
        unsigned n = g_rand_int_range(load->rand, 1, DEPTH);

        for (unsigned k = 0; k < n && load->in_flight[queue] < DEPTH; k++) {
            LoadBlock *block = &load->blocks[queue][g_rand_int_range(load->rand, 0,
                                                                 LOAD_BLOCKS)];

            if (!block->busy) {
                submit(load, block);
            }
        }
        guest_blk_kick(load->guest, queue);
        load_reap(load, queue);
    }
}

static void wait_for_all(Load *load)
{
    for (unsigned queue = 0; queue < LOAD_QUEUES; queue++) {
        guest_blk_wait_all(load->guest, queue);
        load_reap(load, queue);
        g_assert_cmpuint(load->in_flight[queue], ==, 0);
    }
}

/* --- life --- */

/* One more node, under those that are there. */
static void add_node(GString *text, GString *prefix, const char *driver,
                     const char *option)
{
    g_string_append_printf(text, ",%sdriver=%s,%s%s", prefix->str, driver,
                           prefix->str, option);
    g_string_append(prefix, "file.");
}

/* From the top down: throttle, format, file; or format first. */
static char *blockdev_of(const LoadConf *conf, const TestImage *image)
{
    g_autoptr(GString) text = g_string_new("node-name=n0");
    g_autoptr(GString) prefix = g_string_new(NULL);

    if (conf->slow && !conf->below) {
        add_node(text, prefix, "throttle", "throttle-group=slow");
    }
    if (conf->qcow2) {
        add_node(text, prefix, "qcow2", "discard=unmap");
    }
    if (conf->slow && conf->below) {
        add_node(text, prefix, "throttle", "throttle-group=slow");
    }
    g_string_append_printf(
        text, ",%sdriver=file,%sfilename=%s,%saio=%s,%sdiscard=unmap,"
        "%scache.direct=%s", prefix->str, prefix->str, test_image_path(image),
        prefix->str, conf->engine, prefix->str, prefix->str,
        strcmp(conf->engine, "threads") != 0 ? "on" : "off");
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void make_block(Load *load, unsigned queue, unsigned i)
{
    load->blocks[queue][i] = (LoadBlock) {
        .data_req = guest_req_new(load->guest, VIRTIO_BLK_T_OUT,
                                  sector_of(queue, i), BLOCK),
        .zero_req = guest_req_new(
            load->guest, VIRTIO_BLK_T_WRITE_ZEROES, 0,
            sizeof(struct virtio_blk_discard_write_zeroes)),
        .queue = queue,
    };
}

void load_start(Load *load, const LoadConf *conf)
{
    GuestBlkConf guest_conf = {
        .num_queues = LOAD_QUEUES, .queue_size = 128, .packed = conf->packed,
    };
    BlkServerConf server_conf = { .num_queues = LOAD_QUEUES, .n_iothreads = LOAD_QUEUES,
                           .program = true, .supervise = conf->supervise,
                                  .takeover = conf->takeover,
                                  .qmp = conf->qmp,
                                  .register_buffers = conf->fixed };

    memset(load, 0, sizeof(*load));
    load->rand = g_rand_new_with_seed(g_str_hash(conf->name));
    load->service.image = conf->qcow2
                              ? qcow2_image_new("cluster_size=4096", "8M")
                              : test_image_new(IMAGE_BYTES);
    load->zeroes = conf->qcow2 ? 15 : 0;
    load->max_writes = conf->slow ? SLOW_DEPTH : DEPTH;
    load->blockdev = blockdev_of(conf, load->service.image);
    server_conf.blockdev = load->blockdev;
    server_conf.object = conf->slow ? "throttle-group,id=slow,limits.iops-write="
                                      G_STRINGIFY(LOAD_SLOW) : NULL;
    /* io_uring is there only where the command line has it */
    server_conf.confined = strcmp(conf->engine, "io_uring") != 0;
    server_conf.export = conf->unmerged ? ",request-merging=off" : NULL;
    load->service.server = blk_server_new(&server_conf);
    load->guest = guest_blk_new_socket(
        blk_server_path(load->service.server), &guest_conf);
    guest_blk_keep_inflight(load->guest);
    guest_blk_start(load->guest);
    for (unsigned q = 0; q < LOAD_QUEUES; q++) {
        for (unsigned i = 0; i < LOAD_BLOCKS; i++) {
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

    for (unsigned q = 0; q < LOAD_QUEUES; q++) {
        for (unsigned i = 0; i < LOAD_BLOCKS; i++) {
            test_image_read(load->service.image, sector_of(q, i) * 512, buf,
                            BLOCK);
            expect_block(load, buf, load->blocks[q][i].acked,
                         sector_of(q, i));
        }
    }
}

void load_stop(Load *load, const LoadConf *conf)
{
    wait_for_all(load);
    guest_blk_free(load->guest);
    blk_server_free(load->service.server);
    if (conf->qcow2) {
        unpack_qcow2(load->service.image);
    }
    check_image(load);
    test_image_free(load->service.image);
    g_free(load->blockdev);
    g_rand_free(load->rand);
}

unsigned load_times(unsigned n)
{
    return g_getenv("VBLK_FEW") ? (n + 4) / 5 : n;
}

bool load_can_run(const LoadConf *conf)
{
    if (!blk_server_have_program()) {
        g_test_skip("VBLK_STORAGE_DAEMON is not set");
        return false;
    }
    if (conf->qcow2 && !test_program_present("qemu-img")) {
        g_test_skip("qemu-img is not installed");
        return false;
    }
    return true;
}
