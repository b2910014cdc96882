/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Framing and checking of messages: every request's size and descriptors,
 * pieces that arrive one by one, descriptors nobody asked for.
 */
#include "../../../../hw/virtio/vhost-user-message.h"
#include "fds.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define NUM_QUEUES 4

typedef struct Pair {
    int front, back;
    VhostUserReceiver rx;
    VhostUserMessage msg;
    unsigned fds_before;
} Pair;

static void pair_open(Pair *p)
{
    int sv[2];

    p->fds_before = count_fds();
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    p->front = sv[0];
    p->back = sv[1];
    vhost_user_receiver_init(&p->rx);
}

static void pair_close(Pair *p)
{
    if (p->front >= 0) {
        close(p->front);
    }
    close(p->back);
    vhost_user_receiver_clear(&p->rx);
    g_assert_cmpuint(count_fds(), ==, p->fds_before); /* nothing leaked */
}

/* Sends @bytes of @buf with @n_fds new event descriptors. */
static void send_raw(Pair *p, const void *buf, size_t bytes, unsigned n_fds)
{
    int fds[SEND_MAX_FDS] = { 0 };

    for (unsigned i = 0; i < n_fds; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
    }
    g_assert_cmpint(send_fds(p->front, buf, bytes, fds, n_fds, 0), ==, bytes);
    for (unsigned i = 0; i < n_fds; i++) {
        close(fds[i]);
    }
}

/* As it lies on the wire: the payload follows at byte 12. */
static size_t pack(uint8_t *buf, uint32_t request, uint32_t flags,
                   const void *payload, uint32_t bytes)
{
    VhostUserHeader header = { request, flags, bytes };

    memcpy(buf, &header, sizeof(header));
    if (bytes) {
        memcpy(buf + sizeof(header), payload, bytes);
    }
    return sizeof(header) + bytes;
}

static int receive(Pair *p)
{
    g_autoptr(GError) error = NULL;
    int ret = vhost_user_receive(&p->rx, p->back, &p->msg, &error);

    g_assert_true(ret < 0 || !error);
    return ret;
}

static void expect_stream_error(Pair *p, const char *why)
{
    GError *error = NULL;

    g_assert_cmpint(vhost_user_receive(&p->rx, p->back, &p->msg, &error), ==,
                    -1);
    g_assert_nonnull(error);
    if (!strstr(error->message, why)) {
        g_error("'%s' does not say '%s'", error->message, why);
    }
    g_error_free(error);
}

static void test_whole(void)
{
    uint8_t buf[64];
    uint64_t u64 = 0x123456789;
    Pair p;
    size_t n;

    pair_open(&p);
    g_assert_cmpint(receive(&p), ==, 0);
    n = pack(buf, VHOST_USER_SET_FEATURES, 9, &u64, 8);
    send_raw(&p, buf, n, 0);
    n = pack(buf, VHOST_USER_GET_FEATURES, 1, NULL, 0);
    send_raw(&p, buf, n, 0);
    g_assert_cmpint(receive(&p), ==, 1);
    g_assert_cmpuint(p.msg.header.request, ==, VHOST_USER_SET_FEATURES);
    g_assert_cmphex(p.msg.header.flags, ==, 9);
    g_assert_cmphex(p.msg.payload.u64, ==, u64);
    g_assert_cmpuint(p.msg.n_fds, ==, 0);
    g_assert_cmpint(receive(&p), ==, 1);
    g_assert_cmpuint(p.msg.header.request, ==, VHOST_USER_GET_FEATURES);
    g_assert_cmpint(receive(&p), ==, 0);
    close(p.front);
    p.front = -1;
    g_assert_cmpint(receive(&p), ==, -1); /* the end, and no error */
    pair_close(&p);
}

/* Byte by byte, a descriptor with the first and one with a later byte. */
static void test_pieces(void)
{
    uint8_t buf[512];
    VhostUserMemTable table = { .n_regions = 2 };
    Pair p;
    size_t n = pack(buf, VHOST_USER_SET_MEM_TABLE, 1, &table, 8 + 2 * 32);
    GError *error = NULL;

    pair_open(&p);
    for (size_t i = 0; i < n; i++) {
        send_raw(&p, buf + i, 1, i == 0 || i == 40);
        g_assert_cmpint(receive(&p), ==, i + 1 == n);
    }
    g_assert_cmpuint(p.msg.n_fds, ==, 2);
    g_assert_true(vhost_user_message_check(&p.msg, NUM_QUEUES, &error));
    vhost_user_message_clear(&p.msg);
    pair_close(&p);
}

