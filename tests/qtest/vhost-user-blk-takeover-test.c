/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --takeover under load: a new process takes over from the running one again
 * and again, fails to, or is killed at whatever moment. The guest's connection
 * stays, it sees no error, every request comes back once, and what was
 * acknowledged is there (verifying-load.h).
 */
#include "verifying-load.h"

#include <sched.h>
#include <stdio.h>

#define TAKEOVERS 5
#define FAILURES  3
#define KILLS     8
#define MOST      10 /* times as many, until some have waited */

/* For how long, in each takeover. */
typedef struct Pauses {
    unsigned n;
    int64_t sum_us, max_us;
} Pauses;

static struct {
    unsigned takeovers, failures, kills;
    unsigned requests, waited;
    uint64_t verified;
    Pauses stood_still; /* disks, as the program says */
    Pauses no_read;     /* came back, as the guest saw it */
} total;

static void pauses_add(Pauses *pauses, int64_t us)
{
    pauses->n++;
    pauses->sum_us += us;
    pauses->max_us = MAX(pauses->max_us, us);
}

static void go_on(Load *load)
{
    load_step(load);
    sched_yield();
}

static void load_some(Load *load)
{
    unsigned end = load->completed + g_rand_int_range(load->rand, 0, 500);

    while (load->completed < end) {
        go_on(load);
    }
}

static void take_over(Load *load, const char *extra, BlkTakeover *takeover)
{
    BlkServer *server = load->service.server;

    load_some(load);
    load->gap_us = 0;
    blk_server_take_over_begin(server, extra);
    while (blk_server_taking_over(server)) {
        go_on(load);
    }
    g_assert_true(blk_server_take_over_end(server, takeover));
    load_some(load);
}

/* What may go at once is not to be had again by a takeover, but for a request
 * that was a little early. */
static void check_limit(const Load *load, unsigned taken, int64_t began_us)
{
    double seconds = (g_get_monotonic_time() - began_us) / 1e6;
    unsigned at_once = LOAD_SLOW / 10 + 1;

    g_assert_cmpfloat(load->written, <=,
                      LOAD_SLOW * seconds + at_once + taken);
}

/* Writes beyond those that may go at once wait nearly all the time: none do
 * where the guest had no processor for half a second. */
static void test_takeover(gconstpointer opaque)
{
    const LoadConf *test = opaque;
    unsigned n = load_times(TAKEOVERS), taken = 0, waited = 0;
    int64_t began_us;
    BlkTakeover takeover;
    Pauses pauses = { 0 };
    Load load;

    if (!load_can_run(test)) {
        return;
    }
    load_start(&load, test);
    began_us = g_get_monotonic_time();
    for (; taken < n || (test->slow && waited == 0 && taken < MOST * n);
         taken++) {
        take_over(&load, NULL, &takeover);
        g_assert_cmpint(takeover.us, >=, 0);
        waited += takeover.waited;
        pauses_add(&pauses, takeover.us);
        pauses_add(&total.stood_still, takeover.us);
        pauses_add(&total.no_read, load.gap_us);
    }
    g_assert_true((waited > 0) == test->slow);
    if (test->unmerged) {
        check_limit(&load, taken, began_us);
    }
    load_stop(&load, test);
    total.takeovers += taken;
    total.waited += waited;
    total.requests += load.requests;
    total.verified += load.verified;
    g_test_message("%s: %u takeovers with %u requests that waited, disks "
                   "stood still for up to %u us", test->name, taken, waited,
                   (unsigned)pauses.max_us);
}

/* The successor finds out only when it has everything else open: what it had
 * taken, it has to leave alone, and the old one opens it again. */
static void test_failure(gconstpointer opaque)
{
    static const char *const extras[] = {
        "--blockdev=driver=file,node-name=x,filename=/nonexistent/image",
        "--export=type=vhost-user-blk,id=e0,node-name=n0,addr.type=unix,"
        "addr.path=/nonexistent/socket",
    };
    const LoadConf *test = opaque;
    unsigned n = 2 * load_times(FAILURES);
    BlkTakeover takeover;
    Load load;

    if (!load_can_run(test)) {
        return;
    }
    load_start(&load, test);
    for (unsigned i = 0; i < n; i++) {
        take_over(&load, extras[i % 2], &takeover);
        g_assert_cmpint(takeover.us, ==, -1);
    }
    take_over(&load, NULL, &takeover);
    g_assert_cmpint(takeover.us, >=, 0);
    load_stop(&load, test);
    total.failures += n;
    total.requests += load.requests;
    total.verified += load.verified;
}

