/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk that goes from daemon to daemon with its guest: auto-active=on. The
 * image is the one's whose guest has rings; the other's guest waits, and then
 * finds what the first one has written. Nobody tells the daemons anything.
 */
#include "servers.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "guest-load.h"
#include "qmp-client.h"

#define BYTES (16 << 20)
#define BLOCK 4096
#define TURNS 16
#define STEPS 20

static const char *const drivers[] = {
    "raw,node-name=n0,active=off,discard=unmap,file.driver=file,file.",
    "qcow2,node-name=n0,active=off,discard=unmap,file.driver=file,file.",
};

typedef struct Side {
    BlkServer *server;
    char *blockdev;
    QmpClient *qmp;
    GuestBlk *guest;
} Side;

typedef struct Pair {
    TestImage *image;
    Side sides[2];
} Pair;

static uint64_t verified;

static void make_image(Pair *pair, bool qcow2)
{
    g_autofree char *command = NULL;

    pair->image = test_image_new(BYTES);
    if (qcow2) {
        command = g_strdup_printf("qemu-img create -q -f qcow2 %s %d",
                                  test_image_path(pair->image), BYTES);
        g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL,
                                                NULL));
    }
}

static Pair *pair_new(const char *driver, BlkServerConf conf)
{
    Pair *pair = g_new0(Pair, 1);

    make_image(pair, g_str_has_prefix(driver, "qcow2"));
    conf.num_queues = 2;
    conf.n_iothreads = 2;
    conf.program = true;
    conf.export = ",auto-active=on";
    for (unsigned i = 0; i < 2; i++) {
        Side *side = &pair->sides[i];

        side->blockdev = g_strdup_printf("%sfilename=%s", driver,
                                         test_image_path(pair->image));
        conf.blockdev = side->blockdev;
        side->server = blk_server_new(&conf);
        if (conf.monitor) {
            side->qmp = qmp_client_new(blk_server_monitor(side->server));
        }
    }
    return pair;
}

static void pair_free(Pair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        Side *side = &pair->sides[i];

        g_clear_pointer(&side->guest, guest_blk_free);
        g_clear_pointer(&side->qmp, qmp_client_free);
        blk_server_free(side->server);
        g_free(side->blockdev);
    }
    test_image_free(pair->image);
    g_free(pair);
}

static GuestBlk *connect_guest(Side *side)
{
    GuestBlkConf conf = { .num_queues = 2 };

    side->guest = guest_blk_new_socket(blk_server_path(side->server), &conf);
    return side->guest;
}

static void stop_guest(Side *side)
{
    guest_blk_stop_queue(side->guest, 0);
    guest_blk_stop_queue(side->guest, 1);
}

static bool is_active(Side *side)
{
    const char *line = qmp_client_run(side->qmp, "query-named-block-nodes");
    bool active = strstr(line, "\"active\": true");

    /* a node is what its file is */
    g_assert_cmpint(active, !=, !!strstr(line, "\"active\": false"));
    return active;
}

static void expect_active(Pair *pair, bool first, bool second)
{
    g_assert_cmpint(is_active(&pair->sides[0]), ==, first);
    g_assert_cmpint(is_active(&pair->sides[1]), ==, second);
}

/* --- the tests --- */

/* Forth and back under load; nothing is flushed but by the guest. */
static void test_turns(gconstpointer driver)
{
    Pair *pair = pair_new(driver, (BlkServerConf){ .monitor = true });
    GuestLoadConf conf = { .queues = 2, .depth = 16, .bytes = BYTES,
                           .seed = 7 };
    GuestLoad *load = guest_load_new(&conf);

    expect_active(pair, false, false);
    for (unsigned i = 0; i < TURNS; i++) {
        Side *side = &pair->sides[i % 2];

        guest_blk_start(connect_guest(side));
        guest_load_attach(load, side->guest);
        for (unsigned j = 0; j < STEPS; j++) {
            guest_load_step(load);
        }
        guest_load_wait(load);
        guest_load_check(load);
        expect_active(pair, i % 2 == 0, i % 2 == 1);
        stop_guest(side);
        /* the last ring is back, the connection still there */
        expect_active(pair, false, false);
        guest_blk_free(side->guest);
        side->guest = NULL;
    }
    verified += guest_load_counts(load)->verified;
    guest_load_free(load);
    pair_free(pair);
}

