/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the context's round: descriptors, notification, slots, counters.
 */
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/aio.h"

typedef struct Source {
    AioContext *ctx;
    AioHandler *handler;
    int fd;
    unsigned calls;
    struct Source *other; /* what a callback acts on */
} Source;

static AioContext *context_new(void)
{
    AioContext *ctx = aio_context_new(NULL, NULL);

    g_assert_nonnull(ctx);
    aio_context_adopt(ctx);
    return ctx;
}

static int event_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void signal_fd(int fd)
{
    g_assert_cmpint(eventfd_write(fd, 1), ==, 0);
}

static void clear_fd(int fd)
{
    eventfd_t value;

    g_assert_cmpint(eventfd_read(fd, &value), ==, 0);
}

static void source_ready(void *opaque)
{
    Source *source = opaque;

    source->calls++;
    clear_fd(source->fd);
}

static const AioHandlerOps source_ops = { .ready = source_ready };

static void source_init(Source *source, AioContext *ctx,
                        const AioHandlerOps *ops)
{
    *source = (Source){ .ctx = ctx, .fd = event_fd() };
    source->handler = aio_handler_add(ctx, source->fd, ops, source);
}

static void source_clear(Source *source)
{
    aio_handler_remove(source->handler);
    source->handler = NULL;
    if (source->fd >= 0) {
        close(source->fd);
    }
    source->fd = -1;
}

static void test_empty(void)
{
    AioContext *ctx = context_new();

    g_assert_true(aio_context_current() == ctx);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpuint(aio_context_stats(ctx).rounds, ==, 1);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    aio_context_free(ctx);
    g_assert_null(aio_context_current());
}

static void test_params(void)
{
    AioParams params = { .poll_max_ns = -1, .aio_max_batch = 7 };
    AioContext *ctx = aio_context_new(&params, NULL);

    g_assert_cmpint(aio_context_params(ctx)->poll_max_ns, ==, -1);
    g_assert_cmpuint(aio_context_params(ctx)->aio_max_batch, ==, 7);
    g_assert_cmpuint(aio_context_params(ctx)->thread_pool_max, ==, 64);
    aio_context_adopt(ctx);
    aio_context_free(ctx);
}

static void test_ready(void)
{
    AioContext *ctx = context_new();
    Source source;

    source_init(&source, ctx, &source_ops);
    g_assert_false(aio_poll(ctx, false));
    signal_fd(source.fd);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(source.calls, ==, 1);
    g_assert_false(aio_poll(ctx, false));
    g_assert_cmpuint(source.calls, ==, 1);
    source_clear(&source);
    aio_context_free(ctx);
}

/* More than fit into the first array of events: all have their turn at once. */
static void test_all_in_one_round(void)
{
    enum { N = 200 };
    AioContext *ctx = context_new();
    Source sources[N];

    for (unsigned i = 0; i < N; i++) {
        source_init(&sources[i], ctx, &source_ops);
        signal_fd(sources[i].fd);
    }
    g_assert_true(aio_poll(ctx, true));
    for (unsigned i = 0; i < N; i++) {
        g_assert_cmpuint(sources[i].calls, ==, 1);
        source_clear(&sources[i]);
    }
    aio_context_free(ctx);
}

static void remove_other_ready(void *opaque)
{
    Source *source = opaque;

    source_ready(source);
    if (source->other->handler) {
        source_clear(source->other);
    }
}

static const AioHandlerOps remove_other_ops = { .ready = remove_other_ready };

/* Both are ready in one round; whoever comes first removes the other. */
static void test_remove_ready_one(void)
{
    AioContext *ctx = context_new();
    Source a, b;

    source_init(&a, ctx, &remove_other_ops);
    source_init(&b, ctx, &remove_other_ops);
    a.other = &b;
    b.other = &a;
    signal_fd(a.fd);
    signal_fd(b.fd);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(a.calls + b.calls, ==, 1);
    g_assert_false(aio_poll(ctx, false));
    source_clear(a.handler ? &a : &b);
    aio_context_free(ctx);
}

static Source reborn;

static void replace_other_ready(void *opaque)
{
    Source *source = opaque;
    int old_fd = source->other->fd;

    source_ready(source);
    if (!source->other->handler) {
        return;
    }
    source_clear(source->other);
    reborn = (Source){ .ctx = source->ctx, .fd = event_fd() };
    g_assert_cmpint(reborn.fd, ==, old_fd);
    reborn.handler = aio_handler_add(source->ctx, reborn.fd, &source_ops,
                                     &reborn);
}

static const AioHandlerOps replace_other_ops = { .ready = replace_other_ready };

/* The descriptor's number is used anew while its old event is in the batch. */
static void test_fd_reuse_in_round(void)
{
    AioContext *ctx = context_new();
    Source a, b;

    source_init(&a, ctx, &replace_other_ops);
    source_init(&b, ctx, &replace_other_ops);
    a.other = &b;
    b.other = &a;
    signal_fd(a.fd);
    signal_fd(b.fd);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(a.calls + b.calls, ==, 1);
    g_assert_cmpuint(reborn.calls, ==, 0);

    signal_fd(reborn.fd);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(reborn.calls, ==, 1);
    g_assert_cmpuint(a.calls + b.calls, ==, 1);
    source_clear(&reborn);
    source_clear(a.handler ? &a : &b);
    aio_context_free(ctx);
}

static void remove_self_ready(void *opaque)
{
    Source *source = opaque;

    source_ready(source);
    source_clear(source);
}

static const AioHandlerOps remove_self_ops = { .ready = remove_self_ready };

static void test_remove_self(void)
{
    AioContext *ctx = context_new();
    Source source;

    source_init(&source, ctx, &remove_self_ops);
    signal_fd(source.fd);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(source.calls, ==, 1);
    g_assert_false(aio_poll(ctx, false));
    aio_context_free(ctx);
}

