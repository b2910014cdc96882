/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that hands over anything: records with descriptors of all kinds,
 * as packets, read and taken as --takeover does it, with guest memory and an
 * in-flight area that hold anything as well. What could be taken over runs for
 * a moment and is handed over once more: that has to work. No descriptor may be
 * left.
 *
 * Input: lines. "FDS|TEXT" is a record, FDS a letter for each descriptor (see
 * make_fd()); "@AT:BYTES" goes into guest memory and "#AT:BYTES" into the
 * in-flight area, at 16 times the hexadecimal AT.
 */
#include "fuzz.h"

#include "block/graph.h"
#include "block/log.h"
#include "block/throttle.h"
#include "hw/virtio/inflight.h"
#include "hw/virtio/vhost-user.h"
#include "monitor/monitor.h"
#include "tests/lib/blk-rig.h"
#include "tests/lib/fds.h"
#include "tests/lib/test-disk.h"
#include "tools/storage-daemon/takeover-socket.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DISK_BYTES (1 << 20)
#define FILE_NAME  "IMAGE" /* of a file record: the one that there is */
#define QUEUES     2
#define RING_SIZE  16
#define MEM_BYTES  0x10000
#define MAX_LINES  60
#define MAX_PUMP   300

static BlkRig *rig;
static char *image;

typedef struct Old {
    int mem_fd, inflight_fd;
    int kick;     /* of all rings */
    int front;    /* the other end of a socket that was given; or -1 */
    int sock;     /* to the new process */
} Old;

static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

static void remove_image(void)
{
    unlink(image);
}

static void make_image(void)
{
    int fd = g_file_open_tmp("vblk-fuzz-XXXXXX", &image, NULL);

    g_assert(fd >= 0 && ftruncate(fd, 4096) == 0);
    close(fd);
    atexit(remove_image);
}

static void make_throttle_group(void)
{
    g_autoptr(Options) opts = options_parse("limits.iops-write=150", "fuzz",
                                            NULL, NULL);

    g_assert(throttle_group_add("g", opts, NULL));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    g_autofree uint8_t *zeroes = g_malloc0(DISK_BYTES);
    BlkRigConf conf = {
        .num_queues = QUEUES, .serial = "fuzz",
        .params = { .poll_max_ns = -1 },
        .blockdev = "test-disk,node-name=n0,disk=disk",
    };

    log_set_sink(ignore_line, NULL);
    test_disk_register();
    test_disk_set(test_disk_new("disk", 1), zeroes, DISK_BYTES);
    rig = blk_rig_new(&conf, NULL);
    g_assert(rig);
    make_throttle_group();
    make_image();
    return 0;
}

static void pump(void)
{
    AioContext *ctx = blk_rig_main_context(rig);

    for (unsigned i = 0; i < MAX_PUMP && aio_poll(ctx, false); i++) {
    }
}

/* --- The old process --- */

static int listening(void)
{
    const struct sockaddr_un any = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    g_assert(bind(fd, (const struct sockaddr *)&any, sizeof(sa_family_t)) ==
             0);
    g_assert(listen(fd, 1) == 0);
    return fd;
}

static int connection(Old *old)
{
    int socks[2];

    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                        0, socks) == 0);
    if (old->front >= 0) {
        close(old->front);
    }
    old->front = socks[0];
    return socks[1];
}

static int unwritten_pipe(void)
{
    int fds[2];

    g_assert(pipe2(fds, O_CLOEXEC) == 0);
    close(fds[1]);
    return fds[0];
}

static int make_fd(Old *old, char kind)
{
    switch (kind) {
    case 'm':
        return fcntl(old->mem_fd, F_DUPFD_CLOEXEC, 0);
    case 'i':
        return fcntl(old->inflight_fd, F_DUPFD_CLOEXEC, 0);
    case 'k':
        return fcntl(old->kick, F_DUPFD_CLOEXEC, 0);
    case 'e':
        return eventfd(0, EFD_CLOEXEC);
    case 's':
        return connection(old);
    case 'l':
        return listening();
    case 'p':
        return unwritten_pipe();
    case 'f':
        return open(image, O_RDWR | O_CLOEXEC);
    default:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    }
}

/* One more than a record may have. Takes them. */
static void send_packet(const Old *old, const char *text, int *fds,
                        unsigned n)
{
    g_assert(send_fds(old->sock, text, strlen(text), fds, n,
                      MSG_DONTWAIT) >= 0);
    for (unsigned i = 0; i < n; i++) {
        close(fds[i]);
    }
}

