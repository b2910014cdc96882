/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both sides of a takeover; takeover-socket.h has the conversation. Called by
 * succession.c, which drains, closes and opens.
 */
#include "takeover.h"

#include "notify.h"
#include "takeover-socket.h"
#include "block/listener.h"
#include "block/log.h"

#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Guests wait meanwhile: until the successor has opened everything, and until
 * the old one has only to agree. Then there is a line in the log. */
#define READY_WARNING_MS  30000
#define COMMIT_WARNING_MS 3000
/* Until the successor has told whoever waits for it. */
#define SETTLED_TIMEOUT_MS 30000
/* Beyond the time that the old one may take to drain, and for each record
 * after the first. */
#define RECORD_TIMEOUT_MS 30000

#define DRAIN_TIMEOUT_S     5
#define MAX_DRAIN_TIMEOUT_S 86400

static struct {
    char *path;           /* as it was given */
    uint64_t drain_s;

    /* the new process */
    int sock;             /* -1: nobody to take over from; else open until it
                             has ended, or we have, and our images are closed */
    AioHandler *goodbye;  /* of the old one */
    pid_t from;
    int64_t began_us;     /* when the old one stopped its disks */
    int handed_listen_fd; /* of the old one; -1: none */

    /* the old process, or the one that may become it */
    AioContext *ctx;
    char *full_path;      /* NULL: not listening */
    int listen_fd;
    AioHandler *handler;
    const TakeoverEvents *events;
    void *opaque;
    int successor;        /* -1: none */
    AioHandler *greeting; /* until it has said what it wants */
    pid_t successor_pid;
    AioHandler *watcher;  /* of it, while disks drain */
    AioTimer patience;    /* of it, likewise */
    bool not_ours;        /* the socket file is another process's */
} state = {
    .drain_s = DRAIN_TIMEOUT_S, .sock = -1, .handed_listen_fd = -1,
    .listen_fd = -1, .successor = -1,
};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

bool takeover_configure(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--takeover", "path", error);

    if (!opts || !options_need_str(opts, "path", &state.path, error) ||
        !options_take_range(opts, "drain-timeout", 1, MAX_DRAIN_TIMEOUT_S,
                            &state.drain_s, error)) {
        return false;
    }
    return options_finish(opts, error);
}

const char *takeover_path(void)
{
    return state.path;
}

/*
 * However long it takes, only one of us may serve: who has got here does not
 * decide by itself that the other one will not answer any more. Killing it is
 * the administrator's way out.
 */
static bool hear_patiently(int sock, const char *word, int warning_ms,
                           char **value, GError **error)
{
    g_autoptr(GError) err = NULL;

    if (takeover_hear(sock, word, warning_ms, value, &err)) {
        return true;
    }
    if (!g_error_matches(err, G_IO_ERROR, G_IO_ERROR_TIMED_OUT)) {
        g_propagate_error(error, g_steal_pointer(&err));
        return false;
    }
    log_warn("process %ld has not said \"%s\" yet; to kill it is a way out",
             (long)(sock == state.sock ? state.from : state.successor_pid),
             word);
    return takeover_hear(sock, word, -1, value, error);
}

/* --- The new process --- */

static bool take_own(Handover *handover, GError **error)
{
    g_autoptr(HandoverRecord) record = handover_take(handover, "takeover",
                                                     NULL);
    uint64_t began, pid;

    if (!record) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "--takeover: the other process does not say who it is");
        return false;
    }
    if (!handover_need_uint(record, "began-us", G_MAXINT64, &began, error) ||
        !handover_need_uint(record, "pid", G_MAXINT32, &pid, error)) {
        return false;
    }
    state.began_us = began;
    state.from = pid;
    state.handed_listen_fd = handover_take_fd(record, "listen");
    return handover_record_finish(record, error);
}

static char *kept_name(const char *path)
{
    g_autofree char *full = g_canonicalize_filename(path, NULL);

    return notify_fd_name("takeover", full);
}

/* A process that ended well has removed the file: nobody would get there. */
static int take_kept(const char *path)
{
    g_autofree char *name = kept_name(path);
    int fd = notify_take_fd(name);
    struct stat identity;

    if (fd >= 0 && !listener_is_at(fd, path, &identity)) {
        notify_forget_fd(name);
        close(fd);
        fd = -1;
    }
    return fd;
}

