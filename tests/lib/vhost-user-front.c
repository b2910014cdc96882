/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See vhost-user-front.h. */
#include "vhost-user-front.h"
#include "block/log.h"
#include "fds.h"

#include <glib/gstdio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

AioContext *front_main_ctx;
static GString *log_lines;
/* not GMutex: ThreadSanitizer does not know it */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void collect_line(LogLevel level, const char *line, void *opaque)
{
    pthread_mutex_lock(&log_lock);
    g_string_append_printf(log_lines, "%s\n", line);
    pthread_mutex_unlock(&log_lock);
}

void front_expect_log(const char *what)
{
    pthread_mutex_lock(&log_lock);
    if (!strstr(log_lines->str, what)) {
        g_error("log '%s' does not say '%s'", log_lines->str, what);
    }
    g_string_truncate(log_lines, 0);
    pthread_mutex_unlock(&log_lock);
}

void front_expect_no_log(void)
{
    g_assert_cmpstr(log_lines->str, ==, "");
}

/* Runs the main loop until @fd can be read. */
void front_wait_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    while (poll(&pfd, 1, 0) == 0) {
        if (!aio_poll(front_main_ctx, false)) {
            poll(&pfd, 1, 1); /* another thread has to do something */
        }
    }
}

void front_run_main(void)
{
    while (aio_poll(front_main_ctx, false)) {
    }
}

void front_set_true(void *opaque)
{
    *(bool *)opaque = true;
}

void front_connect(Front *f)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, f->path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(f->sock, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
}

Front *front_new(bool iothread)
{
    Front *f = g_new0(Front, 1);
    GError *error = NULL;

    f->dir = g_dir_make_tmp("vhost-user-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "sock", NULL);
    f->echo = g_new(Echo, 1);
    if (iothread) {
        f->iothread = iothread_new("io0", NULL, &error);
        g_assert_no_error(error);
    }
    echo_init(f->echo,
              iothread ? iothread_context(f->iothread) : front_main_ctx);
    f->server = vhost_user_server_new_path(&f->echo->dev, front_main_ctx,
                                           f->path, &error);
    g_assert_no_error(error);
    f->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(f->mem_fd, FRONT_MEM_BYTES), ==, 0);
    f->mem = mmap(NULL, FRONT_MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                  f->mem_fd, 0);
    for (unsigned i = 0; i < ECHO_QUEUES; i++) {
        f->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        f->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    front_connect(f);
    return f;
}

void front_stop_server(Front *f)
{
    bool stopped = false;

    vhost_user_server_stop(f->server, front_set_true, &stopped);
    g_assert_false(stopped); /* from the loop, never from inside */
    while (!stopped) {
        aio_poll(front_main_ctx, true);
    }
    f->server = NULL;
}

void front_free(Front *f)
{
    if (f->sock >= 0) {
        close(f->sock);
    }
    if (f->server) {
        front_stop_server(f);
    }
    front_run_main();
    g_clear_pointer(&f->iothread, iothread_free);
    for (unsigned i = 0; i < ECHO_QUEUES; i++) {
        g_assert_null(f->echo->queues[i].vq);
        g_assert_cmpuint(f->echo->queues[i].starts, ==,
                         f->echo->queues[i].stops);
        virtio_ring_free(f->rings[i]);
        close(f->kick[i]);
        close(f->call[i]);
    }
    munmap(f->mem, FRONT_MEM_BYTES);
    close(f->mem_fd);
    g_assert_cmpint(g_rmdir(f->dir), ==, 0); /* the socket file is gone */
    g_free(f->dir);
    g_free(f->path);
    g_free(f->echo);
    g_free(f);
}

void front_send(Front *f, uint32_t request, uint32_t flags,
                const void *payload, uint32_t bytes, const int *fds,
                unsigned n_fds)
{
    VhostUserHeader header = { request, flags | VHOST_USER_VERSION, bytes };
    g_autofree uint8_t *message = g_malloc(12 + bytes);

    memcpy(message, &header, 12);
    if (bytes) {
        memcpy(message + 12, payload, bytes);
    }
    g_assert_cmpint(send_fds(f->sock, message, 12 + bytes, fds, n_fds, 0), ==,
                    12 + bytes);
}

/* Reads one reply, which must answer @request. Returns the payload's size. */
/* The first bytes of a message carry its descriptor. */
static void receive_header(Front *f, VhostUserHeader *header, int *fd)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { header, 12 };
    struct msghdr hdr = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *c;

    front_wait_readable(f->sock);
    g_assert_cmpint(recvmsg(f->sock, &hdr, MSG_WAITALL | MSG_CMSG_CLOEXEC),
                    ==, 12);
    c = CMSG_FIRSTHDR(&hdr);
    *fd = -1;
    if (c && c->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    }
}

uint32_t front_get_reply(Front *f, uint32_t request, void *payload,
                         uint32_t room)
{
    int fd;
    uint32_t bytes = front_get_reply_fd(f, request, payload, room, &fd);

    g_assert_cmpint(fd, ==, -1);
    return bytes;
}

