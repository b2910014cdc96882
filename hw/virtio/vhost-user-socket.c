/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Listening for front ends. Everything is non-blocking and closed on exec.
 */
#include "vhost-user-socket.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int set_errno_error(GError **error, const char *path, const char *what,
                           int err)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "socket '%s': %s: %s", path, what, g_strerror(err));
    return -1;
}

static bool fill_address(struct sockaddr_un *addr, const char *path,
                         GError **error)
{
    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (!*path || strlen(path) >= sizeof(addr->sun_path)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FILENAME_TOO_LONG,
                    "socket '%s': path is %s (at most %zu bytes)", path,
                    *path ? "too long" : "empty", sizeof(addr->sun_path) - 1);
        return false;
    }
    g_strlcpy(addr->sun_path, path, sizeof(addr->sun_path));
    return true;
}

static int new_socket(const char *path, GError **error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd >= 0 ? fd
                   : set_errno_error(error, path, "cannot make one", errno);
}

/* A socket file nobody listens on is left over from a server that died. */
static bool remove_stale(const struct sockaddr_un *addr, GError **error)
{
    const char *path = addr->sun_path;
    struct stat st;
    int fd, err;

    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        set_errno_error(error, path, "cannot bind", EADDRINUSE);
        return false;
    }
    fd = new_socket(path, error);
    if (fd < 0) {
        return false;
    }
    err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0
              ? errno : 0;
    close(fd);
    if (err != ECONNREFUSED) {
        set_errno_error(error, path, "another process listens there",
                        EADDRINUSE);
        return false;
    }
    if (unlink(path) < 0) {
        set_errno_error(error, path, "cannot remove the stale socket", errno);
        return false;
    }
    return true;
}

static int bind_address(int fd, const struct sockaddr_un *addr)
{
    return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? errno
                                                                      : 0;
}

static bool bind_replacing(int fd, const struct sockaddr_un *addr,
                           GError **error)
{
    int err = bind_address(fd, addr);

    if (err == EADDRINUSE) {
        if (!remove_stale(addr, error)) {
            return false;
        }
        err = bind_address(fd, addr);
    }
    if (err) {
        set_errno_error(error, addr->sun_path, "cannot bind", err);
        return false;
    }
    return true;
}

int vhost_user_socket_listen(const char *path, struct stat *identity,
                             GError **error)
{
    struct sockaddr_un addr;
    int fd, err;

    if (!fill_address(&addr, path, error)) {
        return -1;
    }
    fd = new_socket(path, error);
    if (fd < 0) {
        return -1;
    }
    if (!bind_replacing(fd, &addr, error)) {
        close(fd);
        return -1;
    }
    /* Before listen(): nobody can connect to it earlier. */
    if (chmod(path, 0600) < 0 || lstat(path, identity) < 0 ||
        listen(fd, 1) < 0) {
        err = errno;
        unlink(path);
        close(fd);
        return set_errno_error(error, path, "cannot listen", err);
    }
    return fd;
}

static bool get_int_option(int fd, int option, int *value)
{
    socklen_t len = sizeof(*value);

    return getsockopt(fd, SOL_SOCKET, option, value, &len) == 0;
}

int vhost_user_socket_is_listening(int fd, GError **error)
{
    struct sockaddr_un peer;
    socklen_t len = sizeof(peer);
    int domain, type, listening;

    if (!get_int_option(fd, SO_DOMAIN, &domain) ||
        !get_int_option(fd, SO_TYPE, &type) ||
        !get_int_option(fd, SO_ACCEPTCONN, &listening)) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "file descriptor %d: %s", fd, g_strerror(errno));
        return -1;
    }
    if (domain != AF_UNIX || type != SOCK_STREAM) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "file descriptor %d is no UNIX stream socket", fd);
        return -1;
    }
    if (!listening && getpeername(fd, (struct sockaddr *)&peer, &len) < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "file descriptor %d neither listens nor is connected: %s",
                    fd, g_strerror(errno));
        return -1;
    }
    return listening;
}
