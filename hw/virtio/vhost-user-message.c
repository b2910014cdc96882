/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Framing and checking of vhost-user messages. What a front end may send is
 * one table; what does not fit is refused before any handler sees it.
 *
 * A message that is wrong but has a known end is refused alone. Only when the
 * framing itself cannot be trusted (wrong version, absurd size) is the stream
 * given up.
 */
#include "vhost-user-message.h"

#include <errno.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The wire format has no padding other than its own. */
G_STATIC_ASSERT(sizeof(VhostUserHeader) == 12);
G_STATIC_ASSERT(sizeof(VhostUserVringAddr) == 40);
G_STATIC_ASSERT(sizeof(VhostUserMemTable) == 8 + 8 * 32);
G_STATIC_ASSERT(sizeof(VhostUserMemReg) == 40);
G_STATIC_ASSERT(sizeof(VhostUserInflight) == 24);
G_STATIC_ASSERT(offsetof(VhostUserConfig, data) == VHOST_USER_CONFIG_HEADER);

typedef enum IndexIn {
    INDEX_NONE,
    INDEX_STATE, /* payload.state.index; addr.index lies there too */
    INDEX_U64,   /* low bits of payload.u64, with the NOFD flag */
} IndexIn;

typedef struct RequestShape {
    const char *name;
    uint16_t min_bytes, max_bytes;
    uint8_t min_fds, max_fds;
    IndexIn index;
} RequestShape;

#define U64   sizeof(uint64_t), sizeof(uint64_t)
#define STATE sizeof(VhostUserVringState), sizeof(VhostUserVringState)
#define REG   sizeof(VhostUserMemReg), sizeof(VhostUserMemReg)
#define INFLIGHT VHOST_USER_INFLIGHT_BYTES, sizeof(VhostUserInflight)
#define CONFIG VHOST_USER_CONFIG_HEADER, sizeof(VhostUserConfig)

