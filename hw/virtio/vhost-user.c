/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server: one device, one socket, one front end at a time. While a
 * session lasts nobody is accepted; who comes meanwhile waits in the backlog
 * and is served when the device has drained.
 */
#include "hw/virtio/vhost-user.h"
#include "block/log.h"
#include "vhost-user-session.h"
#include "vhost-user-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Wait after running out of file descriptors or memory. */
#define ACCEPT_RETRY_NS (100 * 1000 * 1000)

struct VhostUserServer {
    VirtIODevice *dev;
    AioContext *main_ctx;
    int listen_fd;        /* -1: was given a connection */
    char *path;           /* NULL: not ours to remove */
    struct stat identity; /* of the socket file */
    AioHandler *handler;  /* while listening */
    AioTimer retry;
    VhostUserSession *session;

    bool stopping;
    AioFn *done;
    void *done_opaque;
};

static void start_accepting(VhostUserServer *server);

static void stop_accepting(VhostUserServer *server)
{
    g_clear_pointer(&server->handler, aio_handler_remove);
    aio_timer_disarm(&server->retry);
}

static void config_changed_cb(VirtIODevice *dev, void *opaque)
{
    VhostUserServer *server = opaque;

    if (server->session) {
        vhost_user_session_config_changed(server->session);
    }
}

static void server_free_bh(void *opaque)
{
    VhostUserServer *server = opaque;
    AioFn *done = server->done;
    void *done_opaque = server->done_opaque;

    server->dev->config_changed = NULL;
    server->dev->config_changed_opaque = NULL;
    g_free(server->path);
    g_free(server);
    done(done_opaque);
}

static void session_closed(void *opaque)
{
    VhostUserServer *server = opaque;

    server->session = NULL;
    if (server->stopping) {
        aio_bh_once(server->main_ctx, server_free_bh, server);
    } else if (server->listen_fd >= 0) {
        start_accepting(server);
    }
}

static void serve(VhostUserServer *server, int fd)
{
    server->session = vhost_user_session_new(server->dev, server->main_ctx, fd,
                                             session_closed, server);
}

/* The backlog keeps the descriptor readable: look away for a while. */
static void accept_later(VhostUserServer *server, int err)
{
    log_warn_limited(&server->dev->log_limit,
                     "%s: cannot accept a connection, will try again: %s",
                     server->dev->name, g_strerror(err));
    stop_accepting(server);
    aio_timer_arm(&server->retry, aio_clock_ns() + ACCEPT_RETRY_NS);
}

static void listen_ready(void *opaque)
{
    VhostUserServer *server = opaque;
    int fd = vhost_user_socket_accept(server->listen_fd);

    if (fd >= 0) {
        stop_accepting(server);
        serve(server, fd);
    } else if (errno != EAGAIN && errno != ECONNABORTED) {
        accept_later(server, errno);
    }
}

static void start_accepting(VhostUserServer *server)
{
    static const AioHandlerOps ops = { .ready = listen_ready };

    server->handler = aio_handler_add(server->main_ctx, server->listen_fd,
                                      &ops, server);
    if (!server->handler) {
        accept_later(server, errno);
    }
}

static void retry_accepting(void *opaque)
{
    start_accepting(opaque);
}

static VhostUserServer *server_new(VirtIODevice *dev, AioContext *main_ctx,
                                   int listen_fd)
{
    VhostUserServer *server = g_new0(VhostUserServer, 1);

    server->dev = dev;
    server->main_ctx = main_ctx;
    server->listen_fd = listen_fd;
    aio_timer_init(&server->retry, main_ctx, retry_accepting, server);
    dev->config_changed = config_changed_cb;
    dev->config_changed_opaque = server;
    return server;
}

static bool set_flags(int fd, GError **error)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "file descriptor %d: %s", fd, g_strerror(errno));
        return false;
    }
    return true;
}

/* Takes @listen_fd, which is bound to @path. */
static VhostUserServer *server_new_bound(VirtIODevice *dev,
                                         AioContext *main_ctx, int listen_fd,
                                         const char *path,
                                         const struct stat *identity)
{
    VhostUserServer *server = server_new(dev, main_ctx, listen_fd);

    /* Absolute: the process may have changed its folder when it stops. */
    server->path = g_canonicalize_filename(path, NULL);
    server->identity = *identity;
    start_accepting(server);
    return server;
}

VhostUserServer *vhost_user_server_new_path(VirtIODevice *dev,
                                            AioContext *main_ctx,
                                            const char *path, GError **error)
{
    struct stat identity;
    int fd = vhost_user_socket_listen(path, &identity, error);

    return fd < 0 ? NULL : server_new_bound(dev, main_ctx, fd, path,
                                            &identity);
}

VhostUserServer *vhost_user_server_new_kept(VirtIODevice *dev,
                                            AioContext *main_ctx,
                                            const char *path, int fd)
{
    struct stat identity;

    if (!vhost_user_socket_is_at(fd, path, &identity) ||
        !set_flags(fd, NULL)) {
        close(fd);
        return NULL;
    }
    return server_new_bound(dev, main_ctx, fd, path, &identity);
}

int vhost_user_server_listen_fd(const VhostUserServer *server)
{
    return server->listen_fd;
}

VhostUserServer *vhost_user_server_new_fd(VirtIODevice *dev,
                                          AioContext *main_ctx, int fd,
                                          GError **error)
{
    int listening = vhost_user_socket_is_listening(fd, error);
    VhostUserServer *server;

    if (listening < 0 || !set_flags(fd, error)) {
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    server = server_new(dev, main_ctx, listening ? fd : -1);
    if (listening) {
        start_accepting(server);
    } else {
        serve(server, fd);
    }
    return server;
}

void vhost_user_server_stop(VhostUserServer *server, AioFn *done, void *opaque)
{
    g_assert(!server->stopping);
    server->stopping = true;
    server->done = done;
    server->done_opaque = opaque;
    stop_accepting(server);
    if (server->path) {
        vhost_user_socket_unlink(server->path, &server->identity);
    }
    if (server->listen_fd >= 0) {
        close(server->listen_fd);
    }
    if (server->session) {
        vhost_user_session_close(server->session);
    } else {
        aio_bh_once(server->main_ctx, server_free_bh, server);
    }
}

bool vhost_user_server_connected(const VhostUserServer *server)
{
    return server->session != NULL;
}
