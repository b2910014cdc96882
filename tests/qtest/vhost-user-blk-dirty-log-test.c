/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of live migration: every page of the guest's memory that the device
 * changes is marked, whatever it is: data, status, used ring, event index.
 *
 * The test fills a ring while it stands still, notes all of memory, lets the
 * device work and compares: the driver writes nothing meanwhile. The rings
 * have 1024 entries, so that their parts lie in pages of their own.
 */
#include "servers.h"
#include "guest-blk-transport.h"

#include <string.h>

#define PAGE       4096
#define DISK_BYTES (4 << 20)
#define REQUESTS   60
#define ROUNDS     6

typedef struct Scene {
    Service service;
    GuestBlk *guest;
    GRand *rand;
    uint8_t *log;
    size_t log_bytes;
    unsigned changed, marked;
} Scene;

static void scene_open(Scene *scene, const ServerKind *kind, bool packed,
                       const char *blockdev)
{
    BlkServerConf conf = { .blockdev = blockdev };
    GuestBlkConf guest_conf = {
        .queue_size = 1024, .packed = packed, .memory_bytes = 24 << 20,
    };

    *scene = (Scene) { .rand = g_rand_new_with_seed(7) };
    service_start(&scene->service, kind, DISK_BYTES, &conf);
    scene->guest = service_connect(&scene->service, &guest_conf);
}

static void scene_close(Scene *scene)
{
    guest_blk_free(scene->guest);
    service_stop(&scene->service);
    g_rand_free(scene->rand);
    g_test_message("%u pages changed, %u marked", scene->changed,
                   scene->marked);
}

/* --- memory and marks --- */

static uint8_t *note_memory(const Scene *scene)
{
    size_t bytes = scene->guest->conf.memory_bytes;
    uint8_t *copy = g_malloc(bytes);

    memcpy(copy, scene->guest->mem, bytes);
    return copy;
}

static bool is_marked(const Scene *scene, uint64_t guest_addr)
{
    uint64_t page = guest_addr / PAGE;

    return scene->log[page / 8] >> page % 8 & 1;
}

/* Frees @before. */
static void expect_marked(Scene *scene, uint8_t *before)
{
    for (size_t at = 0; at < scene->guest->conf.memory_bytes; at += PAGE) {
        const uint8_t *now = scene->guest->mem + at;
        bool marked = is_marked(scene, guest_blk_addr(scene->guest, now));

        scene->marked += marked;
        if (memcmp(before + at, now, PAGE) == 0) {
            continue;
        }
        scene->changed++;
        if (!marked) {
            g_error("page 0x%zx was changed and is not marked", at);
        }
    }
    g_free(before);
}

static void clear_log(Scene *scene)
{
    memset(scene->log, 0, scene->log_bytes);
}

static bool log_is_clear(const Scene *scene)
{
    for (size_t i = 0; i < scene->log_bytes; i++) {
        if (scene->log[i]) {
            return false;
        }
    }
    return true;
}

/* --- requests --- */

static GuestReq *make_request(Scene *scene)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_IN, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
        VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, 99,
    };
    uint32_t type = types[g_rand_int_range(scene->rand, 0,
                                           G_N_ELEMENTS(types))];
    size_t bytes = 512 * g_rand_int_range(scene->rand, 1, 40);
    GuestReq *req;

    if (type == VIRTIO_BLK_T_FLUSH) {
        bytes = 0;
    } else if (type == VIRTIO_BLK_T_GET_ID) {
        bytes = 20;
    }
    /* some lie behind the end of the disk: nothing but a status */
    req = guest_req_new(scene->guest, type,
                        g_rand_int_range(scene->rand, 0,
                                         DISK_BYTES / 512 + 500), bytes);
    memset(req->data, 0xee, bytes);
    req->indirect = g_rand_boolean(scene->rand);
    req->layout = g_rand_int_range(scene->rand, 0, GUEST_LAYOUT__COUNT);
    req->n_segments = g_rand_int_range(scene->rand, 1, 5);
    return req;
}