static const RequestShape shapes[VHOST_USER_REQUEST__COUNT] = {
    [VHOST_USER_GET_FEATURES] = { "GET_FEATURES", 0, 0, 0, 0 },
    [VHOST_USER_SET_FEATURES] = { "SET_FEATURES", U64, 0, 0 },
    [VHOST_USER_SET_OWNER] = { "SET_OWNER", 0, 0, 0, 0 },
    [VHOST_USER_RESET_OWNER] = { "RESET_OWNER", 0, 0, 0, 0 },
    [VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", 8,
                                   sizeof(VhostUserMemTable), 0,
                                   VHOST_USER_MAX_TABLE_REGIONS },
    [VHOST_USER_SET_LOG_BASE] = { "SET_LOG_BASE", sizeof(VhostUserLog),
                                  sizeof(VhostUserLog), 1, 1 },
    /* older texts give it a payload, newer ones none */
    [VHOST_USER_SET_LOG_FD] = { "SET_LOG_FD", 0, sizeof(uint64_t), 1, 1 },
    [VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", STATE, 0, 0,
                                   INDEX_STATE },
    [VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR",
                                    sizeof(VhostUserVringAddr),
                                    sizeof(VhostUserVringAddr), 0, 0,
                                    INDEX_STATE },
    [VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", STATE, 0, 0,
                                    INDEX_STATE },
    [VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", STATE, 0, 0,
                                    INDEX_STATE },
    [VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", U64, 0, 1, INDEX_U64 },
    [VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", U64, 0, 1, INDEX_U64 },
    [VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", U64, 0, 1, INDEX_U64 },
    [VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES",
                                           0, 0, 0, 0 },
    [VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", U64,
                                           0, 0 },
    [VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", 0, 0, 0, 0 },
    [VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", STATE, 0, 0,
                                      INDEX_STATE },
    [VHOST_USER_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", 0, 0, 1, 1 },
    [VHOST_USER_GET_CONFIG] = { "GET_CONFIG", CONFIG, 0, 0 },
    [VHOST_USER_SET_CONFIG] = { "SET_CONFIG", CONFIG, 0, 0 },
    [VHOST_USER_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", INFLIGHT, 0, 0 },
    [VHOST_USER_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", INFLIGHT, 1, 1 },
    [VHOST_USER_RESET_DEVICE] = { "RESET_DEVICE", 0, 0, 0, 0 },
    [VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", 0, 0, 0, 0 },
    [VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", REG, 1, 1 },
    /* some front ends pass the region's descriptor once more */
    [VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", REG, 0, 1 },
    [VHOST_USER_SET_STATUS] = { "SET_STATUS", U64, 0, 0 },
    [VHOST_USER_GET_STATUS] = { "GET_STATUS", 0, 0, 0, 0 },
};

static const RequestShape *find_shape(uint32_t request)
{
    if (request >= VHOST_USER_REQUEST__COUNT || !shapes[request].name) {
        return NULL;
    }
    return &shapes[request];
}

const char *vhost_user_request_name(uint32_t request,
                                    char buf[VHOST_USER_NAME_BYTES])
{
    const RequestShape *shape = find_shape(request);

    if (shape) {
        return shape->name;
    }
    g_snprintf(buf, VHOST_USER_NAME_BYTES, "request %u", request);
    return buf;
}

/* --- Receiving --- */

void vhost_user_receiver_init(VhostUserReceiver *rx)
{
    memset(rx, 0, sizeof(*rx));
}

void vhost_user_message_clear(VhostUserMessage *msg)
{
    for (unsigned i = 0; i < msg->n_fds; i++) {
        if (msg->fds[i] >= 0) {
            close(msg->fds[i]);
        }
    }
    msg->n_fds = 0;
}

void vhost_user_receiver_clear(VhostUserReceiver *rx)
{
    vhost_user_message_clear(&rx->msg);
    rx->have = 0;
}

int vhost_user_message_take_fd(VhostUserMessage *msg, unsigned i)
{
    int fd = msg->fds[i];

    msg->fds[i] = -1;
    return fd;
}

/* Collects descriptors that came with a piece of the message. */
static void store_fds(VhostUserMessage *msg, struct msghdr *hdr)
{
    if (hdr->msg_flags & MSG_CTRUNC) {
        msg->fds_lost = true;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (msg->n_fds < VHOST_USER_MAX_FDS) {
                msg->fds[msg->n_fds++] = fd;
            } else {
                close(fd);
                msg->fds_lost = true;
            }
        }
    }
}

/* One recvmsg() of up to @bytes. Returns what recvmsg() does, or -errno. */
static ssize_t receive_piece(VhostUserMessage *msg, int sock, void *buf,
                             size_t bytes)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(VHOST_USER_MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = { buf, bytes };
    struct msghdr hdr = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof(control),
    };
    ssize_t n;

    do {
        n = recvmsg(sock, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    store_fds(msg, &hdr);
    return n;
}

static bool check_header(const VhostUserHeader *header, GError **error)
{
    char buf[VHOST_USER_NAME_BYTES];

    if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "%s: message has version %u, not 1",
                    vhost_user_request_name(header->request, buf),
                    header->flags & VHOST_USER_VERSION_MASK);
        return false;
    }
    if (header->size > sizeof(VhostUserPayload)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "%s: payload of %u bytes is longer than any message",
                    vhost_user_request_name(header->request, buf),
                    header->size);
        return false;
    }
    return true;
}

/* How many bytes the message has, as far as is known. */
static size_t bytes_wanted(const VhostUserReceiver *rx)
{
    return rx->have < sizeof(VhostUserHeader)
               ? sizeof(VhostUserHeader)
               : sizeof(VhostUserHeader) + rx->msg.header.size;
}

static void *next_byte(VhostUserReceiver *rx)
{
    if (rx->have < sizeof(VhostUserHeader)) {
        return (uint8_t *)&rx->msg.header + rx->have;
    }
    return (uint8_t *)&rx->msg.payload + rx->have - sizeof(VhostUserHeader);
}

static int end_of_stream(const VhostUserReceiver *rx, ssize_t ret,
                         GError **error)
{
    if (ret < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-ret),
                    "cannot read from the front end: %s", g_strerror(-ret));
    } else if (rx->have) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PARTIAL_INPUT,
                    "front end closed within a message");
    }
    return -1;
}

int vhost_user_receive(VhostUserReceiver *rx, int sock, VhostUserMessage *msg,
                       GError **error)
{
    while (rx->have < bytes_wanted(rx)) {
        bool in_header = rx->have < sizeof(VhostUserHeader);
        ssize_t n = receive_piece(&rx->msg, sock, next_byte(rx),
                                  bytes_wanted(rx) - rx->have);

        if (n == -EAGAIN) {
            return 0;
        }
        if (n == -ECONNRESET) {
            n = 0;
        }
        if (n <= 0) {
            return end_of_stream(rx, n, error);
        }
        rx->have += n;
        if (in_header && rx->have == sizeof(VhostUserHeader) &&
            !check_header(&rx->msg.header, error)) {
            return -1;
        }
    }
    *msg = rx->msg;
    vhost_user_receiver_init(rx);
    return 1;
}

/* --- Checking --- */

#define REFUSE(error, ...)                                                  \
    (g_set_error((error), G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,          \
                 __VA_ARGS__), false)

static bool check_fds(const VhostUserMessage *msg, const RequestShape *shape,
                      GError **error)
{
    if (msg->fds_lost) {
        return REFUSE(error, "more than %d file descriptors, or no room for "
                      "them here (the open files limit, ulimit -n)",
                      VHOST_USER_MAX_FDS);
    }
    if (msg->n_fds < shape->min_fds || msg->n_fds > shape->max_fds) {
        return REFUSE(error, "%u file descriptors in place of %u",
                      msg->n_fds, shape->max_fds);
    }
    return true;
}

int vhost_user_message_index(const VhostUserMessage *msg)
{
    const RequestShape *shape = find_shape(msg->header.request);

    switch (shape ? shape->index : INDEX_NONE) {
    case INDEX_STATE:
        return msg->payload.state.index;
    case INDEX_U64:
        return msg->payload.u64 & VHOST_USER_VRING_INDEX_MASK;
    default:
        return -1;
    }
}

static bool check_index(const VhostUserMessage *msg, const RequestShape *shape,
                        unsigned num_queues, GError **error)
{
    uint64_t u64 = msg->payload.u64;
    unsigned index = vhost_user_message_index(msg);

    if (shape->index == INDEX_NONE) {
        return true;
    }
    if (index >= num_queues) {
        return REFUSE(error, "queue %u of %u", index, num_queues);
    }
    if (shape->index == INDEX_U64) {
        unsigned n_fds = u64 & VHOST_USER_VRING_NOFD ? 0 : 1;

        if (u64 & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK |
                              VHOST_USER_VRING_NOFD)) {
            return REFUSE(error, "unknown bits in 0x%" PRIx64, u64);
        }
        if (msg->n_fds != n_fds) {
            return REFUSE(error, "queue %u: %u file descriptors in place of "
                          "%u", index, msg->n_fds, n_fds);
        }
    }
    return true;
}

static bool check_mem_table(const VhostUserMessage *msg, GError **error)
{
    const VhostUserMemTable *table = &msg->payload.table;

    if (table->n_regions > VHOST_USER_MAX_TABLE_REGIONS ||
        msg->header.size < 8 + table->n_regions * sizeof(VhostUserRegion)) {
        return REFUSE(error, "%u regions in %u bytes", table->n_regions,
                      msg->header.size);
    }
    if (msg->n_fds != table->n_regions) {
        return REFUSE(error, "%u regions with %u file descriptors",
                      table->n_regions, msg->n_fds);
    }
    return true;
}

static bool check_config(const VhostUserMessage *msg, GError **error)
{
    const VhostUserConfig *config = &msg->payload.config;

    if (config->offset > VHOST_USER_MAX_CONFIG ||
        config->size > VHOST_USER_MAX_CONFIG - config->offset) {
        return REFUSE(error, "bytes %u to %" PRIu64 " of config space",
                      config->offset,
                      (uint64_t)config->offset + config->size);
    }
    if (msg->header.size != VHOST_USER_CONFIG_HEADER + config->size) {
        return REFUSE(error, "%u bytes of config space in a payload of %u",
                      config->size, msg->header.size);
    }
    if (config->flags > VHOST_USER_CONFIG_LIVE_MIGRATION) {
        return REFUSE(error, "unknown flags 0x%x", config->flags);
    }
    return true;
}

bool vhost_user_message_check(const VhostUserMessage *msg,
                              unsigned num_queues, GError **error)
{
    const VhostUserHeader *header = &msg->header;
    const RequestShape *shape = find_shape(header->request);

    if (!shape) {
        return REFUSE(error, "unknown request");
    }
    if (header->flags & VHOST_USER_REPLY) {
        return REFUSE(error, "a reply to a question not asked");
    }
    if (header->size < shape->min_bytes || header->size > shape->max_bytes) {
        return REFUSE(error, "payload of %u bytes in place of %u",
                      header->size, shape->max_bytes);
    }
    if (!check_fds(msg, shape, error) ||
        !check_index(msg, shape, num_queues, error)) {
        return false;
    }
    switch (header->request) {
    case VHOST_USER_SET_MEM_TABLE:
        return check_mem_table(msg, error);
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
        return check_config(msg, error);
    default:
        return true;
    }
}

/* --- Sending --- */

static void attach_fd(struct msghdr *hdr, int fd)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(hdr);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
}

bool vhost_user_send(int sock, uint32_t request, uint32_t flags,
                     const void *payload, uint32_t bytes, GError **error)
{
    return vhost_user_send_fd(sock, request, flags, payload, bytes, -1,
                              error);
}

bool vhost_user_send_fd(int sock, uint32_t request, uint32_t flags,
                        const void *payload, uint32_t bytes, int fd,
                        GError **error)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    VhostUserHeader header = {
        .request = request, .flags = VHOST_USER_VERSION | flags, .size = bytes,
    };
    struct iovec iov[2] = {
        { &header, sizeof(header) }, { (void *)payload, bytes },
    };
    struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = bytes ? 2 : 1 };
    ssize_t n;

    if (fd >= 0) {
        hdr.msg_control = &control;
        hdr.msg_controllen = sizeof(control);
        attach_fd(&hdr, fd);
    }
    do {
        n = sendmsg(sock, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)(sizeof(header) + bytes)) {
        return true;
    }
    if (n < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot write to the front end: %s", g_strerror(errno));
    } else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK,
                    "cannot write to the front end: it does not read");
    }
    return false;
}
