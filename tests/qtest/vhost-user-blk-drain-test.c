/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What GET_VRING_BASE and SET_MEM_TABLE promise: when the answer is there,
 * everything the device had taken is done, and no byte of the guest's memory
 * changes any more. The disk is slow on purpose.
 */
#include "servers.h"
#include "guest/vhost-user-client.h"

#include <string.h>
#include <unistd.h>

#define DEPTH 16

/* A quarter of a second a request. */
static const char slow_disk[] =
    "driver=null-aio,node-name=n0,size=1M,read-zeroes=on,"
    "latency-ns=250000000";

static void start(Service *service, const ServerKind *kind)
{
    BlkServerConf conf = { .blockdev = slow_disk, .num_queues = 2 };

    service_start(service, kind, 1 << 20, &conf);
}

static void submit(GuestBlk *guest, GuestReq *reqs[DEPTH])
{
    for (unsigned i = 0; i < DEPTH; i++) {
        reqs[i] = guest_req_new(guest, VIRTIO_BLK_T_IN, i * 16, 4096);
        memset(reqs[i]->data, 0xee, 4096);
        g_assert_true(guest_blk_submit(guest, 0, reqs[i]));
    }
    guest_blk_kick(guest, 0);
}

/* Each request is either back, and filled, or was never taken. */
static unsigned count_done(GuestReq *reqs[DEPTH])
{
    unsigned n = 0;

    for (unsigned i = 0; i < DEPTH; i++) {
        uint8_t expected = reqs[i]->done ? 0 : 0xee;

        n += reqs[i]->done;
        for (unsigned b = 0; b < 4096; b++) {
            g_assert_cmpuint(reqs[i]->data[b], ==, expected);
        }
        if (reqs[i]->done) {
            g_assert_cmpuint(reqs[i]->status, ==, VIRTIO_BLK_S_OK);
        }
    }
    return n;
}

static void test_get_vring_base(const ServerKind *kind)
{
    GuestBlkConf conf = { 0 };
    GuestReq *reqs[DEPTH];
    GuestBlk *guest;
    Service service;
    uint32_t base;

    start(&service, kind);
    guest = service_connect(&service, &conf);
    submit(guest, reqs);
    base = guest_blk_stop_queue(guest, 0);
    g_assert_cmpuint(base, ==, count_done(reqs));
    /* goes on where it stopped, nothing twice, nothing lost */
    guest_blk_resume_queue(guest, 0, base);
    guest_blk_wait_all(guest, 0);
    g_assert_cmpuint(count_done(reqs), ==, DEPTH);
    base = guest_blk_stop_queue(guest, 0);
    g_assert_cmpuint(base, ==, DEPTH);
    guest_blk_free(guest);
    service_stop(&service);
}

static void test_get_vring_base_packed(const ServerKind *kind)
{
    GuestBlkConf conf = { .packed = true };
    GuestReq *reqs[DEPTH];
    GuestBlk *guest;
    Service service;
    uint32_t base;

    start(&service, kind);
    guest = service_connect(&service, &conf);
    submit(guest, reqs);
    base = guest_blk_stop_queue(guest, 0);
    count_done(reqs);
    /* nothing in use: both halves say the same place */
    g_assert_cmphex(base & 0xffff, ==, base >> 16);
    guest_blk_resume_queue(guest, 0, base);
    guest_blk_wait_all(guest, 0);
    g_assert_cmpuint(count_done(reqs), ==, DEPTH);
    guest_blk_free(guest);
    service_stop(&service);
}

/* The table comes again under a running ring: it goes on by itself. */
static void test_set_mem_table(const ServerKind *kind)
{
    GuestReq *reqs[DEPTH];
    GuestBlk *guest;
    Service service;

    start(&service, kind);
    guest = service_connect(&service, NULL);
    for (unsigned i = 0; i < 3; i++) {
        submit(guest, reqs);
        guest_blk_send_memory(guest);
        guest_blk_wait_all(guest, 0);
        g_assert_cmpuint(count_done(reqs), ==, DEPTH);
    }
    guest_blk_free(guest);
    service_stop(&service);
}