static void add_other_ready(void *opaque)
{
    Source *source = opaque;

    source_ready(source);
    source_init(source->other, source->ctx, &source_ops);
    signal_fd(source->other->fd);
}

static const AioHandlerOps add_other_ops = { .ready = add_other_ready };

static void test_add_in_callback(void)
{
    AioContext *ctx = context_new();
    Source a, b = { 0 };

    source_init(&a, ctx, &add_other_ops);
    a.other = &b;
    signal_fd(a.fd);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(b.calls, ==, 0);
    g_assert_true(aio_poll(ctx, true));
    g_assert_cmpuint(b.calls, ==, 1);
    source_clear(&a);
    source_clear(&b);
    aio_context_free(ctx);
}

/* A front end may send us anything as its kick descriptor. */
static void test_cannot_be_watched(void)
{
    AioContext *ctx = context_new();
    Source source = { .fd = memfd_create("regular", MFD_CLOEXEC) };

    g_assert_cmpint(source.fd, >=, 0);
    errno = 0;
    g_assert_null(aio_handler_add(ctx, source.fd, &source_ops, &source));
    g_assert_cmpint(errno, ==, EPERM);
    aio_handler_remove(NULL);
    close(source.fd);
    aio_context_free(ctx);
}

/* What is notified before the wait makes the wait return, without a write. */
static void test_notify_awake(void)
{
    AioContext *ctx = context_new();

    aio_notify(ctx);
    aio_notify(ctx);
    g_assert_false(aio_poll(ctx, true));
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    g_assert_cmpuint(aio_context_stats(ctx).notifies, ==, 0);
    aio_context_free(ctx);
}

static AioContext *alarm_ctx;

static void notify_from_signal(int signum)
{
    aio_notify(alarm_ctx);
}

/* The signal hits the sleeping thread itself, or comes before it sleeps. */
static void test_notify_from_signal(void)
{
    struct sigaction action = { .sa_handler = notify_from_signal };
    struct sigaction old;
    AioContext *ctx = context_new();

    alarm_ctx = ctx;
    g_assert_cmpint(sigaction(SIGUSR1, &action, &old), ==, 0);
    for (unsigned i = 0; i < 100; i++) {
        g_assert_cmpint(raise(SIGUSR1), ==, 0);
        g_assert_false(aio_poll(ctx, true));
    }
    g_assert_cmpuint(aio_context_stats(ctx).rounds, ==, 100);
    g_assert_cmpuint(aio_context_stats(ctx).sleeps, ==, 0);
    sigaction(SIGUSR1, &old, NULL);
    aio_context_free(ctx);
}

static GString *destroyed;

static void destroy_slot(void *opaque)
{
    g_string_append(destroyed, opaque);
}

static void test_slots(void)
{
    AioContext *ctx = context_new();

    destroyed = g_string_new("");
    g_assert_null(aio_context_slot(ctx, AIO_SLOT_LINUX_AIO));
    aio_context_set_slot(ctx, AIO_SLOT_LINUX_AIO, (char *)"l", destroy_slot);
    aio_context_set_slot(ctx, AIO_SLOT_PLUG, (char *)"p", destroy_slot);
    aio_context_set_slot(ctx, AIO_SLOT_IO_URING, (char *)"u", destroy_slot);
    aio_context_set_slot(ctx, AIO_SLOT_THREAD_POOL, (char *)"t",
                         destroy_slot);
    g_assert_cmpstr(aio_context_slot(ctx, AIO_SLOT_LINUX_AIO), ==, "l");
    aio_context_free(ctx);
    g_assert_cmpstr(destroyed->str, ==, "ultp");
    g_string_free(destroyed, TRUE);
}

static void test_now(void)
{
    AioContext *ctx = context_new();
    int64_t before = aio_clock_ns(), now = aio_context_now_ns(ctx);

    g_assert_cmpint(now, >=, before);
    g_assert_cmpint(aio_context_now_ns(ctx), ==, now);
    while (aio_clock_ns() == now) {
        /* until the clock has moved */
    }
    aio_poll(ctx, false);
    g_assert_cmpint(aio_context_now_ns(ctx), >, now);
    aio_context_free(ctx);
}

static void test_wrong_thread(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = aio_context_new(NULL, NULL);

        aio_poll(ctx, false); /* never adopted */
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*aio_poll() called outside of the home*");
}

static void test_free_attached(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = context_new();
        Source source;

        source_init(&source, ctx, &source_ops);
        aio_context_free(ctx);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*n_handlers*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aio-context/empty", test_empty);
    g_test_add_func("/aio-context/params", test_params);
    g_test_add_func("/aio-context/ready", test_ready);
    g_test_add_func("/aio-context/all-in-one-round", test_all_in_one_round);
    g_test_add_func("/aio-context/remove-ready-one", test_remove_ready_one);
    g_test_add_func("/aio-context/fd-reuse-in-round", test_fd_reuse_in_round);
    g_test_add_func("/aio-context/remove-self", test_remove_self);
    g_test_add_func("/aio-context/add-in-callback", test_add_in_callback);
    g_test_add_func("/aio-context/cannot-be-watched", test_cannot_be_watched);
    g_test_add_func("/aio-context/notify-awake", test_notify_awake);
    g_test_add_func("/aio-context/notify-from-signal",
                    test_notify_from_signal);
    g_test_add_func("/aio-context/slots", test_slots);
    g_test_add_func("/aio-context/now", test_now);
    g_test_add_func("/aio-context/wrong-thread", test_wrong_thread);
    g_test_add_func("/aio-context/free-attached", test_free_attached);
    return g_test_run();
}