static void test_take_fd(void)
{
    Pair p;
    uint8_t buf[64];
    uint64_t u64 = 0;
    int fd;

    pair_open(&p);
    send_raw(&p, buf, pack(buf, VHOST_USER_SET_VRING_CALL, 1, &u64, 8), 1);
    g_assert_cmpint(receive(&p), ==, 1);
    fd = vhost_user_message_take_fd(&p.msg, 0);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    vhost_user_message_clear(&p.msg); /* leaves the one taken */
    g_assert_cmpint(fcntl(fd, F_GETFD), >=, 0);
    close(fd);
    pair_close(&p);
}

static void test_closed_within(void)
{
    uint8_t buf[64];
    uint64_t u64 = 0;

    for (size_t cut = 1; cut < 20; cut++) {
        Pair p;

        pair_open(&p);
        pack(buf, VHOST_USER_SET_VRING_KICK, 1, &u64, 8);
        send_raw(&p, buf, cut, 1);
        close(p.front);
        p.front = -1;
        expect_stream_error(&p, "closed within a message");
        pair_close(&p); /* the descriptor as well */
    }
}

static void test_bad_framing(void)
{
    uint8_t buf[64];
    Pair p;

    for (unsigned version = 0; version < 4; version++) {
        if (version == 1) {
            continue;
        }
        pair_open(&p);
        pack(buf, VHOST_USER_GET_FEATURES, version, NULL, 0);
        send_raw(&p, buf, 12, 1);
        expect_stream_error(&p, "not 1");
        pair_close(&p);
    }
    for (uint64_t size = sizeof(VhostUserPayload) + 1; size <= UINT32_MAX;
         size *= 2) {
        VhostUserHeader header = { 1, 1, size };

        pair_open(&p);
        send_raw(&p, &header, 12, 0);
        expect_stream_error(&p, "longer than any message");
        pair_close(&p);
    }
}

static void test_too_many_fds(void)
{
    uint8_t buf[512];
    VhostUserMemTable table = { .n_regions = 8 };
    GError *error = NULL;
    Pair p;

    pair_open(&p);
    for (unsigned n_fds = 9; n_fds <= 60; n_fds += 17) {
        send_raw(&p, buf, pack(buf, VHOST_USER_SET_MEM_TABLE, 1, &table,
                               sizeof(table)), n_fds);
        g_assert_cmpint(receive(&p), ==, 1);
        g_assert_false(vhost_user_message_check(&p.msg, NUM_QUEUES, &error));
        g_assert_nonnull(strstr(error->message, "more than 8"));
        g_clear_error(&error);
        vhost_user_message_clear(&p.msg);
    }
    /* in two portions */
    pack(buf, VHOST_USER_SET_MEM_TABLE, 1, &table, sizeof(table));
    send_raw(&p, buf, 12, 5);
    send_raw(&p, buf + 12, sizeof(table), 5);
    g_assert_cmpint(receive(&p), ==, 1);
    g_assert_true(p.msg.fds_lost);
    vhost_user_message_clear(&p.msg);
    pair_close(&p);
}

/* --- The table of requests --- */

typedef struct Good {
    uint32_t request;
    uint32_t bytes;
    unsigned n_fds;
    uint64_t u64; /* first word of the payload */
} Good;

static const Good good[] = {
    { VHOST_USER_GET_FEATURES, 0, 0, 0 },
    { VHOST_USER_SET_FEATURES, 8, 0, UINT64_MAX },
    { VHOST_USER_SET_OWNER, 0, 0, 0 },
    { VHOST_USER_RESET_OWNER, 0, 0, 0 },
    { VHOST_USER_SET_MEM_TABLE, 8 + 3 * 32, 3, 3 },
    { VHOST_USER_SET_LOG_BASE, 16, 1, 4096 },
    { VHOST_USER_SET_LOG_FD, 0, 1, 0 },
    { VHOST_USER_SET_VRING_NUM, 8, 0, 3 },
    { VHOST_USER_SET_VRING_ADDR, 40, 0, 3 },
    { VHOST_USER_SET_VRING_BASE, 8, 0, 3 },
    { VHOST_USER_GET_VRING_BASE, 8, 0, 3 },
    { VHOST_USER_SET_VRING_KICK, 8, 1, 3 },
    { VHOST_USER_SET_VRING_CALL, 8, 1, 3 },
    { VHOST_USER_SET_VRING_ERR, 8, 1, 3 },
    { VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0, 0 },
    { VHOST_USER_SET_PROTOCOL_FEATURES, 8, 0, UINT64_MAX },
    { VHOST_USER_GET_QUEUE_NUM, 0, 0, 0 },
    { VHOST_USER_SET_VRING_ENABLE, 8, 0, 3 },
    { VHOST_USER_SET_BACKEND_REQ_FD, 0, 1, 0 },
    { VHOST_USER_GET_CONFIG, 12 + 60, 0, (uint64_t)60 << 32 },
    { VHOST_USER_SET_CONFIG, 12 + 1, 0, (uint64_t)1 << 32 | 32 },
    { VHOST_USER_GET_INFLIGHT_FD, 20, 0, 0 },
    { VHOST_USER_SET_INFLIGHT_FD, 20, 1, 4096 },
    { VHOST_USER_RESET_DEVICE, 0, 0, 0 },
    { VHOST_USER_GET_MAX_MEM_SLOTS, 0, 0, 0 },
    { VHOST_USER_ADD_MEM_REG, 40, 1, 0 },
    { VHOST_USER_REM_MEM_REG, 40, 0, 0 },
    { VHOST_USER_SET_STATUS, 8, 0, 15 },
    { VHOST_USER_GET_STATUS, 0, 0, 0 },
};