static void send_record(Old *old, const char *line, const char *bar)
{
    g_autoptr(GString) text = g_string_new(bar + 1);
    int fds[HANDOVER_MAX_FDS + 1];
    unsigned n = 0;

    g_string_replace(text, FILE_NAME, image, 1);
    for (; line < bar && n < G_N_ELEMENTS(fds); line++) {
        fds[n++] = make_fd(old, *line);
    }
    send_packet(old, text->str, fds, n);
}

static void store(int fd, const char *line, const char *end, size_t max)
{
    char *at = NULL;
    uint64_t offset = g_ascii_strtoull(line + 1, &at, 16);

    if (at < end && *at == ':' && offset < max / 16) {
        offset *= 16;
        at++;
        g_assert(pwrite(fd, at, MIN((size_t)(end - at), max - offset),
                        offset) >= 0);
    }
}

/* @line ends with a zero, but may hold others. */
static void do_line(Old *old, const char *line, const char *end)
{
    const char *bar = strchr(line, '|');

    if (*line == '@') {
        store(old->mem_fd, line, end, MEM_BYTES);
    } else if (*line == '#') {
        store(old->inflight_fd, line, end, inflight_bytes(QUEUES, RING_SIZE));
    } else if (bar) {
        send_record(old, line, bar);
    }
}

static void say_all(Old *old, const uint8_t *data, size_t bytes)
{
    g_autofree char *text = g_malloc(bytes + 1);
    char *line = text, *end;

    memcpy(text, data, bytes);
    text[bytes] = 0;
    for (unsigned i = 0; i < MAX_LINES && line < text + bytes; i++) {
        end = memchr(line, '\n', text + bytes - line);
        end = end ? end : text + bytes;
        *end = 0;
        do_line(old, line, end);
        line = end + 1;
    }
}

static int start(Old *old)
{
    int socks[2];

    g_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) ==
             0);
    *old = (Old){
        .mem_fd = memfd_create("guest", MFD_CLOEXEC),
        .inflight_fd = memfd_create("inflight", MFD_CLOEXEC),
        .kick = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
        .front = -1,
        .sock = socks[0],
    };
    g_assert(ftruncate(old->mem_fd, MEM_BYTES) == 0);
    g_assert(ftruncate(old->inflight_fd, inflight_bytes(QUEUES, RING_SIZE)) ==
             0);
    return socks[1];
}

static void end(Old *old)
{
    if (old->front >= 0) {
        close(old->front);
    }
    close(old->mem_fd);
    close(old->inflight_fd);
    close(old->kick);
    close(old->sock);
}

/* --- The new one --- */

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

static void wait_for(const bool *done)
{
    for (unsigned i = 0; i < 1000 && !*done; i++) {
        pump();
    }
    g_assert(*done);
}

/* As the program does it for --blockdev. */
static void take_files(Handover *handover)
{
    bool ours = handover_has(handover, "file", image);
    g_autofree char *text = g_strdup_printf("file,node-name=f,filename=%s",
                                            image);

    bdrv_take_over(handover, 0);
    if (ours) {
        g_autoptr(BlockDriverState) bs G_GNUC_UNUSED =
            bdrv_open(options_parse(text, "fuzz", "driver", NULL), NULL);
    }
    bdrv_take_over_end();
}

static VhostUserServer *take_server(Handover *handover, GError **error)
{
    if (!vhost_user_server_in_handover(handover, "e0")) {
        return NULL;
    }
    return vhost_user_server_take_over(blk_rig_device(rig),
                                       blk_rig_main_context(rig), NULL,
                                       handover, "e0", error);
}

/* Runs; then goes to another one, which runs, too. */
static void run(VhostUserServer *server)
{
    g_autoptr(Handover) handover = handover_new();
    g_autoptr(GError) error = NULL;
    bool done = false;

    vhost_user_server_resume(server);
    pump();
    vhost_user_server_hand_over(server, handover, "e0", set_true, &done);
    wait_for(&done);
    server = take_server(handover, &error);
    g_assert_no_error(error);
    g_assert_null(handover_left(handover));
    vhost_user_server_resume(server);
    pump();
    done = false;
    vhost_user_server_stop(server, set_true, &done);
    wait_for(&done);
}

static void take_over(int sock)
{
    g_autoptr(Handover) handover = takeover_receive_all(sock, 0, NULL);
    VhostUserServer *server;

    if (!handover) {
        return;
    }
    take_files(handover);
    throttle_take_over(handover, NULL);
    monitor_take_over(handover, NULL);
    monitor_take_over_end();
    server = take_server(handover, NULL);
    if (server) {
        run(server);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    unsigned n_fds = count_fds();
    Old old;
    int sock = start(&old);

    say_all(&old, data, bytes);
    g_assert(takeover_say(old.sock, "end", "", NULL));
    take_over(sock);
    close(sock);
    end(&old);
    g_assert_cmpuint(count_fds(), ==, n_fds);
    return 0;
}
