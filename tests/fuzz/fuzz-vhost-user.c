/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A front end that says anything: messages with descriptors of all kinds, in
 * any order, cut into pieces, beside a guest that writes to its memory and
 * kicks. The device is virtio-blk on a disk in memory. When the connection is
 * closed, everything has to come to an end, and no descriptor may be left.
 *
 * Input: steps of 4 bytes (what, a, b, c), some with c bytes of payload.
 */
#include "fuzz.h"

#include "block/graph.h"
#include "block/log.h"
#include "hw/virtio/vhost-user-message.h"
#include "hw/virtio/vhost-user-session.h"
#include "tests/lib/blk-rig.h"
#include "tests/lib/fds.h"
#include "tests/lib/test-disk.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define DISK_BYTES  (1 << 20)
#define QUEUES      2
#define RING_SIZE   16
#define MEM_BYTES   0x10000
#define GUEST_BASE  0x100000
#define USER_BASE   0x7f0000000000
#define RING_BYTES  0x1000 /* of a queue, from the beginning of memory */
#define MAX_STEPS   200
#define MAX_PUMP    300

typedef enum Step {
    STEP_MESSAGE, STEP_MESSAGE_TOO, STEP_SET_UP, STEP_KICK, STEP_STORE,
    STEP_RAW, STEP_NEGOTIATE, STEP_SHRINK, STEP__COUNT
} Step;

typedef enum FdKind {
    FD_MEMORY, FD_EVENT, FD_PIPE, FD_FILE, FD_SHORT, FD__COUNT
} FdKind;

typedef struct Front {
    VhostUserSession *session;
    bool closed;
    int sock;
    int mem_fd;
    uint8_t *mem;
    int kick[QUEUES], call[QUEUES];
} Front;

/* The rest of the input. */
typedef struct Input {
    const uint8_t *data;
    size_t bytes;
} Input;

static BlkRig *rig;
static TestDisk *disk;

static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    g_autofree uint8_t *zeroes = g_malloc0(DISK_BYTES);
    BlkRigConf conf = {
        .num_queues = QUEUES, .serial = "fuzz",
        .params = { .poll_max_ns = -1 },
    };

    log_set_sink(ignore_line, NULL);
    test_disk_register();
    disk = test_disk_new("disk", 1);
    test_disk_set(disk, zeroes, DISK_BYTES);
    conf.blockdev = "test-disk,node-name=n0,disk=disk";
    rig = blk_rig_new(&conf, NULL);
    g_assert(rig);
    return 0;
}

/* --- The loop, and what it sends us --- */

static void drain_replies(Front *front)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(8 * sizeof(int))];
    } control;
    char buf[1024];
    struct iovec iov = { buf, sizeof(buf) };

    for (;;) {
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
            .msg_controllen = sizeof(control),
        };
        struct cmsghdr *c;
        int fd;

        if (recvmsg(front->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) {
            return;
        }
        c = CMSG_FIRSTHDR(&msg);
        if (c && c->cmsg_type == SCM_RIGHTS) { /* an in-flight region */
            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
            close(fd);
        }
    }
}

static void pump(Front *front)
{
    AioContext *ctx = blk_rig_main_context(rig);

    for (unsigned i = 0; i < MAX_PUMP && aio_poll(ctx, false); i++) {
    }
    if (front->sock >= 0) {
        drain_replies(front);
    }
}

static void session_closed(void *opaque)
{
    Front *front = opaque;

    front->closed = true;
}

/* --- What it says --- */

static int make_fd(const Front *front, FdKind kind)
{
    int fds[2], fd;

    switch (kind) {
    case FD_MEMORY:
        return fcntl(front->mem_fd, F_DUPFD_CLOEXEC, 0);
    case FD_EVENT:
        return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    case FD_PIPE:
        if (pipe2(fds, O_CLOEXEC) < 0) {
            return -1;
        }
        close(fds[1]);
        return fds[0];
    case FD_FILE:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    default:
        fd = memfd_create("short", MFD_CLOEXEC);
        return ftruncate(fd, 4096) == 0 ? fd : -1;
    }
}

