/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server: one connection after the other, its end, its socket.
 */
#include "vhost-user-front.h"
#include "fds.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PLAIN FRONT_PLAIN_FEATURES
#define PROTOCOL VHOST_USER_F_PROTOCOL_FEATURES_BIT

/* --- Connections --- */

/* The maps stay until the last request of a front end that left. */
static void test_disconnect_drains(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);

    front_submit_held(f, 0, 1);
    front_roundtrip(f, 0, 2);
    close(f->sock);
    front_connect(f); /* waits its turn */
    front_run_main();
    g_assert_false(vhost_user_server_connected(f->server));
    g_assert_true(vhost_user_server_is_busy(f->server));
    g_assert_cmpuint(f->echo->queues[0].stops, ==, 0);
    front_release(f, 0);
    front_wait_disconnected(f);
    front_expect_answer(f, 0, 1);
    front_negotiate(f, PLAIN | PROTOCOL);
    front_set_up_ring(f, 0, PLAIN);
    front_enable(f, 0, 1);
    front_roundtrip(f, 0, 3);
}

static void test_second_client_waits(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(false, PLAIN);
    int first = f->sock;
    VhostUserHeader header = { VHOST_USER_GET_QUEUE_NUM, 1, 0 };
    uint64_t value;

    front_connect(f);
    g_assert_cmpint(send(f->sock, &header, 12, 0), ==, 12);
    front_expect_silence(f);
    close(first);
    front_get_reply(f, VHOST_USER_GET_QUEUE_NUM, &value, 8);
    g_assert_cmpuint(value, ==, ECHO_QUEUES);
}

/* A header that announces more, and a descriptor. */
static void send_half(Front *f)
{
    VhostUserHeader half = { VHOST_USER_SET_VRING_CALL, 1, 8 };

    g_assert_cmpint(send_fds(f->sock, &half, sizeof(half), &f->call[0], 1, 0),
                    ==, sizeof(half));
    front_run_main();
}

/* Leaves at every stage of its life, and nothing stays behind. */
static void test_reconnects(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(opaque != NULL);
    unsigned fds = 0;

    close(f->sock);
    for (unsigned i = 0; i < 1000; i++) {
        front_connect(f);
        if (i % 4 > 0) {
            front_negotiate(f, PLAIN | PROTOCOL);
        }
        if (i % 4 > 1) {
            front_set_up_ring(f, i % ECHO_QUEUES, PLAIN);
            front_enable(f, i % ECHO_QUEUES, 1);
            front_roundtrip(f, i % ECHO_QUEUES, i % 100);
        }
        if (i % 4 > 2) {
            send_half(f);
        }
        if (i == 10) {
            fds = count_fds();
        }
        if (i % 40 == 10) {
            g_assert_cmpuint(count_fds(), ==, fds);
        }
        close(f->sock);
        while (!vhost_user_server_is_busy(f->server) && i % 4 == 0) {
            aio_poll(front_main_ctx, true);
        }
        front_wait_disconnected(f);
    }
    f->sock = -1;
    front_clear_log(); /* half messages were complained of */
}

static void test_server_stop_drains(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    bool stopped = false;

    front_submit_held(f, 0, 1);
    front_roundtrip(f, 0, 2);
    vhost_user_server_stop(f->server, front_set_true, &stopped);
    f->server = NULL;
    front_run_main();
    g_assert_false(stopped);
    g_assert_cmpint(g_access(f->path, F_OK), !=, 0);
    front_release(f, 0);
    while (!stopped) {
        aio_poll(front_main_ctx, true);
    }
    front_expect_answer(f, 0, 1);
    front_expect_closed(f);
    g_assert_null(f->echo->dev.config_changed);
}

/* The server stops while a message waits for its ring. */
static void test_server_stop_while_draining(gconstpointer opaque)
{
    g_autoptr(Front) f = front_running(opaque != NULL, PLAIN);
    VhostUserVringState state = { 0, 0 };
    bool stopped = false;

    front_set_up_ring(f, 1, PLAIN);
    front_enable(f, 1, 1);
    front_submit_held(f, 0, 1);
    front_roundtrip(f, 0, 2);
    front_send(f, VHOST_USER_GET_VRING_BASE, 0, &state, 8, NULL, 0);
    front_run_main();
    vhost_user_server_stop(f->server, front_set_true, &stopped);
    f->server = NULL;
    front_run_main();
    g_assert_false(stopped);
    front_release(f, 0);
    while (!stopped) {
        aio_poll(front_main_ctx, true);
    }
}