static GuestReq *submit_read(Side *side)
{
    GuestReq *req = guest_req_new(side->guest, VIRTIO_BLK_T_IN, 8, BLOCK);

    g_assert_true(guest_blk_submit(side->guest, 0, req));
    guest_blk_kick(side->guest, 0);
    return req;
}

static void write_byte(Side *side, uint8_t byte)
{
    uint8_t buf[BLOCK];

    memset(buf, byte, BLOCK);
    g_assert_cmpuint(guest_blk_write(side->guest, 8, buf, BLOCK), ==,
                     VIRTIO_BLK_S_OK);
}

static void expect_byte(Side *side, GuestReq *req, uint8_t byte)
{
    g_assert_cmpuint(guest_blk_wait(side->guest, 0, req), ==,
                     VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < BLOCK; i++) {
        g_assert_cmpuint(req->data[i], ==, byte);
    }
}

/* Whose guest comes too early waits, and reads what is written then. */
static void test_too_early(gconstpointer driver)
{
    Pair *pair = pair_new(driver, (BlkServerConf){ .monitor = true });
    Side *a = &pair->sides[0], *b = &pair->sides[1];
    GuestReq *req;

    guest_blk_start(connect_guest(a));
    write_byte(a, 1);
    guest_blk_start(connect_guest(b));
    req = submit_read(b);
    expect_active(pair, true, false);
    write_byte(a, 2);
    guest_blk_reap(b->guest, 0);
    g_assert_false(req->done);
    stop_guest(a);
    expect_byte(b, req, 2);
    expect_active(pair, false, true);
    pair_free(pair);
}

/* Its rings stop while it waits: it is as if it had never asked. */
static void test_given_up(gconstpointer driver)
{
    Pair *pair = pair_new(driver, (BlkServerConf){ .monitor = true });
    Side *a = &pair->sides[0], *b = &pair->sides[1];
    GuestReq *req;

    guest_blk_start(connect_guest(a));
    guest_blk_start(connect_guest(b));
    req = submit_read(b);
    guest_blk_stop_queue_quietly(b->guest, 0);
    guest_blk_stop_queue_quietly(b->guest, 1);
    g_assert_false(req->done);
    write_byte(a, 3);
    stop_guest(a);
    expect_active(pair, false, false);
    pair_free(pair);
}

/* A migration that is cancelled: the source's rings go on where they were. */
static void test_cancelled(gconstpointer driver)
{
    Pair *pair = pair_new(driver, (BlkServerConf){ .monitor = true });
    Side *a = &pair->sides[0];

    guest_blk_start(connect_guest(a));
    guest_blk_get_config(connect_guest(&pair->sides[1]), 0, &(uint64_t){ 0 },
                         8);
    for (unsigned i = 0; i < 5; i++) {
        uint32_t base[2];

        write_byte(a, i);
        base[0] = guest_blk_stop_queue(a->guest, 0);
        base[1] = guest_blk_stop_queue(a->guest, 1);
        expect_active(pair, false, false);
        guest_blk_resume_queue(a->guest, 0, base[0]);
        guest_blk_resume_queue(a->guest, 1, base[1]);
        expect_byte(a, submit_read(a), i);
        expect_active(pair, true, false);
    }
    pair_free(pair);
}

/* The one that has the image dies: the other one gets it. Then the first one's
 * guest finds a new process, and waits. */
static void test_killed(gconstpointer driver)
{
    Pair *pair = pair_new(driver, (BlkServerConf){ 0 });
    Side *a = &pair->sides[0], *b = &pair->sides[1];
    GuestReq *req;

    connect_guest(a);
    guest_blk_keep_inflight(a->guest);
    guest_blk_start(a->guest);
    write_byte(a, 4);
    blk_server_kill(a->server);
    blk_server_restart(a->server); /* its own guest is first */
    guest_blk_reconnect(a->guest, blk_server_path(a->server));
    expect_byte(a, submit_read(a), 4);
    guest_blk_start(connect_guest(b));
    req = submit_read(b);
    write_byte(a, 5);
    blk_server_kill(a->server);
    expect_byte(b, req, 5);
    blk_server_restart(a->server);
    guest_blk_reconnect(a->guest, blk_server_path(a->server));
    req = submit_read(a);
    write_byte(b, 6);
    guest_blk_reap(a->guest, 0);
    g_assert_false(req->done);
    stop_guest(b);
    expect_byte(a, req, 6);
    pair_free(pair);
}

