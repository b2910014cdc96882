/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A daemon on a host that is short of memory and descriptors: calls of the
 * control path fail by chance while front ends come and go. Handshakes may be
 * refused or cut off; the daemon stays, keeps nothing of them, and serves the
 * next guest as if nothing had been, all data where it was.
 *
 * A seed is one handshake. --seeds N: that many for each engine.
 */
#include "fault-preload.h"
#include "guest-load.h"
#include "seeds.h"
#include "test-daemon.h"
#include "image.h"
#include "guest/vhost-user-client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define DISK_BYTES (1 << 20)
#define QUEUES     2
#define MEMORY     (2 << 20)
#define USER_BASE  UINT64_C(0x7f0000000000)
#define EVERY      10      /* handshakes to one guest that must be served */

typedef struct Host {
    TestImage *image, *control;
    TestDaemon *daemon;
    PreloadFaults *faults;
    GuestLoad *load;
    unsigned tried, finished;
} Host;

static struct {
    unsigned tried, finished;
    uint64_t injected, verified;
} totals;

static void host_open(Host *host, const char *engine)
{
    GuestLoadConf conf = {
        .queues = QUEUES, .depth = 8, .bytes = DISK_BYTES, .seed = 3,
        .no_ranges = true,
    };
    int fd;

    *host = (Host) { .image = test_image_new(DISK_BYTES),
                     .control = test_image_new(sizeof(PreloadFaults)) };
    fd = open(test_image_path(host->control), O_RDWR | O_CLOEXEC);
    host->faults = mmap(NULL, sizeof(*host->faults), PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);
    g_assert_true(host->faults != MAP_FAILED);
    close(fd);
    host->load = guest_load_new(&conf);
    host->daemon = test_daemon_new();
    test_daemon_set_env(host->daemon, "VBLK_FAULTS",
                        test_image_path(host->control));
    test_daemon_set_env(host->daemon, "LD_PRELOAD",
                        g_getenv("VBLK_FAULT_PRELOAD"));
    for (unsigned i = 0; i < QUEUES; i++) {
        test_daemon_add(host->daemon, "--object");
        test_daemon_add(host->daemon, "iothread,id=io%u", i);
    }
    test_daemon_add(host->daemon, "--blockdev");
    test_daemon_add(host->daemon, "driver=file,node-name=n0,filename=%s,"
                    "aio=%s,cache.direct=on", test_image_path(host->image),
                    engine);
    test_daemon_add(host->daemon, "--export");
    test_daemon_add(host->daemon, "type=vhost-user-blk,id=e0,node-name=n0,"
                    "writable=on,num-queues=%u,iothread.0=io0,iothread.1=io1,"
                    "addr.type=unix,addr.path=%s", QUEUES,
                    test_daemon_socket(host->daemon, 0));
    test_daemon_start(host->daemon, 1);
}

static void host_close(Host *host)
{
    totals.tried += host->tried;
    totals.finished += host->finished;
    totals.verified += guest_load_counts(host->load)->verified;
    for (unsigned i = 0; i < PRELOAD__COUNT; i++) {
        totals.injected += host->faults->injected[i];
    }
    test_daemon_free(host->daemon);
    guest_load_free(host->load);
    munmap(host->faults, sizeof(*host->faults));
    test_image_free(host->control);
    test_image_free(host->image);
}

/* --- a front end that takes what it gets --- */

/* Sends and, if there is an answer, takes it. False: the connection ended. */
static bool talk(int sock, VuMessage *msg, uint32_t size, int fd, bool answer)
{
    msg->header.size = size;
    msg->header.flags = VU_VERSION | (answer ? VU_NEED_REPLY : 0);
    if (!vu_send(sock, msg, &fd, fd >= 0)) {
        return false;
    }
    return !answer || vu_read(sock, msg, 30000) == 0;
}

static bool get_and_set(int sock, uint32_t get, uint32_t set, uint64_t mask)
{
    VuMessage msg = { .header = { .request = get } };

    if (!talk(sock, &msg, 0, -1, true)) {
        return false;
    }
    msg.header.request = set;
    msg.payload.u64 &= mask;
    return talk(sock, &msg, 8, -1, false);
}