/* --- Sockets --- */

static void expect_no_server(Echo *echo, const char *path, const char *why)
{
    GError *error = NULL;

    g_assert_null(vhost_user_server_new_path(&echo->dev, front_main_ctx, path,
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

    echo_init(&echo, front_main_ctx);
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
    f->server = vhost_user_server_new_path(&f->echo->dev, front_main_ctx,
                                           stale, &error);
    g_assert_no_error(error);
    front_connect(f);
    front_negotiate(f, PLAIN);
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
    f->server = vhost_user_server_new_fd(&f->echo->dev, front_main_ctx, fd,
                                         &error);
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
    front_negotiate(f, PLAIN | PROTOCOL);
    front_set_up_ring(f, 0, PLAIN);
    front_enable(f, 0, 1);
    front_roundtrip(f, 0, 1);
    close(f->sock);
    f->sock = -1;
    front_wait_disconnected(f);
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
        front_negotiate(f, PLAIN);
        close(f->sock);
        front_wait_disconnected(f);
    }
    f->sock = -1;
    front_stop_server(f);
    g_assert_cmpint(g_access(path, F_OK), ==, 0); /* not ours */
    g_unlink(path);
}

static int bind_at(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

/* What a process before us has left; unlike one that was given, the file is
 * ours to remove: front_free() looks. */
static void test_kept_fd(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    int fd;

    close(f->sock);
    front_stop_server(f);
    fd = bind_at(f->path);
    f->server = vhost_user_server_new_kept(&f->echo->dev, front_main_ctx,
                                           f->path, fd);
    g_assert_nonnull(f->server);
    g_assert_cmpint(vhost_user_server_listen_fd(f->server), ==, fd);
    front_connect(f);
    front_negotiate(f, PLAIN);
}

static void test_kept_fd_is_elsewhere(gconstpointer opaque)
{
    g_autoptr(Front) f = front_new(false);
    g_autofree char *path = g_build_filename(f->dir, "other", NULL);
    unsigned before = count_fds();
    int connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fds[] = {
        bind_at(path), connected, open("/dev/null", O_RDWR | O_CLOEXEC),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        g_assert_null(vhost_user_server_new_kept(&f->echo->dev, front_main_ctx,
                                                 f->path, fds[i]));
    }
    g_assert_cmpint(g_unlink(path), ==, 0);
    fds[0] = bind_at(path);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_null(vhost_user_server_new_kept(&f->echo->dev, front_main_ctx,
                                             path, fds[0]));
    g_assert_cmpuint(count_fds(), ==, before);
}

static void test_wrong_fd(gconstpointer opaque)
{
    GError *error = NULL;
    unsigned before = count_fds();
    int fds[4];
    Echo echo;

    echo_init(&echo, front_main_ctx);
    fds[0] = -1;
    fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
    fds[2] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    fds[3] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_null(vhost_user_server_new_fd(&echo.dev, front_main_ctx,
                                               fds[i], &error));
        g_assert_nonnull(strstr(error->message, "file descriptor "));
        g_clear_error(&error);
    }
    g_assert_cmpuint(count_fds(), ==, before);
}

static const FrontCase cases[] = {
    { "disconnect-drains", test_disconnect_drains, true },
    { "second-client-waits", test_second_client_waits },
    { "reconnects", test_reconnects, true },
    { "server-stop-drains", test_server_stop_drains, true },
    { "server-stop-while-draining", test_server_stop_while_draining, true },
    { "socket-path", test_socket_path },
    { "socket-replaced", test_socket_replaced },
    { "connected-fd", test_connected_fd },
    { "listening-fd", test_listening_fd },
    { "kept-fd", test_kept_fd },
    { "kept-fd-is-elsewhere", test_kept_fd_is_elsewhere },
    { "wrong-fd", test_wrong_fd },
};

int main(int argc, char **argv)
{
    return front_main(argc, argv, "vhost-user", cases, G_N_ELEMENTS(cases));
}
