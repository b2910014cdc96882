/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages and their answers: exactly one each, refusals, what ends a
 * connection, front ends that stall.
 */
#include "vhost-user-front.h"

#include <errno.h>
#include <sys/socket.h>

#define PLAIN FRONT_PLAIN_FEATURES
#define PROTOCOL VHOST_USER_F_PROTOCOL_FEATURES_BIT

/* --- Negotiation --- */

static void test_negotiation(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(opaque != NULL);
    uint64_t features = front_get_u64(f, VHOST_USER_GET_FEATURES);
    uint64_t protocol = front_get_u64(f, VHOST_USER_GET_PROTOCOL_FEATURES);
    uint64_t none = 0;

    g_assert_true(vhost_user_server_connected(f->server));
    g_assert_cmphex(features, ==, ECHO_FEATURES | PROTOCOL |
                    VHOST_F_LOG_ALL_BIT);
    g_assert_cmphex(protocol, ==, 0x1b22b);
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==,
                     ECHO_QUEUES);
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_MAX_MEM_SLOTS), ==, 509);

    /* NEED_REPLY means nothing before REPLY_ACK was negotiated */
    front_send(f, VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &none, 8,
               NULL, 0);
    front_expect_silence(f);
    front_negotiate(f, PLAIN | PROTOCOL);
    g_assert_cmphex(f->echo->features, ==, PLAIN);

    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_FEATURES,
                                    PLAIN | 1), ==, 1);
    front_expect_log("export 'e0': SET_FEATURES refused: features 0x1 were "
                     "not offered");
    g_assert_cmphex(f->echo->features, ==, PLAIN);
    g_assert_cmpuint(front_call_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES,
                                    protocol | 1 << 14), ==, 1);
    front_expect_log("protocol features 0x4000");
}

/* One reply to each, whatever is asked in whatever way. */
static void test_exactly_one_reply(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    uint64_t value;

    front_negotiate(f, PLAIN | PROTOCOL);
    front_send(f, VHOST_USER_GET_FEATURES, VHOST_USER_NEED_REPLY, NULL, 0,
               NULL, 0);
    g_assert_cmpuint(front_get_reply(f, VHOST_USER_GET_FEATURES, &value, 8),
                     ==, 8);
    front_expect_silence(f);

    front_send(f, 33, VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
    g_assert_cmpuint(front_get_reply(f, 33, &value, 8), ==, 8);
    g_assert_cmpuint(value, ==, 1);
    front_expect_silence(f);
    front_expect_log("request 33 refused: unknown request");

    front_send(f, 4711, 0, NULL, 0, NULL, 0);
    front_expect_silence(f);
    front_expect_log("request 4711 refused");
    value = UINT64_MAX;
    front_send(f, VHOST_USER_SET_FEATURES, 0, &value, 8, NULL, 0);
    front_expect_silence(f);
    front_expect_log("SET_FEATURES refused");
    /* still in step */
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==,
                     ECHO_QUEUES);
    front_expect_no_log();
}

/* Nothing but a body would do as an answer: the connection ends. */
static void test_no_answer_possible(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    VhostUserVringState state = { ECHO_QUEUES, 0 };

    front_negotiate(f, PLAIN | PROTOCOL);
    front_send(f, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
    front_expect_closed(f);
    front_expect_log("GET_VRING_BASE refused: queue 3 of 3");
}

static void test_garbage(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);

    g_assert_cmpint(send(f->sock, "GET / HTTP/1.1\r\n", 16, 0), ==, 16);
    front_expect_closed(f);
    front_expect_log("closing the connection");
}

