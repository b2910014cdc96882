/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors: bytes in, messages to qmp.c, answers and events out.
 *
 * Called by the program, by the loop, and by qmp.c to send. What a client
 * can make us keep is bounded: one message (qmp-framer.c), one read's worth
 * of bytes behind it, and output. While one command is unanswered, or output
 * that was not read exceeds OUTPUT_HIGH, nothing more is read from it; an
 * event that would take output past OUTPUT_MAX is not sent.
 */
#include "monitor/monitor.h"

#include "block/log.h"
#include "block/options.h"
#include "block/qjson.h"
#include "chardev.h"
#include "monitor-handover.h"
#include "monitor-internal.h"
#include "qmp-json.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES  4096
#define OUTPUT_HIGH (64 * 1024)
#define OUTPUT_MAX  (1024 * 1024)

typedef struct Monitor {
    Chardev *chr;
    AioContext *ctx;
    bool pretty;

    /* of the client that is there */
    QmpSession session;
    int in_fd, out_fd;        /* -1: nobody */
    AioHandler *reader;       /* while we read */
    QmpFramer framer;
    char input[READ_BYTES];   /* read, not yet looked at: */
    size_t input_at, input_end;
    GString *output;          /* not yet written */
    int writable_fd;          /* an epoll of out_fd; -1: not made */
    AioHandler *writer;       /* while output waits for the client */
    AioBH *bh;                /* goes on with what is in input */
    unsigned lost_events;
} Monitor;

static GPtrArray *monitors;
static bool held;

static void hang_up(Monitor *mon);
static void update_reader(Monitor *mon);

/* --- Output --- */

static void remove_writer(Monitor *mon)
{
    g_clear_pointer(&mon->writer, aio_handler_remove);
    if (mon->writable_fd >= 0) {
        close(mon->writable_fd);
        mon->writable_fd = -1;
    }
}

/* False: the client is gone. */
static bool write_some(Monitor *mon)
{
    while (mon->output->len > 0) {
        ssize_t n = write(mon->out_fd, mon->output->str, mon->output->len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN;
        }
        g_string_erase(mon->output, 0, n);
    }
    return true;
}

static void writer_ready(void *opaque)
{
    Monitor *mon = opaque;

    if (!write_some(mon)) {
        hang_up(mon);
        return;
    }
    if (mon->output->len == 0) {
        remove_writer(mon);
    }
    aio_bh_schedule(mon->bh);
}

/* The loop waits for what is readable: an epoll that has an event is. */
static bool add_writer(Monitor *mon)
{
    static const AioHandlerOps ops = { .ready = writer_ready };
    struct epoll_event event = { .events = EPOLLOUT };

    mon->writable_fd = epoll_create1(EPOLL_CLOEXEC);
    if (mon->writable_fd < 0 || epoll_ctl(mon->writable_fd, EPOLL_CTL_ADD,
                                          mon->out_fd, &event) < 0) {
        return false;
    }
    mon->writer = aio_handler_add(mon->ctx, mon->writable_fd, &ops, mon);
    return mon->writer;
}

static void flush_output(Monitor *mon)
{
    if (mon->writer) {
        return; /* it will be called */
    }
    if (!write_some(mon) || (mon->output->len > 0 && !add_writer(mon))) {
        /* not from here: who sends may be in the middle of a command */
        g_string_truncate(mon->output, 0);
        mon->out_fd = -1;
        aio_bh_schedule(mon->bh);
    }
}

void monitor_send(QmpSession *session, JsonNode *message)
{
    Monitor *mon = session->opaque;
    g_autoptr(JsonNode) owned = message;
    g_autofree char *text = NULL;

    if (mon->out_fd < 0) {
        return;
    }
    if (mon->output->len > OUTPUT_MAX) { /* replies stop earlier: an event */
        mon->lost_events++;
        return;
    }
    text = mon->pretty ? qobject_to_json_pretty(owned)
                       : qobject_to_json(owned);
    g_string_append(mon->output, text);
    g_string_append(mon->output, "\r\n");
    flush_output(mon);
}

/* --- Input --- */

static bool may_read(const Monitor *mon)
{
    return mon->out_fd >= 0 && !held && !mon->session.call &&
           mon->output->len <= OUTPUT_HIGH;
}

