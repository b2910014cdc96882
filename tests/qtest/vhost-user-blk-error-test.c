/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file system that really runs full under a guest that writes. The daemon
 * holds what does not fit; whatever happens to the connection or the process
 * meanwhile, once there is space every write comes back to the guest once,
 * well, and is in the image.
 *
 * Needs to mount a tmpfs.
 */
#include "servers.h"

#include "qmp-client.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define FS_BYTES    (4 << 20)
#define ROOM_BYTES  (256 << 10) /* left by the filler */
#define IMAGE_BYTES (8 << 20)
#define BLOCK       4096
#define BLOCKS      256         /* that the guest writes: 1 MiB */

typedef struct ErrorCase {
    const char *name;
    const char *engine;
    bool packed;
    bool no_inflight;
    unsigned queues;
} ErrorCase;

typedef struct Full {
    const ErrorCase *test;
    char *dir, *image, *filler, *blockdev;
    BlkServer *server;
    QmpClient *qmp;
    GuestBlk *guest;
    GuestReq *reqs[BLOCKS];
} Full;

static unsigned queue_of(const Full *full, unsigned i)
{
    return i % full->test->queues;
}

/* --- the file system --- */

static void make_file(const char *path, int64_t sparse, int64_t full)
{
    g_autofree char *zeroes = g_malloc0(BLOCK);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, sparse), ==, 0);
    for (int64_t i = 0; i < full; i += BLOCK) {
        g_assert_cmpint(pwrite(fd, zeroes, BLOCK, i), ==, BLOCK);
    }
    close(fd);
}

static bool make_file_system(Full *full)
{
    g_autofree char *options = g_strdup_printf("size=%d", FS_BYTES);

    full->dir = g_dir_make_tmp("vblk-full-XXXXXX", NULL);
    if (mount("none", full->dir, "tmpfs", 0, options) < 0) {
        g_rmdir(full->dir);
        g_free(full->dir);
        return false;
    }
    full->image = g_build_filename(full->dir, "image", NULL);
    full->filler = g_build_filename(full->dir, "filler", NULL);
    make_file(full->image, IMAGE_BYTES, 0);
    make_file(full->filler, 0, FS_BYTES - ROOM_BYTES);
    return true;
}

static void make_room(Full *full)
{
    g_assert_cmpint(g_unlink(full->filler), ==, 0);
}

static void check_image(Full *full)
{
    int fd = open(full->image, O_RDONLY | O_CLOEXEC);
    uint8_t buf[BLOCK];

    g_assert_cmpint(fd, >=, 0);
    for (unsigned i = 0; i < BLOCKS; i++) {
        g_assert_cmpint(pread(fd, buf, BLOCK, (off_t)i * BLOCK), ==, BLOCK);
        g_assert_cmpmem(buf, BLOCK, full->reqs[i]->data, BLOCK);
    }
    close(fd);
}

static void remove_file_system(Full *full)
{
    g_assert_cmpint(umount(full->dir), ==, 0);
    g_assert_cmpint(g_rmdir(full->dir), ==, 0);
    g_free(full->image);
    g_free(full->filler);
    g_free(full->dir);
}

/* --- server and guest --- */

static void start_server(Full *full, const char *export)
{
    BlkServerConf conf = {
        .num_queues = full->test->queues, .n_iothreads = full->test->queues,
        .program = true, .export = export, .monitor = true,
    };

    full->blockdev = g_strdup_printf("driver=file,node-name=n0,filename=%s,"
                                     "aio=%s", full->image,
                                     full->test->engine);
    conf.blockdev = full->blockdev;
    full->server = blk_server_new(&conf);
    full->qmp = qmp_client_new(blk_server_monitor(full->server));
}

static void start_guest(Full *full)
{
    GuestBlkConf conf = {
        .num_queues = full->test->queues, .queue_size = 256,
        .packed = full->test->packed,
    };

    full->guest = guest_blk_new_socket(blk_server_path(full->server), &conf);
    if (!full->test->no_inflight) {
        guest_blk_keep_inflight(full->guest);
    }
    guest_blk_start(full->guest);
}

/* Writes until the disk rests. */
static void fill(Full *full)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        GuestReq *req = guest_req_new(full->guest, VIRTIO_BLK_T_OUT,
                                      i * (BLOCK / 512), BLOCK);

        req->indirect = true;
        test_pattern(req->data, BLOCK, i + 1);
        full->reqs[i] = req;
        g_assert_true(guest_blk_submit(full->guest, queue_of(full, i), req));
    }
    for (unsigned q = 0; q < full->test->queues; q++) {
        guest_blk_kick(full->guest, q);
    }
}

static void expect_rest(Full *full)
{
    const char *event = qmp_client_event(full->qmp, "BLOCK_IO_ERROR");

    g_assert_nonnull(strstr(event, "\"nospace\": true"));
    g_assert_nonnull(strstr(event, "\"action\": \"stop\""));
    g_assert_nonnull(strstr(event, "\"operation\": \"write\""));
    g_assert_nonnull(strstr(event, "\"reason\": \"No space left on device\""));
    g_assert_nonnull(strstr(qmp_client_run(full->qmp, "query-status"),
                            "\"io-error\""));
    g_assert_nonnull(strstr(qmp_client_run(full->qmp, "x-vblk-stats"),
                            "\"io-status\": \"nospace\""));
}

static unsigned count_done(Full *full)
{
    unsigned n = 0;

    for (unsigned q = 0; q < full->test->queues; q++) {
        guest_blk_reap(full->guest, q);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        n += full->reqs[i]->done;
    }
    return n;
}

