/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a message is handled: it is read and checked (vhost-user-message.c);
 * if what it changes must not change under a running ring, the rings
 * concerned are stopped first, which drains them; its handler then runs, does
 * nothing that waits, and is answered; at last every ring that has all it
 * needs is started (again).
 *
 *   READING   the socket is watched
 *   DRAINING  a message is held back until its rings have stopped; the
 *             socket is not read, nobody else is kept waiting
 *   PAUSED    all rings stop, or have stopped, until somebody resumes them
 *   CLOSING   likewise, and then the session is freed
 */
#include "vhost-user-requests.h"
#include "block/log.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* Messages handled before other work of the main loop gets its turn. */
#define MESSAGES_PER_ROUND 16

/* --- Replies --- */

/* The front end can cause it as often as it likes. */
static void warn(const VhostUserSession *s, const char *what, const char *why)
{
    log_warn_limited(&s->dev->log_limit, "%s: %s: %s", s->dev->name, what,
                     why);
}

static void warn_refused(const VhostUserSession *s, const char *why)
{
    char buf[VHOST_USER_NAME_BYTES];
    g_autofree char *what = g_strdup_printf(
        "%s refused", vhost_user_request_name(s->msg.header.request, buf));

    warn(s, what, why);
}

void vhost_user_session_reply_fd(VhostUserSession *s, const void *payload,
                                 uint32_t bytes, int fd)
{
    g_autoptr(GError) error = NULL;

    if (!vhost_user_send_fd(s->fd, s->msg.header.request, VHOST_USER_REPLY,
                            payload, bytes, fd, &error)) {
        warn(s, "closing the connection", error->message);
        vhost_user_session_close(s);
    }
}

void vhost_user_session_reply(VhostUserSession *s, const void *payload,
                              uint32_t bytes)
{
    vhost_user_session_reply_fd(s, payload, bytes, -1);
}

void vhost_user_session_reply_u64(VhostUserSession *s, uint64_t value)
{
    vhost_user_session_reply(s, &value, sizeof(value));
}

/* --- From message to message --- */

static void session_read_on(VhostUserSession *s);
static void session_free_bh(void *opaque);
static void close_when_drained(VhostUserSession *s);
static void pause_now(VhostUserSession *s);
static unsigned resume_now(VhostUserSession *s);

static void set_running(VhostUserSession *s, bool running)
{
    if (s->running != running) {
        s->running = running;
        if (s->dev->ops->set_running) {
            s->dev->ops->set_running(s->dev, running);
        }
    }
}

/* Whoever is complete and stands still, runs. */
static void start_rings(VhostUserSession *s)
{
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        VhostUserRing *ring = &s->rings[i];
        g_autoptr(GError) error = NULL;

        if (!vhost_user_ring_can_start(ring, &s->env)) {
            continue;
        }
        set_running(s, true);
        if (!vhost_user_ring_start(ring, &s->env, &error)) {
            warn(s, "not started", error->message);
        }
    }
}

static bool any_ring_runs(const VhostUserSession *s)
{
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        if (s->rings[i].state != VHOST_USER_RING_STOPPED) {
            return true;
        }
    }
    return false;
}

/* Others stop to go on. */
static bool gives_last_ring_back(const VhostUserSession *s)
{
    const VhostUserRequestOps *request =
        &vhost_user_requests[s->msg.header.request];

    return request->gives_back &&
           request->scope(s, &s->msg) != SCOPE_NONE && !any_ring_runs(s);
}

/*
 * Answers a refused message in the way its sender can understand. Where
 * nothing but a body would do, and there is none, the connection ends: the
 * front end would wait for ever.
 */
static void answer_refused(VhostUserSession *s, bool acknowledge)
{
    uint32_t request = s->msg.header.request;
    bool body = request < VHOST_USER_REQUEST__COUNT &&
                vhost_user_requests[request].replies;

    if (request == VHOST_USER_GET_CONFIG) {
        vhost_user_session_reply(s, NULL, 0);
    } else if (request == VHOST_USER_SET_LOG_BASE &&
               has_protocol(s, VHOST_USER_PROTOCOL_F_LOG_SHMFD)) {
        vhost_user_session_reply_u64(s, 1);
    } else if (body && request != VHOST_USER_SET_LOG_BASE) {
        vhost_user_session_close(s);
    } else if (acknowledge) {
        vhost_user_session_reply_u64(s, 1);
    }
}

static bool wants_ack(const VhostUserSession *s)
{
    return s->msg.header.flags & VHOST_USER_NEED_REPLY &&
           has_protocol(s, VHOST_USER_PROTOCOL_F_REPLY_ACK);
}

static void finish_message(VhostUserSession *s, const GError *error)
{
    if (error) {
        warn_refused(s, error->message);
        answer_refused(s, wants_ack(s));
    } else if (wants_ack(s) &&
               !vhost_user_requests[s->msg.header.request].replies) {
        vhost_user_session_reply_u64(s, 0);
    }
    vhost_user_message_clear(&s->msg);
}

/* No ring that matters runs any more. The rings are started before the
 * answer, which says that all is in place. */
