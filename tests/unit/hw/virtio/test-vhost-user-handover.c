/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection changes hands while its front end goes on: from one server to
 * another one in the same process, which is what two processes do but for the
 * way of the records.
 */
#include "vhost-user-front.h"
#include "fds.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define PLAIN FRONT_PLAIN_FEATURES
#define PROTOCOL VHOST_USER_F_PROTOCOL_FEATURES_BIT

static Handover *begin(Front *f, bool *done)
{
    Handover *handover = handover_new();

    *done = false;
    vhost_user_server_hand_over(f->server, handover, "e0", front_set_true,
                                done);
    f->server = NULL;
    return handover;
}

static void finish(Front *f, Handover *handover)
{
    g_autoptr(GError) error = NULL;

    f->server = vhost_user_server_take_over(&f->echo->dev, front_main_ctx,
                                            f->path, handover, "e0", &error);
    g_assert_no_error(error);
    g_assert_null(handover_left(handover));
    handover_free(handover);
}

static void wait_done(const bool *done)
{
    while (!*done) {
        aio_poll(front_main_ctx, true);
    }
}

static void change_hands(Front *f)
{
    bool done;
    Handover *handover = begin(f, &done);

    wait_done(&done);
    finish(f, handover);
    vhost_user_server_resume(f->server);
}

static void test_running(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    unsigned before = count_fds();

    for (unsigned i = 1; i < 5; i++) {
        front_roundtrip(f, 0, i);
        change_hands(f);
        g_assert_true(vhost_user_server_connected(f->server));
    }
    front_roundtrip(f, 0, 9);
    g_assert_cmpuint(count_fds(), ==, before);
    g_assert_cmpuint(front_get_u64(f, VHOST_USER_GET_QUEUE_NUM), ==,
                     ECHO_QUEUES);
}

/* What is in flight is waited for; kicks and messages meanwhile are kept. */
static void test_drains(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    VhostUserHeader header = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };
    uint64_t value;
    Handover *handover;
    bool done;

    front_submit_held(f, 0, 1);
    handover = begin(f, &done);
    front_run_main();
    g_assert_false(done);
    g_assert_cmpint(write(f->sock, &header, 12), ==, 12);
    front_release(f, 0);
    wait_done(&done);
    front_expect_answer(f, 0, 1);
    front_submit(f, 0, 2);
    finish(f, handover);
    front_run_main();
    g_assert_cmpuint(f->echo->queues[0].starts, ==,
                     f->echo->queues[0].stops); /* it stands still */
    vhost_user_server_resume(f->server);
    front_expect_answer(f, 0, 2);
    front_get_reply(f, VHOST_USER_GET_QUEUE_NUM, &value, 8);
    g_assert_cmpuint(value, ==, ECHO_QUEUES);
}

/* A message that waits for its ring is obeyed and answered before. */
static void test_message_at_hand(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    VhostUserVringState state = { 0, 0 };
    Handover *handover;
    bool done;

    front_submit_held(f, 0, 1);
    front_send(f, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL,
               0);
    front_run_main();
    handover = begin(f, &done);
    front_release(f, 0);
    wait_done(&done);
    front_get_reply(f, VHOST_USER_GET_VRING_BASE, &state, sizeof(state));
    g_assert_cmpuint(state.num, ==, 1);
    finish(f, handover);
    vhost_user_server_resume(f->server);
    front_expect_answer(f, 0, 1);
    front_run_main();
    g_assert_null(f->echo->queues[0].vq); /* no kick descriptor any more */
}

static void test_nobody_connected(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(opaque != NULL);

    close(f->sock);
    f->sock = -1;
    front_wait_disconnected(f);
    change_hands(f);
    front_connect(f);
    front_negotiate(f, PLAIN);
}

/* It cannot be made sense of without its first half. */
static void test_half_a_message(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    VhostUserHeader half = { VHOST_USER_SET_FEATURES, 1, 8 };

    g_assert_cmpint(write(f->sock, &half, 12), ==, 12);
    front_run_main();
    change_hands(f);
    front_expect_closed(f);
    front_expect_log("not handed over");
    close(f->sock);
    front_connect(f);
    front_negotiate(f, PLAIN);
}

/* One that is stopped before it was resumed has touched nothing. */
static void test_given_up(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    Handover *handover;
    Handover *copy = handover_new();
    const int *fds;
    const char *text;
    unsigned n;
    bool done;

    front_roundtrip(f, 0, 1);
    handover = begin(f, &done);
    wait_done(&done);
    for (unsigned i = 0; (text = handover_text(handover, i, &fds, &n)); i++) {
        int copies[HANDOVER_MAX_FDS];

        for (unsigned k = 0; k < n; k++) {
            copies[k] = dup(fds[k]);
        }
        g_assert_true(handover_add_text(copy, text, copies, n, NULL));
    }
    finish(f, copy);
    front_stop_server(f);
    g_assert_cmpint(g_access(f->path, F_OK), ==, 0);
    finish(f, handover);
    vhost_user_server_resume(f->server);
    front_roundtrip(f, 0, 2);
}

static void test_elsewhere(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    g_autoptr(GError) error = NULL;
    unsigned before;
    Handover *handover;
    bool done;

    handover = begin(f, &done);
    wait_done(&done);
    before = count_fds();
    g_assert_null(vhost_user_server_take_over(&f->echo->dev, front_main_ctx,
                                              "/elsewhere", handover, "e0",
                                              &error));
    g_assert_nonnull(strstr(error->message, "/elsewhere"));
    g_assert_cmpuint(count_fds(), ==, before - 1);
    handover_free(handover);
    g_unlink(f->path);
}

