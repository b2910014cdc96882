/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --chardev: the table of what monitors can be put on, and the coming and
 * going of their other ends. Called by the program and by monitor.c; sockets
 * are made in chardev-socket.c.
 */
#include "chardev.h"

#include "block/log.h"
#include "block/options.h"
#include "chardev-socket.h"
#include "monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

/* Wait after running out of file descriptors. */
#define ACCEPT_RETRY_NS (100 * 1000 * 1000)

struct Chardev {
    char *id;
    AioContext *ctx;
    ChardevSocket *socket;  /* NULL: stdio */
    bool held;
    AioHandler *accepting;  /* while nobody is connected, unless held */
    AioTimer retry;
    int in_fd, out_fd;      /* -1: nobody is connected */
    bool met;               /* who is there from the start has been opened */
    int old_flags[2];       /* stdio: of both, for whoever comes after us */
    ChardevOpenedFn *opened;
    void *opaque;
};

static GPtrArray *chardevs;

static void accept_next(Chardev *chr);

static void connected(Chardev *chr, int in_fd, int out_fd)
{
    chr->in_fd = in_fd;
    chr->out_fd = out_fd;
    chr->opened(chr->opaque, in_fd, out_fd);
}

static void stop_accepting(Chardev *chr)
{
    g_clear_pointer(&chr->accepting, aio_handler_remove);
    aio_timer_disarm(&chr->retry);
}

static void retry_accept(void *opaque)
{
    accept_next(opaque);
}

static void accept_ready(void *opaque)
{
    Chardev *chr = opaque;
    int fd = chardev_socket_accept(chr->socket);

    if (fd >= 0) {
        stop_accepting(chr);
        connected(chr, fd, fd);
    } else if (errno != EAGAIN && errno != ECONNABORTED) {
        log_warn("chardev '%s': cannot accept a connection, will try again: "
                 "%s", chr->id, g_strerror(errno));
        stop_accepting(chr);
        aio_timer_arm(&chr->retry, aio_clock_ns() + ACCEPT_RETRY_NS);
    }
}

static void accept_next(Chardev *chr)
{
    static const AioHandlerOps ops = { .ready = accept_ready };

    if (chr->held || chr->accepting) {
        return;
    }
    chr->accepting = aio_handler_add(chr->ctx, chr->socket->listen_fd, &ops,
                                     chr);
}

static bool set_nonblocking(int fd, int *old_flags)
{
    *old_flags = fcntl(fd, F_GETFL);
    return *old_flags >= 0 && fcntl(fd, F_SETFL, *old_flags | O_NONBLOCK) == 0;
}

Chardev *chardev_find(const char *id)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = chardevs->pdata[i];

        if (strcmp(chr->id, id) == 0) {
            return chr;
        }
    }
    return NULL;
}

bool chardev_in_use(const Chardev *chr)
{
    return chr->opened != NULL;
}

void chardev_use(Chardev *chr, ChardevOpenedFn *opened, void *opaque)
{
    g_assert(!chr->opened);
    chr->opened = opened;
    chr->opaque = opaque;
}

void chardev_hold(Chardev *chr)
{
    chr->held = true;
    stop_accepting(chr);
}

void chardev_accept(Chardev *chr)
{
    bool met = chr->met;

    chr->held = false;
    chr->met = true;
    if (chr->in_fd >= 0) {
        return;
    }
    if (chr->socket && chr->socket->listen_fd >= 0) {
        accept_next(chr);
    } else if (!met) {
        connected(chr, chr->socket ? chr->socket->fd : STDIN_FILENO,
                  chr->socket ? chr->socket->fd : STDOUT_FILENO);
    }
}

const char *chardev_id(const Chardev *chr)
{
    return chr->id;
}

int chardev_listen_fd(const Chardev *chr)
{
    return chr->socket ? chr->socket->listen_fd : -1;
}

void chardev_adopt(Chardev *chr, int fd)
{
    chr->in_fd = chr->out_fd = fd;
}

