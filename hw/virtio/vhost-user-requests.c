/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each vhost-user request does. A handler runs when its message has been
 * checked and the rings of its scope stand still; it never waits.
 */
#include "vhost-user-requests.h"

#include <gio/gio.h>
#include <inttypes.h>
#include <unistd.h>

#define OUR_FEATURES (VHOST_USER_F_PROTOCOL_FEATURES_BIT | VHOST_F_LOG_ALL_BIT)

#define OUR_PROTOCOL_FEATURES                                         \
    (VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_LOG_SHMFD |     \
     VHOST_USER_PROTOCOL_F_REPLY_ACK |                                \
     VHOST_USER_PROTOCOL_F_BACKEND_REQ |                              \
     VHOST_USER_PROTOCOL_F_CONFIG |                                   \
     VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |                           \
     VHOST_USER_PROTOCOL_F_RESET_DEVICE |                             \
     VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS |                      \
     VHOST_USER_PROTOCOL_F_STATUS)

static uint64_t offered_features(const VhostUserSession *s)
{
    return s->dev->ops->get_features(s->dev) | OUR_FEATURES;
}

static bool refuse(GError **error, const char *why)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "%s", why);
    return false;
}

/* --- Handlers: features --- */

static bool get_features(VhostUserSession *s, VhostUserMessage *msg,
                         GError **error)
{
    vhost_user_session_reply_u64(s, offered_features(s));
    return true;
}

static bool set_features(VhostUserSession *s, VhostUserMessage *msg,
                         GError **error)
{
    uint64_t features = msg->payload.u64;
    uint64_t unknown = features & ~offered_features(s);
    uint64_t changed = features ^ s->env.features;

    if (unknown) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "features 0x%" PRIx64 " were not offered", unknown);
        return false;
    }
    if (!s->features_set || changed & ~OUR_FEATURES) {
        s->dev->ops->set_features(s->dev, features & ~OUR_FEATURES);
    }
    s->env.features = features;
    s->features_set = true;
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        VhostUserRing *ring = &s->rings[i];

        /* without protocol features there is nothing to enable rings with */
        if (!(features & VHOST_USER_F_PROTOCOL_FEATURES_BIT)) {
            ring->enabled = true;
        }
        ring->failed = false;
        if (changed & VHOST_F_LOG_ALL_BIT &&
            ring->state == VHOST_USER_RING_RUNNING) {
            vhost_user_ring_update_log(ring, &s->env);
        }
    }
    return true;
}

/* Logging is switched in running rings; the rest decides how they are read. */
static RingScope set_features_scope(const VhostUserSession *s,
                                    const VhostUserMessage *msg)
{
    uint64_t changed = msg->payload.u64 ^ s->env.features;

    return !s->features_set || changed & ~OUR_FEATURES ? SCOPE_ALL
                                                       : SCOPE_NONE;
}

static bool get_protocol_features(VhostUserSession *s, VhostUserMessage *msg,
                                  GError **error)
{
    vhost_user_session_reply_u64(s, OUR_PROTOCOL_FEATURES);
    return true;
}

static bool set_protocol_features(VhostUserSession *s, VhostUserMessage *msg,
                                  GError **error)
{
    uint64_t unknown = msg->payload.u64 & ~OUR_PROTOCOL_FEATURES;

    if (unknown) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "protocol features 0x%" PRIx64 " were not offered",
                    unknown);
        return false;
    }
    s->protocol_features = msg->payload.u64;
    return true;
}

static bool set_owner(VhostUserSession *s, VhostUserMessage *msg,
                      GError **error)
{
    return true; /* whoever is connected owns the device */
}

static bool get_queue_num(VhostUserSession *s, VhostUserMessage *msg,
                          GError **error)
{
    vhost_user_session_reply_u64(s, s->dev->num_queues);
    return true;
}

/* --- Handlers: memory --- */

static RingScope all_rings(const VhostUserSession *s,
                           const VhostUserMessage *msg)
{
    return SCOPE_ALL;
}

static GuestMemoryRegion to_region(const VhostUserRegion *region, int fd)
{
    return (GuestMemoryRegion){
        .guest_addr = region->guest_addr,
        .user_addr = region->user_addr,
        .size = region->size,
        .mmap_offset = region->mmap_offset,
        .fd = fd,
    };
}

