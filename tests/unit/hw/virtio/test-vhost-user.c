/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server with a small front end on the other end of the socket and a
 * device that echoes: states of rings, draining, refusals, reconnection,
 * sockets. The front end and the main loop share a thread; every wait is for
 * something that must happen. Devices run in the main loop or an IOThread.
 */
#include "hw/virtio/vhost-user.h"
#include "../../../../hw/virtio/vhost-user-message.h"
#include "block/iothread.h"
#include "block/log.h"
#include "virtio-ring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

#define N_QUEUES 3
#define RING_SIZE 16
#define CONFIG_BYTES 60

#define DEVICE_FEATURES                                                  \
    (UINT64_C(1) << VIRTIO_F_VERSION_1 |                                 \
     UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |                            \
     UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |                        \
     UINT64_C(1) << VIRTIO_F_RING_PACKED)
#define PLAIN_FEATURES (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define PROTOCOL VHOST_USER_F_PROTOCOL_FEATURES_BIT

static AioContext *main_ctx;
static GString *log_lines;
/* not GMutex: ThreadSanitizer does not know it */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- A device: answers each request with its first byte plus one --- */

typedef struct EchoQueue {
    struct Echo *echo;
    VirtQueue *vq;
    AioHandler *handler;
    VirtQueueElement held; /* one request kept, when echo->hold */
    bool holding;
    AioFn *done;
    void *done_opaque;
    unsigned starts, stops;
} EchoQueue;

typedef struct Echo {
    VirtIODevice dev;
    AioContext *ctx;
    EchoQueue queues[N_QUEUES];
    bool hold; /* keep the next request until it is released */
    uint64_t features;
    unsigned set_features_calls, resets;
    uint8_t config[CONFIG_BYTES];
} Echo;

static uint64_t echo_get_features(VirtIODevice *dev)
{
    return DEVICE_FEATURES;
}

static void echo_set_features(VirtIODevice *dev, uint64_t features)
{
    Echo *echo = (Echo *)dev;

    for (unsigned i = 0; i < N_QUEUES; i++) {
        g_assert_null(echo->queues[i].vq);
    }
    echo->features = features;
    echo->set_features_calls++;
}

static void echo_get_config(VirtIODevice *dev, uint32_t offset, void *buf,
                            uint32_t bytes)
{
    Echo *echo = (Echo *)dev;

    memset(buf, 0, bytes);
    if (offset < CONFIG_BYTES) {
        memcpy(buf, echo->config + offset, MIN(bytes, CONFIG_BYTES - offset));
    }
}

static int echo_set_config(VirtIODevice *dev, uint32_t offset,
                           const void *buf, uint32_t bytes)
{
    Echo *echo = (Echo *)dev;

    if (offset != 32 || bytes != 1) {
        return -EACCES;
    }
    echo->config[32] = *(const uint8_t *)buf;
    return 0;
}

static void echo_reset(VirtIODevice *dev)
{
    Echo *echo = (Echo *)dev;

    for (unsigned i = 0; i < N_QUEUES; i++) {
        g_assert_null(echo->queues[i].vq);
    }
    echo->resets++;
}

static AioContext *echo_queue_context(VirtIODevice *dev, unsigned index)
{
    return ((Echo *)dev)->ctx;
}

static void echo_complete(EchoQueue *q, VirtQueueElement *elem)
{
    if (elem->out_num && elem->in_num) {
        *(uint8_t *)elem->iov[elem->out_num].iov_base =
            *(uint8_t *)elem->iov[0].iov_base + 1;
    }
    virtqueue_push(q->vq, elem, 1);
    if (virtqueue_publish(q->vq)) {
        virtqueue_notify(q->vq);
    }
    virtqueue_element_clear(elem);
}

static void echo_look(EchoQueue *q)
{
    do {
        VirtQueueElement elem = { 0 };

        virtqueue_disable_kick(q->vq);
        while (virtqueue_pop(q->vq, &elem) == 1) {
            if (q->echo->hold) {
                q->echo->hold = false;
                q->held = elem;
                q->holding = true;
            } else {
                echo_complete(q, &elem);
            }
            elem = (VirtQueueElement){ 0 };
        }
        virtqueue_element_clear(&elem);
    } while (virtqueue_enable_kick(q->vq));
}

static void echo_kicked(void *opaque)
{
    EchoQueue *q = opaque;
    uint64_t value;

    if (read(virtqueue_kick_fd(q->vq), &value, sizeof(value)) > 0) {
        echo_look(q);
    }
}

static void echo_queue_start(VirtIODevice *dev, unsigned index, VirtQueue *vq)
{
    static const AioHandlerOps ops = { .ready = echo_kicked };
    Echo *echo = (Echo *)dev;
    EchoQueue *q = &echo->queues[index];

    assert_home(echo->ctx);
    g_assert_null(q->vq);
    q->vq = vq;
    q->starts++;
    q->handler = aio_handler_add(echo->ctx, virtqueue_kick_fd(vq), &ops, q);
    echo_look(q);
}

static void echo_finish_stop(EchoQueue *q)
{
    q->vq = NULL;
    q->stops++;
    q->done(q->done_opaque);
}

static void echo_queue_stop(VirtIODevice *dev, unsigned index, AioFn *done,
                            void *opaque)
{
    EchoQueue *q = &((Echo *)dev)->queues[index];

    assert_home(q->echo->ctx);
    q->done = done;
    q->done_opaque = opaque;
    g_clear_pointer(&q->handler, aio_handler_remove);
    if (!q->holding) {
        echo_finish_stop(q);
    }
}

static void release_bh(void *opaque)
{
    EchoQueue *q = opaque;

    if (q->holding) {
        q->holding = false;
        echo_complete(q, &q->held);
        if (!q->handler) {
            echo_finish_stop(q); /* somebody waited for it */
        }
    }
}

static void echo_init(Echo *echo, AioContext *ctx)
{
    static const VirtIODeviceOps ops = {
        .get_features = echo_get_features,
        .set_features = echo_set_features,
        .get_config = echo_get_config,
        .set_config = echo_set_config,
        .reset = echo_reset,
        .queue_context = echo_queue_context,
        .queue_start = echo_queue_start,
        .queue_stop = echo_queue_stop,
    };

    *echo = (Echo){
        .dev = {
            .ops = &ops, .name = "export 'e0'", .num_queues = N_QUEUES,
            .config_size = CONFIG_BYTES,
        },
        .ctx = ctx,
    };
    for (unsigned i = 0; i < N_QUEUES; i++) {
        echo->queues[i].echo = echo;
    }
    for (unsigned i = 0; i < CONFIG_BYTES; i++) {
        echo->config[i] = i + 1;
    }
}

/* --- The front end --- */