/* While one export drains, another front end is served. */
static void test_draining_blocks_nobody(gconstpointer opaque)
{
    g_autoptr(Front) slow = front_running(opaque != NULL, PLAIN);
    g_autoptr(Front) other = front_running(opaque != NULL, PLAIN);
    VhostUserVringState state = { 0, 0 };

    front_submit_held(slow, 0, 1);
    front_send(slow, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
    for (unsigned i = 0; i < 10; i++) {
        front_roundtrip(other, 0, i);
        g_assert_cmpuint(front_get_u64(other, VHOST_USER_GET_QUEUE_NUM), ==,
                         ECHO_QUEUES);
    }
    front_expect_silence(slow);
    front_release(slow, 0);
    front_get_reply(slow, VHOST_USER_GET_VRING_BASE, &state, 8);
    g_assert_cmpuint(state.num, ==, 1);
}

/* A front end that sends half a message keeps nobody waiting either. */
static void test_partial_message(gconstpointer opaque)
{
    g_autoptr(Front) stalled = front_running(false, PLAIN);
    g_autoptr(Front) other = front_running(false, PLAIN);
    VhostUserHeader header = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };
    uint64_t value;

    g_assert_cmpint(send(stalled->sock, &header, 5, 0), ==, 5);
    front_roundtrip(other, 0, 1);
    front_roundtrip(stalled, 0, 1);
    g_assert_cmpint(send(stalled->sock, (char *)&header + 5, 7, 0), ==, 7);
    front_get_reply(stalled, VHOST_USER_GET_QUEUE_NUM, &value, 8);
    g_assert_cmpuint(value, ==, ECHO_QUEUES);
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
        aio_poll(front_main_ctx, false);
    }
    front_expect_log("closing the connection: cannot write to the front end");
}

/* --- Whether the driver uses its queues --- */

/* From the first ring on until the front end has the last one back. */
static void test_running(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    f->echo->front_fd = f->sock;
    g_assert_true(f->echo->running);
    front_set_up_ring(f, 1, PLAIN);
    front_enable(f, 1, 1);
    g_assert_cmpuint(f->echo->runs, ==, 1);
    front_get_base(f, 0);
    g_assert_true(f->echo->running);
    front_get_base(f, 1);
    g_assert_false(f->echo->running);
    front_set_up_ring(f, 0, PLAIN); /* as a machine that goes on */
    g_assert_true(f->echo->running);
    g_assert_cmpuint(f->echo->runs, ==, 2);
}

/* What stops rings for a moment, or leaves them to us, does not end it. */
static void test_still_running(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    f->echo->front_fd = f->sock;
    g_assert_cmpuint(front_set_mem_table(f), ==, 0);
    front_enable(f, 0, 0);
    g_assert_true(f->echo->running);
    front_enable(f, 0, 1);
    front_call_u64(f, VHOST_USER_SET_STATUS, 15);
    g_assert_cmpuint(f->echo->runs, ==, 1);
    front_enable(f, 0, 0);
    front_get_base(f, 0); /* it was stopped before */
    g_assert_false(f->echo->running);
}

static void test_reset_ends_running(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    f->echo->front_fd = f->sock;
    front_call_u64(f, VHOST_USER_SET_STATUS, 0);
    g_assert_false(f->echo->running);
    front_set_up_ring(f, 0, PLAIN);
    g_assert_true(f->echo->running);
    front_call(f, VHOST_USER_RESET_DEVICE, NULL, 0);
    g_assert_false(f->echo->running);
}

/* Or the front end goes. */
static void test_gone(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    close(f->sock);
    f->sock = -1;
    front_wait_disconnected(f);
    front_run_main();
    g_assert_false(f->echo->running);
    front_connect(f);
    front_negotiate(f, PLAIN | PROTOCOL);
    g_assert_cmpuint(f->echo->runs, ==, 1);
    front_set_up_ring(f, 0, PLAIN);
    front_enable(f, 0, 1);
    g_assert_cmpuint(f->echo->runs, ==, 2);
}

static const FrontCase cases[] = {
    { "negotiation", test_negotiation },
    { "exactly-one-reply", test_exactly_one_reply },
    { "no-answer-possible", test_no_answer_possible },
    { "garbage", test_garbage },
    { "partial-message", test_partial_message },
    { "peer-does-not-read", test_peer_does_not_read },
    { "draining-blocks-nobody", test_draining_blocks_nobody, true },
    { "running", test_running, true },
    { "still-running", test_still_running, true },
    { "reset-ends-running", test_reset_ends_running },
    { "gone", test_gone },
};

int main(int argc, char **argv)
{
    return front_main(argc, argv, "vhost-user-session", cases,
                      G_N_ELEMENTS(cases));
}
