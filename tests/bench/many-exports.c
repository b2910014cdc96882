/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many guests on one daemon, all engines, raw and qcow2, every queue of every
 * export busy: for half a minute as a test, for as long as --seconds says by
 * hand. What comes back is verified; guests come and go; and when it is over
 * the daemon has as many descriptors as at first, no more memory, and no
 * export has done less than half of what the median has.
 */
#include "guest-load.h"
#include "qcow2-image.h"
#include "test-daemon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define DISK_BYTES (1 << 20)
#define DEPTH      8
#define IOTHREADS  4
#define WARM_UP    3   /* rounds of new guests before anything is compared */

/* What may be added for a request while the load finds its deepest: its place
 * in a queue's pool, half of this, and its part of workers' stacks and of
 * caches that fill. */
#define REQUEST_KIB 3

typedef struct Export {
    TestImage *image;
    GuestBlk *guest;
    GuestLoad *load;
    const char *socket;
    uint64_t completed_at_start;
} Export;

typedef struct Crowd {
    TestDaemon *daemon;
    Export *exports;
    unsigned laps, guests;
    unsigned fds, kib;      /* when it was warm */
} Crowd;

static int n_exports = 64, n_queues = 16, seconds = 20;

/* --- the stage --- */

static void add_export(Crowd *crowd, unsigned i)
{
    static const char *const engines[] = { "threads", "native", "io_uring",
                                           "auto" };
    Export *export = &crowd->exports[i];
    bool qcow2 = i / 4 % 2;
    const char *file = qcow2 ? "file." : "";

    export->image = qcow2 ? qcow2_image_new("", "1M")
                          : test_image_new(DISK_BYTES);
    export->socket = test_daemon_socket(crowd->daemon, i);
    test_daemon_add(crowd->daemon, "--blockdev");
    test_daemon_add(crowd->daemon,
                    "driver=%s,node-name=n%u%s,discard=unmap,%sfilename=%s,"
                    "%saio=%s,%scache.direct=on", qcow2 ? "qcow2" : "file", i,
                    qcow2 ? ",file.driver=file" : "", file,
                    test_image_path(export->image), file, engines[i % 4],
                    file);
    test_daemon_add(crowd->daemon, "--export");
    test_daemon_add(crowd->daemon,
                    "type=vhost-user-blk,id=e%u,node-name=n%u,writable=on,"
                    "addr.type=unix,addr.path=%s,num-queues=%d,"
                    "iothread.0=io%u,iothread.1=io%u", i, i, export->socket,
                    n_queues, i / 8 % IOTHREADS, (i / 8 + 1) % IOTHREADS);
}

static void enter(Export *export, bool packed)
{
    GuestBlkConf conf = {
        .num_queues = n_queues, .queue_size = 32, .memory_bytes = 16 << 20,
        .packed = packed,
    };

    export->guest = guest_blk_new_socket(export->socket, &conf);
    guest_load_attach(export->load, export->guest);
    guest_blk_start(export->guest);
}

static void crowd_open(Crowd *crowd)
{
    crowd->daemon = test_daemon_new();
    crowd->exports = g_new0(Export, n_exports);
    for (unsigned i = 0; i < IOTHREADS; i++) {
        test_daemon_add(crowd->daemon, "--object");
        test_daemon_add(crowd->daemon, "iothread,id=io%u", i);
    }
    for (int i = 0; i < n_exports; i++) {
        add_export(crowd, i);
    }
    test_daemon_start(crowd->daemon, n_exports);
    for (int i = 0; i < n_exports; i++) {
        GuestLoadConf conf = {
            .queues = n_queues, .depth = DEPTH, .bytes = DISK_BYTES,
            .seed = i + 1,
        };

        crowd->exports[i].load = guest_load_new(&conf);
        enter(&crowd->exports[i], i % 2);
    }
}

static void crowd_close(Crowd *crowd)
{
    for (int i = 0; i < n_exports; i++) {
        guest_blk_free(crowd->exports[i].guest);
        guest_load_free(crowd->exports[i].load);
    }
    test_daemon_free(crowd->daemon);
    for (int i = 0; i < n_exports; i++) {
        test_image_free(crowd->exports[i].image);
    }
    g_free(crowd->exports);
}

/* --- the play --- */

/* Each export in turn is verified as a whole and gets another guest. */
static void replace_guest(Crowd *crowd)
{
    unsigned i = crowd->guests++ % n_exports;
    Export *export = &crowd->exports[i];

    guest_load_wait(export->load);
    guest_load_check(export->load);
    if (crowd->guests % 3 == 0) {
        guest_load_step(export->load);
        guest_blk_kill(export->guest);
    } else {
        guest_blk_free(export->guest);
    }
    enter(export, crowd->guests / n_exports % 2);
}

static void lap(Crowd *crowd)
{
    for (int i = 0; i < n_exports; i++) {
        guest_load_step(crowd->exports[i].load);
    }
    if (++crowd->laps % 4 == 0) {
        replace_guest(crowd);
    }
}

