/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups over the whole way: guests that always want more get what
 * the limits say, to 2 %, alone and in groups that they share.
 *
 * All disks are driven at once, for windows of two seconds by the test's own
 * clock. All of them together must not hold too much: what a disk could not
 * use while the machine had no time for it, it may have a tenth of a second
 * later. That one holds too little proves nothing on a machine that others
 * use, so the best one counts, and it goes on until all have had a good one:
 * what came late is a smaller part of a longer time, what is wrong is not.
 */
#include "servers.h"
#include "test-daemon.h"
#include "guest-blk-transport.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define DISK_BYTES (16 << 20)
#define DEPTH      16
#define WINDOWS    4    /* at least */
#define MOST       60
#define WINDOW_US  (2 * G_USEC_PER_SEC)
#define SETTLE_US  (G_USEC_PER_SEC / 2) /* what may go at once has gone */
#define EXACT      0.02
#define FAIR       0.7

typedef enum Amount { READS, WRITES, OPS, BYTES, AMOUNTS } Amount;

typedef struct Disk {
    const char *group;
    size_t bytes;          /* of the largest request */
    bool reads, writes;
    TestImage *image;
    GuestBlk *guest;
    GuestReq *reqs[DEPTH];
    int64_t begun_us;
    uint64_t done[AMOUNTS];
} Disk;

/* What a group's disks may do together in a second. */
typedef struct Limit {
    const char *group;
    Amount amount;
    double rate;
    double best;           /* window so far, as a share of the rate */
    double at_start, at_window;
} Limit;

static const char *const groups[] = {
    "id=iops,limits.iops-total=1000",
    "id=bps,limits.bps-total=8388608",
    "id=apart,limits.iops-read=600,limits.iops-write=300",
    "id=shared-iops,limits.iops-total=800",
    "id=shared-bps,limits.bps-total=4194304",
    "id=sized,limits.iops-total=2000,limits.iops-size=4096",
    ("id=burst,limits.iops-total=200,limits.iops-total-max=1000,"
     "limits.iops-total-max-length=2"),
};

static Disk disks[] = {
    { "iops", 4096, true, true },
    { "bps", 65536, true, true },
    { "apart", 4096, true, false },
    { "apart", 4096, false, true },
    { "shared-iops", 4096, true, true },
    { "shared-iops", 4096, true, true },
    { "shared-iops", 4096, true, true },
    { "shared-bps", 32768, true, true },
    { "shared-bps", 32768, true, true },
    { "sized", 16384, true, true },
    { "burst", 4096, true, true },
};

#define N_DISKS G_N_ELEMENTS(disks)
#define BURST   (N_DISKS - 1)

static Limit limits[] = {
    { "iops", OPS, 1000 },
    { "bps", BYTES, 8 << 20 },
    { "apart", READS, 600 },
    { "apart", WRITES, 300 },
    { "shared-iops", OPS, 800 },
    { "shared-bps", BYTES, 4 << 20 },
    { "sized", BYTES, 2000 * 4096 },
};

/* --- the stage --- */

static void add_disk(TestDaemon *daemon, unsigned i)
{
    Disk *disk = &disks[i];

    disk->image = test_image_new(DISK_BYTES);
    test_daemon_add(daemon, "--blockdev");
    test_daemon_add(daemon, "driver=throttle,throttle-group=%s,node-name=n%u,"
                    "file.driver=file,file.filename=%s", disk->group, i,
                    test_image_path(disk->image));
    test_daemon_add(daemon, "--export");
    test_daemon_add(daemon, "type=vhost-user-blk,id=e%u,node-name=n%u,"
                    "writable=on,addr.type=unix,addr.path=%s,"
                    "request-merging=off,num-queues=1,iothread=io%u", i, i,
                    test_daemon_socket(daemon, i), i % 2);
}