/* A reset in mid-flight: what was on its way does not come back in the new
 * ring. */
static void test_reset(const ServerKind *kind)
{
    GuestReq *reqs[DEPTH], *req;
    GuestBlk *guest;
    Service service;

    start(&service, kind);
    guest = service_connect(&service, NULL);
    submit(guest, reqs);
    guest_blk_reset(guest);
    guest_blk_start(guest);
    req = guest_req_new(guest, VIRTIO_BLK_T_IN, 0, 512);
    g_assert_cmpuint(guest_blk_run(guest, 0, req), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(virtio_ring_in_flight(guest_blk_ring(guest, 0)), ==, 0);
    guest_blk_free(guest);
    service_stop(&service);
}

/* The connection breaks, and at once somebody else comes. */
static void test_killed(const ServerKind *kind)
{
    GuestReq *reqs[DEPTH], *req;
    GuestBlk *guest;
    Service service;

    start(&service, kind);
    guest = service_connect(&service, NULL);
    submit(guest, reqs);
    guest_blk_kill(guest);
    guest = service_connect(&service, NULL);
    req = guest_req_new(guest, VIRTIO_BLK_T_IN, 0, 512);
    g_assert_cmpuint(guest_blk_run(guest, 0, req), ==, VIRTIO_BLK_S_OK);
    guest_blk_free(guest);
    service_stop(&service);
}

/* The server ends in mid-flight: it drains, and the guest has its answers. */
static void test_stop(const ServerKind *kind)
{
    GuestReq *reqs[DEPTH];
    GuestBlk *guest;
    Service service;

    start(&service, kind);
    guest = service_connect(&service, NULL);
    submit(guest, reqs);
    service_stop(&service);
    guest_blk_reap(guest, 0);
    count_done(reqs);
    guest_blk_kill(guest);
}

/*
 * What fails as if it had been cancelled has failed, unless the ring is being
 * taken away: also after it once was, and went on.
 */
static void test_not_cancelled(const ServerKind *kind)
{
    static const char blockdev[] =
        "driver=blkdebug,node-name=n0,image.driver=null-co,image.size=1M,"
        "image.read-zeroes=on,inject-error.0.event=none,"
        "inject-error.0.iotype=write,inject-error.0.errno=125,"
        "inject-error.0.immediately=on";
    BlkServerConf conf = { .blockdev = blockdev };
    GuestBlkConf guest_conf = { .num_queues = 1, .queue_size = 128 };
    uint8_t block[4096] = { 1 };
    GuestBlk *guest;
    Service service;

    service_start(&service, kind, 1 << 20, &conf);
    guest = guest_blk_new_socket(blk_server_path(service.server), &guest_conf);
    guest_blk_keep_inflight(guest);
    guest_blk_start(guest);
    for (unsigned i = 0; i < 3; i++) {
        guest_blk_send_memory(guest);
        g_assert_cmpuint(guest_blk_write(guest, 0, block, sizeof(block)), ==,
                         VIRTIO_BLK_S_IOERR);
        g_assert_cmpuint(guest_blk_read(guest, 0, block, sizeof(block)), ==,
                         VIRTIO_BLK_S_OK);
    }
    guest_blk_free(guest);
    service_stop(&service);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    servers_add("vhost-user-blk-drain", "get-vring-base",
                test_get_vring_base);
    servers_add("vhost-user-blk-drain", "get-vring-base-packed",
                test_get_vring_base_packed);
    servers_add("vhost-user-blk-drain", "set-mem-table", test_set_mem_table);
    servers_add("vhost-user-blk-drain", "reset", test_reset);
    servers_add("vhost-user-blk-drain", "killed", test_killed);
    servers_add("vhost-user-blk-drain", "stop", test_stop);
    servers_add("vhost-user-blk-drain", "not-cancelled", test_not_cancelled);
    return g_test_run();
}