static void execute_message(VhostUserSession *s)
{
    g_autoptr(GError) error = NULL;

    if (gives_last_ring_back(s)) {
        set_running(s, false);
    }
    vhost_user_requests[s->msg.header.request].handle(s, &s->msg, &error);
    if (s->state != SESSION_CLOSING) {
        start_rings(s);
    }
    finish_message(s, error);
}

/*
 * The next start of a ring that has come to its end may be that of another
 * ring in the same memory: the guest was reset. What a ring had in flight that
 * did not run here, or was left in the middle, stays on record.
 */
static void forget_settled(VhostUserSession *s)
{
    for (unsigned i = 0; s->env.inflight && i < s->dev->num_queues; i++) {
        if (s->rings[i].settled) {
            inflight_forget_ring(s->env.inflight, i);
            s->rings[i].settled = false;
        }
    }
}

static void message_drained(VhostUserSession *s)
{
    s->state = SESSION_READING;
    forget_settled(s);
    execute_message(s);
    if (s->state != SESSION_READING) {
        return;
    }
    if (s->handover) {
        vhost_user_session_close(s);
    } else if (s->pause) {
        pause_now(s);
    } else {
        session_read_on(s);
    }
}

/* A ring has stopped; the last one lets things go on. */
static void ring_stopped(void *opaque)
{
    VhostUserSession *s = opaque;

    if (--s->stopping) {
        return;
    }
    if (s->state == SESSION_CLOSING) {
        close_when_drained(s); /* the other rings */
    } else if (s->state == SESSION_DRAINING) {
        message_drained(s);
    } else if (!s->pause) {
        resume_now(s);
    }
}

static void stop_ring(VhostUserSession *s, VhostUserRing *ring)
{
    if (ring->state == VHOST_USER_RING_RUNNING) {
        s->stopping++;
        ring->resumes = s->state != SESSION_READING ||
                        vhost_user_requests[s->msg.header.request].resumes;
        vhost_user_ring_stop(ring, ring_stopped, s);
    }
}

static void stop_rings(VhostUserSession *s, RingScope scope)
{
    if (scope == SCOPE_ONE) {
        stop_ring(s, ring_of(s, &s->msg));
    }
    for (unsigned i = 0; scope == SCOPE_ALL && i < s->dev->num_queues; i++) {
        stop_ring(s, &s->rings[i]);
    }
}

static void stop_reading(VhostUserSession *s)
{
    g_clear_pointer(&s->handler, aio_handler_remove);
}

static void dispatch_message(VhostUserSession *s)
{
    const VhostUserRequestOps *request;
    g_autoptr(GError) error = NULL;

    if (!vhost_user_message_check(&s->msg, s->dev->num_queues, &error)) {
        finish_message(s, error);
        return;
    }
    request = &vhost_user_requests[s->msg.header.request];
    if (request->scope) {
        stop_rings(s, request->scope(s, &s->msg));
    }
    if (s->stopping) {
        s->state = SESSION_DRAINING;
        stop_reading(s);
    } else {
        execute_message(s);
    }
}

static void session_ready(void *opaque)
{
    VhostUserSession *s = opaque;

    for (unsigned n = 0;
         n < MESSAGES_PER_ROUND && s->state == SESSION_READING; n++) {
        g_autoptr(GError) error = NULL;
        int ret = vhost_user_receive(&s->rx, s->fd, &s->msg, &error);

        if (ret == 0) {
            return;
        }
        if (ret < 0) {
            if (error) {
                warn(s, "closing the connection", error->message);
            }
            vhost_user_session_close(s);
            return;
        }
        dispatch_message(s);
    }
}

static void session_read_on(VhostUserSession *s)
{
    static const AioHandlerOps ops = { .ready = session_ready };

    s->handler = aio_handler_add(s->main_ctx, s->fd, &ops, s);
    if (!s->handler) {
        warn(s, "closing the connection, which cannot be watched",
             g_strerror(errno));
        vhost_user_session_close(s);
    }
}

/* --- Life --- */

static VhostUserSession *session_alloc(VirtIODevice *dev, AioContext *main_ctx,
                                       int fd)
{
    VhostUserSession *s = g_new0(VhostUserSession, 1);

    s->dev = dev;
    s->main_ctx = main_ctx;
    s->fd = fd;
    s->backend_fd = -1;
    vhost_user_receiver_init(&s->rx);
    s->rings = g_new0(VhostUserRing, dev->num_queues);
    for (unsigned i = 0; i < dev->num_queues; i++) {
        vhost_user_ring_init(&s->rings[i], dev, main_ctx, i);
    }
    return s;
}

VhostUserSession *vhost_user_session_new(VirtIODevice *dev,
                                         AioContext *main_ctx, int fd,
                                         AioFn *closed, void *opaque)
{
    VhostUserSession *s = session_alloc(dev, main_ctx, fd);

    vhost_user_session_on_closed(s, closed, opaque);
    session_read_on(s);
    return s;
}