typedef struct Front {
    Echo *echo;
    VhostUserServer *server;
    IOThread *iothread; /* NULL: the device runs in the main loop */
    char *dir, *path;
    int sock;

    int mem_fd;
    uint8_t *mem;
    VirtioRing *rings[N_QUEUES];
    int kick[N_QUEUES], call[N_QUEUES];
} Front;

#define MEM_BYTES (1u << 20)
#define GUEST_BASE 0x40000000u
#define USER_BASE 0x7f0000000000u

static void collect_line(LogLevel level, const char *line, void *opaque)
{
    pthread_mutex_lock(&log_lock);
    g_string_append_printf(log_lines, "%s\n", line);
    pthread_mutex_unlock(&log_lock);
}

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static void expect_log(const char *what)
{
    pthread_mutex_lock(&log_lock);
    if (!strstr(log_lines->str, what)) {
        g_error("log '%s' does not say '%s'", log_lines->str, what);
    }
    g_string_truncate(log_lines, 0);
    pthread_mutex_unlock(&log_lock);
}

static void expect_no_log(void)
{
    g_assert_cmpstr(log_lines->str, ==, "");
}

/* Runs the main loop until @fd can be read. */
static void wait_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    while (poll(&pfd, 1, 0) == 0) {
        if (!aio_poll(main_ctx, false)) {
            poll(&pfd, 1, 1); /* another thread has to do something */
        }
    }
}

static void run_main(void)
{
    while (aio_poll(main_ctx, false)) {
    }
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

static void front_connect(Front *f)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, f->path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(f->sock, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
}

static Front *front_new(bool iothread)
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
    echo_init(f->echo, iothread ? iothread_context(f->iothread) : main_ctx);
    f->server = vhost_user_server_new_path(&f->echo->dev, main_ctx, f->path,
                                           &error);
    g_assert_no_error(error);
    f->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(f->mem_fd, MEM_BYTES), ==, 0);
    f->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                  f->mem_fd, 0);
    for (unsigned i = 0; i < N_QUEUES; i++) {
        f->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        f->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    front_connect(f);
    return f;
}

static void front_stop_server(Front *f)
{
    bool stopped = false;

    vhost_user_server_stop(f->server, set_true, &stopped);
    g_assert_false(stopped); /* from the loop, never from inside */
    while (!stopped) {
        aio_poll(main_ctx, true);
    }
    f->server = NULL;
}

static void front_free(Front *f)
{
    if (f->sock >= 0) {
        close(f->sock);
    }
    if (f->server) {
        front_stop_server(f);
    }
    run_main();
    g_clear_pointer(&f->iothread, iothread_free);
    for (unsigned i = 0; i < N_QUEUES; i++) {
        g_assert_null(f->echo->queues[i].vq);
        g_assert_cmpuint(f->echo->queues[i].starts, ==,
                         f->echo->queues[i].stops);
        virtio_ring_free(f->rings[i]);
        close(f->kick[i]);
        close(f->call[i]);
    }
    munmap(f->mem, MEM_BYTES);
    close(f->mem_fd);
    g_assert_cmpint(g_rmdir(f->dir), ==, 0); /* the socket file is gone */
    g_free(f->dir);
    g_free(f->path);
    g_free(f->echo);
    g_free(f);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Front, front_free)

static void send_fds(Front *f, uint32_t request, uint32_t flags,
                     const void *payload, uint32_t bytes, const int *fds,
                     unsigned n_fds)
{
    VhostUserHeader header = { request, flags | VHOST_USER_VERSION, bytes };
    struct iovec iov[2] = { { &header, 12 }, { (void *)payload, bytes } };
    char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
    struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = bytes ? 2 : 1 };

    if (n_fds) {
        struct cmsghdr *c;

        hdr.msg_control = control;
        hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&hdr);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    g_assert_cmpint(sendmsg(f->sock, &hdr, MSG_NOSIGNAL), ==, 12 + bytes);
}

/* Reads one reply, which must answer @request. Returns the payload's size. */
static uint32_t get_reply(Front *f, uint32_t request, void *payload,
                          uint32_t room)
{
    VhostUserHeader header;

    wait_readable(f->sock);
    g_assert_cmpint(recv(f->sock, &header, 12, MSG_WAITALL), ==, 12);
    g_assert_cmpuint(header.request, ==, request);
    g_assert_cmphex(header.flags, ==, VHOST_USER_VERSION | VHOST_USER_REPLY);
    g_assert_cmpuint(header.size, <=, room);
    if (header.size) {
        g_assert_cmpint(recv(f->sock, payload, header.size, MSG_WAITALL), ==,
                        header.size);
    }
    return header.size;
}

static uint64_t get_u64(Front *f, uint32_t request)
{
    uint64_t value = 0;

    send_fds(f, request, 0, NULL, 0, NULL, 0);
    g_assert_cmpuint(get_reply(f, request, &value, 8), ==, 8);
    return value;
}

/* Sends with NEED_REPLY and returns the answer. */
static uint64_t call_fds(Front *f, uint32_t request, const void *payload,
                         uint32_t bytes, const int *fds, unsigned n_fds)
{
    uint64_t value = 77;

    send_fds(f, request, VHOST_USER_NEED_REPLY, payload, bytes, fds, n_fds);
    g_assert_cmpuint(get_reply(f, request, &value, 8), ==, 8);
    return value;
}

static uint64_t call(Front *f, uint32_t request, const void *payload,
                     uint32_t bytes)
{
    return call_fds(f, request, payload, bytes, NULL, 0);
}

static uint64_t call_u64(Front *f, uint32_t request, uint64_t value)
{
    return call(f, request, &value, 8);
}

static uint64_t call_state(Front *f, uint32_t request, unsigned index,
                           unsigned num)
{
    VhostUserVringState state = { index, num };

    return call(f, request, &state, sizeof(state));
}

static uint64_t call_ring_fd(Front *f, uint32_t request, unsigned index,
                             int fd)
{
    uint64_t u64 = index | (fd < 0 ? VHOST_USER_VRING_NOFD : 0);

    return call_fds(f, request, &u64, 8, &fd, fd < 0 ? 0 : 1);
}

static uint64_t set_mem_table(Front *f)
{
    VhostUserMemTable table = {
        .n_regions = 1,
        .regions = { { GUEST_BASE, MEM_BYTES, USER_BASE, 0 } },
    };

    return call_fds(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32, &f->mem_fd,
                    1);
}

/* What a front end does before the first ring. */
static void negotiate(Front *f, uint64_t features)
{
    uint64_t protocol = get_u64(f, VHOST_USER_GET_PROTOCOL_FEATURES);

    /* the answer to this one says that REPLY_ACK is on */
    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, protocol),
                     ==, 0);
    g_assert_cmpuint(call(f, VHOST_USER_SET_OWNER, NULL, 0), ==, 0);
    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_FEATURES, features), ==, 0);
    g_assert_cmpuint(set_mem_table(f), ==, 0);
}