/* Rings find their addresses again in @mem (taken; NULL: an error came). */
static bool use_memory(VhostUserSession *s, GuestMemory *mem)
{
    if (!mem) {
        return false;
    }
    guest_memory_unref(s->env.memory);
    s->env.memory = mem;
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        s->rings[i].failed = false;
    }
    return true;
}

static bool set_mem_table(VhostUserSession *s, VhostUserMessage *msg,
                          GError **error)
{
    const VhostUserMemTable *table = &msg->payload.table;
    GuestMemoryRegion regions[VHOST_USER_MAX_TABLE_REGIONS];

    for (unsigned i = 0; i < table->n_regions; i++) {
        regions[i] = to_region(&table->regions[i], msg->fds[i]);
    }
    return use_memory(s, guest_memory_new(regions, table->n_regions, error));
}

static bool get_max_mem_slots(VhostUserSession *s, VhostUserMessage *msg,
                              GError **error)
{
    vhost_user_session_reply_u64(s, GUEST_MEMORY_MAX_REGIONS);
    return true;
}

static bool add_mem_reg(VhostUserSession *s, VhostUserMessage *msg,
                        GError **error)
{
    GuestMemoryRegion region = to_region(&msg->payload.mem_reg.region,
                                         msg->fds[0]);

    return use_memory(s, guest_memory_with_region(s->env.memory, &region,
                                                  error));
}

static bool rem_mem_reg(VhostUserSession *s, VhostUserMessage *msg,
                        GError **error)
{
    GuestMemoryRegion region = to_region(&msg->payload.mem_reg.region, -1);

    return use_memory(s, guest_memory_without_region(s->env.memory, &region,
                                                     error));
}

/* --- Handlers: dirty log --- */

static void update_logs(VhostUserSession *s)
{
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        if (s->rings[i].state == VHOST_USER_RING_RUNNING) {
            vhost_user_ring_update_log(&s->rings[i], &s->env);
        }
    }
}

static bool set_log_base(VhostUserSession *s, VhostUserMessage *msg,
                         GError **error)
{
    const VhostUserLog *area = &msg->payload.log;
    DirtyLog *log, *old = s->env.log;

    if (!has_protocol(s, VHOST_USER_PROTOCOL_F_LOG_SHMFD)) {
        return refuse(error, "LOG_SHMFD was not negotiated");
    }
    log = dirty_log_new(msg->fds[0], area->mmap_offset, area->mmap_size,
                        error);
    if (!log) {
        return false;
    }
    s->env.log = log;
    update_logs(s);
    dirty_log_unref(old);
    vhost_user_session_reply_u64(s, 0);
    return true;
}

/* An eventfd to tell that the log changed: nobody waits for it. */
static bool set_log_fd(VhostUserSession *s, VhostUserMessage *msg,
                       GError **error)
{
    return true;
}

/* --- Handlers: rings --- */

static RingScope this_ring(const VhostUserSession *s,
                           const VhostUserMessage *msg)
{
    return SCOPE_ONE;
}

static bool set_vring_num(VhostUserSession *s, VhostUserMessage *msg,
                          GError **error)
{
    return vhost_user_ring_set_num(ring_of(s, msg), msg->payload.state.num,
                                   error);
}

static bool set_vring_addr(VhostUserSession *s, VhostUserMessage *msg,
                           GError **error)
{
    return vhost_user_ring_set_addr(ring_of(s, msg), &s->env,
                                    &msg->payload.addr, error);
}

static bool set_vring_base(VhostUserSession *s, VhostUserMessage *msg,
                           GError **error)
{
    return vhost_user_ring_set_base(ring_of(s, msg), msg->payload.state.num,
                                    error);
}

/* The ring has drained: it is the front end's until the next kick fd. */
static bool get_vring_base(VhostUserSession *s, VhostUserMessage *msg,
                           GError **error)
{
    VhostUserRing *ring = ring_of(s, msg);
    VhostUserVringState state = { ring->index, ring->base };

    vhost_user_ring_drop_kick(ring);
    vhost_user_session_reply(s, &state, sizeof(state));
    return true;
}

static int take_ring_fd(VhostUserMessage *msg)
{
    return msg->n_fds ? vhost_user_message_take_fd(msg, 0) : -1;
}

