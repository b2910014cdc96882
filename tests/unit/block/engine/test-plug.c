/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plugged sections: when calls run, how often and in which order.
 */
#include "block/plug.h"

static AioContext *ctx;
static GString *ran;

typedef struct Call {
    BlkPlugCall call;
    char name;
    struct Call *asks_for; /* while it runs */
    bool in_section;       /* it does so in a section of its own */
    unsigned again;        /* it asks for itself that many times */
} Call;

static void run(void *opaque)
{
    Call *c = opaque;

    g_string_append_c(ran, c->name);
    if (c->in_section) {
        blk_io_plug(ctx);
    }
    if (c->asks_for) {
        blk_io_plug_call(ctx, &c->asks_for->call);
    }
    if (c->again) {
        c->again--;
        blk_io_plug_call(ctx, &c->call);
    }
    if (c->in_section) {
        blk_io_unplug(ctx);
    }
    g_string_append_c(ran, '.');
}

#define CALL(NAME, ...) \
    { .call = { .fn = run, .opaque = &NAME }, .name = #NAME[0], __VA_ARGS__ }

/* Compares what ran since the last time. */
static void expect(const char *calls)
{
    g_assert_cmpstr(ran->str, ==, calls);
    g_string_truncate(ran, 0);
}

static void test_no_section(void)
{
    Call a = CALL(a);

    blk_io_plug_call(ctx, &a.call);
    expect("a.");
    blk_io_plug_call(ctx, &a.call);
    expect("a.");
}

static void test_end_of_section(void)
{
    Call a = CALL(a), b = CALL(b);

    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &b.call);
    blk_io_plug_call(ctx, &a.call);
    expect("");
    blk_io_unplug(ctx);
    expect("b.a.");
    blk_io_plug(ctx);
    blk_io_unplug(ctx);
    expect("");
}

static void test_once(void)
{
    Call a = CALL(a), b = CALL(b);

    blk_io_plug(ctx);
    for (unsigned i = 0; i < 3; i++) {
        blk_io_plug_call(ctx, &a.call);
        blk_io_plug_call(ctx, &b.call);
    }
    blk_io_unplug(ctx);
    expect("a.b.");

    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &a.call);
    blk_io_plug_call(ctx, &b.call);
    blk_io_plug_call(ctx, &a.call);
    blk_io_unplug(ctx);
    expect("a.b.");
}

static void test_nesting(void)
{
    Call a = CALL(a), b = CALL(b);

    blk_io_plug(ctx);
    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &a.call);
    blk_io_unplug(ctx);
    expect("");
    blk_io_plug_call(ctx, &b.call);
    blk_io_unplug(ctx);
    expect("a.b.");
}

/* What a call asks for runs after those that were asked for before. */
static void test_asked_while_running(void)
{
    Call c = CALL(c);
    Call a = CALL(a, .asks_for = &c), b = CALL(b);

    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &a.call);
    blk_io_plug_call(ctx, &b.call);
    blk_io_unplug(ctx);
    expect("a.b.c.");
}

static void test_section_while_running(void)
{
    Call c = CALL(c);
    Call a = CALL(a, .asks_for = &c, .in_section = true), b = CALL(b);

    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &a.call);
    blk_io_plug_call(ctx, &b.call);
    blk_io_unplug(ctx);
    expect("a.b.c.");

    /* outside of any section it runs at once, nested in the caller */
    blk_io_plug_call(ctx, &a.call);
    expect("ac..");
}

static void test_asks_for_itself(void)
{
    Call a = CALL(a, .again = 3), b = CALL(b);

    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &a.call);
    blk_io_plug_call(ctx, &b.call);
    blk_io_unplug(ctx);
    expect("a.b.a.a.a.");
}

static void test_cancel(void)
{
    Call a = CALL(a), b = CALL(b), c = CALL(c), d = CALL(d);

    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &a.call);
    blk_io_plug_call(ctx, &b.call);
    blk_io_plug_call(ctx, &c.call);
    blk_io_plug_cancel(ctx, &b.call);
    blk_io_plug_cancel(ctx, &b.call);
    blk_io_plug_cancel(ctx, &c.call); /* the last: the list goes on */
    blk_io_plug_call(ctx, &d.call);
    blk_io_plug_cancel(ctx, &a.call); /* the first */
    blk_io_unplug(ctx);
    expect("d.");

    blk_io_plug(ctx);
    blk_io_plug_call(ctx, &a.call);
    blk_io_plug_cancel(ctx, &a.call); /* the only one */
    blk_io_plug_call(ctx, &a.call);
    blk_io_unplug(ctx);
    expect("a.");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    ctx = aio_context_new(NULL, NULL);
    aio_context_adopt(ctx);
    ran = g_string_new("");
    g_test_add_func("/plug/no-section", test_no_section);
    g_test_add_func("/plug/end-of-section", test_end_of_section);
    g_test_add_func("/plug/once", test_once);
    g_test_add_func("/plug/nesting", test_nesting);
    g_test_add_func("/plug/asked-while-running", test_asked_while_running);
    g_test_add_func("/plug/section-while-running", test_section_while_running);
    g_test_add_func("/plug/asks-for-itself", test_asks_for_itself);
    g_test_add_func("/plug/cancel", test_cancel);
    ret = g_test_run();
    g_string_free(ran, TRUE);
    aio_context_free(ctx);
    return ret;
}