static bool send_table(int sock, int memfd)
{
    VuMessage msg = {
        .header = { .request = VU_SET_MEM_TABLE },
        .payload.memory = {
            .n_regions = 1,
            .regions[0] = { .size = MEMORY, .user_addr = USER_BASE },
        },
    };

    return talk(sock, &msg, 8 + 32, memfd, true);
}

static bool ask_for_inflight(int sock)
{
    VuMessage msg = {
        .header = { .request = VU_GET_INFLIGHT_FD },
        .payload.inflight = { .num_queues = QUEUES, .queue_size = 128 },
    };
    int fd = -1, ret;

    msg.header.size = sizeof(msg.payload.inflight);
    msg.header.flags = VU_VERSION;
    if (!vu_send(sock, &msg, NULL, 0)) {
        return false;
    }
    ret = vu_read_fd(sock, &msg, 30000, &fd);
    if (fd >= 0) {
        close(fd);
    }
    return ret == 0;
}

static bool set_state(int sock, uint32_t request, unsigned ring, unsigned num)
{
    VuMessage msg = {
        .header = { .request = request },
        .payload.state = { ring, num },
    };

    return talk(sock, &msg, 8, -1, true);
}

static bool set_fd(int sock, uint32_t request, unsigned ring)
{
    VuMessage msg = { .header = { .request = request },
                      .payload.u64 = ring };
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    bool ok = talk(sock, &msg, 8, fd, true);

    close(fd);
    return ok;
}

static bool set_ring(int sock, unsigned ring)
{
    uint64_t at = USER_BASE + ring * 65536;
    VuMessage msg = {
        .header = { .request = VU_SET_VRING_ADDR },
        .payload.addr = { .index = ring, .desc = at, .avail = at + 8192,
                          .used = at + 16384 },
    };

    return set_state(sock, VU_SET_VRING_NUM, ring, 128) &&
           set_state(sock, VU_SET_VRING_BASE, ring, 0) &&
           talk(sock, &msg, sizeof(msg.payload.addr), -1, true) &&
           set_fd(sock, VU_SET_VRING_CALL, ring) &&
           set_fd(sock, VU_SET_VRING_KICK, ring) &&
           set_state(sock, VU_SET_VRING_ENABLE, ring, 1);
}

static bool shake_hands(int sock, int memfd)
{
    return get_and_set(sock, VU_GET_FEATURES, VU_SET_FEATURES,
                       ~(UINT64_C(1) << VU_F_LOG_ALL)) &&
           get_and_set(sock, VU_GET_PROTOCOL_FEATURES,
                       VU_SET_PROTOCOL_FEATURES, UINT64_MAX) &&
           send_table(sock, memfd) && ask_for_inflight(sock) &&
           set_ring(sock, 0) && set_ring(sock, 1) &&
           send_table(sock, memfd);
}

/* --- the play --- */

static void try_to_connect(Host *host)
{
    int memfd = memfd_create("guest", MFD_CLOEXEC);
    int sock;

    g_assert_cmpint(ftruncate(memfd, MEMORY), ==, 0);
    __atomic_store_n(&host->faults->odds, 30, __ATOMIC_RELAXED);
    sock = vu_connect(test_daemon_socket(host->daemon, 0));
    host->finished += shake_hands(sock, memfd);
    host->tried++;
    close(sock);
    __atomic_store_n(&host->faults->odds, 0, __ATOMIC_RELAXED);
    close(memfd);
}

/* Everything as it should be; its descriptors while a guest is there. */
static unsigned expect_service(Host *host)
{
    GuestBlkConf conf = { .num_queues = QUEUES, .memory_bytes = 4 << 20 };
    GuestBlk *guest =
        guest_blk_new_socket(test_daemon_socket(host->daemon, 0), &conf);
    struct virtio_blk_config config;
    unsigned fds;

    guest_load_attach(host->load, guest);
    guest_blk_start(guest);
    for (unsigned i = 0; i < 4; i++) {
        guest_load_step(host->load);
    }
    guest_load_wait(host->load);
    guest_load_check(host->load);
    guest_blk_read_config(guest, &config);
    fds = test_daemon_fds(host->daemon);
    guest_blk_free(guest);
    return fds;
}

