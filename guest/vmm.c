/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of messages is that of QEMU: features, protocol features, queue
 * count, memory, then each ring. Where the server can acknowledge a message
 * (REPLY_ACK) it is asked to, so that a refusal is seen where it happens.
 */
#include "vmm.h"
#include "vhost-user-client.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WANTED_PROTOCOL_FEATURES \
    (VU_PROTOCOL_MQ | VU_PROTOCOL_REPLY_ACK | VU_PROTOCOL_CONFIG | \
     VU_PROTOCOL_INFLIGHT_SHMFD)

static const char *request_name(uint32_t request)
{
    static const char *const names[] = {
        [VU_GET_FEATURES] = "GET_FEATURES",
        [VU_SET_FEATURES] = "SET_FEATURES",
        [VU_SET_OWNER] = "SET_OWNER",
        [VU_SET_MEM_TABLE] = "SET_MEM_TABLE",
        [VU_SET_VRING_NUM] = "SET_VRING_NUM",
        [VU_SET_VRING_ADDR] = "SET_VRING_ADDR",
        [VU_SET_VRING_BASE] = "SET_VRING_BASE",
        [VU_GET_VRING_BASE] = "GET_VRING_BASE",
        [VU_SET_VRING_KICK] = "SET_VRING_KICK",
        [VU_SET_VRING_CALL] = "SET_VRING_CALL",
        [VU_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
        [VU_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
        [VU_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
        [VU_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
        [VU_GET_CONFIG] = "GET_CONFIG",
        [VU_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
        [VU_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
    };

    return request < G_N_ELEMENTS(names) && names[request] ? names[request]
                                                           : "?";
}

static bool fail(const Vmm *vmm, uint32_t request, int ret, GError **error)
{
    const char *why = ret == -ETIMEDOUT ? "the server does not answer"
                    : ret == -EPIPE ? "the server closed the connection"
                    : ret == -EPROTO ? "the server's answer makes no sense"
                    : "the server refuses it";

    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "socket '%s': %s: %s",
                vmm->path, request_name(request), why);
    return false;
}

/* Sends and waits for the reply to @request. */
static bool call(Vmm *vmm, VuMessage *msg, const int *fd, GError **error)
{
    uint32_t request = msg->header.request;
    uint32_t size = msg->header.size;
    int ret;

    if (!vu_send(vmm->sock, msg, fd, fd ? 1 : 0)) {
        return fail(vmm, request, -EPIPE, error);
    }
    ret = vu_read(vmm->sock, msg, vmm->timeout_ms);
    if (ret == 0 && (msg->header.request != request ||
                     msg->header.size < MIN(size, sizeof(uint64_t)))) {
        ret = -EPROTO;
    }
    return ret == 0 || fail(vmm, request, ret, error);
}

/* Sends what has no reply of its own. */
static bool tell(Vmm *vmm, VuMessage *msg, const int *fd, GError **error)
{
    uint32_t request = msg->header.request;

    if (vmm->protocol_features & VU_PROTOCOL_REPLY_ACK) {
        msg->header.flags |= VU_NEED_REPLY;
        if (!call(vmm, msg, fd, error)) {
            return false;
        }
        return msg->payload.u64 == 0 || fail(vmm, request, -EIO, error);
    }
    return vu_send(vmm->sock, msg, fd, fd ? 1 : 0) ||
           fail(vmm, request, -EPIPE, error);
}

static bool get_u64(Vmm *vmm, uint32_t request, uint64_t *value,
                    GError **error)
{
    VuMessage msg = { .header = { request, VU_VERSION, 0 } };

    if (!call(vmm, &msg, NULL, error)) {
        return false;
    }
    if (msg.header.size != sizeof(uint64_t)) {
        return fail(vmm, request, -EPROTO, error);
    }
    *value = msg.payload.u64;
    return true;
}

static bool set_u64(Vmm *vmm, uint32_t request, uint64_t value, GError **error)
{
    VuMessage msg = {
        .header = { request, VU_VERSION, sizeof(uint64_t) },
        .payload.u64 = value,
    };

    return tell(vmm, &msg, NULL, error);
}

static bool set_state(Vmm *vmm, uint32_t request, unsigned index, uint32_t num,
                      GError **error)
{
    VuMessage msg = {
        .header = { request, VU_VERSION, sizeof(msg.payload.state) },
        .payload.state = { index, num },
    };

    return tell(vmm, &msg, NULL, error);
}

static bool set_fd(Vmm *vmm, uint32_t request, unsigned index, int fd,
                   GError **error)
{
    VuMessage msg = {
        .header = { request, VU_VERSION, sizeof(uint64_t) },
        .payload.u64 = index,
    };

    return tell(vmm, &msg, &fd, error);
}

static bool negotiate(Vmm *vmm, GError **error)
{
    VuMessage owner = { .header = { VU_SET_OWNER, VU_VERSION, 0 } };
    uint64_t value;

    if (!tell(vmm, &owner, NULL, error) ||
        !get_u64(vmm, VU_GET_FEATURES, &vmm->offered, error)) {
        return false;
    }
    if (!(vmm->offered & UINT64_C(1) << VU_F_PROTOCOL_FEATURES)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "socket '%s': the server has no protocol features and "
                    "thus no device configuration", vmm->path);
        return false;
    }
    if (!get_u64(vmm, VU_GET_PROTOCOL_FEATURES, &value, error)) {
        return false;
    }
    value &= WANTED_PROTOCOL_FEATURES;
    if (!set_u64(vmm, VU_SET_PROTOCOL_FEATURES, value, error)) {
        return false;
    }
    vmm->protocol_features = value;
    vmm->max_queues = 1;
    if (value & VU_PROTOCOL_MQ) {
        if (!get_u64(vmm, VU_GET_QUEUE_NUM, &value, error)) {
            return false;
        }
        vmm->max_queues = MIN(value, UINT16_MAX);
    }
    return true;
}

Vmm *vmm_new(const char *path, int timeout_ms, GError **error)
{
    Vmm *vmm;
    int sock = vu_open(path, timeout_ms);

    if (sock < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-sock),
                    "socket '%s': %s", path, g_strerror(-sock));
        return NULL;
    }
    vmm = g_new0(Vmm, 1);
    vmm->path = g_strdup(path);
    vmm->sock = sock;
    vmm->inflight_fd = -1;
    vmm->timeout_ms = timeout_ms;
    if (!negotiate(vmm, error)) {
        g_clear_pointer(&vmm, vmm_free);
    }
    return vmm;
}

void vmm_free(Vmm *vmm)
{
    if (vmm) {
        close(vmm->sock);
        if (vmm->inflight_fd >= 0) {
            close(vmm->inflight_fd);
        }
        g_free(vmm->path);
        g_free(vmm);
    }
}

int vmm_peer(const Vmm *vmm)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(vmm->sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
        cred.pid <= 0) {
        return -1;
    }
    return cred.pid;
}

bool vmm_get_config(Vmm *vmm, void *buf, uint32_t bytes, GError **error)
{
    uint32_t head = offsetof(VuMessage, payload.config.bytes) -
                    offsetof(VuMessage, payload);
    VuMessage msg = {
        .header = { VU_GET_CONFIG, VU_VERSION, head + bytes },
        .payload.config.size = bytes,
    };

    g_assert(bytes <= sizeof(msg.payload.config.bytes));
    if (!(vmm->protocol_features & VU_PROTOCOL_CONFIG)) {
        return fail(vmm, VU_GET_CONFIG, -ENOTSUP, error);
    }
    if (!call(vmm, &msg, NULL, error)) {
        return false;
    }
    if (msg.header.size != head + bytes) {
        return fail(vmm, VU_GET_CONFIG, -EPROTO, error);
    }
    memcpy(buf, msg.payload.config.bytes, bytes);
    return true;
}

bool vmm_set_features(Vmm *vmm, uint64_t features, GError **error)
{
    return set_u64(vmm, VU_SET_FEATURES,
                   features | UINT64_C(1) << VU_F_PROTOCOL_FEATURES, error);
}

bool vmm_set_memory(Vmm *vmm, int fd, size_t bytes, uint64_t guest_addr,
                    uint64_t user_addr, GError **error)
{
    VuMessage msg = {
        .header = { VU_SET_MEM_TABLE, VU_VERSION,
                    8 + sizeof(msg.payload.memory.regions[0]) },
        .payload.memory = {
            .n_regions = 1,
            .regions[0] = {
                .guest_addr = guest_addr,
                .user_addr = user_addr,
                .size = bytes,
            },
        },
    };

    return tell(vmm, &msg, &fd, error);
}

bool vmm_keeps_inflight(const Vmm *vmm)
{
    return vmm->protocol_features & VU_PROTOCOL_INFLIGHT_SHMFD;
}

/* The server makes the area, and it is ours to keep from then on. */
static bool get_inflight(Vmm *vmm, VuMessage *msg, GError **error)
{
    int ret;

    if (!vu_send(vmm->sock, msg, NULL, 0)) {
        return fail(vmm, VU_GET_INFLIGHT_FD, -EPIPE, error);
    }
    ret = vu_read_fd(vmm->sock, msg, vmm->timeout_ms, &vmm->inflight_fd);
    if (ret == 0 && (msg->header.request != VU_GET_INFLIGHT_FD ||
                     msg->header.size != sizeof(msg->payload.inflight))) {
        ret = -EPROTO;
    }
    if (ret == 0 && vmm->inflight_fd < 0) {
        ret = -EIO;
    }
    return ret == 0 || fail(vmm, VU_GET_INFLIGHT_FD, ret, error);
}

bool vmm_keep_inflight(Vmm *vmm, unsigned queues, unsigned queue_size,
                       GError **error)
{
    VuMessage msg = {
        .header = { VU_GET_INFLIGHT_FD, VU_VERSION,
                    sizeof(msg.payload.inflight) },
        .payload.inflight = {
            .num_queues = queues,
            .queue_size = queue_size,
        },
    };

    if (!get_inflight(vmm, &msg, error)) {
        return false;
    }
    msg.header.request = VU_SET_INFLIGHT_FD;
    msg.header.flags = VU_VERSION;
    msg.payload.inflight.num_queues = queues;
    msg.payload.inflight.queue_size = queue_size;
    return tell(vmm, &msg, &vmm->inflight_fd, error);
}

bool vmm_start_ring(Vmm *vmm, const VmmRing *ring, GError **error)
{
    unsigned i = ring->index;
    VuMessage addr = {
        .header = { VU_SET_VRING_ADDR, VU_VERSION, sizeof(addr.payload.addr) },
        .payload.addr = {
            .index = i,
            .desc = ring->desc,
            .avail = ring->avail,
            .used = ring->used,
        },
    };

    return set_state(vmm, VU_SET_VRING_NUM, i, ring->size, error) &&
           set_state(vmm, VU_SET_VRING_BASE, i, ring->base, error) &&
           tell(vmm, &addr, NULL, error) &&
           set_fd(vmm, VU_SET_VRING_CALL, i, ring->call_fd, error) &&
           set_fd(vmm, VU_SET_VRING_KICK, i, ring->kick_fd, error) &&
           set_state(vmm, VU_SET_VRING_ENABLE, i, 1, error);
}

bool vmm_stop_ring(Vmm *vmm, unsigned index, uint32_t *base, GError **error)
{
    VuMessage msg = {
        .header = { VU_GET_VRING_BASE, VU_VERSION,
                    sizeof(msg.payload.state) },
        .payload.state.index = index,
    };

    if (!call(vmm, &msg, NULL, error)) {
        return false;
    }
    *base = msg.payload.state.num;
    return true;
}