static void fill_ring(Scene *scene)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        g_assert_true(guest_blk_submit(scene->guest, 0,
                                       make_request(scene)));
    }
    guest_blk_kick(scene->guest, 0);
}

/* The device takes all that is there when it starts, and has done it when it
 * has stopped. */
static uint32_t let_it_work(Scene *scene, uint32_t base)
{
    guest_blk_resume_queue(scene->guest, 0, base);
    return guest_blk_stop_queue_quietly(scene->guest, 0);
}

static void expect_all_back(Scene *scene)
{
    guest_blk_reap(scene->guest, 0);
    g_assert_cmpuint(virtio_ring_in_flight(guest_blk_ring(scene->guest, 0)),
                     ==, 0);
}

static void run_rounds(const ServerKind *kind, bool packed)
{
    Scene scene;
    uint32_t base;

    scene_open(&scene, kind, packed, NULL);
    scene.log = guest_blk_start_logging(scene.guest, &scene.log_bytes);
    base = guest_blk_stop_queue(scene.guest, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t *before;

        fill_ring(&scene);
        clear_log(&scene);
        before = note_memory(&scene);
        base = let_it_work(&scene, base);
        expect_marked(&scene, before);
        expect_all_back(&scene);
    }
    g_assert_cmpuint(scene.changed, >, ROUNDS * REQUESTS / 2);
    /* and nothing when nobody asks for it */
    guest_blk_stop_logging(scene.guest);
    clear_log(&scene);
    fill_ring(&scene);
    let_it_work(&scene, base);
    expect_all_back(&scene);
    g_assert_true(log_is_clear(&scene));
    scene_close(&scene);
}

static void test_split(const ServerKind *kind)
{
    run_rounds(kind, false);
}

static void test_packed(const ServerKind *kind)
{
    run_rounds(kind, true);
}

/* Requests that take @latency_ms are on their way when the log begins. Whether
 * they still were when memory was noted. */
static bool switch_on(const ServerKind *kind, bool packed, unsigned latency_ms)
{
    g_autofree char *node = g_strdup_printf(
        "driver=null-aio,node-name=n0,size=4M,read-zeroes=on,latency-ns=%u",
        latency_ms * 1000000);
    Scene scene;
    uint8_t *before;
    uint32_t base;

    scene_open(&scene, kind, packed, node);
    base = guest_blk_stop_queue(scene.guest, 0);
    fill_ring(&scene);
    guest_blk_resume_queue(scene.guest, 0, base); /* takes them all */
    scene.log = guest_blk_start_logging(scene.guest, &scene.log_bytes);
    before = note_memory(&scene);
    guest_blk_stop_queue_quietly(scene.guest, 0);
    expect_marked(&scene, before);
    guest_blk_reap(scene.guest, 0);
    scene_close(&scene);
    return scene.changed > 0;
}

/* The migration begins while requests are on their way: from the answer on,
 * what changes is marked. */
static void run_switched_on(const ServerKind *kind, bool packed)
{
    unsigned latency_ms = 250;

    while (!switch_on(kind, packed, latency_ms)) {
        latency_ms *= 2; /* a busy machine */
        g_assert_cmpuint(latency_ms, <, 4000);
    }
}

static void test_switched_on(const ServerKind *kind)
{
    run_switched_on(kind, false);
}

static void test_switched_on_packed(const ServerKind *kind)
{
    run_switched_on(kind, true);
}

int main(int argc, char **argv)
{
    const char *prefix = "vhost-user-blk-dirty-log";

    g_test_init(&argc, &argv, NULL);
    servers_add(prefix, "split", test_split);
    servers_add(prefix, "packed", test_packed);
    servers_add(prefix, "switched-on", test_switched_on);
    servers_add(prefix, "switched-on-packed", test_switched_on_packed);
    return g_test_run();
}
