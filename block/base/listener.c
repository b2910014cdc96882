/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Used by hw/virtio/vhost-user-socket.c and monitor/chardev-socket.c, which
 * make sockets each with words of their own for what fails. */
#include "block/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof(listening);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 &&
           listening;
}

static bool get_address(int fd, struct sockaddr_un *addr)
{
    socklen_t len = sizeof(*addr) - 1; /* a zero stays behind it */

    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    return getsockname(fd, (struct sockaddr *)addr, &len) == 0 &&
           addr->sun_family == AF_UNIX;
}

bool listener_is_at(int fd, const char *path, struct stat *identity)
{
    struct sockaddr_un addr;

    return is_listening(fd) && get_address(fd, &addr) &&
           strcmp(addr.sun_path, path) == 0 &&
           lstat(path, identity) == 0 && S_ISSOCK(identity->st_mode);
}

int listener_accept(int fd)
{
    int client;

    do {
        client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (client < 0 && errno == EINTR);
    return client;
}

void listener_close(int fd)
{
    struct sockaddr_un addr;
    struct stat identity;

    if (get_address(fd, &addr) &&
        listener_is_at(fd, addr.sun_path, &identity)) {
        unlink(addr.sun_path);
    }
    close(fd);
}

void listener_unlink(const char *path, const struct stat *identity)
{
    struct stat st;

    if (lstat(path, &st) == 0 && st.st_dev == identity->st_dev &&
        st.st_ino == identity->st_ino) {
        unlink(path);
    }
}