void chardev_hang_up(Chardev *chr)
{
    if (chr->in_fd < 0) {
        return;
    }
    if (chr->socket) {
        close(chr->in_fd);
        chr->socket->fd = -1;
    }
    chr->in_fd = chr->out_fd = -1;
    if (chr->socket && chr->socket->listen_fd >= 0) {
        accept_next(chr);
    }
}

void chardev_foreach(ChardevFn *fn, void *opaque)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = chardevs->pdata[i];
        g_autofree char *filename = NULL;

        filename = chr->socket ? chardev_socket_name(chr->socket,
                                                     chr->in_fd >= 0)
                               : g_strdup("stdio");
        fn(opaque, chr->id, filename, chr->in_fd >= 0);
    }
}

void chardev_each_socket(void (*fn)(const char *path, void *opaque),
                         void *opaque)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        const Chardev *chr = chardevs->pdata[i];

        if (chr->socket && chr->socket->owns_path) {
            fn(chr->socket->path, opaque);
        }
    }
}

static void chardev_free(void *opaque)
{
    Chardev *chr = opaque;

    stop_accepting(chr);
    if (chr->socket) {
        if (chr->in_fd >= 0) {
            close(chr->in_fd);
            chr->socket->fd = -1;
        }
        chardev_socket_free(chr->socket);
    } else {
        fcntl(STDIN_FILENO, F_SETFL, chr->old_flags[0]);
        fcntl(STDOUT_FILENO, F_SETFL, chr->old_flags[1]);
    }
    g_free(chr->id);
    g_free(chr);
}

void chardev_give_all(void)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        const Chardev *chr = chardevs->pdata[i];

        if (chr->socket) {
            chr->socket->owns_path = false;
        }
    }
}

void chardev_close_all(void)
{
    g_clear_pointer(&chardevs, g_ptr_array_unref);
}

/* --- --chardev --- */

static bool open_stdio(Chardev *chr, GError **error)
{
    if (!set_nonblocking(STDIN_FILENO, &chr->old_flags[0]) ||
        !set_nonblocking(STDOUT_FILENO, &chr->old_flags[1])) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "--chardev '%s': standard input or output: %s", chr->id,
                    g_strerror(errno));
        return false;
    }
    return true;
}

static bool open_backend(Chardev *chr, const char *backend, Options *opts,
                         GError **error)
{
    if (strcmp(backend, "stdio") == 0) {
        bool with_signals = true; /* ours are not the terminal's to change */

        return options_take_bool(opts, "signal", &with_signals, error) &&
               options_finish(opts, error) && open_stdio(chr, error);
    }
    if (strcmp(backend, "socket") == 0) {
        chr->socket = chardev_socket_open(chr->id, opts, error);
        return chr->socket;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                "--chardev: '%s' is not a valid char driver name: there are "
                "'socket' and 'stdio'", backend);
    return false;
}

static bool take_id(Options *opts, char **id, GError **error)
{
    g_autofree char *what = NULL;

    if (!options_need_str(opts, "id", id, error)) {
        return false;
    }
    if (chardev_find(*id)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "--chardev: there is already a chardev '%s'", *id);
        return false;
    }
    what = g_strdup_printf("--chardev '%s'", *id);
    options_set_what(opts, what);
    return true;
}

bool chardev_add(const char *text, AioContext *main_ctx, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--chardev", "backend",
                                            error);
    g_autofree char *backend = NULL, *id = NULL;
    Chardev *chr;

    if (!opts || !options_need_str(opts, "backend", &backend, error) ||
        !take_id(opts, &id, error)) {
        return false;
    }
    chr = g_new0(Chardev, 1);
    chr->id = g_steal_pointer(&id);
    chr->ctx = main_ctx;
    chr->held = true;
    chr->in_fd = chr->out_fd = -1;
    aio_timer_init(&chr->retry, main_ctx, retry_accept, chr);
    if (!open_backend(chr, backend, opts, error)) {
        g_free(chr->id);
        g_free(chr);
        return false;
    }
    if (!chardevs) {
        chardevs = g_ptr_array_new_with_free_func(chardev_free);
    }
    g_ptr_array_add(chardevs, chr);
    return true;
}
