/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of coroutines: entering and yielding in all nestings, many of them,
 * deep stacks, the pool, threads, and together with the loop.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "block/coroutine.h"
#include "block/iothread.h"

typedef struct Steps {
    Coroutine *co;
    unsigned steps; /* done */
    unsigned yields;
} Steps;

static void coroutine_fn step_co(void *opaque)
{
    Steps *s = opaque;

    g_assert_true(coroutine_self() == s->co);
    while (s->yields-- > 0) {
        s->steps++;
        coroutine_yield();
        g_assert_true(coroutine_self() == s->co);
    }
    s->steps++;
}

static void test_yield(void)
{
    Steps s = { .yields = 2 };

    g_assert_null(coroutine_self());
    s.co = coroutine_new(step_co, &s);
    g_assert_cmpuint(s.steps, ==, 0);
    for (unsigned i = 1; i <= 3; i++) {
        coroutine_enter(s.co);
        g_assert_null(coroutine_self());
        g_assert_cmpuint(s.steps, ==, i);
    }
}

/* Many alive at once, entered in turn. */
static void test_thousands(void)
{
    enum { N = 2000, YIELDS = 3 };
    Steps *s = g_new0(Steps, N);

    for (unsigned i = 0; i < N; i++) {
        s[i].yields = YIELDS;
        s[i].co = coroutine_new(step_co, &s[i]);
    }
    for (unsigned round = 1; round <= YIELDS + 1; round++) {
        for (unsigned i = 0; i < N; i++) {
            coroutine_enter(s[i].co);
            g_assert_cmpuint(s[i].steps, ==, round);
        }
    }
    g_free(s);
}

/* Stacks come from the pool: the same one serves one after the other. */
static void test_pool(void)
{
    Coroutine *first = NULL;

    for (unsigned i = 0; i < 10000; i++) {
        Steps s = { .yields = 1 };

        s.co = coroutine_new(step_co, &s);
        first = first ? first : s.co;
        g_assert_true(s.co == first);
        coroutine_enter(s.co);
        coroutine_enter(s.co);
        g_assert_cmpuint(s.steps, ==, 2);
    }
}

typedef struct Nest {
    unsigned depth, deepest, max;
} Nest;

static void coroutine_fn nest_co(void *opaque)
{
    Nest *nest = opaque;
    Coroutine *self = coroutine_self();

    nest->depth++;
    nest->deepest = MAX(nest->deepest, nest->depth);
    if (nest->depth < nest->max) {
        coroutine_enter(coroutine_new(nest_co, nest));
        g_assert_true(coroutine_self() == self);
    }
    nest->depth--;
}

/* Each enters the next one. */
static void test_nested(void)
{
    Nest nest = { .max = 1000 };

    coroutine_enter(coroutine_new(nest_co, &nest));
    g_assert_cmpuint(nest.deepest, ==, 1000);
    g_assert_cmpuint(nest.depth, ==, 0);
    g_assert_null(coroutine_self());
}

static void coroutine_fn inner_co(void *opaque)
{
    GString *log = opaque;

    g_string_append_c(log, '1');
    coroutine_yield();
    g_string_append_c(log, '2');
    coroutine_yield();
    g_string_append_c(log, '3');
}

typedef struct Pair {
    Coroutine *inner;
    GString *log;
} Pair;

static void coroutine_fn outer_co(void *opaque)
{
    Pair *pair = opaque;

    g_string_append_c(pair->log, 'a');
    coroutine_enter(pair->inner);
    g_string_append_c(pair->log, 'b');
    coroutine_yield();
    g_string_append_c(pair->log, 'c');
    coroutine_enter(pair->inner);
    g_string_append_c(pair->log, 'd');
}