static void send_bytes(const Front *front, const void *data, size_t bytes,
                       const int *fds, unsigned n)
{
    if (bytes &&
        send_fds(front->sock, data, bytes, fds, n, MSG_DONTWAIT) < 0) {
        return; /* it has hung up */
    }
}

static void send_message(const Front *front, uint32_t request, uint32_t flags,
                         const void *payload, size_t bytes, const int *fds,
                         unsigned n)
{
    uint8_t buf[sizeof(VhostUserHeader) + 512];
    VhostUserHeader header = { request, flags, bytes };

    memcpy(buf, &header, sizeof(header));
    memcpy(buf + sizeof(header), payload, bytes);
    send_bytes(front, buf, sizeof(header) + bytes, fds, n);
}

static const uint8_t *take(Input *in, size_t *bytes)
{
    const uint8_t *at = in->data;

    *bytes = MIN(*bytes, in->bytes);
    in->data += *bytes;
    in->bytes -= *bytes;
    return at;
}

/* @a: the request; @b: flags, and how many descriptors of which kind; @c:
 * bytes of payload. */
static void any_message(const Front *front, Input *in, const uint8_t *step)
{
    size_t bytes = step[3];
    const uint8_t *payload = take(in, &bytes);
    uint32_t flags = VHOST_USER_VERSION ^ (step[2] & 0xf) ^
                     (step[2] & 1 ? VHOST_USER_NEED_REPLY : 0);
    unsigned n = step[2] >> 4 & 3;
    int fds[3];

    for (unsigned i = 0; i < n; i++) {
        fds[i] = make_fd(front, ((step[2] >> 6) + i + step[0] / STEP__COUNT) %
                                    FD__COUNT);
    }
    send_message(front, step[1] % (VHOST_USER_REQUEST__COUNT + 2),
                 flags & ~(uint32_t)VHOST_USER_REPLY, payload, bytes, fds, n);
    for (unsigned i = 0; i < n; i++) {
        close(fds[i]);
    }
}

static void set_state(const Front *front, uint32_t request, unsigned index,
                      unsigned number)
{
    VhostUserVringState state = { index, number };

    send_message(front, request, VHOST_USER_VERSION, &state, sizeof(state),
                 NULL, 0);
}

static void set_fd(const Front *front, uint32_t request, uint64_t index,
                   int fd)
{
    send_message(front, request, VHOST_USER_VERSION, &index, sizeof(index),
                 &fd, 1);
}

/* As a good front end does it, so that the guest has its turn. @a: the queue,
 * and whether memory is sent; @b: where the ring is. */
static void set_up(const Front *front, const uint8_t *step)
{
    unsigned q = step[1] % QUEUES;
    VhostUserMemTable table = {
        .n_regions = 1,
        .regions[0] = { GUEST_BASE, MEM_BYTES, USER_BASE, 0 },
    };
    VhostUserVringAddr addr = {
        .index = q,
        .desc = USER_BASE + q * RING_BYTES,
        .avail = USER_BASE + q * RING_BYTES + 0x400,
        .used = USER_BASE + q * RING_BYTES + 0x800,
    };

    if (!(step[1] & 0x80)) {
        send_message(front, VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION,
                     &table, 8 + sizeof(table.regions[0]), &front->mem_fd, 1);
    }
    set_state(front, VHOST_USER_SET_VRING_NUM, q, RING_SIZE);
    set_state(front, VHOST_USER_SET_VRING_BASE, q,
              step[2] & 1 ? 0x80008000 : 0);
    send_message(front, VHOST_USER_SET_VRING_ADDR, VHOST_USER_VERSION, &addr,
                 sizeof(addr), NULL, 0);
    set_fd(front, VHOST_USER_SET_VRING_CALL, q, front->call[q]);
    set_fd(front, VHOST_USER_SET_VRING_KICK, q, front->kick[q]);
    set_state(front, VHOST_USER_SET_VRING_ENABLE, q, 1);
}