static size_t ring_offset(unsigned i)
{
    return i * 65536;
}

static uint8_t *ring_buffer(Front *f, unsigned i)
{
    return f->mem + ring_offset(i) + 32768;
}

static VhostUserVringAddr ring_addr(Front *f, unsigned i, uint32_t flags)
{
    VirtioRing *ring = f->rings[i];

    return (VhostUserVringAddr){
        .index = i,
        .flags = flags,
        .desc = (uint8_t *)virtio_ring_desc(ring) - f->mem + USER_BASE,
        .avail = (uint8_t *)virtio_ring_avail(ring) - f->mem + USER_BASE,
        .used = (uint8_t *)virtio_ring_used(ring) - f->mem + USER_BASE,
        .log = (uint8_t *)virtio_ring_used(ring) - f->mem + GUEST_BASE,
    };
}

static void make_ring(Front *f, unsigned i, uint64_t features)
{
    VirtioRingConfig config = {
        .mem = f->mem + ring_offset(i),
        .guest_addr = GUEST_BASE + ring_offset(i),
        .size = RING_SIZE,
        .packed = features >> VIRTIO_F_RING_PACKED & 1,
        .event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
    };

    g_clear_pointer(&f->rings[i], virtio_ring_free);
    f->rings[i] = virtio_ring_new(&config);
}

/* All but SET_VRING_ENABLE. */
static void set_up_ring(Front *f, unsigned i, uint64_t features)
{
    VhostUserVringAddr addr;

    make_ring(f, i, features);
    addr = ring_addr(f, i, 0);
    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_NUM, i, RING_SIZE),
                     ==, 0);
    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_BASE, i,
                                virtio_ring_initial_base(f->rings[i])), ==, 0);
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr)),
                     ==, 0);
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_CALL, i,
                                  f->call[i]), ==, 0);
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_KICK, i,
                                  f->kick[i]), ==, 0);
}

static void enable(Front *f, unsigned i, unsigned on)
{
    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_ENABLE, i, on), ==, 0);
}

static Front *front_running(bool iothread, uint64_t features)
{
    Front *f = front_new(iothread);

    negotiate(f, features | PROTOCOL);
    set_up_ring(f, 0, features);
    enable(f, 0, 1);
    return f;
}

/* Puts a request in the ring and kicks. */
static void submit(Front *f, unsigned i, uint8_t value)
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
static void expect_answer(Front *f, unsigned i, uint8_t value)
{
    eventfd_t count;
    uint8_t *buf;

    while (!virtio_ring_has_used(f->rings[i])) {
        wait_readable(f->call[i]);
        g_assert_cmpint(eventfd_read(f->call[i], &count), ==, 0);
    }
    buf = virtio_ring_get_used(f->rings[i], NULL);
    virtio_ring_enable_call(f->rings[i]);
    g_assert_cmpuint(buf[0], ==, value);
    g_assert_cmpuint(buf[1], ==, value + 1);
}

static void roundtrip(Front *f, unsigned i, uint8_t value)
{
    submit(f, i, value);
    expect_answer(f, i, value);
}

static uint32_t get_base(Front *f, unsigned i)
{
    VhostUserVringState state = { i, 0 };

    send_fds(f, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
    g_assert_cmpuint(get_reply(f, VHOST_USER_GET_VRING_BASE, &state,
                               sizeof(state)), ==, 8);
    g_assert_cmpuint(state.index, ==, i);
    return state.num;
}

static void release(Front *f, unsigned i)
{
    aio_bh_once(f->echo->ctx, release_bh, &f->echo->queues[i]);
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

/* Submits a request that the device keeps until release(), and returns when
 * it has it. */
static void submit_held(Front *f, unsigned i, uint8_t value)
{
    Probe probe = { &f->echo->queues[i], false };

    aio_bh_run_sync(f->echo->ctx, hold_bh, f->echo);
    submit(f, i, value);
    while (!probe.holding) {
        run_main();
        aio_bh_run_sync(f->echo->ctx, probe_bh, &probe);
    }
}

static void expect_silence(Front *f)
{
    struct pollfd pfd = { .fd = f->sock, .events = POLLIN };

    run_main();
    g_assert_cmpint(poll(&pfd, 1, 0), ==, 0);
}

/* The server ended the connection. */
static void expect_closed(Front *f)
{
    char c;

    wait_readable(f->sock);
    g_assert_cmpint(recv(f->sock, &c, 1, 0), <=, 0);
}

/* --- Tests: negotiation --- */

static void test_negotiation(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(opaque != NULL);
    uint64_t features = get_u64(f, VHOST_USER_GET_FEATURES);
    uint64_t protocol = get_u64(f, VHOST_USER_GET_PROTOCOL_FEATURES);
    uint64_t none = 0;

    g_assert_true(vhost_user_server_connected(f->server));
    g_assert_cmphex(features, ==, DEVICE_FEATURES | PROTOCOL |
                    VHOST_F_LOG_ALL_BIT);
    g_assert_cmphex(protocol, ==, 0x1a22b);
    g_assert_cmpuint(get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==, N_QUEUES);
    g_assert_cmpuint(get_u64(f, VHOST_USER_GET_MAX_MEM_SLOTS), ==, 509);

    /* NEED_REPLY means nothing before REPLY_ACK was negotiated */
    send_fds(f, VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &none, 8,
             NULL, 0);
    expect_silence(f);
    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    g_assert_cmphex(f->echo->features, ==, PLAIN_FEATURES);

    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_FEATURES,
                              PLAIN_FEATURES | 1), ==, 1);
    expect_log("export 'e0': SET_FEATURES refused: features 0x1 were not "
               "offered");
    g_assert_cmphex(f->echo->features, ==, PLAIN_FEATURES);
    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES,
                              protocol | 1 << 12), ==, 1);
    expect_log("protocol features 0x1000");
}