/* --- Standing still, for nobody in the end --- */

static void wait_paused(Front *f)
{
    while (!vhost_user_server_is_paused(f->server)) {
        aio_poll(front_main_ctx, true);
    }
}

static void expect_number_of_queues(Front *f)
{
    uint64_t value;

    front_get_reply(f, VHOST_USER_GET_QUEUE_NUM, &value, 8);
    g_assert_cmpuint(value, ==, ECHO_QUEUES);
}

static void ask_for_number_of_queues(Front *f)
{
    VhostUserHeader header = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };

    g_assert_cmpint(write(f->sock, &header, 12), ==, 12);
}

static void test_pause(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    const EchoQueue *queue = &f->echo->queues[0];
    unsigned before = count_fds();

    for (unsigned i = 1; i < 5; i++) {
        front_roundtrip(f, 0, i);
        vhost_user_server_pause(f->server);
        wait_paused(f);
        g_assert_cmpuint(queue->starts, ==, queue->stops);
        front_submit(f, 0, 10 + i);
        ask_for_number_of_queues(f);
        front_run_main();
        front_expect_silence(f);
        vhost_user_server_resume(f->server);
        front_expect_answer(f, 0, 10 + i);
        expect_number_of_queues(f);
    }
    g_assert_cmpuint(count_fds(), ==, before);
    vhost_user_server_pause(f->server);
    wait_paused(f);
    change_hands(f);
    front_roundtrip(f, 0, 1);
}

/* It goes on when it has drained. */
static void test_resumed_too_early(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    front_submit_held(f, 0, 1);
    vhost_user_server_pause(f->server);
    front_run_main();
    g_assert_false(vhost_user_server_is_paused(f->server));
    vhost_user_server_resume(f->server);
    front_submit(f, 0, 2);
    ask_for_number_of_queues(f);
    front_run_main();
    front_expect_silence(f);
    front_release(f, 0);
    front_expect_answer(f, 0, 1);
    front_expect_answer(f, 0, 2);
    expect_number_of_queues(f);
}

static void test_paused_again(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    front_submit_held(f, 0, 1);
    vhost_user_server_pause(f->server);
    vhost_user_server_resume(f->server);
    vhost_user_server_pause(f->server);
    front_release(f, 0);
    front_expect_answer(f, 0, 1);
    wait_paused(f);
    front_submit(f, 0, 2);
    front_run_main();
    g_assert_true(vhost_user_server_is_paused(f->server));
    vhost_user_server_resume(f->server);
    front_expect_answer(f, 0, 2);
}

/* A message that waits for its ring is obeyed and answered all the same. */
static void test_paused_with_message(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    VhostUserVringState state = { 0, 0 };

    for (unsigned i = 1; i < 3; i++) {
        front_submit_held(f, 0, i);
        front_send(f, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state),
                   NULL, 0);
        front_run_main();
        vhost_user_server_pause(f->server);
        if (i == 1) {
            vhost_user_server_resume(f->server); /* or not waited for */
        }
        front_release(f, 0);
        front_get_reply(f, VHOST_USER_GET_VRING_BASE, &state, sizeof(state));
        g_assert_cmpuint(state.num, ==, i);
        front_expect_answer(f, 0, i);
        if (i == 1) {
            front_call_ring_fd(f, VHOST_USER_SET_VRING_KICK, 0, f->kick[0]);
        }
    }
    wait_paused(f);
    vhost_user_server_resume(f->server);
    ask_for_number_of_queues(f);
    expect_number_of_queues(f);
}

/* Nobody is accepted, and who has gone is noticed when it goes on. */
static void test_paused_alone(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN);

    vhost_user_server_pause(f->server);
    wait_paused(f);
    close(f->sock);
    front_run_main();
    g_assert_true(vhost_user_server_is_paused(f->server));
    vhost_user_server_resume(f->server);
    f->sock = -1;
    front_wait_disconnected(f);
    vhost_user_server_pause(f->server);
    wait_paused(f);
    front_connect(f);
    ask_for_number_of_queues(f);
    front_run_main();
    front_expect_silence(f);
    vhost_user_server_resume(f->server);
    expect_number_of_queues(f);
}

/* The end does not depend on who resumes it. */
static void test_stopped_while_paused(gconstpointer opaque)
{
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
        bool done = false;

        front_submit_held(f, 0, 1);
        vhost_user_server_pause(f->server);
        front_run_main();
        if (i == 0) {
            front_release(f, 0);
            wait_paused(f);
        }
        vhost_user_server_stop(f->server, front_set_true, &done);
        f->server = NULL;
        if (i == 1) {
            front_run_main();
            g_assert_false(done);
            front_release(f, 0);
        }
        wait_done(&done);
        front_expect_answer(f, 0, 1);
        g_assert_cmpint(g_access(f->path, F_OK), !=, 0);
    }
}

static const FrontCase cases[] = {
    { "running", test_running, true },
    { "drains", test_drains, true },
    { "message-at-hand", test_message_at_hand, true },
    { "nobody-connected", test_nobody_connected },
    { "half-a-message", test_half_a_message },
    { "given-up", test_given_up, true },
    { "elsewhere", test_elsewhere },
    { "pause", test_pause, true },
    { "resumed-too-early", test_resumed_too_early, true },
    { "paused-again", test_paused_again, true },
    { "paused-with-message", test_paused_with_message, true },
    { "paused-alone", test_paused_alone },
    { "stopped-while-paused", test_stopped_while_paused, true },
};

int main(int argc, char **argv)
{
    return front_main(argc, argv, "vhost-user-handover", cases,
                      G_N_ELEMENTS(cases));
}
