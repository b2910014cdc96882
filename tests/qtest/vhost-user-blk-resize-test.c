/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block_resize under a guest that goes on reading and writing: it sees the new
 * length, what lies within it works, what lies behind it fails.
 */
#include "servers.h"

#include "qmp-client.h"

#include <endian.h>
#include <string.h>

#define SMALL (1 << 20)
#define LARGE (4 << 20)
#define BLOCK 4096
#define DEPTH 32
#define TURNS 20

typedef struct ResizeCase {
    const char *name;
    const char *driver;
    bool qcow2;
} ResizeCase;

typedef struct Resize {
    Service service;
    char *blockdev;
    QmpClient *qmp;
    GuestBlk *guest;
    GuestReq *reqs[2][DEPTH];
} Resize;

static void make_image(Resize *r, bool qcow2)
{
    g_autofree char *command = NULL;
    g_autoptr(GError) error = NULL;

    r->service.image = test_image_new(SMALL);
    if (!qcow2) {
        return;
    }
    command = g_strdup_printf("qemu-img create -q -f qcow2 %s %d",
                              test_image_path(r->service.image), SMALL);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL,
                                            &error));
}

static void start(Resize *r, const ResizeCase *test)
{
    BlkServerConf conf = { .num_queues = 2, .n_iothreads = 2,
                           .program = true, .monitor = true };

    memset(r, 0, sizeof(*r));
    make_image(r, test->qcow2);
    r->blockdev = g_strdup_printf("%sfilename=%s", test->driver,
                                  test_image_path(r->service.image));
    conf.blockdev = r->blockdev;
    r->service.server = blk_server_new(&conf);
    r->qmp = qmp_client_new(blk_server_monitor(r->service.server));
    r->guest = guest_blk_new_socket(blk_server_path(r->service.server),
                                    &(GuestBlkConf){ .num_queues = 2 });
    guest_blk_start(r->guest);
    for (unsigned q = 0; q < 2; q++) {
        for (unsigned i = 0; i < DEPTH; i++) {
            r->reqs[q][i] = guest_req_new(
                r->guest, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
                (q * DEPTH + i) * (2 * BLOCK / 512), BLOCK);
        }
    }
}

static void stop(Resize *r)
{
    guest_blk_free(r->guest);
    qmp_client_free(r->qmp);
    blk_server_free(r->service.server);
    test_image_free(r->service.image);
    g_free(r->blockdev);
}

static void submit_all(Resize *r)
{
    for (unsigned q = 0; q < 2; q++) {
        for (unsigned i = 0; i < DEPTH; i++) {
            r->reqs[q][i]->done = false;
            r->reqs[q][i]->indirect = true;
            g_assert_true(guest_blk_submit(r->guest, q, r->reqs[q][i]));
        }
        guest_blk_kick(r->guest, q);
    }
}

static void wait_for_all(Resize *r)
{
    for (unsigned q = 0; q < 2; q++) {
        guest_blk_wait_all(r->guest, q);
        for (unsigned i = 0; i < DEPTH; i++) {
            g_assert_true(r->reqs[q][i]->done);
            g_assert_cmpuint(r->reqs[q][i]->status, ==, VIRTIO_BLK_S_OK);
        }
    }
}

static void resize_to(Resize *r, int64_t bytes)
{
    g_autofree char *arguments = g_strdup_printf(
        "{\"node-name\": \"n0\", \"size\": %" G_GINT64_FORMAT "}", bytes);

    qmp_client_run_with(r->qmp, "block_resize", arguments);
}

static void expect_length(Resize *r, int64_t bytes)
{
    struct virtio_blk_config config;
    uint8_t buf[BLOCK];

    guest_blk_read_config(r->guest, &config);
    g_assert_cmpuint(le64toh(config.capacity), ==, bytes / 512);
    g_assert_cmpuint(guest_blk_read(r->guest, bytes / 512 - 8, buf, BLOCK), ==,
                     VIRTIO_BLK_S_OK);
    g_assert_cmpuint(guest_blk_read(r->guest, bytes / 512 - 7, buf, BLOCK), ==,
                     VIRTIO_BLK_S_IOERR);
}

/* What grew reads as zeroes, and keeps what is written there. */
static void check_new_part(Resize *r)
{
    uint8_t buf[BLOCK], zeroes[BLOCK] = { 0 };

    g_assert_cmpuint(guest_blk_read(r->guest, LARGE / 512 - 8, buf, BLOCK),
                     ==, VIRTIO_BLK_S_OK);
    g_assert_cmpmem(buf, BLOCK, zeroes, BLOCK);
    memset(buf, 0x5a, BLOCK);
    g_assert_cmpuint(guest_blk_write(r->guest, LARGE / 512 - 8, buf, BLOCK),
                     ==, VIRTIO_BLK_S_OK);
}

static void test_resize(gconstpointer opaque)
{
    const ResizeCase *test = opaque;
    Resize r;

    if (!blk_server_have_program()) {
        g_test_skip("VBLK_STORAGE_DAEMON is not set");
        return;
    }
    if (test->qcow2 && !test_program_present("qemu-img")) {
        g_test_skip("qemu-img is not installed");
        return;
    }
    start(&r, test);
    for (unsigned i = 0; i < TURNS; i++) {
        int64_t bytes = i % 2 ? SMALL : LARGE;

        submit_all(&r);
        resize_to(&r, bytes);
        wait_for_all(&r);
        expect_length(&r, bytes);
        if (bytes == LARGE) {
            check_new_part(&r);
        }
    }
    stop(&r);
}

static const ResizeCase cases[] = {
    { "file", "driver=file,node-name=n0,", false },
    { "raw", "driver=raw,node-name=n0,file.driver=file,file.", false },
    { "qcow2", "driver=qcow2,node-name=n0,file.driver=file,file.", true },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/vhost-user-blk-resize/%s",
                                                cases[i].name);

        g_test_add_data_func(path, &cases[i], test_resize);
    }
    return g_test_run();
}
