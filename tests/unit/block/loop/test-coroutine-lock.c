/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of CoQueue and CoMutex: who goes on when, and that nobody overtakes.
 */
#include "block/coroutine.h"

static GString *trace;

typedef struct Member {
    char name;
    CoQueue *queue;
    CoMutex *mutex;
    Coroutine *co;
    unsigned turns;
} Member;

static void say(char what)
{
    g_string_append_c(trace, what);
}

static void trace_begin(void)
{
    trace = g_string_new("");
}

static void trace_end(const char *expected)
{
    g_assert_cmpstr(trace->str, ==, expected);
    g_string_free(trace, TRUE);
}

static void start(Member *member, char name, CoroutineFn *fn)
{
    member->name = name;
    member->co = coroutine_new(fn, member);
    coroutine_enter(member->co);
}

static void coroutine_fn wait_co(void *opaque)
{
    Member *member = opaque;

    while (member->turns-- > 0) {
        co_queue_wait(member->queue);
        say(member->name);
    }
}

static void test_queue_fifo(void)
{
    CoQueue queue;
    Member members[3];

    trace_begin();
    co_queue_init(&queue);
    g_assert_false(co_queue_restart_next(&queue));
    for (unsigned i = 0; i < 3; i++) {
        members[i] = (Member){ .queue = &queue, .turns = 2 };
        start(&members[i], 'a' + i, wait_co);
    }
    for (unsigned i = 0; i < 6; i++) {
        g_assert_true(co_queue_restart_next(&queue));
    }
    g_assert_false(co_queue_restart_next(&queue));
    trace_end("abcabc");
}

static void test_queued_is_owed(void)
{
    if (g_test_subprocess()) {
        CoQueue queue;
        Member member = { .queue = &queue, .turns = 1 };

        co_queue_init(&queue);
        start(&member, 'a', wait_co);
        coroutine_enter(member.co);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*!co->queued*");
}

/* Upper case: in the section; yields there and after it. */
static void coroutine_fn section_co(void *opaque)
{
    Member *member = opaque;

    while (member->turns-- > 0) {
        co_mutex_lock(member->mutex);
        say(g_ascii_toupper(member->name));
        coroutine_yield();
        say(member->name);
        co_mutex_unlock(member->mutex);
    }
}

static void test_mutex_free(void)
{
    CoMutex mutex;
    Member member = { .mutex = &mutex, .turns = 2 };

    trace_begin();
    co_mutex_init(&mutex);
    start(&member, 'a', section_co);
    coroutine_enter(member.co);
    coroutine_enter(member.co);
    g_assert_false(mutex.locked);
    trace_end("AaAa");
}

/*
 * All want it twice. The one that unlocks and wants it again comes after all
 * that waited already.
 */
static void test_mutex_fifo(void)
{
    CoMutex mutex;
    Member members[3];

    trace_begin();
    co_mutex_init(&mutex);
    for (unsigned i = 0; i < 3; i++) {
        members[i] = (Member){ .mutex = &mutex, .turns = 2 };
        start(&members[i], 'a' + i, section_co);
    }
    for (unsigned i = 0; i < 6; i++) {
        coroutine_enter(members[i % 3].co);
    }
    g_assert_false(mutex.locked);
    trace_end("AaBbCcAaBbCc");
}

static void coroutine_fn brief_co(void *opaque)
{
    Member *member = opaque;

    co_mutex_lock(member->mutex);
    say(member->name);
    co_mutex_unlock(member->mutex);
}

/* Thousands wait; one unlock sets off all of them, each on its own stack. */
static void test_mutex_chain(void)
{
    enum { N = 1000 };
    CoMutex mutex;
    Member holder = { .mutex = &mutex, .turns = 1 };
    Member *members = g_new0(Member, N);

    trace_begin();
    co_mutex_init(&mutex);
    start(&holder, 'x', section_co);
    for (unsigned i = 0; i < N; i++) {
        members[i].mutex = &mutex;
        start(&members[i], 'a' + i % 26, brief_co);
    }
    g_assert_cmpstr(trace->str, ==, "X");
    coroutine_enter(holder.co);
    g_assert_cmpuint(trace->len, ==, N + 2);
    for (unsigned i = 0; i < N; i++) {
        g_assert_cmpint(trace->str[i + 2], ==, 'a' + i % 26);
    }
    g_assert_false(mutex.locked);
    g_string_free(trace, TRUE);
    g_free(members);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coroutine-lock/queue-fifo", test_queue_fifo);
    g_test_add_func("/coroutine-lock/queued-is-owed", test_queued_is_owed);
    g_test_add_func("/coroutine-lock/mutex-free", test_mutex_free);
    g_test_add_func("/coroutine-lock/mutex-fifo", test_mutex_fifo);
    g_test_add_func("/coroutine-lock/mutex-chain", test_mutex_chain);
    return g_test_run();
}
