/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets for monitors: UNIX ones only, because whoever reaches a monitor
 * may do what the program may. Mode 0600, not blocking, closed on exec.
 */
#include "chardev-socket.h"

#include "monitor-handover.h"
#include "block/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct SocketOptions {
    char *path, *fd;
    bool server, wait;
} SocketOptions;

static void socket_options_clear(SocketOptions *o)
{
    g_free(o->path);
    g_free(o->fd);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SocketOptions, socket_options_clear)

static bool fail(GError **error, const char *path, const char *what, int err)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "--chardev: socket '%s': %s: %s", path, what, g_strerror(err));
    return false;
}

static bool refuse(const Options *opts, GError **error, const char *why)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "%s: %s",
                options_what(opts), why);
    return false;
}

static bool take_options(Options *opts, SocketOptions *o, GError **error)
{
    if (options_has(opts, "host") || options_has(opts, "port")) {
        return refuse(opts, error, "a monitor on TCP is not supported: "
                      "give path= of a UNIX socket");
    }
    o->wait = true; /* QEMU's default; nobody is waited for here */
    if (!options_take_str(opts, "path", &o->path, error) ||
        !options_take_str(opts, "fd", &o->fd, error) ||
        !options_take_bool(opts, "server", &o->server, error) ||
        !options_take_bool(opts, "wait", &o->wait, error) ||
        !options_finish(opts, error)) {
        return false;
    }
    if (!o->path == !o->fd) {
        return refuse(opts, error, "one of path= and fd= is needed");
    }
    return true;
}

static bool fill_address(struct sockaddr_un *addr, const char *path,
                         GError **error)
{
    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (!*path || strlen(path) >= sizeof(addr->sun_path)) {
        return fail(error, path, "cannot use the path", ENAMETOOLONG);
    }
    g_strlcpy(addr->sun_path, path, sizeof(addr->sun_path));
    return true;
}

static int connect_to(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 &&
        connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
        int err = errno;

        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

/* What nobody listens on is left over from a server that died. */
static bool remove_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    int fd;

    if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        errno = EADDRINUSE;
        return false;
    }
    fd = connect_to(addr);
    if (fd >= 0 || errno != ECONNREFUSED) {
        if (fd >= 0) {
            close(fd);
        }
        errno = EADDRINUSE;
        return false;
    }
    return unlink(addr->sun_path) == 0;
}

static bool bind_to(int fd, const struct sockaddr_un *addr)
{
    const struct sockaddr *sa = (const struct sockaddr *)addr;

    return bind(fd, sa, sizeof(*addr)) == 0 ||
           (errno == EADDRINUSE && remove_stale(addr) &&
            bind(fd, sa, sizeof(*addr)) == 0);
}

static bool listen_on(ChardevSocket *s, const char *path, GError **error)
{
    struct sockaddr_un addr;
    int fd;

    if (!fill_address(&addr, path, error)) {
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fail(error, path, "cannot make one", errno);
    }
    if (!bind_to(fd, &addr)) {
        fail(error, path, "cannot bind", errno);
        close(fd);
        return false;
    }
    /* before listen(): nobody can connect to it earlier */
    if (chmod(path, 0600) < 0 || lstat(path, &s->identity) < 0 ||
        listen(fd, 1) < 0) {
        fail(error, path, "cannot listen", errno);
        unlink(path);
        close(fd);
        return false;
    }
    s->owns_path = true;
    s->listen_fd = fd;
    return true;
}

static bool listen_kept(ChardevSocket *s, const char *id, const char *path)
{
    int fd = monitor_inherited_listener(id);

    if (fd < 0) {
        return false;
    }
    if (!listener_is_at(fd, path, &s->identity) ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        monitor_forget_listener(id); /* there will be another of that name */
        close(fd);
        return false;
    }
    s->owns_path = true;
    s->listen_fd = fd;
    return true;
}

static bool connect_path(ChardevSocket *s, const char *path, GError **error)
{
    struct sockaddr_un addr;

    if (!fill_address(&addr, path, error)) {
        return false;
    }
    s->fd = connect_to(&addr);
    return s->fd >= 0 || fail(error, path, "cannot connect", errno);
}

/* It was inherited: a number, of a socket, that listens if it is to serve. */
static bool adopt_fd(ChardevSocket *s, const SocketOptions *o, GError **error)
{
    socklen_t length = sizeof(int);
    int listening = 0, flags;
    guint64 number;

    if (!g_ascii_string_to_unsigned(o->fd, 10, 0, G_MAXINT32, &number, NULL)) {
        return fail(error, o->fd, "not the number of a descriptor", EINVAL);
    }
    flags = fcntl((int)number, F_GETFL);
    if (flags < 0 ||
        getsockopt((int)number, SOL_SOCKET, SO_ACCEPTCONN, &listening,
                   &length) < 0 ||
        fcntl((int)number, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0) {
        return fail(error, o->fd, "cannot use the descriptor", errno);
    }
    if (o->server && !listening) {
        return fail(error, o->fd, "server=on and it does not listen", EINVAL);
    }
    *(listening ? &s->listen_fd : &s->fd) = (int)number;
    return true;
}

ChardevSocket *chardev_socket_open(const char *id, Options *opts,
                                   GError **error)
{
    g_auto(SocketOptions) o = { 0 };
    ChardevSocket *s;
    bool ok;

    if (!take_options(opts, &o, error)) {
        return NULL;
    }
    s = g_new0(ChardevSocket, 1);
    s->listen_fd = s->fd = -1;
    s->given = g_strdup(o.path ? o.path : o.fd);
    if (o.fd) {
        ok = adopt_fd(s, &o, error);
    } else if (o.server) {
        ok = listen_kept(s, id, o.path) || listen_on(s, o.path, error);
    } else {
        ok = connect_path(s, o.path, error);
    }
    if (!ok) {
        chardev_socket_free(s);
        return NULL;
    }
    if (s->listen_fd >= 0) {
        monitor_keep_listener(id, s->listen_fd);
    }
    /* absolute: the process may have changed its folder when it ends */
    s->path = o.path ? g_canonicalize_filename(o.path, NULL) : NULL;
    return s;
}

void chardev_socket_free(ChardevSocket *s)
{
    if (s->owns_path) {
        listener_unlink(s->path, &s->identity);
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    g_free(s->path);
    g_free(s->given);
    g_free(s);
}

int chardev_socket_accept(ChardevSocket *s)
{
    return listener_accept(s->listen_fd);
}

char *chardev_socket_name(const ChardevSocket *s, bool connected)
{
    return g_strdup_printf("%s%s:%s%s", connected ? "" : "disconnected:",
                           s->path ? "unix" : "fd", s->given,
                           s->listen_fd >= 0 ? ",server=on" : "");
}