/* T14: one reply to each, whatever is asked in whatever way. */
static void test_exactly_one_reply(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    uint64_t value;

    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    send_fds(f, VHOST_USER_GET_FEATURES, VHOST_USER_NEED_REPLY, NULL, 0, NULL,
             0);
    g_assert_cmpuint(get_reply(f, VHOST_USER_GET_FEATURES, &value, 8), ==, 8);
    expect_silence(f);

    send_fds(f, 31, VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
    g_assert_cmpuint(get_reply(f, 31, &value, 8), ==, 8);
    g_assert_cmpuint(value, ==, 1);
    expect_silence(f);
    expect_log("request 31 refused: unknown request");

    send_fds(f, 4711, 0, NULL, 0, NULL, 0);
    expect_silence(f);
    expect_log("request 4711 refused");
    value = UINT64_MAX;
    send_fds(f, VHOST_USER_SET_FEATURES, 0, &value, 8, NULL, 0);
    expect_silence(f);
    expect_log("SET_FEATURES refused");
    /* still in step */
    g_assert_cmpuint(get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==, N_QUEUES);
    expect_no_log();
}

/* Nothing but a body would do as an answer: the connection ends. */
static void test_no_answer_possible(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserVringState state = { N_QUEUES, 0 };

    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    send_fds(f, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
    expect_closed(f);
    expect_log("GET_VRING_BASE refused: queue 3 of 3");
}

static void test_garbage(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);

    g_assert_cmpint(send(f->sock, "GET / HTTP/1.1\r\n", 16, 0), ==, 16);
    expect_closed(f);
    expect_log("closing the connection");
}

/* --- Tests: rings --- */

static void test_traffic(gconstpointer opaque)
{
    static const uint64_t features[] = {
        PLAIN_FEATURES,
        PLAIN_FEATURES | 1ull << VIRTIO_RING_F_EVENT_IDX,
        PLAIN_FEATURES | 1ull << VIRTIO_F_RING_PACKED,
        DEVICE_FEATURES,
    };

    for (unsigned k = 0; k < G_N_ELEMENTS(features); k++) {
        g_autoptr(Front) f = front_running(opaque != NULL, features[k]);

        set_up_ring(f, 1, features[k]);
        enable(f, 1, 1);
        for (unsigned i = 0; i < 100; i++) {
            roundtrip(f, i % 2, i);
        }
        expect_no_log();
    }
}

/* Kicks before the ring is enabled are not lost, nor acted upon. */
static void test_kick_before_enable(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(opaque != NULL);

    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    set_up_ring(f, 0, PLAIN_FEATURES);
    submit(f, 0, 5);
    expect_silence(f);
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 0);
    enable(f, 0, 1);
    expect_answer(f, 0, 5);
}

/* Without VHOST_USER_F_PROTOCOL_FEATURES nothing needs to be enabled. */
static void test_without_protocol_features(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);

    negotiate(f, PLAIN_FEATURES);
    set_up_ring(f, 0, PLAIN_FEATURES);
    roundtrip(f, 0, 9);
}

static void test_disable(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);

    roundtrip(f, 0, 1);
    enable(f, 0, 0);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 1);
    submit(f, 0, 2);
    expect_silence(f);
    g_assert_false(virtio_ring_has_used(f->rings[0]));
    enable(f, 0, 1);
    expect_answer(f, 0, 2);
    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 2), ==, 1);
    expect_log("neither 0 nor 1");
}

/* T11: the answer comes after the last request, and says where to go on. */
static void test_base_drains(gconstpointer opaque)
{
    for (int packed = 0; packed < 2; packed++) {
        uint64_t features = PLAIN_FEATURES |
                            (uint64_t)packed << VIRTIO_F_RING_PACKED;
        g_autoptr(Front) f = front_running(opaque != NULL, features);
        VhostUserVringState state = { 0, 0 };

        roundtrip(f, 0, 1);
        submit_held(f, 0, 2);
        roundtrip(f, 0, 3); /* behind the one that is held */
        send_fds(f, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
        expect_silence(f);
        release(f, 0);
        get_reply(f, VHOST_USER_GET_VRING_BASE, &state, 8);
        /* packed chains take two slots */
        g_assert_cmphex(state.num, ==, packed ? 0x80068006 : 3);
        g_assert_true(virtio_ring_has_used(f->rings[0]));
        expect_answer(f, 0, 2);

        /* stopped: asked again it says the same, and kicks are not heard */
        g_assert_cmphex(get_base(f, 0), ==, state.num);
        submit(f, 0, 4);
        expect_silence(f);
        g_assert_cmpuint(f->echo->queues[0].starts, ==, 1);

        /* a new kick descriptor starts it where it was */
        g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0,
                                      f->kick[0]), ==, 0);
        expect_answer(f, 0, 4);
        roundtrip(f, 0, 5);
    }
}

/* While one export drains, another front end is served. */
static void test_draining_blocks_nobody(gconstpointer opaque)
{
    g_autoptr(Front) slow = front_running(opaque != NULL, PLAIN_FEATURES);
    g_autoptr(Front) other = front_running(opaque != NULL, PLAIN_FEATURES);
    VhostUserVringState state = { 0, 0 };

    submit_held(slow, 0, 1);
    send_fds(slow, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
    for (unsigned i = 0; i < 10; i++) {
        roundtrip(other, 0, i);
        g_assert_cmpuint(get_u64(other, VHOST_USER_GET_QUEUE_NUM), ==,
                         N_QUEUES);
    }
    expect_silence(slow);
    release(slow, 0);
    get_reply(slow, VHOST_USER_GET_VRING_BASE, &state, 8);
    g_assert_cmpuint(state.num, ==, 1);
}

/* A front end that sends half a message keeps nobody waiting either. */
static void test_partial_message(gconstpointer opaque)
{
    g_autoptr(Front) stalled = front_running(false, PLAIN_FEATURES);
    g_autoptr(Front) other = front_running(false, PLAIN_FEATURES);
    VhostUserHeader header = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };
    uint64_t value;

    g_assert_cmpint(send(stalled->sock, &header, 5, 0), ==, 5);
    roundtrip(other, 0, 1);
    roundtrip(stalled, 0, 1);
    g_assert_cmpint(send(stalled->sock, (char *)&header + 5, 7, 0), ==, 7);
    get_reply(stalled, VHOST_USER_GET_QUEUE_NUM, &value, 8);
    g_assert_cmpuint(value, ==, N_QUEUES);
}

/* Sends questions and reads no answer: dropped, not waited for. */
static void test_peer_does_not_read(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserHeader header = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };

    while (vhost_user_server_connected(f->server) ||
           f->echo->set_features_calls == 0) {
        f->echo->set_features_calls = 1;
        if (send(f->sock, &header, 12, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            errno == EPIPE) {
            break;
        }
        aio_poll(main_ctx, false);
    }
    expect_log("closing the connection: cannot write to the front end");
}

