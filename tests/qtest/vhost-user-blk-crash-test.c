/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kill -9 in the middle of load, again and again: another process goes on
 * where the first one ended. The guest sees no error, every request comes back
 * once, and what was acknowledged is there (verifying-load.h).
 */
#include "verifying-load.h"

#include <sched.h>
#include <stdio.h>

#define KILLS       20
#define SLOW_KILLS  6
#define MOST        10 /* times as many */

static struct {
    unsigned kills, requests, resubmitted;
    uint64_t verified;
} total;

/*
 * The moment is the seed's; how far the server has come by then is not. Every
 * other kill leaves it no time for the last requests.
 */
static void work_until_kill(Load *load, const LoadConf *test, bool give_time)
{
    unsigned end = load->completed +
                   g_rand_int_range(load->rand, 0, test->slow ? 60 : 600);

    do {
        sched_yield();
        load_step(load);
    } while (load->completed < end);
    if (give_time) {
        sched_yield();
    }
    blk_server_kill(load->service.server);
}

static unsigned go_on(Load *load)
{
    unsigned in_flight = 0;

    for (unsigned q = 0; q < LOAD_QUEUES; q++) {
        load_reap(load, q); /* the last it gave back */
        in_flight += load->in_flight[q];
    }
    blk_server_restart(load->service.server);
    guest_blk_reconnect(load->guest, blk_server_path(load->service.server));
    return in_flight;
}

static void test_crash(gconstpointer opaque)
{
    const LoadConf *test = opaque;
    unsigned n = load_times(test->slow ? SLOW_KILLS : KILLS);
    unsigned kills = 0, resubmitted = 0;
    Load load;

    if (!load_can_run(test)) {
        return;
    }
    load_start(&load, test);
    /* where the server outruns the guest it takes more of them */
    while (kills < n || (resubmitted <= n && kills < MOST * n)) {
        work_until_kill(&load, test, kills++ % 2 == 0);
        resubmitted += go_on(&load);
    }
    load_stop(&load, test);
    total.kills += kills;
    total.requests += load.requests;
    total.resubmitted += resubmitted;
    total.verified += load.verified;
    g_test_message("%s: %u kills, %u requests, of these %u in flight at a "
                   "kill, %u KiB verified", test->name, kills, load.requests,
                   resubmitted, (unsigned)(load.verified / 1024));
    g_assert_cmpuint(resubmitted, >, n);
}

static const LoadConf cases[] = {
    { "threads-split", "threads", false },
    { "threads-packed", "threads", true },
    { "native-split", "native", false },
    { "native-packed", "native", true },
    { "io_uring-split", "io_uring", false },
    { "io_uring-packed", "io_uring", true },
    { "io_uring-fixed", "io_uring", true, .fixed = true },
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
    { "supervised-qmp-native", "native", true, .supervise = true,
      .qmp = true },
    { "supervised-qmp-qcow2", "io_uring", false, .qcow2 = true,
      .supervise = true, .qmp = true },
    { "supervised-qmp-slow", "threads", false, .slow = true,
      .supervise = true, .qmp = true },
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
