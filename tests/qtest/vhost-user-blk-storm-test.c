/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stop under load, in every way there is and again and again: GET_VRING_BASE,
 * the memory table replaced or taken away, reset, a driver that comes back
 * with other features, a machine that dies, SIGTERM. After each answer no byte
 * of the guest's memory changes and none of the image; every request comes
 * back once, or was never taken; what was acknowledged is there.
 *
 * A seed is a server on which 24 such things happen. --seeds N: that many for
 * each combination of server, engine, ring and format.
 */
#include "servers.h"

#include "guest-load.h"
#include "qcow2-image.h"
#include "seeds.h"
#include "block/log.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define DISK_BYTES (2 << 20)
#define QUEUES     4
#define DEPTH      12
#define EVENTS     24

typedef struct StormCase {
    ServerKind kind;
    const char *engine;
    bool fixed; /* register-buffers=on */
    bool packed, qcow2;
} StormCase;

typedef struct Storm {
    const StormCase *test;
    GRand *rand;
    TestImage *image;
    char *blockdev;
    BlkServer *server;
    GuestBlk *guest;
    GuestLoad *load;
} Storm;

typedef struct Totals {
    unsigned stops, tables, resets, deaths, terms;
    uint64_t requests, lost, verified;
} Totals;

static Totals totals;

/* --- the stage --- */

static TestImage *make_image(const StormCase *test)
{
    return test->qcow2 ? qcow2_image_new("cluster_size=16k", "2M")
                       : test_image_new(DISK_BYTES);
}

static char *blockdev_of(const Storm *storm)
{
    const char *file = storm->test->qcow2 ? "file." : "";

    return g_strdup_printf("driver=%s,node-name=n0,discard=unmap,"
                           "%sfilename=%s,%saio=%s,%scache.direct=on%s",
                           storm->test->qcow2 ? "qcow2" : "file",
                           file, test_image_path(storm->image),
                           file, storm->test->engine, file,
                           storm->test->qcow2 ? ",file.driver=file" : "");
}

static GuestBlk *connect(const Storm *storm)
{
    GuestBlkConf conf = {
        .num_queues = QUEUES, .queue_size = 64, .memory_bytes = 4 << 20,
        .packed = storm->test->packed,
    };
    GuestBlk *guest = guest_blk_new_socket(blk_server_path(storm->server),
                                           &conf);

    if (storm->test->kind.n_iothreads) {
        guest_blk_keep_inflight(guest); /* one more that must be kept right */
    }
    return guest;
}

static void storm_open(Storm *storm, const StormCase *test, unsigned seed)
{
    GuestLoadConf load_conf = {
        .queues = QUEUES, .depth = DEPTH, .bytes = DISK_BYTES, .seed = seed,
    };
    BlkServerConf conf = {
        .num_queues = QUEUES, .n_iothreads = test->kind.n_iothreads,
        .program = test->kind.program, .register_buffers = test->fixed,
    };

    *storm = (Storm) { .test = test };
    storm->rand = g_rand_new_with_seed(seed);
    storm->image = make_image(test);
    storm->blockdev = blockdev_of(storm);
    conf.blockdev = storm->blockdev;
    storm->server = blk_server_new(&conf);
    storm->guest = connect(storm);
    storm->load = guest_load_new(&load_conf);
    guest_load_attach(storm->load, storm->guest);
    guest_blk_start(storm->guest);
}

static void storm_close(Storm *storm)
{
    const GuestLoadCounts *counts = guest_load_counts(storm->load);

    guest_load_wait(storm->load);
    guest_load_check(storm->load);
    totals.requests += counts->requests;
    totals.lost += counts->lost;
    totals.verified += counts->verified;
    g_assert_cmpuint(counts->requests, ==, counts->completed + counts->lost);
    guest_blk_free(storm->guest);
    blk_server_free(storm->server);
    if (storm->test->qcow2) {
        qcow2_image_check(storm->image);
    }
    guest_load_free(storm->load);
    test_image_free(storm->image);
    g_free(storm->blockdev);
    g_rand_free(storm->rand);
}

/* --- what must not change --- */

typedef struct Stillness {
    void *memory;
    uint8_t *image;
    int64_t bytes;
} Stillness;

static uint8_t *read_image(const Storm *storm, int64_t *bytes)
{
    uint8_t *contents;

    *bytes = test_image_length(storm->image);
    contents = g_malloc(*bytes);
    test_image_read(storm->image, 0, contents, *bytes);
    return contents;
}

static void hold_breath(Storm *storm, Stillness *still)
{
    size_t bytes;

    still->memory = guest_load_snapshot(storm->load, &bytes);
    still->image = read_image(storm, &still->bytes);
}

static void breathe_out(Storm *storm, Stillness *still)
{
    g_autofree uint8_t *then = still->image;
    g_autofree uint8_t *now = NULL;
    int64_t bytes;

    for (unsigned i = 0; i < 20; i++) {
        sched_yield();
    }
    guest_load_expect_untouched(storm->load, still->memory);
    now = read_image(storm, &bytes);
    g_assert_cmpint(bytes, ==, still->bytes);
    g_assert_cmpint(memcmp(now, then, bytes), ==, 0);
}

/* --- what happens --- */

/* All that the device took has come back. */
static void expect_drained(Storm *storm, unsigned queue, uint32_t base)
{
    const VirtioRing *ring = guest_blk_ring(storm->guest, queue);
    const struct vring_used *used = virtio_ring_used(ring);

    if (storm->test->packed) {
        g_assert_cmphex(base & 0xffff, ==, base >> 16);
    } else {
        g_assert_cmpuint(base, ==, le16toh(used->idx));
    }
}