static VhostUserMessage make(const Good *g)
{
    VhostUserMessage msg = {
        .header = { g->request, 1, g->bytes }, .n_fds = g->n_fds,
    };

    msg.payload.u64 = g->u64;
    return msg;
}

/* @msg is refused, and the reason contains @why. */
static void expect_refused(const VhostUserMessage *msg, const char *why)
{
    char buf[VHOST_USER_NAME_BYTES];
    GError *error = NULL;

    if (vhost_user_message_check(msg, NUM_QUEUES, &error)) {
        g_error("%s passed, expected '%s'",
                vhost_user_request_name(msg->header.request, buf), why);
    }
    if (!strstr(error->message, why)) {
        g_error("'%s' does not say '%s'", error->message, why);
    }
    g_error_free(error);
}

static void test_good(void)
{
    char buf[VHOST_USER_NAME_BYTES];

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        VhostUserMessage msg = make(&good[i]);
        GError *error = NULL;

        vhost_user_message_check(&msg, NUM_QUEUES, &error);
        g_assert_no_error(error);
        g_assert_null(strstr(vhost_user_request_name(good[i].request, buf),
                             "request"));
    }
}

static void test_wrong_size(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        VhostUserMessage msg = make(&good[i]);

        if (msg.header.size) {
            msg.header.size--;
            expect_refused(&msg, "");
        }
        msg = make(&good[i]);
        msg.header.size = sizeof(VhostUserPayload);
        if (msg.header.size != good[i].bytes &&
            good[i].request != VHOST_USER_SET_MEM_TABLE) {
            expect_refused(&msg, "");
        }
    }
}

static void test_wrong_fds(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        for (unsigned n_fds = 0; n_fds <= VHOST_USER_MAX_FDS; n_fds++) {
            VhostUserMessage msg = make(&good[i]);

            msg.n_fds = n_fds;
            if (n_fds != good[i].n_fds &&
                !(good[i].request == VHOST_USER_REM_MEM_REG && n_fds == 1)) {
                expect_refused(&msg, "file descriptors");
            }
        }
    }
}

static void test_wrong_index(void)
{
    static const uint32_t state[] = {
        VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
        VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_ENABLE,
        VHOST_USER_SET_VRING_ADDR,
    };
    static const uint32_t u64[] = {
        VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
        VHOST_USER_SET_VRING_ERR,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(state); i++) {
        Good g = { state[i], 8, 0, NUM_QUEUES };
        VhostUserMessage msg;

        g.bytes = state[i] == VHOST_USER_SET_VRING_ADDR ? 40 : 8;
        msg = make(&g);
        expect_refused(&msg, "queue 4 of 4");
        msg.payload.state.index = UINT32_MAX;
        expect_refused(&msg, "of 4");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(u64); i++) {
        Good g = { u64[i], 8, 1, NUM_QUEUES };
        VhostUserMessage msg = make(&g);

        expect_refused(&msg, "queue 4 of 4");
        msg.payload.u64 = 2 | VHOST_USER_VRING_NOFD;
        expect_refused(&msg, "1 file descriptors in place of 0");
        msg.n_fds = 0;
        g_assert_true(vhost_user_message_check(&msg, NUM_QUEUES, NULL));
        g_assert_cmpint(vhost_user_message_index(&msg), ==, 2);
        msg.payload.u64 = 2 | 0x200;
        expect_refused(&msg, "unknown bits");
        msg.payload.u64 = 2 | UINT64_C(1) << 63;
        expect_refused(&msg, "unknown bits");
    }
}

static void test_unknown_requests(void)
{
    for (uint32_t request = 0; request < 300; request++) {
        VhostUserMessage msg = { .header = { request, 1, 0 } };
        bool known = false;

        for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
            known = known || good[i].request == request;
        }
        if (!known) {
            char buf[VHOST_USER_NAME_BYTES];

            expect_refused(&msg, "unknown request");
            g_assert_nonnull(strstr(vhost_user_request_name(request, buf),
                                    "request "));
            g_assert_cmpint(vhost_user_message_index(&msg), ==, -1);
        }
    }
}