static void test_shortage(gconstpointer engine)
{
    unsigned fds;
    Host host;

    host_open(&host, engine);
    expect_service(&host);
    fds = expect_service(&host);
    for (unsigned i = 0; i < seeds_count(); i++) {
        host.faults->seed = seeds_first() + i;
        try_to_connect(&host);
        if (i % EVERY == EVERY - 1) {
            g_assert_cmpuint(expect_service(&host), ==, fds);
        }
    }
    host_close(&host);
}

/* The daemon's descriptors while somebody is connected and says nothing. */
static unsigned idle_fds(Host *host)
{
    int sock = vu_connect(test_daemon_socket(host->daemon, 0));
    unsigned n;

    vu_get_u64(sock, VU_GET_FEATURES);
    n = test_daemon_fds(host->daemon);
    close(sock);
    return n;
}

static void connect_with_limit(Host *host, unsigned limit)
{
    int memfd = memfd_create("guest", MFD_CLOEXEC);
    int sock;

    g_assert_cmpint(ftruncate(memfd, MEMORY), ==, 0);
    sock = vu_connect(test_daemon_socket(host->daemon, 0));
    vu_get_u64(sock, VU_GET_FEATURES);
    test_daemon_limit_fds(host->daemon, limit);
    host->finished += shake_hands(sock, memfd);
    host->tried++;
    test_daemon_limit_fds(host->daemon, 1024);
    close(sock);
    close(memfd);
}

/* There is room for a few more than what is open, or for none: descriptors
 * that come with messages get lost on the way. */
static void test_no_descriptors(gconstpointer engine)
{
    unsigned fds, idle;
    Host host;

    host_open(&host, engine);
    expect_service(&host);
    fds = expect_service(&host);
    idle = idle_fds(&host);
    for (unsigned i = 0; i < seeds_count(); i++) {
        connect_with_limit(&host, idle + i % 8);
        if (i % EVERY == EVERY - 1) {
            g_assert_cmpuint(expect_service(&host), ==, fds);
        }
    }
    host_close(&host);
}

/* Nobody can be let in; when there is room again, who waited is served. */
static void test_no_room_to_accept(gconstpointer engine)
{
    VuMessage msg = { .header = { .request = VU_GET_FEATURES,
                                  .flags = VU_VERSION } };
    unsigned fds;
    Host host;

    host_open(&host, engine);
    expect_service(&host);
    fds = expect_service(&host);
    for (unsigned i = 0; i < seeds_count() / EVERY + 1; i++) {
        int sock;

        test_daemon_limit_fds(host.daemon, 3);
        sock = vu_connect(test_daemon_socket(host.daemon, 0));
        g_assert_true(vu_send(sock, &msg, NULL, 0));
        host.tried++;
        test_daemon_limit_fds(host.daemon, 1024);
        g_assert_cmpint(vu_read(sock, &msg, 30000), ==, 0);
        host.finished++;
        close(sock);
        g_assert_cmpuint(expect_service(&host), ==, fds);
        msg.header = (VuHeader){ .request = VU_GET_FEATURES,
                                 .flags = VU_VERSION };
    }
    host_close(&host);
}

static void add_tests(const char *engine)
{
    g_autofree char *accept =
        g_strdup_printf("/vhost-user-blk-shortage/accept/%s", engine);
    g_autofree char *shortage =
        g_strdup_printf("/vhost-user-blk-shortage/chance/%s", engine);
    g_autofree char *fds =
        g_strdup_printf("/vhost-user-blk-shortage/descriptors/%s", engine);

    g_test_add_data_func(shortage, engine, test_shortage);
    g_test_add_data_func(fds, engine, test_no_descriptors);
    g_test_add_data_func(accept, engine, test_no_room_to_accept);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    seeds_parse(argc, argv, 100);
    if (!g_getenv("VBLK_STORAGE_DAEMON") || !g_getenv("VBLK_FAULT_PRELOAD")) {
        puts("1..0 # SKIP VBLK_STORAGE_DAEMON or VBLK_FAULT_PRELOAD is not "
             "set");
        return 0;
    }
    add_tests("threads");
    add_tests("native");
    add_tests("io_uring");
    ret = g_test_run();
    printf("# %u handshakes, %u of them to the end, %" PRIu64 " calls "
           "refused, %" PRIu64 " MiB verified\n", totals.tried,
           totals.finished, totals.injected, totals.verified >> 20);
    return ret;
}