static uint64_t done_by(const Export *export)
{
    return guest_load_counts(export->load)->completed -
           export->completed_at_start;
}

static uint64_t done_by_all(const Crowd *crowd)
{
    uint64_t sum = 0;

    for (int i = 0; i < n_exports; i++) {
        sum += done_by(&crowd->exports[i]);
    }
    return sum;
}

/* Nothing is on its way, neither requests nor messages, so that what is there
 * is what stays. */
static void pause_all(Crowd *crowd)
{
    struct virtio_blk_config config;

    for (int i = 0; i < n_exports; i++) {
        guest_load_wait(crowd->exports[i].load);
        guest_blk_read_config(crowd->exports[i].guest, &config);
    }
}

static void warm_up(Crowd *crowd)
{
    while (crowd->guests < (unsigned)(WARM_UP * n_exports)) {
        guest_load_step(crowd->exports[crowd->guests % n_exports].load);
        replace_guest(crowd);
    }
    for (unsigned i = 0; i < 8; i++) {
        lap(crowd);
    }
    pause_all(crowd);
    for (int i = 0; i < n_exports; i++) {
        Export *export = &crowd->exports[i];

        export->completed_at_start =
            guest_load_counts(export->load)->completed;
    }
    crowd->fds = test_daemon_fds(crowd->daemon);
    crowd->kib = test_daemon_kib(crowd->daemon);
}

static void show_progress(const Crowd *crowd, int64_t end_us)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%3d s to go, %" PRIu64 " requests, %u KiB, %u "
                "descriptors ", (int)((end_us - g_get_monotonic_time()) /
                                      G_USEC_PER_SEC),
                done_by_all(crowd), test_daemon_kib(crowd->daemon),
                test_daemon_fds(crowd->daemon));
    }
}

static void run(Crowd *crowd)
{
    int64_t end_us = g_get_monotonic_time() +
                     (int64_t)seconds * G_USEC_PER_SEC;

    while (g_get_monotonic_time() < end_us) {
        lap(crowd);
        if (crowd->laps % 16 == 0) {
            show_progress(crowd, end_us);
        }
    }
    pause_all(crowd);
}

/* --- the verdict --- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void check_shares(const Crowd *crowd)
{
    g_autofree uint64_t *done = g_new(uint64_t, n_exports);

    for (int i = 0; i < n_exports; i++) {
        done[i] = done_by(&crowd->exports[i]);
    }
    qsort(done, n_exports, sizeof(*done), compare);
    g_test_message("requests of the slowest export %" PRIu64 ", of the median "
                   "%" PRIu64 ", of the fastest %" PRIu64, done[0],
                   done[n_exports / 2], done[n_exports - 1]);
    g_assert_cmpuint(2 * done[0], >=, done[n_exports / 2]);
}

static void check_holdings(const Crowd *crowd)
{
    unsigned fds = test_daemon_fds(crowd->daemon);
    unsigned kib = test_daemon_kib(crowd->daemon);
    unsigned slack = n_exports * n_queues * DEPTH * REQUEST_KIB;

    g_test_message("descriptors: %u, at first %u; memory: %u KiB, at first %u",
                   fds, crowd->fds, kib, crowd->kib);
    g_assert_cmpuint(fds, ==, crowd->fds);
    g_assert_cmpuint(kib, <=, crowd->kib + slack);
}

static void check_disks(Crowd *crowd)
{
    uint64_t verified = 0;

    for (int i = 0; i < n_exports; i++) {
        guest_load_check(crowd->exports[i].load);
        verified += guest_load_counts(crowd->exports[i].load)->verified;
    }
    g_test_message("%d exports of %d queues, %d s: %" PRIu64 " requests, %u "
                   "guests, %" PRIu64 " MiB verified", n_exports, n_queues,
                   seconds, done_by_all(crowd), crowd->guests + n_exports,
                   verified >> 20);
}

static void test_crowd(void)
{
    Crowd crowd = { 0 };

    crowd_open(&crowd);
    warm_up(&crowd);
    run(&crowd);
    check_holdings(&crowd);
    check_shares(&crowd);
    check_disks(&crowd);
    crowd_close(&crowd);
}

/* Each queue has two descriptors, here and there. */
static void raise_limit(void)
{
    struct rlimit limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    limit.rlim_cur = limit.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
}

static void parse(int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "seconds", 0, 0, G_OPTION_ARG_INT, &seconds, "How long", "N" },
        { "exports", 0, 0, G_OPTION_ARG_INT, &n_exports, "How many", "N" },
        { "queues", 0, 0, G_OPTION_ARG_INT, &n_queues, "Of each", "N" },
        { NULL }
    };
    GOptionContext *context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        g_printerr("%s\n", error->message);
        exit(2);
    }
    g_option_context_free(context);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    parse(argc, argv);
    if (!g_getenv("VBLK_STORAGE_DAEMON") || !test_program_present("qemu-img")) {
        puts("1..0 # SKIP needs VBLK_STORAGE_DAEMON and qemu-img");
        return 0;
    }
    raise_limit();
    g_test_add_func("/many-exports", test_crowd);
    return g_test_run();
}
