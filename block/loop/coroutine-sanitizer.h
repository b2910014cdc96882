/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells the tools that watch the stack when it is changed: AddressSanitizer,
 * ThreadSanitizer and valgrind. Only coroutine.c includes this.
 *
 * Each group is there when the code is built for its tool, and else empty.
 */
#ifndef BLOCK_LOOP_COROUTINE_SANITIZER_H
#define BLOCK_LOOP_COROUTINE_SANITIZER_H

#include <stdbool.h>
#include <stddef.h>

/* What a tool knows of one stack. */
typedef struct CoFiber {
    const void *bottom;   /* lowest address; NULL: not known yet */
    size_t size;
    void *fake_stack;     /* AddressSanitizer's, while another stack runs */
    void *tsan_fiber;
    unsigned valgrind_id;
} CoFiber;

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

/* --- AddressSanitizer: bounds of the stack that runs --- */

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)

#include <sanitizer/common_interface_defs.h>

/* Right before the jump. @ends: @from will never run again. */
static inline void co_asan_leave(CoFiber *from, const CoFiber *to, bool ends)
{
    __sanitizer_start_switch_fiber(ends ? NULL : &from->fake_stack,
                                   to->bottom, to->size);
}

/*
 * Right after it, on @self. @from, if not NULL, learns its own bounds. Not
 * inlined and not instrumented: its variables must lie on the real stack, the
 * fake one of a parked coroutine is gone until this has returned.
 */
static void __attribute__((noinline, no_sanitize_address, unused))
co_asan_arrive(CoFiber *self, CoFiber *from)
{
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &size);
    self->fake_stack = NULL;
    if (from && !from->bottom) {
        from->bottom = bottom;
        from->size = size;
    }
}

#else

static inline void co_asan_leave(CoFiber *from, const CoFiber *to, bool ends)
{
}

static inline void co_asan_arrive(CoFiber *self, CoFiber *from)
{
}

#endif

/* --- ThreadSanitizer: call stack and clock of the one that runs --- */

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)

#include <sanitizer/tsan_interface.h>

static inline void co_tsan_create(CoFiber *fiber)
{
    fiber->tsan_fiber = __tsan_create_fiber(0);
}

static inline void co_tsan_destroy(CoFiber *fiber)
{
    __tsan_destroy_fiber(fiber->tsan_fiber);
}

/* For the thread's own stack. */
static inline void co_tsan_current(CoFiber *fiber)
{
    if (!fiber->tsan_fiber) {
        fiber->tsan_fiber = __tsan_get_current_fiber();
    }
}

/* A macro, because a function would be entered on one call stack and left on
 * another: clang notes both, whatever attribute it has. */
#define co_tsan_switch(to) __tsan_switch_to_fiber((to)->tsan_fiber, 0)

#else

static inline void co_tsan_create(CoFiber *fiber)
{
}

static inline void co_tsan_destroy(CoFiber *fiber)
{
}

static inline void co_tsan_current(CoFiber *fiber)
{
}

static inline void co_tsan_switch(const CoFiber *to)
{
}

#endif

/* --- valgrind: which memory is a stack --- */

#ifdef CONFIG_VALGRIND_H

#include <valgrind/valgrind.h>

static inline void co_valgrind_register(CoFiber *fiber)
{
    fiber->valgrind_id = VALGRIND_STACK_REGISTER(
        fiber->bottom, (const char *)fiber->bottom + fiber->size);
}

static inline void co_valgrind_deregister(CoFiber *fiber)
{
    VALGRIND_STACK_DEREGISTER(fiber->valgrind_id);
}

#else

static inline void co_valgrind_register(CoFiber *fiber)
{
}

static inline void co_valgrind_deregister(CoFiber *fiber)
{
}

#endif

#endif