static void stop_one(Storm *storm)
{
    unsigned queue = g_rand_int_range(storm->rand, 0, QUEUES);
    uint32_t base = guest_blk_stop_queue(storm->guest, queue);

    expect_drained(storm, queue, base);
    guest_load_set_running(storm->load, queue, false);
    guest_load_step(storm->load); /* the others go on */
    guest_blk_resume_queue(storm->guest, queue, base);
    guest_load_set_running(storm->load, queue, true);
    totals.stops++;
}

static void stop_all(Storm *storm)
{
    uint32_t bases[QUEUES];
    Stillness still;

    for (unsigned q = 0; q < QUEUES; q++) {
        bases[q] = guest_blk_stop_queue(storm->guest, q);
        expect_drained(storm, q, bases[q]);
    }
    hold_breath(storm, &still);
    breathe_out(storm, &still);
    for (unsigned q = 0; q < QUEUES; q++) {
        guest_blk_resume_queue(storm->guest, q, bases[q]);
    }
    totals.stops += QUEUES;
}

static void replace_table(Storm *storm)
{
    guest_blk_send_memory(storm->guest);
    totals.tables++;
}

static void take_memory(Storm *storm)
{
    Stillness still;

    guest_blk_drop_memory(storm->guest);
    hold_breath(storm, &still);
    breathe_out(storm, &still);
    guest_blk_send_memory(storm->guest);
    totals.tables++;
}

/* The driver is loaded again, with event indices, indirect tables, or
 * without. */
static void reset(Storm *storm)
{
    uint64_t without = 0;
    Stillness still;

    if (g_rand_boolean(storm->rand)) {
        without |= UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;
    }
    if (g_rand_boolean(storm->rand)) {
        without |= UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC;
    }
    guest_blk_reset(storm->guest);
    hold_breath(storm, &still);
    guest_load_forget(storm->load);
    guest_blk_set_features(storm->guest,
                           guest_blk_features(storm->guest) & ~without);
    breathe_out(storm, &still);
    guest_blk_start(storm->guest);
    totals.resets++;
}

/* The next front end is served when the last one's requests are over. */
static void die(Storm *storm)
{
    guest_blk_kill(storm->guest);
    storm->guest = connect(storm);
    guest_load_attach(storm->load, storm->guest);
    guest_blk_start(storm->guest);
    totals.deaths++;
}

/* The server leaves, and what it had taken has been answered. */
static void terminate(Storm *storm)
{
    blk_server_stop(storm->server);
    guest_load_reap(storm->load);
    blk_server_restart(storm->server);
    die(storm);
    totals.terms++;
}

static void happen(Storm *storm)
{
    static void (*const events[])(Storm *storm) = {
        stop_one, stop_one, stop_all, replace_table, replace_table,
        take_memory, reset, die,
    };
    unsigned i = g_rand_int_range(storm->rand, 0, G_N_ELEMENTS(events));

    if (storm->test->kind.program &&
        g_rand_int_range(storm->rand, 0, 20) == 0) {
        terminate(storm);
    } else {
        events[i](storm);
    }
}

static void run_storm(const StormCase *test, unsigned seed)
{
    Storm storm;

    storm_open(&storm, test, seed);
    for (unsigned i = 0; i < EVENTS; i++) {
        unsigned steps = g_rand_int_range(storm.rand, 0, 12);

        for (unsigned s = 0; s < steps; s++) {
            guest_load_step(storm.load);
        }
        happen(&storm);
    }
    storm_close(&storm);
}

static void test_storm(gconstpointer data)
{
    const StormCase *test = data;

    if (test->kind.program && !blk_server_have_program()) {
        g_test_skip("VBLK_STORAGE_DAEMON is not set");
        return;
    }
    if (test->qcow2 && !test_program_present("qemu-img")) {
        g_test_skip("qemu-img is not installed");
        return;
    }
    for (unsigned i = 0; i < seeds_count(); i++) {
        run_storm(test, seeds_first() + i);
    }
}

static void add_case(const char *where, const ServerKind *kind, unsigned i)
{
    static const char *const engines[] = { "threads", "native", "io_uring",
                                           "auto", "io_uring" };
    StormCase *test = g_new0(StormCase, 1);
    g_autofree char *path = NULL;

    *test = (StormCase) {
        .kind = *kind, .engine = engines[i / 4],
        .fixed = i / 4 == 4, .packed = i / 2 % 2, .qcow2 = i % 2,
    };
    path = g_strdup_printf("/vhost-user-blk-storm/%s/%s%s/%s/%s", where,
                           test->engine, test->fixed ? "-fixed" : "",
                           test->packed ? "packed" : "split",
                           test->qcow2 ? "qcow2" : "raw");
    g_test_add_data_func_full(path, test, test_storm, g_free);
}

/* Rings without memory are warned of, as they should be. */
static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

int main(int argc, char **argv)
{
    static const ServerKind thread = { .n_iothreads = 0 };
    static const ServerKind iothreads = { .n_iothreads = 3 };
    static const ServerKind program = { .n_iothreads = 2, .program = true };
    int ret;

    g_test_init(&argc, &argv, NULL);
    seeds_parse(argc, argv, 1);
    log_set_sink(ignore_line, NULL);
    for (unsigned i = 0; i < 20; i++) {
        add_case("thread", &thread, i);
        add_case("iothreads", &iothreads, i);
        add_case("daemon", &program, i);
    }
    ret = g_test_run();
    printf("# %u rings stopped, %u memory tables, %u resets, %u dead "
           "machines, %u SIGTERM; %" PRIu64 " requests, %" PRIu64 " of them "
           "lost with their rings, %" PRIu64 " MiB verified\n", totals.stops,
           totals.tables, totals.resets, totals.deaths, totals.terms,
           totals.requests, totals.lost, totals.verified >> 20);
    return ret;
}
