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

static struct {
    unsigned takeovers, failures, kills;
    unsigned requests;
    uint64_t verified;
    int64_t sum_us, max_us;
} total;

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

static void take_over(Load *load, const char *extra, int64_t *us)
{
    BlkServer *server = load->service.server;

    load_some(load);
    blk_server_take_over_begin(server, extra);
    while (blk_server_taking_over(server)) {
        go_on(load);
    }
    g_assert_true(blk_server_take_over_end(server, us));
    load_some(load);
}

static void test_takeover(gconstpointer opaque)
{
    const LoadConf *test = opaque;
    int64_t us, max_us = 0;
    Load load;

    if (!load_can_run(test)) {
        return;
    }
    load_start(&load, test);
    for (unsigned i = 0; i < TAKEOVERS; i++) {
        take_over(&load, NULL, &us);
        g_assert_cmpint(us, >=, 0);
        total.sum_us += us;
        max_us = MAX(max_us, us);
    }
    load_stop(&load, test);
    total.takeovers += TAKEOVERS;
    total.max_us = MAX(total.max_us, max_us);
    total.requests += load.requests;
    total.verified += load.verified;
    g_test_message("%s: %u takeovers, disks stood still for up to %u us",
                   test->name, TAKEOVERS, (unsigned)max_us);
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
    int64_t us;
    Load load;

    if (!load_can_run(test)) {
        return;
    }
    load_start(&load, test);
    for (unsigned i = 0; i < 2 * FAILURES; i++) {
        take_over(&load, extras[i % 2], &us);
        g_assert_cmpint(us, ==, -1);
    }
    take_over(&load, NULL, &us);
    g_assert_cmpint(us, >=, 0);
    load_stop(&load, test);
    total.failures += 2 * FAILURES;
    total.requests += load.requests;
    total.verified += load.verified;
}

/* Dead before it had everything: the old one goes on. Dead after that: a crash
 * like any other, which the next process makes good. */
static bool kill_successor(Load *load)
{
    BlkServer *server = load->service.server;
    unsigned steps = g_rand_int_range(load->rand, 0, 200), served;
    bool lives;
    int64_t us;

    blk_server_take_over_begin(server, NULL);
    for (unsigned i = 0; i < steps && blk_server_taking_over(server); i++) {
        go_on(load);
    }
    blk_server_kill_successor(server);
    served = load->completed + LOAD_QUEUES * LOAD_BLOCKS;
    while (load->completed < served && !blk_server_has_left(server)) {
        go_on(load);
    }
    lives = blk_server_take_over_end(server, &us);
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
    unsigned lived = 0;
    Load load;

    if (!load_can_run(test)) {
        return;
    }
    load_start(&load, test);
    for (unsigned i = 0; i < KILLS; i++) {
        load_some(&load);
        lived += kill_successor(&load);
    }
    load_stop(&load, test);
    total.kills += KILLS;
    total.requests += load.requests;
    total.verified += load.verified;
    g_test_message("%s: %u successors killed, %u of them too early to have "
                   "taken over", test->name, KILLS, lived);
}

static const LoadConf cases[] = {
    { "threads-split", "threads", false },
    { "native-packed", "native", true },
    { "io_uring-split", "io_uring", false },
    { "io_uring-packed", "io_uring", true },
    { "slow-writes", "native", false, .slow = true },
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

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    for (unsigned t = 0; t < G_N_ELEMENTS(tests); t++) {
        for (unsigned c = 0; c < G_N_ELEMENTS(cases); c++) {
            if (t == 0 || !cases[c].slow) {
                add(t, c);
            }
        }
    }
    ret = g_test_run();
    printf("# in all: %u takeovers, %u that failed, %u killed, %u requests, "
           "%u MiB verified; disks stood still for %.1f ms on average, %.1f "
           "ms at most\n", total.takeovers, total.failures, total.kills,
           total.requests, (unsigned)(total.verified >> 20),
           total.takeovers ? total.sum_us / 1000.0 / total.takeovers : 0,
           total.max_us / 1000.0);
    return ret;
}