static void test_ring_values(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN_FEATURES);
    VhostUserVringAddr addr = ring_addr(f, 0, 0);

    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_NUM, 0, 8), ==, 1);
    expect_log("SET_VRING_NUM refused: queue 0 is running");
    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_BASE, 0, 8), ==, 1);
    expect_log("SET_VRING_BASE refused: queue 0 is running");
    addr.used += 4096;
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==, 1);
    expect_log("SET_VRING_ADDR refused: queue 0 is running");

    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_NUM, 1, 0), ==, 1);
    expect_log("queue 1: size 0 is not within");
    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_NUM, 1, 1025), ==, 1);
    expect_log("size 1025");
    g_assert_cmpuint(call_state(f, VHOST_USER_SET_VRING_NUM, 1, 1024), ==, 0);
    addr = ring_addr(f, 0, 2);
    addr.index = 1;
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==, 1);
    expect_log("unknown address flags");
    addr.flags = 0;
    addr.used = USER_BASE + MEM_BYTES - 8192; /* 4 + 8 * 1024 do not fit */
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==, 1);
    expect_log("8196 bytes of ring at user address");
    addr.used = GUEST_BASE; /* guest addresses are another map */
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==, 1);
    expect_log("are not in the memory table");
    roundtrip(f, 0, 1);
}

/* What only shows when the ring starts: said once, and mended by new values. */
static void test_start_fails(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserVringAddr addr;

    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    make_ring(f, 0, PLAIN_FEATURES);
    addr = ring_addr(f, 0, 0);
    addr.used += 2;
    call_state(f, VHOST_USER_SET_VRING_NUM, 0, RING_SIZE);
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==, 0);
    call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, f->kick[0]);
    call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0, f->call[0]);
    expect_no_log();
    enable(f, 0, 1);
    expect_log("not started: export 'e0' queue 0: device area is missing or "
               "not aligned");
    g_assert_cmpuint(get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==, N_QUEUES);
    expect_no_log();
    addr.used -= 2;
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==, 0);
    roundtrip(f, 0, 1);
}

static void test_kick_descriptors(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fresh = eventfd(0, EFD_CLOEXEC); /* blocking: we have it otherwise */
    int pipe_fds[2];

    g_assert_cmpint(pipe(pipe_fds), ==, 0);
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, file), ==,
                     1);
    expect_log("SET_VRING_KICK refused: queue 0 was sent a file descriptor "
               "that is no eventfd");
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0, null), ==,
                     1);
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_ERR, 0,
                                  pipe_fds[1]), ==, 1);
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, -1), ==, 1);
    expect_log("polling without one is not supported");
    roundtrip(f, 0, 1); /* as it was */

    /* another one while the ring runs */
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, fresh), ==,
                     0);
    g_assert_cmpint(fcntl(fresh, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
    close(f->kick[0]);
    f->kick[0] = fresh;
    roundtrip(f, 0, 2);
    for (unsigned i = 0; i < 3; i++) { /* spurious */
        eventfd_write(fresh, 1);
        run_main();
    }
    roundtrip(f, 0, 3);
    close(file);
    close(null);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_call_descriptor(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    int old = f->call[0];
    eventfd_t count;

    roundtrip(f, 0, 1);
    f->call[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0,
                                  f->call[0]), ==, 0);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 0); /* no need to */
    while (eventfd_read(old, &count) == 0) {
    }
    roundtrip(f, 0, 2);
    g_assert_cmpint(eventfd_read(old, &count), <, 0);
    close(old);

    /* none: the front end polls */
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_CALL, 0, -1), ==, 0);
    submit(f, 0, 3);
    while (!virtio_ring_has_used(f->rings[0])) {
        aio_poll(main_ctx, false);
    }
    expect_answer(f, 0, 3);
}

/* A guest breaks its ring: the error descriptor says so, the device lives,
 * and the ring comes back only with a new kick descriptor. */
static void test_broken_ring(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    int err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint16_t *avail = virtio_ring_avail(f->rings[0]);

    set_up_ring(f, 1, PLAIN_FEATURES);
    enable(f, 1, 1);
    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_ERR, 0, err), ==, 0);
    avail[1] = 999;
    eventfd_write(f->kick[0], 1);
    wait_readable(err);
    expect_log("export 'e0' queue 0: broken until reset: available index "
               "jumps");
    roundtrip(f, 1, 1);

    avail[1] = 0;
    g_assert_cmpuint(set_mem_table(f), ==, 0); /* restarts the others */
    roundtrip(f, 1, 2);
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 1);
    expect_no_log();
    g_assert_cmpuint(get_base(f, 0), ==, 0);
    set_up_ring(f, 0, PLAIN_FEATURES);
    roundtrip(f, 0, 3);
    close(err);
}

/* --- Tests: memory --- */

/* T9: drains, finds the ring in the new table, goes on where it was. */
static void test_mem_table_drains(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    VhostUserMemTable table = {
        .n_regions = 2,
        .regions = {
            { GUEST_BASE + 65536, MEM_BYTES - 65536, USER_BASE + 65536,
              65536 },
            { GUEST_BASE, 65536, USER_BASE, 0 },
        },
    };
    int fds[2] = { f->mem_fd, f->mem_fd };
    uint64_t value;

    roundtrip(f, 0, 1);
    submit_held(f, 0, 2);
    roundtrip(f, 0, 3);
    send_fds(f, VHOST_USER_SET_MEM_TABLE, VHOST_USER_NEED_REPLY, &table,
             8 + 64, fds, 2);
    expect_silence(f);
    release(f, 0);
    get_reply(f, VHOST_USER_SET_MEM_TABLE, &value, 8);
    g_assert_cmpuint(value, ==, 0);
    expect_answer(f, 0, 2);
    for (unsigned i = 0; i < 50; i++) {
        roundtrip(f, 0, i);
    }
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 2);
}

/* A table that is refused leaves the old one in use. */
static void test_mem_table_refused(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN_FEATURES);
    VhostUserMemTable table = {
        .n_regions = 1,
        .regions = { { GUEST_BASE, MEM_BYTES + 1, USER_BASE, 0 } },
    };

    g_assert_cmpuint(call_fds(f, VHOST_USER_SET_MEM_TABLE, &table, 40,
                              &f->mem_fd, 1), ==, 1);
    expect_log("SET_MEM_TABLE refused: memory region 0x40000000+0x100001: "
               "ends at 0x100001, behind the end of the file");
    roundtrip(f, 0, 1);
}

