/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --takeover while one of two disks cannot be drained soon: it is throttled,
 * and its front end keeps no record of what is in flight. The successor gives
 * up, or is killed: then the other disk goes on at once, and the slow one when
 * it has drained; monitors, too.
 *
 * The slow disk is the clock: nothing here asks what time it is.
 */
#include "blk-server.h"
#include "guest-blk.h"
#include "qmp-client.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

#define SLOW      "4"  /* writes a second */
#define WRITES    100  /* that the slow disk has been sent */
#define FEW       16
#define STANDS    3    /* as many came back, and of the fast disk nothing */

typedef struct Late {
    BlkServer *server;
    QmpClient *qmp;
    GuestBlk *fast, *slow;
    GuestReq *flush, *writes[WRITES];
    unsigned n_writes, written;
} Late;

static void configure(Late *late, const char *path)
{
    g_autofree char *export = g_strdup_printf(
        "{\"type\": \"vhost-user-blk\", \"id\": \"slow\", \"node-name\": \"s\","
        " \"writable\": true, \"addr\": {\"type\": \"unix\", \"path\": \"%s\"}}",
        path);

    qmp_client_run_with(late->qmp, "object-add",
                        "{\"qom-type\": \"throttle-group\", \"id\": \"g\","
                        " \"limits\": {\"iops-total\": " SLOW "}}");
    qmp_client_run_with(late->qmp, "blockdev-add",
                        "{\"driver\": \"null-co\", \"node-name\": \"n\","
                        " \"size\": 1048576}");
    qmp_client_run_with(late->qmp, "blockdev-add",
                        "{\"driver\": \"throttle\", \"node-name\": \"s\","
                        " \"throttle-group\": \"g\", \"file\": \"n\"}");
    qmp_client_run_with(late->qmp, "block-export-add", export);
}

/* No two of them are neighbours, or they would be merged. */
static void write_slowly(Late *late, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        late->writes[i] = guest_req_new(late->slow, VIRTIO_BLK_T_OUT, 16 * i,
                                        4096);
        late->writes[i]->indirect = true;
        g_assert_true(guest_blk_submit(late->slow, 0, late->writes[i]));
    }
    late->n_writes = n;
    guest_blk_kick(late->slow, 0);
}

static bool begin(Late *late, const char *options, unsigned n_writes)
{
    const BlkServerConf conf = {
        .blockdev = "null-co,node-name=n0,size=1M",
        .n_iothreads = 1,
        .program = true,
        .monitor = true,
        .takeover = true,
        .takeover_options = options,
    };
    const GuestBlkConf guest = { .queue_size = 128 };
    g_autofree char *path = NULL;

    *late = (Late){ .server = NULL };
    if (!blk_server_have_program()) {
        g_test_skip("there is no storage daemon to test");
        return false;
    }
    late->server = blk_server_new(&conf);
    late->qmp = qmp_client_new(blk_server_monitor(late->server));
    path = g_strconcat(blk_server_path(late->server), "-slow", NULL);
    configure(late, path);
    late->fast = guest_blk_new_socket(blk_server_path(late->server), &guest);
    guest_blk_start(late->fast);
    late->flush = guest_req_new(late->fast, VIRTIO_BLK_T_FLUSH, 0, 0);
    late->slow = guest_blk_new_socket(path, &guest);
    guest_blk_start(late->slow);
    write_slowly(late, n_writes);
    return true;
}

/* Writes that came back, since the beginning. */
static unsigned count_writes(Late *late)
{
    late->written = 0;
    guest_blk_reap(late->slow, 0);
    for (unsigned i = 0; i < late->n_writes; i++) {
        late->written += late->writes[i]->done;
    }
    return late->written;
}

static void send_flush(Late *late)
{
    late->flush->done = false;
    g_assert_true(guest_blk_submit(late->fast, 0, late->flush));
    guest_blk_kick(late->fast, 0);
}

static bool step(Late *late)
{
    guest_blk_reap(late->fast, 0);
    count_writes(late);
    sched_yield();
    return late->flush->done;
}

/* The fast disk has a flush that it does not answer: the old process waits
 * for the slow one. */
static void stop_fast(Late *late)
{
    unsigned since = 0;

    late->flush->done = true;
    do {
        if (late->flush->done) {
            send_flush(late);
            since = count_writes(late);
        }
        g_assert_true(blk_server_taking_over(late->server));
        g_assert_cmpuint(late->written, <, late->n_writes);
    } while (step(late) || late->written < since + STANDS);
}