static TestDaemon *start_daemon(void)
{
    TestDaemon *daemon = test_daemon_new();

    for (unsigned i = 0; i < 2; i++) {
        test_daemon_add(daemon, "--object");
        test_daemon_add(daemon, "iothread,id=io%u", i);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(groups); i++) {
        test_daemon_add(daemon, "--object");
        test_daemon_add(daemon, "throttle-group,%s", groups[i]);
    }
    for (unsigned i = 0; i < N_DISKS; i++) {
        add_disk(daemon, i);
    }
    test_daemon_start(daemon, N_DISKS);
    return daemon;
}

static void send(Disk *disk, unsigned i)
{
    static unsigned turn;
    GuestReq *req = disk->reqs[i];
    bool read = disk->reads && (!disk->writes || turn++ % 2);

    req->type = read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
    req->writes_guest = read;
    req->sector = (turn * 137 % (DISK_BYTES / 65536)) * 128;
    g_assert_true(guest_blk_submit(disk->guest, 0, req));
}

static void enter(Disk *disk, const char *socket)
{
    GuestBlkConf conf = { .memory_bytes = 8 << 20 };

    disk->guest = guest_blk_new_socket(socket, &conf);
    for (unsigned i = 0; i < DEPTH; i++) {
        disk->reqs[i] = guest_req_new(disk->guest, VIRTIO_BLK_T_IN, 0,
                                      i % 4 ? disk->bytes : disk->bytes / 2);
    }
    if (strcmp(disk->group, "sized") == 0) {
        for (unsigned i = 0; i < DEPTH; i++) {
            disk->reqs[i]->bytes = disk->bytes; /* whole operations */
        }
    }
}

static void begin(Disk *disk)
{
    guest_blk_start(disk->guest);
    disk->begun_us = g_get_monotonic_time();
    for (unsigned i = 0; i < DEPTH; i++) {
        send(disk, i);
    }
    guest_blk_kick(disk->guest, 0);
}

/* --- the play --- */

static void count(Disk *disk, const GuestReq *req)
{
    g_assert_cmpuint(req->status, ==, VIRTIO_BLK_S_OK);
    disk->done[OPS]++;
    disk->done[BYTES] += req->bytes;
    disk->done[req->writes_guest ? READS : WRITES]++;
}

static void take_back(Disk *disk)
{
    do {
        guest_blk_reap(disk->guest, 0);
    } while (virtio_ring_enable_call(guest_blk_ring(disk->guest, 0)));
    for (unsigned i = 0; i < DEPTH; i++) {
        if (disk->reqs[i]->done) {
            disk->reqs[i]->done = false;
            count(disk, disk->reqs[i]);
            send(disk, i);
        }
    }
    guest_blk_kick(disk->guest, 0);
}

/* Until @end_us; returns when it really was. */
static int64_t go_on(int64_t end_us)
{
    int64_t now_us = g_get_monotonic_time();

    while (now_us < end_us) {
        struct pollfd fds[N_DISKS];

        for (unsigned i = 0; i < N_DISKS; i++) {
            fds[i] = (struct pollfd) { disks[i].guest->queues[0].call_fd,
                                       POLLIN, 0 };
        }
        poll(fds, N_DISKS, (end_us - now_us) / 1000 + 1);
        for (unsigned i = 0; i < N_DISKS; i++) {
            guest_blk_take_calls(disks[i].guest, 0);
            take_back(&disks[i]);
        }
        now_us = g_get_monotonic_time();
    }
    return now_us;
}

static double total(const Limit *limit)
{
    double sum = 0;

    for (unsigned i = 0; i < N_DISKS; i++) {
        if (strcmp(disks[i].group, limit->group) == 0) {
            sum += disks[i].done[limit->amount];
        }
    }
    return sum;
}

/* What it has had since, as a share of what it might have. */
static double share_of(const Limit *limit, double since, int64_t us)
{
    return (total(limit) - since) / (limit->rate * us / G_USEC_PER_SEC);
}

static void run_window(void)
{
    int64_t start_us = g_get_monotonic_time(), end_us;

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        limits[i].at_window = total(&limits[i]);
    }
    end_us = go_on(start_us + WINDOW_US);
    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        Limit *limit = &limits[i];

        limit->best = MAX(limit->best, share_of(limit, limit->at_window,
                                                end_us - start_us));
    }
}