static void test_mem_slots(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    VhostUserMemReg all = {
        .region = { GUEST_BASE, MEM_BYTES, USER_BASE, 0 },
    };
    VhostUserMemReg more = {
        .region = { GUEST_BASE + MEM_BYTES, 4096, USER_BASE + MEM_BYTES, 0 },
    };

    g_assert_cmpuint(call_fds(f, VHOST_USER_ADD_MEM_REG, &more, 40,
                              &f->mem_fd, 1), ==, 0);
    g_assert_cmpuint(call_fds(f, VHOST_USER_ADD_MEM_REG, &more, 40,
                              &f->mem_fd, 1), ==, 1);
    expect_log("ADD_MEM_REG refused: memory region 0x40100000+0x1000 "
               "overlaps");
    roundtrip(f, 0, 1);

    /* the ring's own memory goes and comes back, as when regions merge */
    g_assert_cmpuint(call_fds(f, VHOST_USER_REM_MEM_REG, &all, 40, &f->mem_fd,
                              1), ==, 0);
    expect_log("not started: queue 0: 256 bytes of ring at user address "
               "0x7f0000000000 are not in the memory table");
    submit(f, 0, 2);
    g_assert_cmpuint(call(f, VHOST_USER_REM_MEM_REG, &all, 40), ==, 1);
    expect_log("REM_MEM_REG refused: no memory region");
    g_assert_cmpuint(call_fds(f, VHOST_USER_ADD_MEM_REG, &all, 40, &f->mem_fd,
                              1), ==, 0);
    expect_answer(f, 0, 2);
    g_assert_cmpuint(call(f, VHOST_USER_REM_MEM_REG, &more, 40), ==, 0);
    roundtrip(f, 0, 3);
    expect_no_log();
}

/* The front end takes the memory away under a running ring: no SIGBUS. */
static void test_memory_vanishes(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    g_autoptr(Front) other = front_running(opaque != NULL, PLAIN_FEATURES);
    int err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    g_assert_cmpuint(call_ring_fd(f, VHOST_USER_SET_VRING_ERR, 0, err), ==, 0);
    roundtrip(f, 0, 1);
    g_assert_cmpint(ftruncate(f->mem_fd, 0), ==, 0);
    eventfd_write(f->kick[0], 1);
    wait_readable(err);
    expect_log("export 'e0' queue 0: broken until reset");
    roundtrip(other, 0, 1);
    g_assert_cmpint(ftruncate(f->mem_fd, MEM_BYTES), ==, 0);
    close(err);
}

/* --- Tests: dirty log --- */

static bool bit_is_set(const uint8_t *bits, uint64_t guest)
{
    return bits[guest / 4096 / 8] >> (guest / 4096 % 8) & 1;
}

/* T13: switched on and off under a running ring. */
static void test_dirty_log(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    size_t bytes = (GUEST_BASE + MEM_BYTES) / 4096 / 8;
    VhostUserLog area = { bytes, 0 };
    int fd = memfd_create("log", MFD_CLOEXEC);
    uint64_t buffer = GUEST_BASE + 32768;
    VhostUserVringAddr addr = ring_addr(f, 0, VHOST_USER_VRING_F_LOG);
    uint8_t *bits;

    g_assert_cmpint(ftruncate(fd, bytes), ==, 0);
    bits = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    send_fds(f, VHOST_USER_SET_LOG_BASE, 0, &area, 16, &fd, 1);
    g_assert_cmpuint(get_reply(f, VHOST_USER_SET_LOG_BASE, &area, 8), ==, 8);
    roundtrip(f, 0, 1);
    g_assert_false(bit_is_set(bits, buffer));

    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_FEATURES, PLAIN_FEATURES |
                              PROTOCOL | VHOST_F_LOG_ALL_BIT), ==, 0);
    roundtrip(f, 0, 2);
    g_assert_true(bit_is_set(bits, buffer));
    g_assert_false(bit_is_set(bits, addr.log));
    g_assert_cmpuint(call(f, VHOST_USER_SET_VRING_ADDR, &addr, 40), ==, 0);
    roundtrip(f, 0, 3);
    g_assert_true(bit_is_set(bits, addr.log));

    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_FEATURES,
                              PLAIN_FEATURES | PROTOCOL), ==, 0);
    memset(bits, 0, bytes);
    roundtrip(f, 0, 4);
    g_assert_false(bit_is_set(bits, buffer));
    g_assert_false(bit_is_set(bits, addr.log));
    /* all of it without a stop, and without the device hearing of it */
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 0);
    g_assert_cmpuint(f->echo->set_features_calls, ==, 1);

    area = (VhostUserLog){ bytes + 1, 0 };
    send_fds(f, VHOST_USER_SET_LOG_BASE, VHOST_USER_NEED_REPLY, &area, 16,
             &fd, 1);
    g_assert_cmpuint(get_reply(f, VHOST_USER_SET_LOG_BASE, &area, 8), ==, 8);
    g_assert_cmpuint(area.mmap_size, ==, 1);
    expect_silence(f);
    expect_log("SET_LOG_BASE refused: dirty log: ends at");
    g_assert_cmpuint(call_fds(f, VHOST_USER_SET_LOG_FD, NULL, 0, &fd, 1), ==,
                     0);
    munmap(bits, bytes);
    close(fd);
}

/* --- Tests: config, status, reset --- */

/* T18 */
static void test_config(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserConfig config = { 0, 0, 0, { 0 } };

    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    config.size = 8;
    config.offset = 56;
    send_fds(f, VHOST_USER_GET_CONFIG, 0, &config, 12 + 8, NULL, 0);
    memset(&config, 0xee, sizeof(config));
    g_assert_cmpuint(get_reply(f, VHOST_USER_GET_CONFIG, &config,
                               sizeof(config)), ==, 20);
    g_assert_cmpuint(config.offset, ==, 56);
    g_assert_cmpuint(config.size, ==, 8);
    /* four bytes of config space, then zeros */
    g_assert_cmpmem(config.data, 8, "\x39\x3a\x3b\x3c\0\0\0\0", 8);

    config = (VhostUserConfig){ .offset = 0, .size = 256 };
    send_fds(f, VHOST_USER_GET_CONFIG, 0, &config, 12 + 256, NULL, 0);
    g_assert_cmpuint(get_reply(f, VHOST_USER_GET_CONFIG, &config,
                               sizeof(config)), ==, 12 + 256);
    config = (VhostUserConfig){ .offset = 1, .size = 256 };
    send_fds(f, VHOST_USER_GET_CONFIG, 0, &config, 12 + 256, NULL, 0);
    g_assert_cmpuint(get_reply(f, VHOST_USER_GET_CONFIG, &config,
                               sizeof(config)), ==, 0);
    expect_log("GET_CONFIG refused: bytes 1 to 257 of config space");

    config = (VhostUserConfig){ .offset = 32, .size = 1, .data = { 0 } };
    g_assert_cmpuint(call(f, VHOST_USER_SET_CONFIG, &config, 13), ==, 0);
    g_assert_cmpuint(f->echo->config[32], ==, 0);
    config.offset = 31;
    g_assert_cmpuint(call(f, VHOST_USER_SET_CONFIG, &config, 13), ==, 1);
    expect_log("SET_CONFIG refused: 1 bytes at 31 of config space");
    config.flags = VHOST_USER_CONFIG_LIVE_MIGRATION;
    g_assert_cmpuint(call(f, VHOST_USER_SET_CONFIG, &config, 13), ==, 0);
    expect_no_log();
}