/* Dead before it had everything: the old one goes on. Dead after that: a crash
 * like any other, which the next process makes good. */
static bool kill_successor(Load *load)
{
    BlkServer *server = load->service.server;
    unsigned steps = g_rand_int_range(load->rand, 0, 200), served;
    BlkTakeover takeover;
    bool lives;

    blk_server_take_over_begin(server, NULL);
    for (unsigned i = 0; i < steps && blk_server_taking_over(server); i++) {
        go_on(load);
    }
    blk_server_kill_successor(server);
    served = load->completed + LOAD_QUEUES * LOAD_BLOCKS;
    while (load->completed < served && !blk_server_has_left(server)) {
        go_on(load);
    }
    lives = blk_server_take_over_end(server, &takeover);
    if (!lives) {
        blk_server_restart(server);
        guest_blk_reconnect(load->guest, blk_server_path(server));
    }
    load_some(load);
    return lives;
}

static void test_kill(gconstpointer opaque)
{
    const LoadConf *test = opaque;
    unsigned n = load_times(KILLS), lived = 0;
    Load load;

    if (!load_can_run(test)) {
        return;
    }
    load_start(&load, test);
    for (unsigned i = 0; i < n; i++) {
        load_some(&load);
        lived += kill_successor(&load);
    }
    load_stop(&load, test);
    total.kills += n;
    total.requests += load.requests;
    total.verified += load.verified;
    g_test_message("%s: %u successors killed, %u of them too early to have "
                   "taken over", test->name, n, lived);
}

static const LoadConf cases[] = {
    { "threads-split", "threads", false },
    { "native-packed", "native", true },
    { "io_uring-split", "io_uring", false },
    { "io_uring-packed", "io_uring", true },
    { "slow-split", "native", false, .slow = true },
    { "slow-packed", "threads", true, .slow = true },
    { "slow-unmerged", "io_uring", false, .slow = true, .unmerged = true },
    { "slow-qcow2", "io_uring", false, .qcow2 = true, .slow = true },
    { "slow-below-qcow2", "native", true, .qcow2 = true, .slow = true,
      .below = true },
    { "io_uring-fixed", "io_uring", false, .fixed = true },
    { "qmp-native-split", "native", false, .qmp = true },
    { "qmp-io_uring-packed", "io_uring", true, .qmp = true },
    { "qmp-slow-qcow2", "threads", true, .qcow2 = true, .slow = true,
      .qmp = true },
    { "qcow2-threads-packed", "threads", true, .qcow2 = true },
    { "qcow2-native-split", "native", false, .qcow2 = true },
    { "qcow2-io_uring-split", "io_uring", false, .qcow2 = true },
};

static const struct {
    const char *name;
    GTestDataFunc fn;
} tests[] = {
    { "succeeds", test_takeover },
    { "fails", test_failure },
    { "is-killed", test_kill },
};

static void add(unsigned t, unsigned c)
{
    LoadConf *conf = g_memdup2(&cases[c], sizeof(cases[c]));
    g_autofree char *path = g_strdup_printf("/vhost-user-blk-takeover/%s/%s",
                                            tests[t].name, cases[c].name);

    conf->takeover = true;
    g_test_add_data_func_full(path, conf, tests[t].fn, g_free);
}

static void print_pauses(const char *what, const Pauses *pauses)
{
    if (pauses->n > 0) {
        printf("# %s %.1f ms on average, %.1f ms at most\n", what,
               pauses->sum_us / 1000.0 / pauses->n, pauses->max_us / 1000.0);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    for (unsigned t = 0; t < G_N_ELEMENTS(tests); t++) {
        for (unsigned c = 0; c < G_N_ELEMENTS(cases); c++) {
            add(t, c);
        }
    }
    ret = g_test_run();
    printf("# in all: %u takeovers, %u that failed, %u killed, %u requests, "
           "%u of them handed over, %u MiB verified\n", total.takeovers,
           total.failures, total.kills, total.requests, total.waited,
           (unsigned)(total.verified >> 20));
    print_pauses("disks stood still for", &total.stood_still);
    print_pauses("no read came back for", &total.no_read);
    return ret;
}