static bool start(Full *full, gconstpointer opaque, const char *export)
{
    *full = (Full){ .test = opaque };
    if (!blk_server_have_program()) {
        g_test_skip("VBLK_STORAGE_DAEMON is not set");
        return false;
    }
    if (!make_file_system(full)) {
        g_test_skip("cannot mount a tmpfs");
        return false;
    }
    start_server(full, export);
    start_guest(full);
    fill(full);
    expect_rest(full);
    g_assert_cmpuint(count_done(full), <, BLOCKS);
    return true;
}

static void expect_all(Full *full, uint8_t status)
{
    for (unsigned q = 0; q < full->test->queues; q++) {
        guest_blk_wait_all(full->guest, q);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        g_assert_true(full->reqs[i]->done);
        g_assert_cmpuint(full->reqs[i]->status, ==, status);
    }
}

static void stop(Full *full)
{
    guest_blk_free(full->guest);
    qmp_client_free(full->qmp);
    blk_server_free(full->server);
    g_free(full->blockdev);
    remove_file_system(full);
}

/* Space is back: all is well, and nobody had to say so. */
static void finish(Full *full)
{
    make_room(full);
    expect_all(full, VIRTIO_BLK_S_OK);
    qmp_client_event(full->qmp, "X_VBLK_EXPORT_RESUMED");
    g_assert_nonnull(strstr(qmp_client_run(full->qmp, "x-vblk-stats"),
                            "\"held\": 0"));
    check_image(full);
    stop(full);
}

/* --- the tests --- */

static void test_space_comes_back(gconstpointer opaque)
{
    Full full;

    if (start(&full, opaque, NULL)) {
        finish(&full);
    }
}

/* With "stop" it takes a word. */
static void test_cont(gconstpointer opaque)
{
    Full full;

    if (!start(&full, opaque, ",werror=stop")) {
        return;
    }
    qmp_client_run(full.qmp, "cont"); /* in vain */
    make_room(&full);
    qmp_client_run(full.qmp, "cont");
    expect_all(&full, VIRTIO_BLK_S_OK);
    check_image(&full);
    stop(&full);
}

/* Another process goes on with what the first one held. */
static void test_killed(gconstpointer opaque)
{
    Full full;

    if (!start(&full, opaque, NULL)) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        qmp_client_free(full.qmp);
        if (i % 2) {
            blk_server_stop(full.server); /* asked to: does not wait for space */
        } else {
            blk_server_kill(full.server);
        }
        blk_server_restart(full.server);
        full.qmp = qmp_client_new(blk_server_monitor(full.server));
        guest_blk_reconnect(full.guest, blk_server_path(full.server));
        expect_rest(&full);
        g_assert_cmpuint(count_done(&full), <, BLOCKS);
    }
    finish(&full);
}

static void test_disconnected(gconstpointer opaque)
{
    Full full;

    if (!start(&full, opaque, NULL)) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        guest_blk_reconnect(full.guest, blk_server_path(full.server));
        qmp_client_event(full.qmp, "X_VBLK_EXPORT_RESUMED");
        expect_rest(&full);
        g_assert_cmpuint(count_done(&full), <, BLOCKS);
    }
    finish(&full);
}

/* Buffers are looked up again; nothing has to end for it. */
static void test_new_memory_table(gconstpointer opaque)
{
    Full full;

    if (!start(&full, opaque, NULL)) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        guest_blk_send_memory(full.guest);
        expect_rest(&full);
        g_assert_cmpuint(count_done(&full), <, BLOCKS);
    }
    finish(&full);
}

/* The front end takes its rings back: what could not be done has failed. */
static void test_vring_base(gconstpointer opaque)
{
    Full full;
    unsigned failed = 0;

    if (!start(&full, opaque, NULL)) {
        return;
    }
    for (unsigned q = 0; q < full.test->queues; q++) {
        guest_blk_stop_queue(full.guest, q);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (full.reqs[i]->done) {
            failed += full.reqs[i]->status == VIRTIO_BLK_S_IOERR;
        }
    }
    g_assert_cmpuint(failed, >, 0);
    qmp_client_event(full.qmp, "X_VBLK_EXPORT_RESUMED");
    make_room(&full);
    stop(&full);
}

/* Without a record nobody could go on: the end of the process is the end. */
static void test_ends_without_record(gconstpointer opaque)
{
    ErrorCase test = *(const ErrorCase *)opaque;
    uint8_t buf[BLOCK];
    Full full;

    test.no_inflight = true;
    if (!start(&full, &test, NULL)) {
        return;
    }
    qmp_client_free(full.qmp);
    blk_server_stop(full.server);
    count_done(&full);
    guest_blk_kill(full.guest);
    blk_server_restart(full.server);
    full.qmp = qmp_client_new(blk_server_monitor(full.server));
    full.guest = guest_blk_new_socket(blk_server_path(full.server),
                                      &(GuestBlkConf){ 0 });
    guest_blk_start(full.guest);
    g_assert_cmpuint(guest_blk_read(full.guest, 0, buf, BLOCK), ==,
                     VIRTIO_BLK_S_OK);
    stop(&full);
}

static const ErrorCase cases[] = {
    { "threads-split", "threads", false, false, 1 },
    { "io_uring-packed", "io_uring", true, false, 2 },
};

static void add(const char *name, GTestDataFunc fn)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/vhost-user-blk-error/%s/%s",
                                                name, cases[i].name);

        g_test_add_data_func(path, &cases[i], fn);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("space-comes-back", test_space_comes_back);
    add("cont", test_cont);
    add("killed", test_killed);
    add("disconnected", test_disconnected);
    add("new-memory-table", test_new_memory_table);
    add("vring-base", test_vring_base);
    add("ends-without-record", test_ends_without_record);
    return g_test_run();
}