static void test_config_changed(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserHeader header;
    unsigned told = 0;
    int sv[2];

    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    g_assert_nonnull(f->echo->dev.config_changed);
    /* nobody asked to be told */
    f->echo->dev.config_changed(&f->echo->dev,
                                f->echo->dev.config_changed_opaque);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    g_assert_cmpuint(call_fds(f, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0,
                              &sv[1], 1), ==, 0);
    close(sv[1]);
    f->echo->dev.config_changed(&f->echo->dev,
                                f->echo->dev.config_changed_opaque);
    g_assert_cmpint(recv(sv[0], &header, 12, 0), ==, 12);
    g_assert_cmpuint(header.request, ==, 2);
    g_assert_cmphex(header.flags, ==, 1);
    g_assert_cmpuint(header.size, ==, 0);

    /* full: it is given up, and nobody waits */
    while (!log_lines->len && told < 1000000) {
        f->echo->dev.config_changed(&f->echo->dev,
                                    f->echo->dev.config_changed_opaque);
        told++;
    }
    expect_log("the front end is not told of the new configuration");
    close(sv[0]);
    g_assert_cmpuint(get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==, N_QUEUES);
}

/* T13: a guest's reset, and other features afterwards, on one connection. */
static void test_reset_and_renegotiate(gconstpointer opaque)
{
    uint64_t packed = PLAIN_FEATURES | 1ull << VIRTIO_F_RING_PACKED |
                      1ull << VIRTIO_RING_F_EVENT_IDX;
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);

    roundtrip(f, 0, 1);
    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_STATUS, 0x0f), ==, 0);
    g_assert_cmpuint(get_u64(f, VHOST_USER_GET_STATUS), ==, 0x0f);
    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_STATUS, 256), ==, 1);
    expect_log("status is a byte");

    /* T19: what is in flight is waited for */
    submit_held(f, 0, 2);
    release(f, 0);
    g_assert_cmpuint(call(f, VHOST_USER_RESET_DEVICE, NULL, 0), ==, 0);
    g_assert_cmpuint(f->echo->resets, ==, 1);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 1);
    g_assert_cmpuint(get_u64(f, VHOST_USER_GET_STATUS), ==, 0);

    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_FEATURES, packed | PROTOCOL),
                     ==, 0);
    g_assert_cmphex(f->echo->features, ==, packed);
    set_up_ring(f, 0, packed);
    enable(f, 0, 1);
    roundtrip(f, 0, 3);

    /* features that change under a running ring stop it first */
    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_FEATURES,
                              (packed | PROTOCOL) &
                              ~(1ull << VIRTIO_RING_F_EVENT_IDX)), ==, 0);
    g_assert_cmpuint(f->echo->queues[0].starts, ==, 3);
    roundtrip(f, 0, 4);

    /* status 0 stops, and leaves the device's own state alone */
    g_assert_cmpuint(call_u64(f, VHOST_USER_SET_STATUS, 0), ==, 0);
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 3);
    g_assert_cmpuint(f->echo->resets, ==, 1);
    g_assert_cmpuint(call(f, VHOST_USER_RESET_OWNER, NULL, 0), ==, 0);
}

/* --- Tests: connections --- */

static void wait_disconnected(Front *f)
{
    while (vhost_user_server_connected(f->server)) {
        aio_poll(main_ctx, true);
    }
}

/* T19: the maps stay until the last request of a front end that left. */
static void test_disconnect_drains(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);

    submit_held(f, 0, 1);
    roundtrip(f, 0, 2);
    close(f->sock);
    front_connect(f); /* waits its turn */
    run_main();
    g_assert_true(vhost_user_server_connected(f->server));
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 0);
    release(f, 0);
    wait_disconnected(f);
    expect_answer(f, 0, 1);
    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    set_up_ring(f, 0, PLAIN_FEATURES);
    enable(f, 0, 1);
    roundtrip(f, 0, 3);
}

static void test_second_client_waits(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN_FEATURES);
    int first = f->sock;
    VhostUserHeader header = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };
    uint64_t value;

    front_connect(f);
    g_assert_cmpint(send(f->sock, &header, 12, 0), ==, 12);
    expect_silence(f);
    close(first);
    get_reply(f, VHOST_USER_GET_QUEUE_NUM, &value, 8);
    g_assert_cmpuint(value, ==, N_QUEUES);
}

/* Leaves at every stage of its life, and nothing stays behind. */
static void test_reconnects(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(opaque != NULL);
    unsigned fds = 0;

    close(f->sock);
    for (unsigned i = 0; i < 1000; i++) {
        VhostUserHeader half = { VHOST_USER_SET_VRING_CALL, 1, 8 };

        front_connect(f);
        if (i % 4 > 0) {
            negotiate(f, PLAIN_FEATURES | PROTOCOL);
        }
        if (i % 4 > 1) {
            set_up_ring(f, i % N_QUEUES, PLAIN_FEATURES);
            enable(f, i % N_QUEUES, 1);
            roundtrip(f, i % N_QUEUES, i % 100);
        }
        if (i % 4 > 2) {
            g_assert_cmpint(send(f->sock, &half, 12, 0), ==, 12);
        }
        if (i == 10) {
            fds = count_fds();
        }
        if (i % 40 == 10) {
            g_assert_cmpuint(count_fds(), ==, fds);
        }
        close(f->sock);
        while (!vhost_user_server_connected(f->server) && i % 4 == 0) {
            aio_poll(main_ctx, true);
        }
        wait_disconnected(f);
    }
    f->sock = -1;
    g_string_truncate(log_lines, 0); /* half messages were complained of */
}

static void test_server_stop_drains(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    bool stopped = false;

    submit_held(f, 0, 1);
    roundtrip(f, 0, 2);
    vhost_user_server_stop(f->server, set_true, &stopped);
    f->server = NULL;
    run_main();
    g_assert_false(stopped);
    g_assert_cmpint(g_access(f->path, F_OK), !=, 0);
    release(f, 0);
    while (!stopped) {
        aio_poll(main_ctx, true);
    }
    expect_answer(f, 0, 1);
    expect_closed(f);
    g_assert_null(f->echo->dev.config_changed);
}

/* The server stops while a message waits for its ring. */
static void test_server_stop_while_draining(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN_FEATURES);
    VhostUserVringState state = { 0, 0 };
    bool stopped = false;

    set_up_ring(f, 1, PLAIN_FEATURES);
    enable(f, 1, 1);
    submit_held(f, 0, 1);
    roundtrip(f, 0, 2);
    send_fds(f, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
    run_main();
    vhost_user_server_stop(f->server, set_true, &stopped);
    f->server = NULL;
    run_main();
    g_assert_false(stopped);
    release(f, 0);
    while (!stopped) {
        aio_poll(main_ctx, true);
    }
}

