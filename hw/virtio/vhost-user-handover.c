/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection as records, and back: how a process takes over from another
 * one without the front end's knowing. Called by vhost-user-session.c when all
 * rings have stopped.
 *
 * What a front end has said is repeated to the new process by the same setters
 * that its messages go through, with the same checks. What it says meanwhile
 * waits in the socket. docs/reliability.rst lists the records.
 */
#include "vhost-user-requests.h"

#include <gio/gio.h>

/* --- Saving --- */

static bool save_ring(const VhostUserRing *ring, Handover *handover,
                      const char *id, GError **error)
{
    HandoverRecord *record = handover_add(handover, "ring", id);

    handover_put_uint(record, "index", ring->index);
    handover_put_uint(record, "num", ring->num);
    handover_put_uint(record, "base", ring->base);
    handover_put_uint(record, "enabled", ring->enabled);
    handover_put_uint(record, "broken", ring->broken);
    if (ring->have_addr) {
        handover_put_uint(record, "desc", ring->addr.desc);
        handover_put_uint(record, "used", ring->addr.used);
        handover_put_uint(record, "avail", ring->addr.avail);
        handover_put_uint(record, "log", ring->addr.log);
        handover_put_uint(record, "flags", ring->addr.flags);
    }
    return handover_put_fd(record, "kick", ring->kick_fd, error) &&
           handover_put_fd(record, "call", ring->call_fd, error) &&
           handover_put_fd(record, "error", ring->error_fd, error);
}

static bool save_rings(const VhostUserSession *s, Handover *handover,
                       const char *id, GError **error)
{
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        const VhostUserRing *ring = &s->rings[i];
        bool touched = ring->num || ring->have_addr || ring->enabled ||
                       ring->kick_fd >= 0 || ring->call_fd >= 0 ||
                       ring->error_fd >= 0;

        g_assert(ring->state == VHOST_USER_RING_STOPPED);
        if (touched && !save_ring(ring, handover, id, error)) {
            return false;
        }
    }
    return true;
}

static bool save_env(const VhostUserRingEnv *env, Handover *handover,
                     const char *id, GError **error)
{
    return (!env->memory ||
            guest_memory_hand_over(env->memory, handover, id, error)) &&
           (!env->log ||
            dirty_log_hand_over(env->log, handover, id, error)) &&
           (!env->inflight ||
            inflight_hand_over(env->inflight, handover, id, error));
}

/* The record that says that there is a session comes last. */
bool vhost_user_session_save(VhostUserSession *s, Handover *handover,
                             const char *id, GError **error)
{
    HandoverRecord *record;

    if (s->rx.have) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PARTIAL_INPUT,
                    "its front end is in the middle of a message");
        return false;
    }
    if (!save_env(&s->env, handover, id, error) ||
        !save_rings(s, handover, id, error)) {
        return false;
    }
    record = handover_add(handover, "session", id);
    handover_put_uint(record, "features", s->env.features);
    handover_put_uint(record, "features-set", s->features_set);
    handover_put_uint(record, "protocol-features", s->protocol_features);
    handover_put_uint(record, "status", s->status);
    return handover_put_fd(record, "socket", s->fd, error) &&
           handover_put_fd(record, "backend", s->backend_fd, error);
}

/* --- Loading --- */

static bool load_addr(VhostUserRing *ring, const VhostUserRingEnv *env,
                      HandoverRecord *record, GError **error)
{
    VhostUserVringAddr addr = { .index = ring->index };
    uint64_t flags;

    if (!options_has(handover_record_options(record), "desc")) {
        return true;
    }
    if (!handover_need_uint(record, "desc", UINT64_MAX, &addr.desc, error) ||
        !handover_need_uint(record, "used", UINT64_MAX, &addr.used, error) ||
        !handover_need_uint(record, "avail", UINT64_MAX, &addr.avail, error) ||
        !handover_need_uint(record, "log", UINT64_MAX, &addr.log, error) ||
        !handover_need_uint(record, "flags", UINT32_MAX, &flags, error)) {
        return false;
    }
    addr.flags = flags;
    /* one that was not in the memory table is not, still: not started */
    if (!vhost_user_ring_set_addr(ring, env, &addr, NULL)) {
        ring->addr = addr;
        ring->have_addr = true;
    }
    return true;
}