static bool set_vring_kick(VhostUserSession *s, VhostUserMessage *msg,
                           GError **error)
{
    return vhost_user_ring_set_kick(ring_of(s, msg), take_ring_fd(msg), error);
}

static bool set_vring_call(VhostUserSession *s, VhostUserMessage *msg,
                           GError **error)
{
    return vhost_user_ring_set_call(ring_of(s, msg), take_ring_fd(msg), error);
}

static bool set_vring_err(VhostUserSession *s, VhostUserMessage *msg,
                          GError **error)
{
    return vhost_user_ring_set_error(ring_of(s, msg), take_ring_fd(msg),
                                     error);
}

static bool set_vring_enable(VhostUserSession *s, VhostUserMessage *msg,
                             GError **error)
{
    if (msg->payload.state.num > 1) {
        return refuse(error, "neither 0 nor 1");
    }
    ring_of(s, msg)->enabled = msg->payload.state.num;
    return true;
}

static RingScope set_vring_enable_scope(const VhostUserSession *s,
                                        const VhostUserMessage *msg)
{
    return msg->payload.state.num == 0 ? SCOPE_ONE : SCOPE_NONE;
}

/* --- Handlers: what is in flight --- */

/* The front end keeps the area and sends it with SET_INFLIGHT_FD, now and
 * whenever it finds a back end again. */
static bool get_inflight_fd(VhostUserSession *s, VhostUserMessage *msg,
                            GError **error)
{
    VhostUserInflight *area = &msg->payload.inflight;
    Inflight *inflight;
    int fd;

    if (area->num_queues < 1 || area->num_queues > s->dev->num_queues ||
        area->queue_size < 1 || area->queue_size > VIRTQUEUE_MAX_SIZE) {
        return refuse(error, "number or size of queues is out of range");
    }
    inflight = inflight_new(area->num_queues, area->queue_size, &fd, error);
    if (!inflight) {
        return false;
    }
    inflight_free(inflight);
    area->mmap_size = inflight_bytes(area->num_queues, area->queue_size);
    area->mmap_offset = 0;
    vhost_user_session_reply_fd(s, area, msg->header.size, fd);
    close(fd);
    return true;
}

static bool set_inflight_fd(VhostUserSession *s, VhostUserMessage *msg,
                            GError **error)
{
    const VhostUserInflight *area = &msg->payload.inflight;
    Inflight *inflight = inflight_map(msg->fds[0], area->mmap_offset,
                                      area->mmap_size, area->num_queues,
                                      area->queue_size, error);

    if (!inflight) {
        return false;
    }
    vhost_user_session_use_inflight(s, inflight);
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        s->rings[i].failed = false;
    }
    return true;
}

/* --- Handlers: config space --- */

static bool get_config(VhostUserSession *s, VhostUserMessage *msg,
                       GError **error)
{
    VhostUserConfig *config = &msg->payload.config;

    s->dev->ops->get_config(s->dev, config->offset, config->data,
                            config->size);
    vhost_user_session_reply(s, config,
                             VHOST_USER_CONFIG_HEADER + config->size);
    return true;
}

static bool set_config(VhostUserSession *s, VhostUserMessage *msg,
                       GError **error)
{
    const VhostUserConfig *config = &msg->payload.config;
    int ret = s->dev->ops->set_config(s->dev, config->offset, config->data,
                                      config->size);

    /* A migration brings all of it, and most cannot be written. */
    if (ret < 0 && config->flags != VHOST_USER_CONFIG_LIVE_MIGRATION) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-ret),
                    "%u bytes at %u of config space: %s", config->size,
                    config->offset, g_strerror(-ret));
        return false;
    }
    return true;
}

static bool set_backend_req_fd(VhostUserSession *s, VhostUserMessage *msg,
                               GError **error)
{
    if (s->backend_fd >= 0) {
        close(s->backend_fd);
    }
    s->backend_fd = vhost_user_message_take_fd(msg, 0);
    return true;
}

/* --- Handlers: reset --- */

static bool reset_owner(VhostUserSession *s, VhostUserMessage *msg,
                        GError **error)
{
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        s->rings[i].enabled = false;
    }
    return true;
}

