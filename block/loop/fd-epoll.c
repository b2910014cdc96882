/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's side of a context: an epoll set with one entry per handler,
 * and the eventfd by which other threads end a sleep.
 *
 * Called by aio-context.c each round; ready descriptors are dispatched from
 * ctx->events. The rule to know: a handler may go away at any moment, also
 * between being found ready and being called, and its descriptor's number may
 * be another one's by then. Therefore events carry the handler and not the
 * number, and a removal wipes the handler out of what is left of the round.
 */
#include "aio-private.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NS_PER_S  1000000000LL
#define NS_PER_MS 1000000LL

enum { MIN_EVENTS = 64 };

static bool watch_notify_fd(AioContext *ctx)
{
    /*
     * Edge-triggered: each write is reported once and the counter is never
     * read, which saves a system call per wake-up.
     */
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    return epoll_ctl(ctx->epoll_fd, EPOLL_CTL_ADD, ctx->notify_fd,
                     &event) == 0;
}

static bool fail(GError **error, const char *call)
{
    int err = errno;

    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(err),
                "cannot create an event loop: %s: %s", call, g_strerror(err));
    return false;
}

bool aio_fds_init(AioContext *ctx, GError **error)
{
    ctx->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (ctx->epoll_fd < 0) {
        return fail(error, "epoll_create1");
    }
    ctx->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ctx->notify_fd < 0) {
        fail(error, "eventfd");
        close(ctx->epoll_fd);
        return false;
    }
    if (!watch_notify_fd(ctx)) {
        fail(error, "epoll_ctl");
        close(ctx->notify_fd);
        close(ctx->epoll_fd);
        return false;
    }
    ctx->max_events = MIN_EVENTS;
    ctx->events = g_new(struct epoll_event, ctx->max_events);
    return true;
}

void aio_fds_cleanup(AioContext *ctx)
{
    close(ctx->notify_fd);
    close(ctx->epoll_fd);
    g_free(ctx->events);
}

AioHandler *aio_handler_add(AioContext *ctx, int fd, const AioHandlerOps *ops,
                            void *opaque)
{
    AioHandler *handler;
    struct epoll_event event;

    assert_home(ctx);
    g_assert(ops->ready && !ops->poll_begin == !ops->poll_end);
    g_assert(ops->poll || !ops->poll_begin);

    handler = g_new(AioHandler, 1);
    *handler = (AioHandler){
        .ctx = ctx,
        .ops = ops,
        .opaque = opaque,
        .fd = fd,
        .poll_index = AIO_NOT_POLLED,
    };
    event = (struct epoll_event){
        .events = ops->edge ? EPOLLIN | EPOLLET : EPOLLIN,
        .data.ptr = handler,
    };
    if (epoll_ctl(ctx->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        /* Our own mistakes: a closed one, or one that is watched already. */
        g_assert(errno != EBADF && errno != EEXIST);
        g_free(handler);
        return NULL;
    }

    /* One more than handlers, for the eventfd: all get a turn each round. */
    ctx->n_handlers++;
    if (ctx->n_handlers + 1 > ctx->max_events) {
        ctx->max_events *= 2;
        ctx->events = g_renew(struct epoll_event, ctx->events,
                              ctx->max_events);
    }
    if (ops->poll) {
        aio_polled_add(handler);
    }
    return handler;
}

void aio_handler_remove(AioHandler *handler)
{
    AioContext *ctx;

    if (!handler) {
        return;
    }
    ctx = handler->ctx;
    assert_home(ctx);

    aio_polled_remove(handler);
    if (epoll_ctl(ctx->epoll_fd, EPOLL_CTL_DEL, handler->fd, NULL) < 0) {
        g_error("descriptor %d was closed while it was watched: %s",
                handler->fd, g_strerror(errno));
    }
    for (int i = ctx->next_event; i < ctx->n_events; i++) {
        if (ctx->events[i].data.ptr == handler) {
            ctx->events[i].data.ptr = NULL;
        }
    }
    ctx->n_handlers--;
    g_free(handler);
}

/* Rounds up, so that a timer is due when the wait is over. */
static int wait_ms(AioContext *ctx, int64_t timeout_ns)
{
    int64_t timeout_ms = timeout_ns;

    if (timeout_ns > 0) {
        timeout_ms = (timeout_ns - 1) / NS_PER_MS + 1;
    }
    return epoll_wait(ctx->epoll_fd, ctx->events, ctx->max_events,
                      MIN(timeout_ms, G_MAXINT));
}

static int wait_ns(AioContext *ctx, int64_t timeout_ns)
{
    struct timespec ts = {
        .tv_sec = timeout_ns / NS_PER_S,
        .tv_nsec = timeout_ns % NS_PER_S,
    };
    int ret;

    ret = epoll_pwait2(ctx->epoll_fd, ctx->events, ctx->max_events, &ts, NULL);
    /* Linux 5.11; a seccomp filter that does not know it may say EPERM. */
    if (ret < 0 && (errno == ENOSYS || errno == EPERM)) {
        ctx->coarse_timeout = true;
        return wait_ms(ctx, timeout_ns);
    }
    return ret;
}

void aio_fds_wait(AioContext *ctx, int64_t timeout_ns)
{
    int ret;

    if (timeout_ns > 0 && !ctx->coarse_timeout) {
        ret = wait_ns(ctx, timeout_ns);
    } else {
        ret = wait_ms(ctx, timeout_ns);
    }
    g_assert(ret >= 0 || errno == EINTR);
    ctx->n_events = MAX(ret, 0);
    ctx->next_event = 0;
}

bool aio_fds_dispatch(AioContext *ctx)
{
    bool progress = false;

    while (ctx->next_event < ctx->n_events) {
        /* NULL: the eventfd, or removed meanwhile. */
        AioHandler *handler = ctx->events[ctx->next_event++].data.ptr;

        if (!handler) {
            continue;
        }
        if (handler->ops->poll) {
            aio_polled_add(handler);
        }
        handler->ops->ready(handler->opaque); /* handler may be gone */
        progress = true;
    }
    return progress;
}