static bool load_fds(VhostUserRing *ring, HandoverRecord *record,
                     GError **error)
{
    static const struct {
        const char *key;
        bool (*set)(VhostUserRing *ring, int fd, GError **error);
    } fds[] = {
        { "kick", vhost_user_ring_set_kick },
        { "call", vhost_user_ring_set_call },
        { "error", vhost_user_ring_set_error },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        int fd = handover_take_fd(record, fds[i].key);

        if (fd >= 0 && !fds[i].set(ring, fd, error)) {
            return false;
        }
    }
    return true;
}

static bool load_ring(VhostUserSession *s, HandoverRecord *record,
                      GError **error)
{
    uint64_t index, num, base, enabled, broken;
    VhostUserRing *ring;

    if (!handover_need_uint(record, "index", s->dev->num_queues - 1, &index,
                            error) ||
        !handover_need_uint(record, "num", UINT32_MAX, &num, error) ||
        !handover_need_uint(record, "base", UINT32_MAX, &base, error) ||
        !handover_need_uint(record, "enabled", 1, &enabled, error) ||
        !handover_need_uint(record, "broken", 1, &broken, error)) {
        return false;
    }
    ring = &s->rings[index];
    if ((num && !vhost_user_ring_set_num(ring, num, error)) ||
        !vhost_user_ring_set_base(ring, base, error) ||
        !load_addr(ring, &s->env, record, error) ||
        !load_fds(ring, record, error)) {
        return false;
    }
    ring->enabled = enabled;
    ring->broken = broken;
    return handover_record_finish(record, error);
}

static bool load_rings(VhostUserSession *s, Handover *handover,
                       const char *id, GError **error)
{
    HandoverRecord *record;
    bool ok = true;

    while (ok && (record = handover_take(handover, "ring", id))) {
        ok = load_ring(s, record, error);
        handover_record_free(record);
    }
    return ok;
}

/* As SET_FEATURES does it: the device has to offer what the guest uses. */
static bool load_features(VhostUserSession *s, HandoverRecord *record,
                          GError **error)
{
    VhostUserMessage features = { .n_fds = 0 }, protocol = { .n_fds = 0 };
    uint64_t set, status;

    if (!handover_need_uint(record, "features", UINT64_MAX,
                            &features.payload.u64, error) ||
        !handover_need_uint(record, "features-set", 1, &set, error) ||
        !handover_need_uint(record, "protocol-features", UINT64_MAX,
                            &protocol.payload.u64, error) ||
        !handover_need_uint(record, "status", UINT8_MAX, &status, error)) {
        return false;
    }
    s->status = status;
    return vhost_user_requests[VHOST_USER_SET_PROTOCOL_FEATURES].handle(
               s, &protocol, error) &&
           (!set || vhost_user_requests[VHOST_USER_SET_FEATURES].handle(
                        s, &features, error));
}

static bool load_env(VhostUserSession *s, Handover *handover, const char *id,
                     GError **error)
{
    Inflight *inflight;

    if (!guest_memory_take_over(handover, id, &s->env.memory, error) ||
        !dirty_log_take_over(handover, id, &s->env.log, error) ||
        !inflight_take_over(handover, id, &inflight, error)) {
        return false;
    }
    vhost_user_session_use_inflight(s, inflight);
    return true;
}

bool vhost_user_session_load(VhostUserSession *s, Handover *handover,
                             HandoverRecord *record, GError **error)
{
    const char *id = handover_record_id(record);

    s->fd = handover_take_fd(record, "socket");
    s->backend_fd = handover_take_fd(record, "backend");
    if (s->fd < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "session '%s' without its socket", id);
        return false;
    }
    return load_features(s, record, error) &&
           load_env(s, handover, id, error) &&
           load_rings(s, handover, id, error) &&
           handover_record_finish(record, error);
}