bool takeover_begin(Handover **handover, GError **error)
{
    int drain_ms = state.drain_s * 1000;
    GError *err = NULL;

    state.handed_listen_fd = take_kept(state.path);
    if (state.handed_listen_fd >= 0) {
        return true; /* it is ours, and its process is dead */
    }
    state.sock = takeover_socket_connect(state.path, &err);
    if (state.sock < 0) {
        if (err) {
            g_propagate_error(error, err);
        }
        return !err;
    }
    if (!takeover_say_hello(state.sock, drain_ms, error)) {
        return false;
    }
    *handover = takeover_receive_all(state.sock, drain_ms + RECORD_TIMEOUT_MS,
                                     error);
    state.not_ours = true; /* until we are told "commit" */
    return *handover && take_own(*handover, error);
}

/* Whoever finds it there believes that nobody else serves. */
static void keep_listener(void)
{
    g_autofree char *name = kept_name(state.full_path);

    notify_store_fd(name, state.listen_fd);
}

bool takeover_commit(const char *word, GError **error)
{
    g_autofree char *value = NULL;
    bool ok;

    if (state.sock < 0) {
        return true;
    }
    ok = takeover_say(state.sock, "ready", word, error) &&
         hear_patiently(state.sock, "commit", COMMIT_WARNING_MS, &value,
                        error);
    if (ok) {
        state.not_ours = false;
        keep_listener();
    }
    return ok;
}

static void close_sock(void)
{
    g_clear_pointer(&state.goodbye, aio_handler_remove);
    close_fd(&state.sock);
}

static void old_has_ended(void *opaque)
{
    close_sock();
}

void takeover_settled(void)
{
    static const AioHandlerOps ops = { .ready = old_has_ended };

    if (state.sock >= 0) {
        takeover_say(state.sock, "settled", "", NULL);
        state.goodbye = aio_handler_add(state.ctx, state.sock, &ops, NULL);
    }
}

void takeover_give_up(const char *reason)
{
    if (state.sock >= 0) {
        takeover_say(state.sock, "refused", reason, NULL);
    }
}

void takeover_done(unsigned requests)
{
    int64_t us = g_get_monotonic_time() - state.began_us;

    if (state.from) {
        log_info("took over from process %ld with %u requests that had "
                 "waited; disks stood still for %" G_GINT64_FORMAT ".%03d ms",
                 (long)state.from, requests, us / 1000, (int)(us % 1000));
    }
}

/* --- The old process --- */

static void watch(void);

static void not_longer(void *opaque)
{
    state.events->late(state.opaque);
}

void takeover_drained(void)
{
    g_clear_pointer(&state.watcher, aio_handler_remove);
    aio_timer_disarm(&state.patience);
}

/* It has nothing to say before it has been given all: it hung up. */
static void successor_ready(void *opaque)
{
    log_warn("--takeover: process %ld has gone before the disks had drained, "
             "going on", (long)state.successor_pid);
    takeover_drained();
    close_fd(&state.successor);
    watch();
    state.events->gone(state.opaque);
}

static bool watch_successor(uint64_t drain_ms, GError **error)
{
    static const AioHandlerOps ops = { .ready = successor_ready };

    state.watcher = aio_handler_add(state.ctx, state.successor, &ops, NULL);
    if (!state.watcher) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot watch it: %s", g_strerror(errno));
        return false;
    }
    aio_timer_arm(&state.patience, aio_clock_ns() + drain_ms * 1000000);
    return true;
}

static bool greet(GError **error)
{
    uint64_t drain_ms = DRAIN_TIMEOUT_S * 1000;

    return takeover_hear_hello(state.successor, 0, &drain_ms, error) &&
           watch_successor(drain_ms, error);
}

static void drop_successor(void)
{
    g_clear_pointer(&state.greeting, aio_handler_remove);
    close_fd(&state.successor);
}

static void hello_ready(void *opaque)
{
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&state.greeting, aio_handler_remove);
    if (!greet(&error)) {
        takeover_refuse(error->message);
        return;
    }
    g_clear_pointer(&state.handler, aio_handler_remove);
    state.began_us = g_get_monotonic_time();
    state.events->asked(state.opaque);
}