/* Bits 28 (indirect), 29 (event index), 30, 32 and 34 (packed) by @a. */
static void negotiate(const Front *front, const uint8_t *step)
{
    uint64_t features = UINT64_C(1) << 32 |
                        (uint64_t)(step[1] & 7) << 28 |
                        (step[1] & 8 ? UINT64_C(1) << 34 : 0) |
                        (step[1] & 16 ? VHOST_F_LOG_ALL_BIT : 0) |
                        (uint64_t)step[2] << 5;
    uint64_t protocol = UINT64_MAX & ~VHOST_USER_PROTOCOL_F_BACKEND_REQ;

    send_message(front, VHOST_USER_SET_FEATURES, VHOST_USER_VERSION,
                 &features, sizeof(features), NULL, 0);
    if (step[1] & 32) {
        protocol &= VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK |
                    VHOST_USER_PROTOCOL_F_CONFIG |
                    VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |
                    VHOST_USER_PROTOCOL_F_LOG_SHMFD;
        send_message(front, VHOST_USER_SET_PROTOCOL_FEATURES,
                     VHOST_USER_VERSION, &protocol, sizeof(protocol), NULL,
                     0);
    }
}

/* --- Steps --- */

static void store(Front *front, Input *in, const uint8_t *step)
{
    size_t bytes = step[3];
    const uint8_t *from = take(in, &bytes);
    size_t at = (size_t)(step[1] << 4 | step[2] << 12) % MEM_BYTES;

    /* by a call: the file may have become shorter */
    if (pwrite(front->mem_fd, from, MIN(bytes, MEM_BYTES - at), at) < 0) {
        return;
    }
}

static void do_step(Front *front, Input *in, const uint8_t *step)
{
    size_t bytes = step[3];
    const uint8_t *from;
    uint64_t one = 1;

    switch (step[0] % STEP__COUNT) {
    case STEP_MESSAGE:
    case STEP_MESSAGE_TOO:
        any_message(front, in, step);
        break;
    case STEP_SET_UP:
        set_up(front, step);
        break;
    case STEP_KICK:
        g_assert(write(front->kick[step[1] % QUEUES], &one, 8) == 8);
        break;
    case STEP_STORE:
        store(front, in, step);
        return; /* the guest is as fast as the device */
    case STEP_RAW:
        from = take(in, &bytes);
        send_bytes(front, from, bytes, NULL, 0);
        break;
    case STEP_NEGOTIATE:
        negotiate(front, step);
        break;
    default:
        if (step[1] == 0x55) {
            g_assert(ftruncate(front->mem_fd, step[2] * 256) == 0);
        }
    }
    pump(front);
}

static void front_start(Front *front)
{
    int socks[2];

    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                        0, socks) == 0);
    front->sock = socks[0];
    front->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    g_assert(ftruncate(front->mem_fd, MEM_BYTES) == 0);
    for (unsigned i = 0; i < QUEUES; i++) {
        front->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        front->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    front->session = vhost_user_session_new(blk_rig_device(rig),
                                            blk_rig_main_context(rig),
                                            socks[1], session_closed, front);
}

static void front_end(Front *front)
{
    close(front->sock);
    front->sock = -1;
    for (unsigned i = 0; i < 1000 && !front->closed; i++) {
        pump(front);
    }
    g_assert(front->closed);
    for (unsigned i = 0; i < QUEUES; i++) {
        close(front->kick[i]);
        close(front->call[i]);
    }
    close(front->mem_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    Input in = { data, bytes };
    Front front = { 0 };
    unsigned n_fds = count_fds();

    front_start(&front);
    for (unsigned i = 0; i < MAX_STEPS && in.bytes >= 4 && !front.closed;
         i++) {
        size_t four = 4;
        const uint8_t *step = take(&in, &four);

        do_step(&front, &in, step);
    }
    front_end(&front);
    g_assert_cmpuint(count_fds(), ==, n_fds);
    return 0;
}
