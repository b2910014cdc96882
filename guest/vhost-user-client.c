/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plain blocking messages over a UNIX socket. Called by vmm.c, and by
 * tests that send what no front end would.
 */
#include "vhost-user-client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 30000

int vu_open(const char *path, int timeout_ms)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    gint64 give_up = g_get_monotonic_time() + timeout_ms * INT64_C(1000);
    int sock, ret;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        return -ENAMETOOLONG;
    }
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0) {
        return -errno;
    }
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    while (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        ret = -errno;
        if (g_get_monotonic_time() > give_up) {
            close(sock);
            return ret;
        }
        g_usleep(1000); /* a program that is starting up has no other sign */
    }
    return sock;
}

int vu_connect(const char *path)
{
    int sock = vu_open(path, PATIENCE_MS);

    if (sock < 0) {
        g_error("%s: %s", path, g_strerror(-sock));
    }
    return sock;
}

bool vu_send(int sock, const VuMessage *msg, const int *fds, unsigned n_fds)
{
    size_t len = sizeof(msg->header) + MIN(msg->header.size, VU_MAX_PAYLOAD);
    struct iovec iov = { .iov_base = (void *)msg, .iov_len = len };
    char control[CMSG_SPACE(VU_MAX_FDS * sizeof(int))] = { 0 };
    struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t ret;

    g_assert_cmpuint(n_fds, <=, VU_MAX_FDS);
    if (n_fds > 0) {
        struct cmsghdr *cmsg;

        mh.msg_control = control;
        mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&mh);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
    }
    do {
        ret = sendmsg(sock, &mh, MSG_NOSIGNAL);
    } while (ret < 0 && errno == EINTR);
    return ret == (ssize_t)len;
}

/* A piece of a message; *fd is set when a descriptor comes with it. */
static ssize_t receive_fd(int sock, void *buf, size_t bytes, int *fd)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { buf, bytes };
    struct msghdr hdr = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof(control),
    };
    ssize_t ret = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = ret > 0 ? CMSG_FIRSTHDR(&hdr) : NULL;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    }
    return ret;
}

/* @fd: NULL where no descriptor is expected. */
static int read_all(int sock, void *buf, size_t bytes, int timeout_ms, int *fd)
{
    while (bytes > 0) {
        struct pollfd pfd = { .fd = sock, .events = POLLIN };
        ssize_t ret;

        if (poll(&pfd, 1, timeout_ms) == 0) {
            return -ETIMEDOUT;
        }
        ret = fd ? receive_fd(sock, buf, bytes, fd)
                 : recv(sock, buf, bytes, 0);
        if (ret < 0 && errno == EINTR) {
            continue;
        }
        if (ret <= 0) {
            return -EPIPE;
        }
        buf = (char *)buf + ret;
        bytes -= ret;
    }
    return 0;
}

int vu_read(int sock, VuMessage *msg, int timeout_ms)
{
    return vu_read_fd(sock, msg, timeout_ms, NULL);
}

int vu_read_fd(int sock, VuMessage *msg, int timeout_ms, int *fd)
{
    int ret;

    if (fd) {
        *fd = -1;
    }
    ret = read_all(sock, &msg->header, sizeof(msg->header), timeout_ms, fd);

    if (ret < 0) {
        return ret;
    }
    if (msg->header.size > VU_MAX_PAYLOAD ||
        !(msg->header.flags & VU_REPLY)) {
        return -EPROTO;
    }
    return read_all(sock, &msg->payload, msg->header.size, timeout_ms, NULL);
}

bool vu_recv(int sock, VuMessage *msg)
{
    int ret = vu_read(sock, msg, PATIENCE_MS);

    if (ret < 0 && ret != -EPIPE) {
        g_error("no answer from the server: %s", g_strerror(-ret));
    }
    return ret == 0;
}

void vu_call(int sock, uint32_t request, VuMessage *msg, uint32_t size)
{
    msg->header = (VuHeader) { request, VU_VERSION, size };
    g_assert_true(vu_send(sock, msg, NULL, 0));
    g_assert_true(vu_recv(sock, msg));
    g_assert_cmpuint(msg->header.request, ==, request);
}

uint64_t vu_get_u64(int sock, uint32_t request)
{
    VuMessage msg = { 0 };

    vu_call(sock, request, &msg, 0);
    g_assert_cmpuint(msg.header.size, ==, sizeof(uint64_t));
    return msg.payload.u64;
}

void vu_set_u64(int sock, uint32_t request, uint64_t value)
{
    VuMessage msg = {
        .header = { request, VU_VERSION, sizeof(uint64_t) },
        .payload.u64 = value,
    };

    g_assert_true(vu_send(sock, &msg, NULL, 0));
}

void vu_set_state(int sock, uint32_t request, uint32_t index, uint32_t num)
{
    VuMessage msg = {
        .header = { request, VU_VERSION, sizeof(msg.payload.state) },
        .payload.state = { index, num },
    };

    g_assert_true(vu_send(sock, &msg, NULL, 0));
}

uint32_t vu_get_base(int sock, uint32_t index)
{
    VuMessage msg = { .payload.state.index = index };

    vu_call(sock, VU_GET_VRING_BASE, &msg, sizeof(msg.payload.state));
    g_assert_cmpuint(msg.payload.state.index, ==, index);
    return msg.payload.state.num;
}

void vu_set_fd(int sock, uint32_t request, uint32_t index, int fd)
{
    VuMessage msg = {
        .header = { request, VU_VERSION, sizeof(uint64_t) },
        .payload.u64 = index | (fd < 0 ? VU_VRING_NOFD : 0),
    };

    g_assert_true(vu_send(sock, &msg, &fd, fd < 0 ? 0 : 1));
}