/* Yield goes to whoever entered last, not to who created. */
static void test_yield_goes_to_caller(void)
{
    Pair pair = { .log = g_string_new("") };
    Coroutine *outer = coroutine_new(outer_co, &pair);

    pair.inner = coroutine_new(inner_co, pair.log);
    coroutine_enter(outer);
    g_string_append_c(pair.log, '.');
    coroutine_enter(pair.inner);
    g_string_append_c(pair.log, '.');
    coroutine_enter(outer);
    g_assert_cmpstr(pair.log->str, ==, "a1b.2.c3d");
    g_string_free(pair.log, TRUE);
}

/* Uses about 1 KiB of stack for each level, and checks that it is its own. */
static unsigned __attribute__((noinline)) recurse(unsigned depth)
{
    volatile unsigned char fill[1024];
    unsigned below;

    memset((void *)fill, depth & 0xff, sizeof(fill));
    if (depth == 0) {
        coroutine_yield();
        return 1;
    }
    below = recurse(depth - 1);
    for (unsigned i = 0; i < sizeof(fill); i++) {
        g_assert_cmpuint(fill[i], ==, depth & 0xff);
    }
    return below + 1;
}

typedef struct Deep {
    unsigned depth, result;
} Deep;

static void coroutine_fn deep_co(void *opaque)
{
    Deep *deep = opaque;

    deep->result = recurse(deep->depth);
}

static void test_deep(void)
{
    Coroutine *co[8];
    Deep deep[8];

    for (unsigned i = 0; i < 8; i++) {
        deep[i] = (Deep){ .depth = 100 + i };
        co[i] = coroutine_new(deep_co, &deep[i]);
        coroutine_enter(co[i]);
    }
    for (unsigned i = 0; i < 8; i++) {
        coroutine_enter(co[i]);
        g_assert_cmpuint(deep[i].result, ==, 101 + i);
    }
}