/* Disks and monitors need not wait for what it has to say. */
static void listen_ready(void *opaque)
{
    static const AioHandlerOps ops = { .ready = hello_ready };
    pid_t pid;
    int sock = takeover_socket_accept(state.listen_fd, &pid);

    if (sock < 0) {
        return;
    }
    drop_successor(); /* one that has not said anything */
    state.successor = sock;
    state.successor_pid = pid;
    state.greeting = aio_handler_add(state.ctx, sock, &ops, NULL);
    if (!state.greeting) {
        takeover_refuse(g_strerror(errno));
    }
}

static void watch(void)
{
    static const AioHandlerOps ops = { .ready = listen_ready };

    state.handler = aio_handler_add(state.ctx, state.listen_fd, &ops, NULL);
}

void takeover_refuse(const char *reason)
{
    log_warn("--takeover: process %ld does not take over: %s",
             (long)state.successor_pid, reason);
    takeover_say(state.successor, "refused", reason, NULL);
    takeover_drained();
    close_fd(&state.successor);
    if (!state.handler) {
        watch();
    }
}

bool takeover_listen(AioContext *ctx, const TakeoverEvents *events,
                     void *opaque, GError **error)
{
    state.listen_fd = state.handed_listen_fd;
    state.handed_listen_fd = -1;
    if (state.listen_fd < 0) {
        state.listen_fd = takeover_socket_listen(state.path, error);
    }
    if (state.listen_fd < 0) {
        return false;
    }
    state.full_path = g_canonicalize_filename(state.path, NULL);
    state.ctx = ctx;
    state.events = events;
    state.opaque = opaque;
    aio_timer_init(&state.patience, ctx, not_longer, NULL);
    if (state.sock < 0) {
        keep_listener();
    }
    watch();
    return true;
}

/* It has closed its images when it closes its end of the socket, and not
 * before. */
static bool send_and_wait(Handover *handover, char **word, GError **error)
{
    return takeover_send_all(state.successor, handover, error) &&
           hear_patiently(state.successor, "ready", READY_WARNING_MS, word,
                          error) &&
           takeover_say(state.successor, "commit", "", error);
}

/* Whatever it says now, it is to end. */
static void wait_for_its_end(void)
{
    g_autoptr(Handover) rest = NULL;

    shutdown(state.successor, SHUT_WR);
    rest = takeover_receive_all(state.successor, -1, NULL);
    close_fd(&state.successor);
}

bool takeover_give(Handover *handover, char **word)
{
    HandoverRecord *record = handover_add(handover, "takeover", "");
    g_autoptr(GError) error = NULL;
    int64_t began_us = g_get_monotonic_time();

    handover_put_uint(record, "began-us", state.began_us);
    handover_put_uint(record, "pid", getpid());
    if (handover_put_fd(record, "listen", state.listen_fd, &error) &&
        send_and_wait(handover, word, &error)) {
        log_info("process %ld has taken over, %" G_GINT64_FORMAT " ms after "
                 "the disks had drained", (long)state.successor_pid,
                 (g_get_monotonic_time() - began_us) / 1000);
        state.not_ours = true;
        return true;
    }
    log_warn("process %ld has not taken over, going on: %s",
             (long)state.successor_pid, error->message);
    wait_for_its_end();
    handover_drop(handover, "");
    watch();
    return false;
}

static bool says_nothing(int sock)
{
    struct pollfd pfd = { .fd = sock, .events = POLLIN };

    return poll(&pfd, 1, 0) == 0;
}

bool takeover_is_known(void)
{
    g_autofree char *value = NULL;
    g_autoptr(GError) error = NULL;

    if (takeover_hear(state.successor, "settled", SETTLED_TIMEOUT_MS, &value,
                      &error)) {
        notify_wait_until_heard();
        if (says_nothing(state.successor)) {
            return true;
        }
    }
    log_warn("process %ld has ended right after it took over",
             (long)state.successor_pid);
    return false;
}

void takeover_stop(void)
{
    g_clear_pointer(&state.handler, aio_handler_remove);
    drop_successor();
    close_sock();
    close_fd(&state.handed_listen_fd);
    if (state.full_path && !state.not_ours) {
        unlink(state.full_path);
    }
    g_clear_pointer(&state.full_path, g_free);
    g_clear_pointer(&state.path, g_free);
    close_fd(&state.listen_fd);
}