static void take_message(Monitor *mon)
{
    GError *error = NULL;
    JsonNode *message = qmp_json_parse(mon->framer.text->str,
                                       mon->framer.text->len, &error);

    qmp_framer_reset(&mon->framer);
    if (message) {
        qmp_dispatch(&mon->session, message);
        json_node_unref(message);
    } else {
        qmp_dispatch_error(&mon->session, error);
    }
}

/* False: the client went too far. */
static bool take_input(Monitor *mon)
{
    GError *error = NULL;

    while (may_read(mon) && mon->input_at < mon->input_end) {
        size_t used;
        QmpFrame frame = qmp_framer_feed(&mon->framer,
                                         mon->input + mon->input_at,
                                         mon->input_end - mon->input_at,
                                         &used, &error);

        mon->input_at += used;
        if (frame == QMP_FRAME_LIMIT) {
            qmp_dispatch_error(&mon->session, error);
            return false;
        }
        if (frame == QMP_FRAME_MESSAGE) {
            take_message(mon);
        }
    }
    return true;
}

static void reader_ready(void *opaque)
{
    Monitor *mon = opaque;
    ssize_t n = read(mon->in_fd, mon->input, sizeof(mon->input));

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    mon->input_at = 0;
    mon->input_end = MAX(n, 0);
    if (n <= 0 || !take_input(mon)) {
        hang_up(mon);
        return;
    }
    update_reader(mon);
}

static void update_reader(Monitor *mon)
{
    static const AioHandlerOps ops = { .ready = reader_ready };
    bool wanted = may_read(mon) && mon->input_at == mon->input_end;

    if (wanted && !mon->reader) {
        mon->reader = aio_handler_add(mon->ctx, mon->in_fd, &ops, mon);
        if (!mon->reader) {
            log_warn("monitor: its input cannot be waited for: %s",
                     g_strerror(errno));
        }
    } else if (!wanted && mon->reader) {
        g_clear_pointer(&mon->reader, aio_handler_remove);
    }
}

/* What was put off: input that was read, and the end of a client. */
static void monitor_bh(void *opaque)
{
    Monitor *mon = opaque;

    if (mon->in_fd < 0) {
        return;
    }
    if (mon->out_fd < 0 || !take_input(mon)) {
        hang_up(mon);
        return;
    }
    update_reader(mon);
}

void monitor_resume(QmpSession *session)
{
    Monitor *mon = session->opaque;

    aio_bh_schedule(mon->bh);
}

/* --- Coming and going --- */

static void begin_session(Monitor *mon, int in_fd, int out_fd)
{
    mon->in_fd = in_fd;
    mon->out_fd = out_fd;
    mon->input_at = mon->input_end = 0;
    mon->lost_events = 0;
    mon->session = (QmpSession){ .opaque = mon };
    qmp_framer_init(&mon->framer);
    mon->output = g_string_new(NULL);
}

static void opened(void *opaque, int in_fd, int out_fd)
{
    Monitor *mon = opaque;

    begin_session(mon, in_fd, out_fd);
    monitor_send(&mon->session, qmp_greeting());
    update_reader(mon);
}

/* Whom the process before us has greeted. */
static void inherit_client(Monitor *mon)
{
    bool negotiated = false;
    int fd = monitor_inherited_client(chardev_id(mon->chr), &negotiated);

    if (fd >= 0) {
        chardev_adopt(mon->chr, fd);
        begin_session(mon, fd, fd);
        mon->session.negotiated = negotiated;
    }
}

static void go_on(Monitor *mon)
{
    if (mon->in_fd < 0) {
        inherit_client(mon);
    }
    chardev_accept(mon->chr);
    if (mon->in_fd >= 0) {
        aio_bh_schedule(mon->bh); /* there may be something in input */
    }
}

static void forget_client(Monitor *mon)
{
    qmp_session_end(&mon->session);
    g_clear_pointer(&mon->reader, aio_handler_remove);
    remove_writer(mon);
    aio_bh_cancel(mon->bh);
    qmp_framer_clear(&mon->framer);
    g_string_free(mon->output, TRUE);
    mon->output = NULL;
    mon->in_fd = mon->out_fd = -1;
    if (mon->lost_events > 0) {
        log_warn("monitor: a client did not read; %u events were not sent",
                 mon->lost_events);
    }
}

static void hang_up(Monitor *mon)
{
    if (mon->out_fd >= 0) {
        write_some(mon); /* the last words, if there is room */
    }
    forget_client(mon);
    chardev_hang_up(mon->chr);
}

