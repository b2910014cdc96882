/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines: a function with a stack of its own that can be left in the
 * middle.
 *
 * Used by slow paths only (metadata of image formats, unaligned writes). The
 * rule to know: a coroutine stays in its thread, so nothing here is locked.
 *
 * How it works
 * ------------
 * A stack is entered for the first time with makecontext() and setcontext().
 * From then on sigsetjmp() and siglongjmp() change stacks, because they save
 * and restore registers without asking the kernel for the signal mask. A
 * stack whose coroutine has ended waits in a pool of its thread, parked in
 * its trampoline, and is entered by siglongjmp() also for the next one.
 *
 *     | guard page | stack, growing downwards <-- | struct Coroutine |
 */

/* The checked longjmp() aborts when a jump goes down, as ours may. */
#undef _FORTIFY_SOURCE

#include "coroutine-private.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    CO_STACK_SIZE = 256 * 1024,
    CO_POOL_MAX = 64, /* idle stacks that a thread keeps */
};

typedef enum CoAction {
    CO_ENTER = 1, /* 0 is sigsetjmp()'s own return */
    CO_YIELD,
    CO_END,
} CoAction;

struct CoThread {
    Coroutine leader;   /* the thread's own stack */
    Coroutine *current; /* NULL: the leader */
    Coroutine *pool;
    unsigned n_pool;
};

static __thread CoThread co_thread;

/* --- Stacks --- */

static size_t page_size(void)
{
    return sysconf(_SC_PAGESIZE);
}

static Coroutine *stack_new(void)
{
    size_t guard = page_size(), size = guard + CO_STACK_SIZE;
    Coroutine *co;
    char *base;

    base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1,
                0);
    if (base == MAP_FAILED || mprotect(base, guard, PROT_NONE) < 0) {
        /* As g_malloc() does: there is no way on without memory. */
        g_error("cannot allocate the stack of a coroutine: %s",
                g_strerror(errno));
    }
    co = (Coroutine *)(base + size) - 1;
    co = (Coroutine *)((uintptr_t)co & ~(uintptr_t)63);
    co->thread = &co_thread;
    co->fiber.bottom = base + guard;
    co->fiber.size = (char *)co - (base + guard);
    co_tsan_create(&co->fiber);
    co_valgrind_register(&co->fiber);
    return co;
}

static void stack_free(Coroutine *co)
{
    size_t guard = page_size();
    char *base = (char *)co->fiber.bottom - guard;

    co_tsan_destroy(&co->fiber);
    co_valgrind_deregister(&co->fiber);
    munmap(base, guard + CO_STACK_SIZE);
}

static void pool_drain(void *opaque)
{
    CoThread *thread = opaque;

    while (thread->pool) {
        Coroutine *co = thread->pool;

        thread->pool = co->next;
        stack_free(co);
    }
    thread->n_pool = 0;
}

static pthread_key_t pool_key;

static void pool_key_init(void)
{
    int ret = pthread_key_create(&pool_key, pool_drain);

    g_assert(ret == 0);
}

/* The pool goes when its thread ends. */
static void pool_register(CoThread *thread)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, pool_key_init);
    pthread_setspecific(pool_key, thread);
}

static void pool_put(Coroutine *co)
{
    CoThread *thread = co->thread;

    if (thread->n_pool == CO_POOL_MAX) {
        stack_free(co);
        return;
    }
    if (thread->n_pool == 0) {
        pool_register(thread);
    }
    co->next = thread->pool;
    thread->pool = co;
    thread->n_pool++;
}

static Coroutine *pool_take(CoThread *thread)
{
    Coroutine *co = thread->pool;

    if (!co) {
        return stack_new();
    }
    thread->pool = co->next;
    thread->n_pool--;
    co->next = NULL;
    return co;
}

/* --- Switching --- */

static void run_until_end(void);

/* Never returns: goes on in run_until_end() on the stack of @co. Its frame is
 * left without a trace, so it must have none for AddressSanitizer, either. */
static void __attribute__((noreturn, no_sanitize_address)) start(Coroutine *co)
{
    ucontext_t context;

    /* Taken now, because setcontext() sets the signal mask it was taken with. */
    if (getcontext(&context) < 0) {
        g_error("getcontext: %s", g_strerror(errno));
    }
    context.uc_link = NULL;
    context.uc_stack.ss_sp = (void *)co->fiber.bottom;
    context.uc_stack.ss_size = co->fiber.size;
    context.uc_stack.ss_flags = 0;
    makecontext(&context, run_until_end, 0);
    co->started = true;
    co_tsan_switch(&co->fiber);
    setcontext(&context);
    g_assert_not_reached();
}

/*
 * Leaves @from for @to, who is told @action. Returns what @from is told when
 * somebody switches back. Not inlined: no variable of a caller lives in a
 * frame that sigsetjmp() returns to twice. Nor does its own frame lie on
 * AddressSanitizer's fake stack, which CO_END gives back.
 */
static CoAction __attribute__((noinline, no_sanitize_address))
co_switch(Coroutine *from, Coroutine *to, CoAction action)
{
    int told = sigsetjmp(from->env, 0);

    if (told == 0) {
        /* A stack that ended is parked, and its frames are not needed. */
        co_asan_leave(&from->fiber, &to->fiber, action == CO_END);
        if (!to->started) {
            start(to);
        }
        co_tsan_switch(&to->fiber);
        siglongjmp(to->env, action);
    }
    co_asan_arrive(&from->fiber, NULL);
    return told;
}

/* The bottom of each stack: one turn for each coroutine that lives on it. */
static void __attribute__((no_sanitize_address)) run_until_end(void)
{
    Coroutine *co = co_thread.current;

    co_asan_arrive(&co->fiber, &co->caller->fiber);
    while (true) {
        Coroutine *caller;

        co->fn(co->opaque);
        caller = co->caller;
        co->caller = NULL;
        co_switch(co, caller, CO_END);
    }
}

/* --- The interface --- */

Coroutine *coroutine_new(CoroutineFn *fn, void *opaque)
{
    Coroutine *co = pool_take(&co_thread);

    co->fn = fn;
    co->opaque = opaque;
    return co;
}

Coroutine *coroutine_self(void)
{
    return co_thread.current;
}

void coroutine_enter(Coroutine *co)
{
    CoThread *thread = &co_thread;
    Coroutine *self = thread->current;
    CoAction told;

    g_assert(co->thread == thread);
    g_assert(!co->caller); /* else it runs already */
    g_assert(!co->queued); /* else somebody is owed this wake-up */

    if (!self) {
        thread->leader.started = true;
        co_tsan_current(&thread->leader.fiber);
    }
    co->caller = self ? self : &thread->leader;
    thread->current = co;
    told = co_switch(co->caller, co, CO_ENTER);
    thread->current = self;
    if (told == CO_END) {
        pool_put(co);
    }
}

void coroutine_fn coroutine_yield(void)
{
    Coroutine *self = co_thread.current;
    Coroutine *caller;

    g_assert(self);
    caller = self->caller;
    self->caller = NULL;
    co_switch(self, caller, CO_YIELD);
}

static void enter_bh(void *opaque)
{
    coroutine_enter(opaque);
}

void coroutine_fn coroutine_give_way(void)
{
    aio_bh_once(aio_context_current(), enter_bh, coroutine_self());
    coroutine_yield();
}