/* The guard page: an overflow is a crash and not somebody else's data. */
static void test_overflow(void)
{
    if (g_test_subprocess()) {
        Deep deep = { .depth = 100000 };

        coroutine_enter(coroutine_new(deep_co, &deep));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

static bool is_blocked(int signum)
{
    sigset_t set;

    pthread_sigmask(SIG_BLOCK, NULL, &set);
    return sigismember(&set, signum);
}

static void change_mask(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(how, &set, NULL);
}

static void coroutine_fn mask_co(void *opaque)
{
    g_assert_true(is_blocked(SIGUSR2)); /* also at the first entry */
    coroutine_yield();
    change_mask(SIG_UNBLOCK);
    coroutine_yield();
    g_assert_true(is_blocked(SIGUSR2));
}

/* The mask belongs to the thread: switches neither save nor restore it, and
 * therefore need no system call. */
static void test_signal_mask(void)
{
    Coroutine *co = coroutine_new(mask_co, NULL);

    change_mask(SIG_BLOCK);
    coroutine_enter(co);
    g_assert_true(is_blocked(SIGUSR2));
    coroutine_enter(co);
    g_assert_false(is_blocked(SIGUSR2));
    change_mask(SIG_BLOCK);
    coroutine_enter(co);
    change_mask(SIG_UNBLOCK);
}

static void *thread_fn(void *opaque)
{
    unsigned *total = opaque;

    for (unsigned i = 0; i < 200; i++) {
        Steps s = { .yields = 5 };

        s.co = coroutine_new(step_co, &s);
        while (s.steps < 6) {
            coroutine_enter(s.co);
        }
        *total += s.steps;
    }
    return NULL;
}

/* Each thread has its own leader and pool; both go with it. */
static void test_threads(void)
{
    for (unsigned round = 0; round < 10; round++) {
        pthread_t threads[3];
        unsigned totals[3] = { 0 };

        for (unsigned i = 0; i < 3; i++) {
            pthread_create(&threads[i], NULL, thread_fn, &totals[i]);
        }
        for (unsigned i = 0; i < 3; i++) {
            pthread_join(threads[i], NULL);
            g_assert_cmpuint(totals[i], ==, 1200);
        }
    }
}

static void coroutine_fn enter_self_co(void *opaque)
{
    coroutine_enter(coroutine_self());
}

static void test_enter_twice(void)
{
    if (g_test_subprocess()) {
        coroutine_enter(coroutine_new(enter_self_co, NULL));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*!co->caller*");
}

typedef struct Sleeper {
    AioContext *ctx;
    Coroutine *co;
    AioTimer timer;
    unsigned naps;
    bool done;
} Sleeper;

static void wake(void *opaque)
{
    Sleeper *sleeper = opaque;

    coroutine_enter(sleeper->co);
}

static void coroutine_fn sleep_co(void *opaque)
{
    Sleeper *sleeper = opaque;

    while (sleeper->naps-- > 0) {
        aio_bh_once(sleeper->ctx, wake, sleeper);
        coroutine_yield();
        aio_timer_arm(&sleeper->timer, aio_clock_ns() + 1000);
        coroutine_yield();
    }
    sleeper->done = true;
}

static void start_sleeper_bh(void *opaque)
{
    Sleeper *sleeper = opaque;

    aio_timer_init(&sleeper->timer, sleeper->ctx, wake, sleeper);
    sleeper->co = coroutine_new(sleep_co, sleeper);
    coroutine_enter(sleeper->co);
}

typedef struct Question {
    const Sleeper *sleeper;
    bool done;
} Question;

static void is_done_bh(void *opaque)
{
    Question *question = opaque;

    question->done = question->sleeper->done;
}

/* It waits in the middle of a function while its loop serves others. */
static void test_in_loop(void)
{
    enum { N = 100 };
    IOThread *iothread = iothread_new("co", NULL, NULL);
    AioContext *ctx = iothread_context(iothread);
    Sleeper *sleepers = g_new0(Sleeper, N);

    for (unsigned i = 0; i < N; i++) {
        sleepers[i] = (Sleeper){ .ctx = ctx, .naps = 20 };
        aio_bh_run_sync(ctx, start_sleeper_bh, &sleepers[i]);
    }
    for (unsigned i = 0; i < N; i++) {
        Question question = { .sleeper = &sleepers[i] };

        while (!question.done) {
            aio_bh_run_sync(ctx, is_done_bh, &question);
        }
    }
    iothread_free(iothread);
    g_free(sleepers);
}

typedef struct Turns {
    GString *order;
    char name;
    unsigned left;
} Turns;

static void coroutine_fn take_turns(void *opaque)
{
    Turns *turns = opaque;

    while (turns->left > 0) {
        g_string_append_c(turns->order, turns->name);
        coroutine_give_way();
        turns->left--;
    }
}

static void test_give_way(void)
{
    AioContext *ctx = aio_context_new(NULL, NULL);
    g_autoptr(GString) order = g_string_new("");
    Turns turns[] = { { order, 'a', 3 }, { order, 'b', 3 } };

    aio_context_adopt(ctx);
    coroutine_enter(coroutine_new(take_turns, &turns[0]));
    coroutine_enter(coroutine_new(take_turns, &turns[1]));
    while (turns[0].left + turns[1].left > 0) {
        aio_poll(ctx, true);
    }
    g_assert_cmpstr(order->str, ==, "ababab");
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coroutine/yield", test_yield);
    g_test_add_func("/coroutine/pool", test_pool);
    g_test_add_func("/coroutine/thousands", test_thousands);
    g_test_add_func("/coroutine/nested", test_nested);
    g_test_add_func("/coroutine/yield-goes-to-caller",
                    test_yield_goes_to_caller);
    g_test_add_func("/coroutine/deep", test_deep);
    g_test_add_func("/coroutine/overflow", test_overflow);
    g_test_add_func("/coroutine/signal-mask", test_signal_mask);
    g_test_add_func("/coroutine/threads", test_threads);
    g_test_add_func("/coroutine/enter-twice", test_enter_twice);
    g_test_add_func("/coroutine/in-loop", test_in_loop);
    g_test_add_func("/coroutine/give-way", test_give_way);
    return g_test_run();
}