static void test_odd_payloads(void)
{
    Good table = { VHOST_USER_SET_MEM_TABLE, 8 + 32, 1, 1 };
    Good config = { VHOST_USER_GET_CONFIG, 12 + 4, 0, (uint64_t)4 << 32 };
    VhostUserMessage msg = make(&table);

    msg.header.flags |= VHOST_USER_REPLY;
    expect_refused(&msg, "a reply");
    msg = make(&table);
    msg.payload.table.n_regions = 2;
    expect_refused(&msg, "2 regions in 40 bytes");
    msg.payload.table.n_regions = 0x08000001; /* times 32 wraps in 32 bits */
    expect_refused(&msg, "regions in");
    msg.payload.table.n_regions = 0;
    expect_refused(&msg, "0 regions with 1 file descriptors");

    msg = make(&config);
    msg.payload.config.size = 5;
    expect_refused(&msg, "5 bytes of config space in a payload of 16");
    msg.payload.config.size = UINT32_MAX - 7; /* 12 + size wraps to 4 */
    msg.header.size = 12;
    expect_refused(&msg, "of config space");
    msg = make(&config);
    msg.payload.config.offset = 253;
    expect_refused(&msg, "bytes 253 to 257");
    msg.payload.config.offset = 252;
    g_assert_true(vhost_user_message_check(&msg, NUM_QUEUES, NULL));
    msg.payload.config.offset = UINT32_MAX;
    expect_refused(&msg, "of config space");
    msg = make(&config);
    msg.payload.config.flags = 2;
    expect_refused(&msg, "unknown flags 0x2");
}

/* Any bytes at all: read to the end, checked, nothing kept. */
static void test_noise(void)
{
    g_autofree uint8_t *noise = g_malloc(4096);
    unsigned messages = 0;

    for (unsigned round = 0; round < 300; round++) {
        size_t at = 0;
        Pair p;

        pair_open(&p);
        while (at + 400 < 4096) {
            VhostUserHeader header = {
                g_test_rand_int_range(0, 45), 1 | g_test_rand_int_range(0, 4)
                << 2, g_test_rand_int_range(0, 280),
            };

            for (unsigned i = 0; i < 400; i++) {
                noise[at + i] = g_test_rand_int_range(0, 3);
            }
            memcpy(noise + at, &header, 12);
            send_raw(&p, noise + at, 12 + header.size,
                     g_test_rand_int_range(0, 10));
            at += 12 + header.size;
        }
        while (receive(&p) == 1) {
            vhost_user_message_check(&p.msg, NUM_QUEUES, NULL);
            vhost_user_message_clear(&p.msg);
            messages++;
        }
        pair_close(&p);
    }
    g_assert_cmpuint(messages, >, 3000);
}

static void test_send(void)
{
    uint64_t u64 = 7;
    VhostUserHeader header;
    GError *error = NULL;
    unsigned sent = 0;
    uint8_t buf[20];
    Pair p;

    pair_open(&p);
    g_assert_true(vhost_user_send(p.back, VHOST_USER_GET_FEATURES,
                                  VHOST_USER_REPLY, &u64, 8, NULL));
    g_assert_cmpint(read(p.front, buf, sizeof(buf)), ==, 20);
    memcpy(&header, buf, 12);
    g_assert_cmpuint(header.request, ==, VHOST_USER_GET_FEATURES);
    g_assert_cmphex(header.flags, ==, 5);
    g_assert_cmpuint(header.size, ==, 8);
    g_assert_cmpuint(buf[12], ==, 7);

    /* nobody reads: it ends in an error and not in a wait */
    while (vhost_user_send(p.back, 1, VHOST_USER_REPLY, &u64, 8, &error)) {
        sent++;
    }
    g_assert_cmpuint(sent, >, 10);
    g_assert_nonnull(strstr(error->message, "cannot write"));
    g_clear_error(&error);
    close(p.front); /* nor in a signal */
    p.front = -1;
    g_assert_false(vhost_user_send(p.back, 1, VHOST_USER_REPLY, &u64, 8,
                                   &error));
    g_clear_error(&error);
    pair_close(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add_func("/vhost-user-message/" name, fn)
    ADD("whole", test_whole);
    ADD("pieces", test_pieces);
    ADD("take-fd", test_take_fd);
    ADD("closed-within", test_closed_within);
    ADD("bad-framing", test_bad_framing);
    ADD("too-many-fds", test_too_many_fds);
    ADD("good", test_good);
    ADD("wrong-size", test_wrong_size);
    ADD("wrong-fds", test_wrong_fds);
    ADD("wrong-index", test_wrong_index);
    ADD("unknown-requests", test_unknown_requests);
    ADD("odd-payloads", test_odd_payloads);
    ADD("noise", test_noise);
    ADD("send", test_send);
    return g_test_run();
}