void vhost_user_session_use_inflight(VhostUserSession *s, Inflight *inflight)
{
    if (s->dev->ops->keep_state && (inflight || s->env.inflight)) {
        s->dev->ops->keep_state(s->dev, inflight
                                            ? inflight_device_word(inflight)
                                            : NULL);
    }
    inflight_free(s->env.inflight);
    s->env.inflight = inflight;
}

/* Freed from the loop: the caller may be one of the handlers above. */
static void close_when_drained(VhostUserSession *s)
{
    stop_rings(s, SCOPE_ALL);
    if (!s->stopping) {
        aio_bh_once(s->main_ctx, session_free_bh, s);
    }
}

void vhost_user_session_close(VhostUserSession *s)
{
    if (s->state == SESSION_CLOSING) {
        return;
    }
    s->state = SESSION_CLOSING;
    stop_reading(s);
    if (!s->stopping) { /* else ring_stopped() goes on */
        close_when_drained(s);
    }
}

/* All rings have stopped. What is left is closed: the process that took over,
 * if one did, has its own. */
static void session_free(VhostUserSession *s)
{
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        vhost_user_ring_clear(&s->rings[i]);
    }
    g_free(s->rings);
    vhost_user_session_use_inflight(s, NULL);
    vhost_user_message_clear(&s->msg);
    vhost_user_receiver_clear(&s->rx);
    guest_memory_unref(s->env.memory);
    dirty_log_unref(s->env.log);
    if (s->backend_fd >= 0) {
        close(s->backend_fd);
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    g_free(s->handover_id);
    g_free(s);
}

static void session_free_bh(void *opaque)
{
    VhostUserSession *s = opaque;
    AioFn *closed = s->closed;
    void *closed_opaque = s->closed_opaque;
    g_autoptr(GError) error = NULL;

    if (s->handover &&
        !vhost_user_session_save(s, s->handover, s->handover_id, &error)) {
        warn(s, "the connection is closed, not handed over", error->message);
        handover_drop(s->handover, s->handover_id);
    }
    if (!s->handover) {
        set_running(s, false);
    }
    session_free(s);
    closed(closed_opaque);
}

static void pause_now(VhostUserSession *s)
{
    s->state = SESSION_PAUSED;
    stop_reading(s);
    stop_rings(s, SCOPE_ALL);
}

void vhost_user_session_pause(VhostUserSession *s)
{
    s->pause = true;
    if (s->state == SESSION_READING) {
        pause_now(s);
    } /* else it closes, or message_drained() goes on */
}

bool vhost_user_session_is_paused(const VhostUserSession *s)
{
    return s->state == SESSION_PAUSED && !s->stopping;
}

/* A message at hand is finished first: ring_stopped() goes on. */
void vhost_user_session_hand_over(VhostUserSession *s, Handover *handover,
                                  const char *id)
{
    if (s->state == SESSION_CLOSING) {
        return; /* the front end has gone, or is sent away */
    }
    s->handover = handover;
    s->handover_id = g_strdup(id);
    if (s->state != SESSION_DRAINING) {
        vhost_user_session_close(s);
    }
}

VhostUserSession *vhost_user_session_take_over(VirtIODevice *dev,
                                               AioContext *main_ctx,
                                               Handover *handover,
                                               const char *id,
                                               GError **error)
{
    g_autoptr(HandoverRecord) record = handover_take(handover, "session", id);
    VhostUserSession *s;

    if (!record) {
        return NULL;
    }
    s = session_alloc(dev, main_ctx, -1);
    if (!vhost_user_session_load(s, handover, record, error)) {
        session_free(s);
        return NULL;
    }
    s->state = SESSION_PAUSED;
    s->pause = true;
    return s;
}

void vhost_user_session_on_closed(VhostUserSession *s, AioFn *closed,
                                  void *opaque)
{
    s->closed = closed;
    s->closed_opaque = opaque;
}

static unsigned resume_now(VhostUserSession *s)
{
    unsigned requests = 0;

    s->state = SESSION_READING;
    start_rings(s);
    for (unsigned i = 0; i < s->dev->num_queues; i++) {
        requests += s->rings[i].resubmits;
    }
    session_read_on(s);
    return requests;
}

unsigned vhost_user_session_resume(VhostUserSession *s)
{
    bool now = vhost_user_session_is_paused(s);

    s->pause = false;
    return now ? resume_now(s) : 0; /* else ring_stopped() does */
}

bool vhost_user_session_connected(const VhostUserSession *s)
{
    struct pollfd peer = { .fd = s->fd };

    /* asked for or not, a hang-up is told */
    return s->state != SESSION_CLOSING &&
           !(poll(&peer, 1, 0) == 1 && peer.revents & POLLHUP);
}

void vhost_user_session_config_changed(VhostUserSession *s)
{
    g_autoptr(GError) error = NULL;

    if (s->backend_fd < 0 || !has_protocol(s, VHOST_USER_PROTOCOL_F_CONFIG)) {
        return;
    }
    if (!vhost_user_send(s->backend_fd, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
                         0, NULL, 0, &error)) {
        warn(s, "the front end is not told of the new configuration",
             error->message);
        /* half a message would spoil all that follow */
        close(s->backend_fd);
        s->backend_fd = -1;
    }
}