static bool reset_device(VhostUserSession *s, VhostUserMessage *msg,
                         GError **error)
{
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        vhost_user_ring_reset(&s->rings[i]);
        if (s->env.inflight) {
            inflight_forget_ring(s->env.inflight, i);
        }
    }
    s->status = 0;
    s->env.features = 0;
    s->features_set = false;
    s->dev->ops->reset(s->dev);
    return true;
}

/*
 * Status 0 stops the rings, no more: QEMU also sends it when it pauses a
 * machine, and the guest does not negotiate again after that. What it wrote
 * to config space (writeback!) has to stay.
 */
static bool set_status(VhostUserSession *s, VhostUserMessage *msg,
                       GError **error)
{
    if (msg->payload.u64 > UINT8_MAX) {
        return refuse(error, "status is a byte");
    }
    s->status = msg->payload.u64;
    for (unsigned i = 0; s->status == 0 && i < s->dev->num_queues; i++) {
        vhost_user_ring_drop_kick(&s->rings[i]);
    }
    return true;
}

static RingScope set_status_scope(const VhostUserSession *s,
                                  const VhostUserMessage *msg)
{
    return msg->payload.u64 == 0 ? SCOPE_ALL : SCOPE_NONE;
}

static bool get_status(VhostUserSession *s, VhostUserMessage *msg,
                       GError **error)
{
    vhost_user_session_reply_u64(s, s->status);
    return true;
}

const VhostUserRequestOps vhost_user_requests[VHOST_USER_REQUEST__COUNT] = {
    [VHOST_USER_GET_FEATURES] = { get_features, NULL, true },
    [VHOST_USER_SET_FEATURES] = { set_features, set_features_scope },
    [VHOST_USER_SET_OWNER] = { set_owner },
    [VHOST_USER_RESET_OWNER] = { reset_owner, all_rings,
                                 .gives_back = true },
    [VHOST_USER_SET_MEM_TABLE] = { set_mem_table, all_rings,
                                   .resumes = true },
    [VHOST_USER_SET_LOG_BASE] = { set_log_base, NULL, true },
    [VHOST_USER_SET_LOG_FD] = { set_log_fd },
    [VHOST_USER_SET_VRING_NUM] = { set_vring_num },
    [VHOST_USER_SET_VRING_ADDR] = { set_vring_addr },
    [VHOST_USER_SET_VRING_BASE] = { set_vring_base },
    [VHOST_USER_GET_VRING_BASE] = { get_vring_base, this_ring, true,
                                    .gives_back = true },
    [VHOST_USER_SET_VRING_KICK] = { set_vring_kick, this_ring },
    [VHOST_USER_SET_VRING_CALL] = { set_vring_call },
    [VHOST_USER_SET_VRING_ERR] = { set_vring_err },
    [VHOST_USER_GET_PROTOCOL_FEATURES] = { get_protocol_features, NULL, true },
    [VHOST_USER_SET_PROTOCOL_FEATURES] = { set_protocol_features },
    [VHOST_USER_GET_QUEUE_NUM] = { get_queue_num, NULL, true },
    [VHOST_USER_SET_VRING_ENABLE] = { set_vring_enable,
                                      set_vring_enable_scope },
    [VHOST_USER_SET_BACKEND_REQ_FD] = { set_backend_req_fd },
    [VHOST_USER_GET_CONFIG] = { get_config, NULL, true },
    [VHOST_USER_SET_CONFIG] = { set_config },
    [VHOST_USER_GET_INFLIGHT_FD] = { get_inflight_fd, NULL, true },
    [VHOST_USER_SET_INFLIGHT_FD] = { set_inflight_fd, all_rings },
    [VHOST_USER_RESET_DEVICE] = { reset_device, all_rings,
                                  .gives_back = true },
    [VHOST_USER_GET_MAX_MEM_SLOTS] = { get_max_mem_slots, NULL, true },
    [VHOST_USER_ADD_MEM_REG] = { add_mem_reg, all_rings, .resumes = true },
    [VHOST_USER_REM_MEM_REG] = { rem_mem_reg, all_rings, .resumes = true },
    [VHOST_USER_SET_STATUS] = { set_status, set_status_scope,
                                .gives_back = true },
    [VHOST_USER_GET_STATUS] = { get_status, NULL, true },
};