/* --- Tests: sockets --- */

static void expect_no_server(Echo *echo, const char *path, const char *why)
{
    GError *error = NULL;

    g_assert_null(vhost_user_server_new_path(&echo->dev, main_ctx, path,
                                             &error));
    if (!strstr(error->message, why)) {
        g_error("'%s' does not say '%s'", error->message, why);
    }
    g_assert_nonnull(strstr(error->message, path));
    g_error_free(error);
}

static void test_socket_path(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    g_autofree char *nowhere = g_build_filename(f->dir, "no", "sock", NULL);
    g_autofree char *file = g_build_filename(f->dir, "file", NULL);
    g_autofree char *stale = g_build_filename(f->dir, "stale", NULL);
    g_autofree char *long_path = g_strnfill(108, 'x');
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    GError *error = NULL;
    struct stat st;
    Echo echo;
    int fd;

    echo_init(&echo, main_ctx);
    expect_no_server(&echo, long_path, "path is too long (at most 107 bytes)");
    expect_no_server(&echo, "", "path is empty");
    expect_no_server(&echo, f->path, "another process listens there");
    expect_no_server(&echo, nowhere, "No such file or directory");
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    expect_no_server(&echo, file, "cannot bind: Address already in use");
    g_assert_cmpint(g_access(file, F_OK), ==, 0);
    g_unlink(file);
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 0777, ==, 0600);

    /* left over from a server that died */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, stale, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    close(fd);
    close(f->sock);
    front_stop_server(f);
    g_free(f->path);
    f->path = g_strdup(stale);
    f->server = vhost_user_server_new_path(&f->echo->dev, main_ctx, stale,
                                           &error);
    g_assert_no_error(error);
    front_connect(f);
    negotiate(f, PLAIN_FEATURES);
}

/* Another server's socket at the same path is not ours to remove. */
static void test_socket_replaced(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    g_autofree char *other = g_build_filename(f->dir, "other", NULL);

    g_assert_true(g_file_set_contents(other, "x", 1, NULL));
    g_assert_cmpint(g_rename(other, f->path), ==, 0);
    front_stop_server(f);
    g_assert_cmpint(g_access(f->path, F_OK), ==, 0);
    g_unlink(f->path);
}

static void replace_server(Front *f, int fd)
{
    GError *error = NULL;

    close(f->sock);
    f->sock = -1;
    front_stop_server(f);
    f->server = vhost_user_server_new_fd(&f->echo->dev, main_ctx, fd, &error);
    g_assert_no_error(error);
}

static void test_connected_fd(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    replace_server(f, sv[1]);
    f->sock = sv[0];
    negotiate(f, PLAIN_FEATURES | PROTOCOL);
    set_up_ring(f, 0, PLAIN_FEATURES);
    enable(f, 0, 1);
    roundtrip(f, 0, 1);
    close(f->sock);
    f->sock = -1;
    wait_disconnected(f);
}

static void test_listening_fd(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autofree char *path = g_build_filename(f->dir, "given", NULL);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    replace_server(f, fd);
    g_free(f->path);
    f->path = g_strdup(path);
    for (unsigned i = 0; i < 2; i++) {
        front_connect(f);
        negotiate(f, PLAIN_FEATURES);
        close(f->sock);
        wait_disconnected(f);
    }
    f->sock = -1;
    front_stop_server(f);
    g_assert_cmpint(g_access(path, F_OK), ==, 0); /* not ours */
    g_unlink(path);
}

static void test_wrong_fd(gconstpointer opaque)
{
    GError *error = NULL;
    unsigned before = count_fds();
    int fds[4];
    Echo echo;

    echo_init(&echo, main_ctx);
    fds[0] = -1;
    fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
    fds[2] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    fds[3] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_null(vhost_user_server_new_fd(&echo.dev, main_ctx, fds[i],
                                               &error));
        g_assert_nonnull(strstr(error->message, "file descriptor "));
        g_clear_error(&error);
    }
    g_assert_cmpuint(count_fds(), ==, before);
}

typedef struct Case {
    const char *name;
    GTestDataFunc fn;
    bool both; /* once more with the device in an IOThread */
} Case;

static const Case cases[] = {
    { "negotiation", test_negotiation },
    { "exactly-one-reply", test_exactly_one_reply },
    { "no-answer-possible", test_no_answer_possible },
    { "garbage", test_garbage },
    { "traffic", test_traffic, true },
    { "kick-before-enable", test_kick_before_enable, true },
    { "without-protocol-features", test_without_protocol_features },
    { "disable", test_disable, true },
    { "base-drains", test_base_drains, true },
    { "draining-blocks-nobody", test_draining_blocks_nobody, true },
    { "partial-message", test_partial_message },
    { "peer-does-not-read", test_peer_does_not_read },
    { "ring-values", test_ring_values },
    { "start-fails", test_start_fails },
    { "kick-descriptors", test_kick_descriptors, true },
    { "call-descriptor", test_call_descriptor, true },
    { "broken-ring", test_broken_ring, true },
    { "mem-table-drains", test_mem_table_drains, true },
    { "mem-table-refused", test_mem_table_refused },
    { "mem-slots", test_mem_slots, true },
    { "memory-vanishes", test_memory_vanishes, true },
    { "dirty-log", test_dirty_log, true },
    { "config", test_config },
    { "config-changed", test_config_changed },
    { "reset-and-renegotiate", test_reset_and_renegotiate, true },
    { "disconnect-drains", test_disconnect_drains, true },
    { "second-client-waits", test_second_client_waits },
    { "reconnects", test_reconnects, true },
    { "server-stop-drains", test_server_stop_drains, true },
    { "server-stop-while-draining", test_server_stop_while_draining, true },
    { "socket-path", test_socket_path },
    { "socket-replaced", test_socket_replaced },
    { "connected-fd", test_connected_fd },
    { "listening-fd", test_listening_fd },
    { "wrong-fd", test_wrong_fd },
};

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    log_lines = g_string_new(NULL);
    log_set_sink(collect_line, NULL);
    main_ctx = aio_context_new(NULL, NULL);
    aio_context_adopt(main_ctx);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        const Case *c = &cases[i / 2];
        g_autofree char *path = g_strdup_printf(
            "/vhost-user/%s%s", c->name, i % 2 ? "/iothread" : "/main");

        if (i % 2 == 0 || c->both) {
            g_test_add_data_func(path, i % 2 ? c : NULL, c->fn);
        }
    }
    ret = g_test_run();
    aio_context_free(main_ctx);
    g_string_free(log_lines, true);
    return ret;
}