/* The process that follows has the image at once: nobody comes between. */
static void test_takeover(gconstpointer driver)
{
    Pair *pair = pair_new(driver, (BlkServerConf){ .takeover = true });
    Side *a = &pair->sides[0], *b = &pair->sides[1];
    GuestReq *req;

    connect_guest(a);
    guest_blk_keep_inflight(a->guest);
    guest_blk_start(a->guest);
    guest_blk_start(connect_guest(b));
    req = submit_read(b);
    for (unsigned i = 0; i < 3; i++) {
        BlkTakeover takeover;

        write_byte(a, i);
        blk_server_take_over_begin(a->server, NULL);
        while (blk_server_taking_over(a->server)) {
            expect_byte(a, submit_read(a), i);
        }
        g_assert_true(blk_server_take_over_end(a->server, &takeover));
        g_assert_cmpint(takeover.us, >=, 0);
        expect_byte(a, submit_read(a), i);
    }
    guest_blk_reap(b->guest, 0);
    g_assert_false(req->done);
    write_byte(a, 9);
    stop_guest(a);
    expect_byte(b, req, 9);
    pair_free(pair);
}

/* A disk that grew on the one side is longer on the other, whose guest is
 * told. */
static void test_resized(gconstpointer driver)
{
    Pair *pair = pair_new(driver, (BlkServerConf){ .monitor = true });
    Side *a = &pair->sides[0], *b = &pair->sides[1];
    struct virtio_blk_config config;
    g_autofree char *arguments = g_strdup_printf(
        "{\"node-name\": \"n0\", \"size\": %d}", 2 * BYTES);

    connect_guest(b);
    guest_blk_start(connect_guest(a));
    qmp_client_run_with(a->qmp, "block_resize", arguments);
    stop_guest(a);
    guest_blk_start(b->guest);
    expect_byte(b, submit_read(b), 0);
    guest_blk_read_config(b->guest, &config);
    g_assert_cmpuint(le64toh(config.capacity), ==, 2 * BYTES / 512);
    pair_free(pair);
}

/* By hand: the guest's requests wait meanwhile, and its rings may stop. */
static void test_by_hand(gconstpointer driver)
{
    static const char on[] = "{\"node-name\": \"n0\", \"active\": true}";
    static const char off[] = "{\"node-name\": \"n0\", \"active\": false}";
    Pair *pair = pair_new(driver, (BlkServerConf){ .monitor = true });
    Side *a = &pair->sides[0];
    GuestReq *req;

    guest_blk_start(connect_guest(a));
    for (unsigned i = 1; i < 4; i++) {
        write_byte(a, i);
        qmp_client_run_with(a->qmp, "blockdev-set-active", off);
        req = submit_read(a);
        expect_active(pair, false, false);
        guest_blk_reap(a->guest, 0);
        g_assert_false(req->done);
        qmp_client_run_with(a->qmp, "blockdev-set-active", on);
        expect_byte(a, req, i);
    }
    qmp_client_run_with(a->qmp, "blockdev-set-active", off);
    stop_guest(a);
    g_assert_false(qmp_client_try(pair->sides[1].qmp, "blockdev-set-active",
                                  "{\"node-name\": \"x\", \"active\": true}"));
    pair_free(pair);
}

static void add(const char *name, GTestDataFunc fn)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
        g_autofree char *path = g_strdup_printf(
            "/active/%s/%s", name, i ? "qcow2" : "raw");

        g_test_add_data_func(path, drivers[i], fn);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!blk_server_have_program()) {
        printf("1..0 # SKIP there is no daemon to test\n");
        return 0;
    }
    add("turns", test_turns);
    add("too-early", test_too_early);
    add("given-up", test_given_up);
    add("cancelled", test_cancelled);
    add("killed", test_killed);
    add("takeover", test_takeover);
    add("resized", test_resized);
    add("by-hand", test_by_hand);
    ret = g_test_run();
    printf("# %u turns of each kind of image, %" G_GUINT64_FORMAT " bytes "
           "verified\n", TURNS, verified);
    return ret;
}