/* Only the slow disk is behind, and it has lost nothing. */
static void expect_all_goes_on(Late *late)
{
    BlkTakeover takeover;

    while (!step(late)) {
    }
    g_assert_cmpuint(late->flush->status, ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(late->written, <, late->n_writes);
    g_assert_true(blk_server_take_over_end(late->server, &takeover));
    g_assert_cmpint(takeover.us, ==, -1);
    qmp_client_run_with(late->qmp, "qom-set",
                        "{\"path\": \"g\", \"property\": \"limits\","
                        " \"value\": {\"iops-total\": 0}}");
    guest_blk_wait_all(late->slow, 0);
    g_assert_cmpuint(count_writes(late), ==, late->n_writes);
    for (unsigned i = 0; i < late->n_writes; i++) {
        g_assert_cmpuint(late->writes[i]->status, ==, VIRTIO_BLK_S_OK);
    }
}

static void expect_served(Late *late)
{
    send_flush(late);
    guest_blk_wait(late->fast, 0, late->flush);
    g_assert_cmpuint(late->flush->status, ==, VIRTIO_BLK_S_OK);
    late->writes[0]->done = false;
    g_assert_cmpuint(guest_blk_run(late->slow, 0, late->writes[0]), ==,
                     VIRTIO_BLK_S_OK);
}

static void take_over(Late *late)
{
    BlkTakeover takeover;

    blk_server_take_over_begin(late->server, NULL);
    while (blk_server_taking_over(late->server)) {
        sched_yield();
    }
    g_assert_true(blk_server_take_over_end(late->server, &takeover));
    g_assert_cmpint(takeover.us, >=, 0);
}

static void end_guests(Late *late)
{
    guest_blk_free(late->fast);
    guest_blk_free(late->slow);
}

/* It can be taken over from, later on. */
static void end(Late *late)
{
    expect_served(late);
    take_over(late);
    expect_served(late);
    end_guests(late);
    qmp_client_free(late->qmp);
    blk_server_free(late->server);
}

static void test_timeout(void)
{
    g_autofree char *said = NULL;
    Late late;

    if (!begin(&late, ",drain-timeout=1", WRITES)) {
        return;
    }
    blk_server_take_over_begin(late.server, NULL);
    while (blk_server_taking_over(late.server)) {
        step(&late);
    }
    g_assert_false(blk_server_has_left(late.server));
    said = blk_server_successor_said(late.server);
    g_assert_nonnull(strstr(said, "the running process refuses: export 'slow' "
                                  "has not come to a stand in time: "));
    g_assert_nonnull(strstr(said, " requests in flight; see drain-timeout\n"));
    g_assert_null(strstr(said, ": 0 requests"));
    g_assert_cmpint(strchr(said, '\n') - said, ==, strlen(said) - 1);
    send_flush(&late);
    expect_all_goes_on(&late);
    end(&late);
}

static void test_killed(void)
{
    Late late;

    if (!begin(&late, ",drain-timeout=600", WRITES)) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        blk_server_take_over_begin(late.server, NULL);
        stop_fast(&late);
        blk_server_kill_successor(late.server);
        if (i == 0) { /* and the slow one drains still when the next comes */
            BlkTakeover takeover;

            while (!step(&late)) {
            }
            g_assert_true(blk_server_take_over_end(late.server, &takeover));
        }
    }
    expect_all_goes_on(&late);
    end(&late);
}

/* A signal counts when there is no successor any more. */
static void test_ends_meanwhile(void)
{
    Late late;
    BlkTakeover takeover;

    if (!begin(&late, ",drain-timeout=600", FEW)) {
        return;
    }
    blk_server_take_over_begin(late.server, NULL);
    stop_fast(&late);
    kill(blk_server_pid(late.server), SIGTERM);
    blk_server_kill_successor(late.server);
    while (!blk_server_has_left(late.server)) {
        count_writes(&late);
        sched_yield();
    }
    g_assert_cmpuint(count_writes(&late), ==, FEW);
    g_assert_false(blk_server_take_over_end(late.server, &takeover));
    guest_blk_kill(late.fast);
    guest_blk_kill(late.slow);
    qmp_client_free(late.qmp);
    blk_server_forget(late.server);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vhost-user-blk-takeover-late/timeout", test_timeout);
    g_test_add_func("/vhost-user-blk-takeover-late/killed", test_killed);
    g_test_add_func("/vhost-user-blk-takeover-late/ends-meanwhile",
                    test_ends_meanwhile);
    return g_test_run();
}