/* Whether nobody has had too much since, and everybody enough once. */
static bool limits_are_kept(int64_t us)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (share_of(&limits[i], limits[i].at_start, us) > 1 + EXACT ||
            limits[i].best < 1 - EXACT) {
            return false;
        }
    }
    return true;
}

/* What the disk that has had the least of a group has, of what another has. */
static double fairness(const char *group)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (unsigned i = 0; i < N_DISKS; i++) {
        if (strcmp(disks[i].group, group) == 0) {
            least = MIN(least, disks[i].done[OPS]);
            most = MAX(most, disks[i].done[OPS]);
        }
    }
    return (double)least / most;
}

static bool all_is_well(int64_t us)
{
    return limits_are_kept(us) && fairness("shared-iops") >= FAIR &&
           fairness("shared-bps") >= FAIR;
}

static void run_windows(void)
{
    int64_t start_us = g_get_monotonic_time(), us = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        limits[i].at_start = total(&limits[i]);
    }
    for (unsigned i = 0; i < WINDOWS || (i < MOST && !all_is_well(us)); i++) {
        run_window();
        us = g_get_monotonic_time() - start_us;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        const Limit *limit = &limits[i];
        double share = share_of(limit, limit->at_start, us);

        g_test_message("%s: %.2f %% of its limit in %.1f s, in the best "
                       "window %.2f %%", limit->group, 100 * share, us / 1e6,
                       100 * limit->best);
        g_assert_cmpfloat(share, <=, 1 + EXACT);
        g_assert_cmpfloat(limit->best, >=, 1 - EXACT);
    }
}

/* For how long the disk that may burst has been asked. */
static double burst_s(void)
{
    return (g_get_monotonic_time() - disks[BURST].begun_us) / 1e6;
}

/* 1000 a second for as long as a bucket of 2 * 1000 takes it, then 200. Once
 * it is full, what was missed is made up for. */
static void check_burst(uint64_t early, double early_s)
{
    double all_s = burst_s(), most = 2000 + 200 * all_s;

    g_test_message("burst: %u after %.2f s, %u after %.2f s",
                   (unsigned)early, early_s, (unsigned)disks[BURST].done[OPS],
                   all_s);
    g_assert_cmpfloat(early, <=, (100 + 1000 * early_s) * (1 + EXACT));
    g_assert_cmpfloat(disks[BURST].done[OPS], <=, most * (1 + EXACT));
    g_assert_cmpfloat(disks[BURST].done[OPS], >=, most * (1 - EXACT));
}

/* Those who share a group have had the same of it, to 10 % on a machine of
 * their own: a guest that does not get its processor loses turns to the
 * others. Who is starved would have next to nothing. */
static void check_fair(const char *group)
{
    double share = fairness(group);

    g_test_message("%s: who has the least has %.2f of what another has", group,
                   share);
    g_assert_cmpfloat(share, >=, FAIR);
}

static void test_throttle(void)
{
    TestDaemon *daemon = start_daemon();
    uint64_t early;
    double early_s;

    for (unsigned i = 0; i < N_DISKS; i++) {
        enter(&disks[i], test_daemon_socket(daemon, i));
    }
    for (unsigned i = 0; i < N_DISKS; i++) {
        begin(&disks[i]);
    }
    go_on(g_get_monotonic_time() + SETTLE_US);
    early = disks[BURST].done[OPS];
    early_s = burst_s();
    run_windows();
    check_burst(early, early_s);
    check_fair("shared-iops");
    check_fair("shared-bps");
    for (unsigned i = 0; i < N_DISKS; i++) {
        guest_blk_kill(disks[i].guest);
    }
    test_daemon_free(daemon);
    for (unsigned i = 0; i < N_DISKS; i++) {
        test_image_free(disks[i].image);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!g_getenv("VBLK_STORAGE_DAEMON")) {
        puts("1..0 # SKIP VBLK_STORAGE_DAEMON is not set");
        return 0;
    }
    g_test_add_func("/vhost-user-blk-throttle/exact", test_throttle);
    return g_test_run();
}
