/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Used by the vhost-user-blk-*-test programs; joins tests/lib to a server.
 */
#include "servers.h"

#include "guest/vhost-user-client.h"

#include <unistd.h>

static const struct {
    const char *name;
    ServerKind kind;
} kinds[] = {
    { "thread", { .n_iothreads = 0 } },
    { "iothread", { .n_iothreads = 2 } },
    { "daemon", { .program = true, .n_iothreads = 1 } },
};

typedef struct ServerTest {
    ServerKind kind;
    void (*fn)(const ServerKind *kind);
} ServerTest;

static void run_test(gconstpointer data)
{
    const ServerTest *test = data;

    if (test->kind.program && !blk_server_have_program()) {
        g_test_skip("VBLK_STORAGE_DAEMON is not set");
        return;
    }
    test->fn(&test->kind);
}

void servers_add(const char *prefix, const char *name,
                 void (*fn)(const ServerKind *kind))
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        ServerTest *test = g_new0(ServerTest, 1);
        g_autofree char *path = NULL;

        test->kind = kinds[i].kind;
        test->fn = fn;
        path = g_strdup_printf("/%s/%s/%s", prefix, name, kinds[i].name);
        g_test_add_data_func_full(path, test, run_test, g_free);
    }
}

void service_start(Service *service, const ServerKind *kind, int64_t bytes,
                   const BlkServerConf *conf)
{
    BlkServerConf full = conf ? *conf : (BlkServerConf) { 0 };
    g_autofree char *blockdev = NULL;

    service->image = blk_image_new(bytes);
    blockdev = g_strdup_printf("driver=file,node-name=n0,filename=%s,"
                               "discard=unmap",
                               test_image_path(service->image));
    if (!full.blockdev) {
        full.blockdev = blockdev;
    }
    full.n_iothreads = kind->n_iothreads;
    full.program = kind->program;
    service->server = blk_server_new(&full);
}

void service_stop(Service *service)
{
    blk_server_free(service->server);
    test_image_free(service->image);
}

GuestBlk *service_connect(Service *service, const GuestBlkConf *conf)
{
    GuestBlkConf defaults = { 0 };
    GuestBlk *guest = guest_blk_new_socket(blk_server_path(service->server),
                                           conf ? conf : &defaults);

    guest_blk_start(guest);
    return guest;
}

void expect_guest_works(GuestBlk *guest, unsigned queue)
{
    GuestReq *req = guest_req_new(guest, VIRTIO_BLK_T_IN, 5, 1024);

    g_assert_cmpuint(guest_blk_run(guest, queue, req), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint(req->used_len, ==, 1025);
    for (unsigned i = 0; i < 1024; i++) {
        g_assert_cmpuint(req->data[i], ==, blk_pattern(5 * 512 + i));
    }
}

void expect_service_works(Service *service)
{
    GuestBlk *guest = service_connect(service, NULL);

    expect_guest_works(guest, 0);
    guest_blk_free(guest);
}

unsigned service_n_fds(const Service *service)
{
    g_autofree char *path =
        g_strdup_printf("/proc/%d/fd", blk_server_pid(service->server));
    int sock = vu_connect(blk_server_path(service->server));
    unsigned n = 0;
    GDir *dir;

    vu_get_u64(sock, VU_GET_FEATURES);
    dir = g_dir_open(path, 0, NULL);
    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    close(sock);
    return n;
}