uint32_t front_get_reply_fd(Front *f, uint32_t request, void *payload,
                            uint32_t room, int *fd)
{
    VhostUserHeader header;

    receive_header(f, &header, fd);
    g_assert_cmpuint(header.request, ==, request);
    g_assert_cmphex(header.flags, ==, VHOST_USER_VERSION | VHOST_USER_REPLY);
    g_assert_cmpuint(header.size, <=, room);
    if (header.size) {
        g_assert_cmpint(recv(f->sock, payload, header.size, MSG_WAITALL), ==,
                        header.size);
    }
    return header.size;
}

uint64_t front_get_u64(Front *f, uint32_t request)
{
    uint64_t value = 0;

    front_send(f, request, 0, NULL, 0, NULL, 0);
    g_assert_cmpuint(front_get_reply(f, request, &value, 8), ==, 8);
    return value;
}

/* Sends with NEED_REPLY and returns the answer. */
uint64_t front_call_fds(Front *f, uint32_t request, const void *payload,
                        uint32_t bytes, const int *fds, unsigned n_fds)
{
    uint64_t value = 77;

    front_send(f, request, VHOST_USER_NEED_REPLY, payload, bytes, fds, n_fds);
    g_assert_cmpuint(front_get_reply(f, request, &value, 8), ==, 8);
    return value;
}

uint64_t front_call(Front *f, uint32_t request, const void *payload,
                    uint32_t bytes)
{
    return front_call_fds(f, request, payload, bytes, NULL, 0);
}

uint64_t front_call_u64(Front *f, uint32_t request, uint64_t value)
{
    return front_call(f, request, &value, 8);
}

uint64_t front_call_state(Front *f, uint32_t request, unsigned index,
                          unsigned num)
{
    VhostUserVringState state = { index, num };

    return front_call(f, request, &state, sizeof(state));
}

uint64_t front_call_ring_fd(Front *f, uint32_t request, unsigned index,
                            int fd)
{
    uint64_t u64 = index | (fd < 0 ? VHOST_USER_VRING_NOFD : 0);

    return front_call_fds(f, request, &u64, 8, &fd, fd < 0 ? 0 : 1);
}

uint64_t front_set_mem_table(Front *f)
{
    VhostUserMemTable table = {
        .n_regions = 1,
        .regions = {
            { FRONT_GUEST_BASE, FRONT_MEM_BYTES, FRONT_USER_BASE, 0 },
        },
    };

    return front_call_fds(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32,
                          &f->mem_fd, 1);
}

/* What a front end does before the first ring. */
void front_negotiate(Front *f, uint64_t features)
{
    uint64_t protocol = front_get_u64(f, VHOST_USER_GET_PROTOCOL_FEATURES);

    /* the answer to this one says that REPLY_ACK is on */
    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES,
                                    protocol), ==, 0);
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_OWNER, NULL, 0), ==, 0);
    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_FEATURES, features), ==,
                     0);
    g_assert_cmpuint(front_set_mem_table(f), ==, 0);
}

static size_t ring_offset(unsigned i)
{
    return i * 65536;
}

static uint8_t *ring_buffer(Front *f, unsigned i)
{
    return f->mem + ring_offset(i) + 32768;
}

VhostUserVringAddr front_ring_addr(Front *f, unsigned i, uint32_t flags)
{
    VirtioRing *ring = f->rings[i];

    return (VhostUserVringAddr){
        .index = i,
        .flags = flags,
        .desc = (uint8_t *)virtio_ring_desc(ring) - f->mem + FRONT_USER_BASE,
        .avail = (uint8_t *)virtio_ring_avail(ring) - f->mem + FRONT_USER_BASE,
        .used = (uint8_t *)virtio_ring_used(ring) - f->mem + FRONT_USER_BASE,
        .log = (uint8_t *)virtio_ring_used(ring) - f->mem + FRONT_GUEST_BASE,
    };
}

void front_make_ring(Front *f, unsigned i, uint64_t features)
{
    VirtioRingConfig config = {
        .mem = f->mem + ring_offset(i),
        .guest_addr = FRONT_GUEST_BASE + ring_offset(i),
        .size = FRONT_RING_SIZE,
        .packed = features >> VIRTIO_F_RING_PACKED & 1,
        .event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
    };

    g_clear_pointer(&f->rings[i], virtio_ring_free);
    f->rings[i] = virtio_ring_new(&config);
}

/* All but SET_VRING_ENABLE. */
void front_set_up_ring(Front *f, unsigned i, uint64_t features)
{
    VhostUserVringAddr addr;

    front_make_ring(f, i, features);
    addr = front_ring_addr(f, i, 0);
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_NUM, i,
                                      FRONT_RING_SIZE), ==, 0);
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_BASE, i,
                                virtio_ring_initial_base(f->rings[i])), ==, 0);
    g_assert_cmpuint(front_call(f, VHOST_USER_SET_VRING_ADDR, &addr,
                                sizeof(addr)), ==, 0);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_CALL, i,
                                        f->call[i]), ==, 0);
    g_assert_cmpuint(front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, i,
                                        f->kick[i]), ==, 0);
}