void monitor_foreach(MonitorSessionFn *fn, void *opaque)
{
    for (unsigned i = 0; monitors && i < monitors->len; i++) {
        Monitor *mon = monitors->pdata[i];

        if (mon->in_fd >= 0) {
            fn(&mon->session, opaque);
        }
    }
}

static bool check_monitor(Options *opts, const char *chardev, GError **error)
{
    Chardev *chr = chardev_find(chardev);

    if (!chr) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "--monitor: there is no chardev '%s': give '--chardev "
                    "...,id=%s' before it", chardev, chardev);
        return false;
    }
    if (chardev_in_use(chr)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "--monitor: chardev '%s' is in use by another monitor",
                    chardev);
        return false;
    }
    return true;
}

static bool take_options(Options *opts, char **chardev, bool *pretty,
                         GError **error)
{
    g_autofree char *id = NULL, *mode = NULL;

    if (!options_need_str(opts, "chardev", chardev, error) ||
        !options_take_str(opts, "mode", &mode, error) ||
        !options_take_str(opts, "id", &id, error) ||
        !options_take_bool(opts, "pretty", pretty, error) ||
        !options_finish(opts, error)) {
        return false;
    }
    if (mode && strcmp(mode, "control") != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "--monitor: mode '%s' must be 'control'", mode);
        return false;
    }
    return check_monitor(opts, *chardev, error);
}

bool monitor_add(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--monitor", "chardev",
                                            error);
    g_autofree char *chardev = NULL;
    bool pretty = false;
    Monitor *mon;

    if (!opts || !take_options(opts, &chardev, &pretty, error)) {
        return false;
    }
    mon = g_new0(Monitor, 1);
    mon->ctx = aio_context_current();
    mon->chr = chardev_find(chardev);
    mon->pretty = pretty;
    mon->in_fd = mon->out_fd = mon->writable_fd = -1;
    mon->bh = aio_bh_new(mon->ctx, monitor_bh, mon);
    if (!monitors) {
        monitors = g_ptr_array_new();
    }
    g_ptr_array_add(monitors, mon);
    chardev_use(mon->chr, opened, mon);
    if (!held) {
        go_on(mon);
    }
    return true;
}

void monitor_hold(void)
{
    held = true;
    for (unsigned i = 0; monitors && i < monitors->len; i++) {
        Monitor *mon = monitors->pdata[i];

        chardev_hold(mon->chr);
        if (mon->in_fd >= 0) {
            update_reader(mon);
        }
    }
}

void monitor_go_on(void)
{
    held = false;
    for (unsigned i = 0; monitors && i < monitors->len; i++) {
        go_on(monitors->pdata[i]);
    }
}

/* --- From process to process --- */

/* Nothing of a message is here that its next byte would need. */
static bool is_between_messages(const Monitor *mon)
{
    return mon->out_fd >= 0 && !mon->session.call &&
           mon->input_at == mon->input_end && mon->output->len == 0 &&
           mon->framer.text->len == 0;
}

static bool hand_over(const Monitor *mon, Handover *handover, GError **error)
{
    int listen_fd = chardev_listen_fd(mon->chr), client_fd = -1;
    HandoverRecord *record;

    if (listen_fd < 0) {
        return true; /* its client is the new process's own business */
    }
    record = handover_add(handover, "monitor", chardev_id(mon->chr));
    if (mon->in_fd >= 0 && is_between_messages(mon)) {
        client_fd = mon->in_fd;
    }
    handover_put_uint(record, "negotiated", mon->session.negotiated);
    return handover_put_fd(record, "listen", listen_fd, error) &&
           handover_put_fd(record, "client", client_fd, error);
}

bool monitor_hand_over(Handover *handover, GError **error)
{
    bool ok = true;

    for (unsigned i = 0; ok && monitors && i < monitors->len; i++) {
        ok = hand_over(monitors->pdata[i], handover, error);
    }
    return ok;
}

void monitor_given(void)
{
    chardev_give_all();
}

static void monitor_free(Monitor *mon)
{
    if (mon->in_fd >= 0) {
        if (mon->out_fd >= 0) {
            write_some(mon);
        }
        forget_client(mon);
    }
    aio_bh_free(mon->bh);
    g_free(mon);
}

void monitor_close_all(void)
{
    for (unsigned i = 0; monitors && i < monitors->len; i++) {
        monitor_free(monitors->pdata[i]);
    }
    g_clear_pointer(&monitors, g_ptr_array_unref);
    chardev_close_all();
    held = false;
}
