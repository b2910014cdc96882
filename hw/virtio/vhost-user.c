/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server: one device, one socket, one front end at a time. While a
 * session lasts nobody is accepted; who comes meanwhile waits in the backlog
 * and is served when the device has drained.
 */
#include "hw/virtio/vhost-user.h"
#include "block/listener.h"
#include "block/log.h"
#include "vhost-user-session.h"
#include "vhost-user-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
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

    bool resumed;         /* or never taken over: all of it is ours */
    bool paused;          /* nobody is accepted */
    Handover *handover;   /* where it goes while it stops; NULL: nowhere */
    char *handover_id;

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

/* What the device would tell the process after a crash of this one. */
static uint64_t device_word(VirtIODevice *dev)
{
    uint64_t word = 0;

    if (dev->ops->keep_state) {
        dev->ops->keep_state(dev, &word);
        dev->ops->keep_state(dev, NULL);
    }
    return word;
}

static void save(VhostUserServer *server)
{
    HandoverRecord *record = handover_add(server->handover, "server",
                                          server->handover_id);
    g_autoptr(GError) error = NULL;

    handover_put_uint(record, "device", device_word(server->dev));
    if (server->path) {
        handover_put_str(record, "path", server->path);
    }
    if (!handover_put_fd(record, "listen", server->listen_fd, &error)) {
        log_warn("%s: its socket is not handed over: %s", server->dev->name,
                 error->message);
    }
}

static void server_free_bh(void *opaque)
{
    VhostUserServer *server = opaque;
    AioFn *done = server->done;
    void *done_opaque = server->done_opaque;

    if (server->handover) {
        save(server);
    }
    if (server->listen_fd >= 0) {
        close(server->listen_fd);
    }
    g_free(server->handover_id);
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
    } else if (server->listen_fd >= 0 && !server->paused) {
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
    int fd = listener_accept(server->listen_fd);

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
    server->resumed = true;
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

    if (!listener_is_at(fd, path, &identity) ||
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

static void begin_stop(VhostUserServer *server, AioFn *done, void *opaque)
{
    g_assert(!server->stopping);
    server->stopping = true;
    server->done = done;
    server->done_opaque = opaque;
    stop_accepting(server);
}

void vhost_user_server_stop(VhostUserServer *server, AioFn *done, void *opaque)
{
    begin_stop(server, done, opaque);
    if (server->path && server->resumed) {
        listener_unlink(server->path, &server->identity);
    }
    if (server->listen_fd >= 0) {
        close(server->listen_fd);
        server->listen_fd = -1;
    }
    if (server->session) {
        vhost_user_session_close(server->session);
    } else {
        aio_bh_once(server->main_ctx, server_free_bh, server);
    }
}

/* --- From one process to another --- */

void vhost_user_server_pause(VhostUserServer *server)
{
    g_assert(!server->stopping && !server->paused);
    server->paused = true;
    stop_accepting(server);
    if (server->session) {
        vhost_user_session_pause(server->session);
    }
}

bool vhost_user_server_is_paused(const VhostUserServer *server)
{
    return server->paused && (!server->session ||
                              vhost_user_session_is_paused(server->session));
}

void vhost_user_server_hand_over(VhostUserServer *server, Handover *handover,
                                 const char *id, AioFn *done, void *opaque)
{
    begin_stop(server, done, opaque);
    server->handover = handover;
    server->handover_id = g_strdup(id);
    if (server->session) {
        vhost_user_session_hand_over(server->session, handover, id);
    } else {
        aio_bh_once(server->main_ctx, server_free_bh, server);
    }
}

bool vhost_user_server_in_handover(const Handover *handover, const char *id)
{
    return handover && handover_has(handover, "server", id);
}

static bool check_path(const char *wanted, const char *path, GError **error)
{
    g_autofree char *full = wanted ? g_canonicalize_filename(wanted, NULL)
                                   : NULL;

    if (full && path && strcmp(full, path) != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "the process it is taken over from listens on '%s', not "
                    "on '%s'", path, full);
        return false;
    }
    return true;
}

/* A socket file that is gone or another's by now is not ours to remove. */
static void adopt_path(VhostUserServer *server, char *path)
{
    if (path && lstat(path, &server->identity) == 0 &&
        S_ISSOCK(server->identity.st_mode)) {
        server->path = g_strdup(path);
    }
}

static VhostUserServer *load(VhostUserServer *server, const char *wanted,
                             HandoverRecord *record, GError **error)
{
    Options *options = handover_record_options(record);
    const VirtIODeviceOps *ops = server->dev->ops;
    g_autofree char *path = NULL;
    uint64_t word;

    if (!handover_need_uint(record, "device", UINT64_MAX, &word, error) ||
        !options_take_str(options, "path", &path, error) ||
        !check_path(wanted, path, error)) {
        return NULL;
    }
    server->listen_fd = handover_take_fd(record, "listen");
    adopt_path(server, path);
    if (ops->keep_state) {
        ops->keep_state(server->dev, &word);
        ops->keep_state(server->dev, NULL);
    }
    return handover_record_finish(record, error) ? server : NULL;
}

VhostUserServer *vhost_user_server_take_over(VirtIODevice *dev,
                                             AioContext *main_ctx,
                                             const char *path,
                                             Handover *handover,
                                             const char *id, GError **error)
{
    g_autoptr(HandoverRecord) record = handover_take(handover, "server", id);
    VhostUserServer *server = server_new(dev, main_ctx, -1);
    GError *err = NULL;

    server->resumed = false;
    server->paused = true;
    if (load(server, path, record, &err)) {
        server->session = vhost_user_session_take_over(dev, main_ctx, handover,
                                                       id, &err);
    }
    if (server->session) {
        vhost_user_session_on_closed(server->session, session_closed, server);
    }
    if (!err) {
        return server;
    }
    g_propagate_error(error, err);
    dev->config_changed = NULL;
    if (server->listen_fd >= 0) {
        close(server->listen_fd);
    }
    g_free(server->path);
    g_free(server);
    return NULL;
}

unsigned vhost_user_server_resume(VhostUserServer *server)
{
    g_assert(server->paused && !server->stopping);
    server->resumed = true;
    server->paused = false;
    if (server->session) {
        return vhost_user_session_resume(server->session);
    }
    if (server->listen_fd >= 0) {
        start_accepting(server);
    }
    return 0;
}

bool vhost_user_server_is_busy(const VhostUserServer *server)
{
    return server->session;
}

bool vhost_user_server_connected(const VhostUserServer *server)
{
    return server->session && vhost_user_session_connected(server->session);
}