void front_enable(Front *f, unsigned i, unsigned on)
{
    g_assert_cmpuint(front_call_state(f, VHOST_USER_SET_VRING_ENABLE, i, on),
                     ==, 0);
}

Front *front_running(bool iothread, uint64_t features)
{
    Front *f = front_new(iothread);

    front_negotiate(f, features | VHOST_USER_F_PROTOCOL_FEATURES_BIT);
    front_set_up_ring(f, 0, features);
    front_enable(f, 0, 1);
    return f;
}

/* Puts a request in the ring and kicks. */
void front_submit(Front *f, unsigned i, uint8_t value)
{
    uint8_t *buf = ring_buffer(f, i) + 16 * value;
    struct iovec out = { buf, 1 }, in = { buf + 1, 1 };
    VirtioChain chain = {
        .out = &out, .n_out = 1, .in = &in, .n_in = 1, .token = buf,
    };

    buf[0] = value;
    buf[1] = 0xff;
    g_assert_true(virtio_ring_add(f->rings[i], &chain));
    if (virtio_ring_publish(f->rings[i])) {
        g_assert_cmpint(eventfd_write(f->kick[i], 1), ==, 0);
    }
}

/* Waits for the interrupt and takes one answer. */
void front_expect_answer(Front *f, unsigned i, uint8_t value)
{
    eventfd_t count;
    uint8_t *buf;

    while (!virtio_ring_has_used(f->rings[i])) {
        front_wait_readable(f->call[i]);
        g_assert_cmpint(eventfd_read(f->call[i], &count), ==, 0);
    }
    buf = virtio_ring_get_used(f->rings[i], NULL);
    virtio_ring_enable_call(f->rings[i]);
    g_assert_cmpuint(buf[0], ==, value);
    g_assert_cmpuint(buf[1], ==, value + 1);
}

void front_roundtrip(Front *f, unsigned i, uint8_t value)
{
    front_submit(f, i, value);
    front_expect_answer(f, i, value);
}

uint32_t front_get_base(Front *f, unsigned i)
{
    VhostUserVringState state = { i, 0 };

    front_send(f, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL,
               0);
    g_assert_cmpuint(front_get_reply(f, VHOST_USER_GET_VRING_BASE, &state,
                                     sizeof(state)), ==, 8);
    g_assert_cmpuint(state.index, ==, i);
    return state.num;
}

void front_release(Front *f, unsigned i)
{
    aio_bh_once(f->echo->ctx, echo_release_bh, &f->echo->queues[i]);
}

static void hold_bh(void *opaque)
{
    ((Echo *)opaque)->hold = true;
}

typedef struct Probe {
    EchoQueue *q;
    bool holding;
} Probe;

static void probe_bh(void *opaque)
{
    Probe *probe = opaque;

    probe->holding = probe->q->holding;
}

void front_submit_held(Front *f, unsigned i, uint8_t value)
{
    Probe probe = { &f->echo->queues[i], false };

    aio_bh_run_sync(f->echo->ctx, hold_bh, f->echo);
    front_submit(f, i, value);
    while (!probe.holding) {
        front_run_main();
        aio_bh_run_sync(f->echo->ctx, probe_bh, &probe);
    }
}

void front_expect_silence(Front *f)
{
    struct pollfd pfd = { .fd = f->sock, .events = POLLIN };

    front_run_main();
    g_assert_cmpint(poll(&pfd, 1, 0), ==, 0);
}

/* The server ended the connection. */
void front_expect_closed(Front *f)
{
    char c;

    front_wait_readable(f->sock);
    g_assert_cmpint(recv(f->sock, &c, 1, 0), <=, 0);
}

void front_wait_disconnected(Front *f)
{
    while (vhost_user_server_is_busy(f->server)) {
        aio_poll(front_main_ctx, true);
    }
}

bool front_log_is_empty(void)
{
    return !log_lines->len;
}

void front_clear_log(void)
{
    g_string_truncate(log_lines, 0);
}

int front_main(int argc, char **argv, const char *suite,
               const FrontCase *cases, unsigned n_cases)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    log_lines = g_string_new(NULL);
    log_set_sink(collect_line, NULL);
    front_main_ctx = aio_context_new(NULL, NULL);
    aio_context_adopt(front_main_ctx);
    for (unsigned i = 0; i < 2 * n_cases; i++) {
        const FrontCase *c = &cases[i / 2];
        bool iothread = i % 2;
        g_autofree char *path = g_strdup_printf(
            "/%s/%s%s", suite, c->name, iothread ? "/iothread" : "/main");

        if (!iothread || c->both) {
            g_test_add_data_func(path, iothread ? c : NULL, c->fn);
        }
    }
    ret = g_test_run();
    aio_context_free(front_main_ctx);
    g_string_free(log_lines, true);
    return ret;
}
